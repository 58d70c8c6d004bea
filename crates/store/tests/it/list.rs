//! The list of tasks and what changed in it.

use legwork_domain::{
    Archived, Check, CheckRun, DiffStat, EventKind, ItemId, ListChange, NewTask, Outcome, Patch, TaskQuery,
    TaskRow, TaskState, Timestamp, Transition, Usage, UserId, Verdict, Visible, Waiting,
};

use crate::world::{World, batch, end, moving, request, tell};

const ME: UserId = UserId::LOCAL;

impl World {
    async fn row(&self) -> TaskRow {
        self.list(&TaskQuery::default()).await.swap_remove(0)
    }

    async fn changed(&self, after: u64) -> Vec<(u64, TaskState)> {
        let page = self.store.changes(Visible::All, ME, after).await.unwrap();
        let state = |(seq, change)| match change {
            ListChange::Task { row } => (seq, row.state),
            other => panic!("{other:?}"),
        };
        page.changes.into_iter().map(state).collect()
    }
}

pub(crate) async fn a_row_follows_its_turns(world: World) {
    let view = world.create("# Fix it", None).await.unwrap();
    let row = world.row().await;
    assert_eq!((row.id, row.title.as_str(), row.state), (view.task.id, "Fix it", TaskState::Queued));
    assert_eq!((row.attempts, row.repository.as_str(), row.unread), (1, "/r", false));
    let turn = world.lease().await.unwrap().turn.id;
    assert_eq!(world.row().await.state, TaskState::Running);
    let usage = Usage { input_tokens: 5, cost_microusd: Some(9), ..Usage::default() };
    world.append(turn, batch(1, 0, vec![tell(EventKind::Usage { turn, usage })])).await.unwrap();
    assert_eq!((world.row().await.spent.tokens, world.row().await.spent.cost_microusd), (5, 9));
    let stat = DiffStat { files: 1, added: 4, removed: 2 };
    let patch =
        Patch { blob: "a".repeat(64).parse().unwrap(), base_commit: "c".into(), tree: "t".into(), stat };
    let run =
        |code| vec![CheckRun { item: ItemId::new(1), exit_code: Some(code), at: Timestamp::from_micros(1) }];
    let check = Check::new("t", "t");
    let mut last = end(1, 1, Vec::new());
    last.ended.outcome = Outcome::Succeeded;
    last.ended.patch = Some(patch);
    last.ended.verdicts = vec![Verdict::new(check, run(1), run(0))];
    world.store.finish(turn, last, world.now()).await.unwrap();
    let row = world.row().await;
    assert_eq!(
        (row.state, row.stat, row.checks.fixed, row.unread),
        (TaskState::Succeeded, Some(stat), 1, true)
    );
    assert!(row.ended_at.is_some());
    world.store.see(ME, view.task.id, world.now()).await.unwrap();
    assert!(!world.row().await.unread);
    let others = world.store.tasks(Visible::All, UserId::from_u128(5), &TaskQuery::default()).await.unwrap();
    assert!(others.tasks[0].unread, "what is unread is a person's own");
}

pub(crate) async fn a_list_is_searched(world: World) {
    for (title, repository) in [("Fix 100% of Ä", "/r"), ("Other", "/r"), ("fix_it", "/s")] {
        let request = NewTask { prompt: title.into(), ..request("x", 1) };
        let source = legwork_domain::Source { repository: repository.into(), ..request.source.clone() };
        let request = NewTask { source, ..request };
        world.store.create_task(request, world.sent(None), &world.ids(1)).await.unwrap();
    }
    let found = async |query: TaskQuery| -> Vec<String> {
        world.list(&query).await.into_iter().map(|row| row.title).collect()
    };
    let titled = |title: &str| TaskQuery { title: Some(title.into()), ..TaskQuery::default() };
    assert_eq!(found(titled("FIX")).await, ["fix_it", "Fix 100% of Ä"]);
    assert_eq!(found(titled("0% of ä")).await, ["Fix 100% of Ä"]);
    assert_eq!(found(titled("_")).await, ["fix_it"]);
    let at = TaskQuery { repository: Some("/s".into()), ..TaskQuery::default() };
    assert_eq!(found(at).await, ["fix_it"]);
    let of = |user| TaskQuery { created_by: Some(user), ..TaskQuery::default() };
    assert_eq!((found(of(ME)).await.len(), found(of(UserId::from_u128(9))).await.len()), (3, 0));
    world.lease().await.unwrap();
    let running = TaskQuery { state: Some(TaskState::Running), ..TaskQuery::default() };
    assert_eq!(found(running).await, ["Fix 100% of Ä"]);
    let only = TaskQuery { archived: Archived::Only, ..TaskQuery::default() };
    assert_eq!(found(only).await.len(), 0);
    assert_eq!(world.store.tasks(Visible::Nothing, ME, &TaskQuery::default()).await.unwrap().tasks, []);
}

pub(crate) async fn changes_are_told_in_order_and_once(world: World) {
    let start = world.store.last_change().await.unwrap();
    world.create("a", None).await.unwrap();
    world.create("b", None).await.unwrap();
    let turn = world.lease().await.unwrap().turn.id;
    world.append(turn, batch(1, 0, Vec::new())).await.unwrap();
    // Two tasks; of the first one's two changes the last.
    let changed = world.changed(start).await;
    assert_eq!(changed, [(start + 2, TaskState::Queued), (start + 3, TaskState::Running)]);
    assert_eq!(world.changed(start + 3).await, []);
    world.append(turn, moving(1, 0, Transition::Park { on: Waiting::Input, patch: None })).await.unwrap();
    assert_eq!(world.changed(start + 3).await, [(start + 4, TaskState::Parked)]);
    let list = world.store.tasks(Visible::All, ME, &TaskQuery::default()).await.unwrap();
    assert_eq!(list.as_of, start + 4);
    let hidden = world.store.changes(Visible::Nothing, ME, start).await.unwrap();
    assert_eq!((hidden.changes.len(), hidden.upto), (0, start + 4));
    let beyond = world.store.changes(Visible::All, ME, start + 99).await.unwrap();
    assert_eq!(beyond.changes, [(start + 4, ListChange::Reset)]);
}

pub(crate) async fn changes_of_two_servers_leave_no_hole(world: World) {
    let other = world.beside().await;
    let mut seen = world.store.last_change().await.unwrap();
    let watched = async {
        let mut last = Vec::new();
        while last.len() < 40 {
            let page = world.store.changes(Visible::All, ME, seen).await.unwrap();
            last.extend(page.changes.iter().map(|(seq, _)| *seq));
            seen = page.upto;
        }
        last
    };
    let made = async |world: &World| {
        for n in 0..20 {
            world.create(&n.to_string(), None).await.unwrap();
        }
    };
    let (watched, (), ()) = tokio::join!(watched, made(&world), made(&other));
    let first = watched[0];
    assert_eq!(watched, (first..first + 40).collect::<Vec<_>>());
}

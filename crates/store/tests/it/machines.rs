//! A turn goes where its attempt's files are, or takes what the server has of them along.

use legwork_domain::{
    Assignment, AttemptId, BlobId, Context, ContextChange, DiffStat, EventKind, FollowUp, ForkDraft, Hold,
    LeaseId, MachineId, NewEvent, Patch, RetryFrom, Saved, TaskId, TaskView, Transition, TurnId, Waiting,
    WorkerId,
};
use legwork_store::{Claim, Error, Expected, Presence};

use crate::world::{LEASE_MS, RULES, World, batch, end, moving, request, tell};

const ONE: MachineId = MachineId::from_u128(1);
const TWO: MachineId = MachineId::from_u128(2);

pub(crate) fn wait_ms() -> i64 {
    i64::try_from(RULES.files_wait_ms).unwrap()
}

/// The machine's one worker.
const fn worker(machine: MachineId) -> WorkerId {
    WorkerId::from_u128(machine.number())
}

fn patch(n: u8) -> Patch {
    let blob: BlobId = format!("{n:064x}").parse().unwrap();
    Patch { blob, base_commit: "c".into(), tree: format!("t{n}"), stat: DiffStat::default() }
}

fn saved(n: u8) -> Option<Saved> {
    Some(Saved { patch: Some(patch(n)) })
}

fn said(turn: TurnId, word: &str) -> NewEvent {
    let context = Context { change: ContextChange::Append, entries: vec![word.into()] };
    tell(EventKind::Context { turn, context })
}

fn snapshot(turn: TurnId, layer: &str) -> NewEvent {
    tell(EventKind::Snapshot { turn, layers: vec![layer.into()], live: None, saved: None })
}

impl World {
    /// A worker of the machine asks for work.
    pub(crate) async fn here(&self, machine: MachineId, labels: &[&str]) {
        let labels = labels.iter().map(ToString::to_string).collect();
        let (id, version) = (worker(machine), String::new());
        let worker = Presence { id, machine: Some(machine), labels, slots: 1, version, keeps_ms: Some(1000) };
        self.store.touch_worker(&worker, self.now()).await.unwrap();
    }

    async fn take(&self, machine: MachineId, task: Option<TaskId>, labels: &[&str]) -> Option<Assignment> {
        let labels = labels.iter().map(ToString::to_string).collect();
        let (id, worker) = (LeaseId::from_u128(self.number()), worker(machine));
        let (machine, rules, term) = (Some(machine), RULES, self.term());
        self.store.lease(&Claim { id, worker, machine, task, labels, rules, term }).await.unwrap()
    }

    /// What a worker of the machine gets.
    pub(crate) async fn on(&self, machine: MachineId) -> Option<Assignment> {
        self.take(machine, None, &[]).await
    }

    /// The assignment's turn says one word, leaves these layers and this patch, and ends.
    async fn leaves(&self, job: &Assignment, layer: &str, patch: Patch) {
        let turn = job.turn.id;
        let events = vec![said(turn, layer), snapshot(turn, layer), tell(EventKind::Patch { turn, patch })];
        self.store.finish(turn, end(job.lease.epoch, 0, events), self.now()).await.unwrap();
    }

    async fn more(&self, attempt: AttemptId) -> Result<TurnId, Error> {
        let more = FollowUp::new("more".into(), Vec::new());
        let id = TurnId::from_u128(self.number());
        self.store.follow_up(attempt, id, more, self.sent(None)).await.map(|turn| turn.id)
    }

    /// An attempt whose first turn left files on machine one, and whose second one is queued.
    async fn follows(&self, labels: &[&str]) -> (TaskView, AttemptId, TurnId) {
        self.here(ONE, labels).await;
        let mut request = request("x", 1);
        request.labels = labels.iter().map(ToString::to_string).collect();
        let view = self.store.create_task(request, self.sent(None), &self.ids(1)).await.unwrap();
        let job = self.take(ONE, Some(view.task.id), labels).await.unwrap();
        self.leaves(&job, "/one", patch(1)).await;
        let attempt = view.attempts[0].attempt.id;
        let turn = self.more(attempt).await.unwrap();
        (view, attempt, turn)
    }

    async fn hold(&self, turn: TurnId) -> (Hold, String) {
        let place = self.store.turn(turn, RULES, self.now()).await.unwrap().queue.unwrap();
        (place.hold, place.reason)
    }
}

pub(crate) async fn a_follow_up_goes_where_its_files_are(world: World) {
    let (_, _, turn) = world.follows(&[]).await;
    world.here(TWO, &[]).await;
    assert_eq!(world.on(TWO).await, None, "machine one is there");
    let (hold, reason) = world.hold(turn).await;
    assert_eq!(hold, Hold::Machine { machine: ONE });
    assert_eq!(reason, "waiting for the machine that has its files: next in line");
    let first = world.create("y", None).await.unwrap();
    assert_eq!(world.on(TWO).await.unwrap().task.id, first.task.id, "a first turn goes anywhere");
    let older = world.create("z", None).await.unwrap();
    let job = world.on(ONE).await.unwrap();
    assert_eq!((job.turn.id, job.layers.as_slice()), (turn, &["/one".to_owned()][..]));
    assert_eq!(world.on(ONE).await.unwrap().task.id, older.task.id, "whoever has files takes others too");
    let workers = world.store.workers().await.unwrap().workers;
    assert_eq!(workers.iter().map(|worker| worker.machine).collect::<Vec<_>>(), [Some(TWO), Some(ONE)]);
}

pub(crate) async fn a_silent_machine_is_waited_for_so_long(world: World) {
    let (_, _, turn) = world.follows(&[]).await;
    world.pass_ms(wait_ms() - 15_000);
    assert_eq!(world.on(TWO).await, None);
    let (hold, reason) = world.hold(turn).await;
    assert!(matches!(hold, Hold::SilentMachine { machine: ONE, left_ms: 14_000..=15_000, .. }), "{hold:?}");
    assert_eq!(
        reason,
        "the machine that has its files has not been heard of for 45 s; another takes it in 15 s"
    );
    world.pass_ms(15_001);
    world.here(TWO, &[]).await;
    assert_eq!(world.hold(turn).await.0, Hold::Slot, "anyone may have it now");
    // But it is the machine's again when that returns before.
    world.here(ONE, &[]).await;
    assert_eq!(world.on(TWO).await, None);
    world.pass_ms(wait_ms() + 1);
    let job = world.on(TWO).await.unwrap();
    assert_eq!((job.turn.id, job.saved, job.saved_at), (turn, saved(1), 1));
}

pub(crate) async fn a_busy_machine_is_there_until_its_lease_ends(world: World) {
    let (_, _, turn) = world.follows(&[]).await;
    let busy = world.create("y", None).await.unwrap();
    let job = world.take(ONE, Some(busy.task.id), &[]).await.unwrap();
    for _ in 0..8 {
        world.pass_ms(LEASE_MS / 2);
        world.append(job.turn.id, batch(1, 0, Vec::new())).await.unwrap();
        assert_eq!(world.hold(turn).await.0, Hold::Machine { machine: ONE }, "a busy machine is not silent");
    }
    assert_eq!(world.on(TWO).await, None, "a worker whose slots are taken does not ask");
    assert_eq!(world.hold(turn).await.0, Hold::Machine { machine: ONE });
    world.pass_ms(LEASE_MS + 1000);
    assert_eq!(world.store.expire(world.now()).await.unwrap().len(), 1);
    assert_eq!(world.on(TWO).await.map(|job| job.task.id), Some(busy.task.id), "it had left nothing yet");
    assert_eq!(world.on(TWO).await, None, "until its lease ended it was there");
    world.pass_ms(wait_ms());
    assert_eq!(world.on(TWO).await.unwrap().turn.id, turn);
}

pub(crate) async fn a_machine_that_could_not_take_it_is_not_waited_for(world: World) {
    let (_, _, turn) = world.follows(&["gpu"]).await;
    world.pass_ms(wait_ms() - 1000);
    // The same worker again, and what it had is gone.
    world.here(ONE, &[]).await;
    world.here(TWO, &["gpu"]).await;
    assert_eq!(world.on(ONE).await, None);
    assert_eq!(world.hold(turn).await.0, Hold::Slot);
    assert_eq!(world.take(TWO, None, &["gpu"]).await.unwrap().turn.id, turn);
}

pub(crate) async fn files_are_where_the_last_snapshot_was_made(world: World) {
    let (view, attempt, turn) = world.follows(&[]).await;
    world.pass_ms(wait_ms() + 1);
    let lost = world.on(TWO).await.unwrap();
    assert_eq!(lost.turn.id, turn);
    // It dies before it has made anything, and the first machine is back.
    world.pass_ms(LEASE_MS + 1);
    world.store.expire(world.now()).await.unwrap();
    world.here(ONE, &[]).await;
    world.here(TWO, &[]).await;
    assert_eq!(world.on(TWO).await, None);
    world.pass_ms(wait_ms() + 1);
    let job = world.on(TWO).await.unwrap();
    world.leaves(&job, "/two", patch(2)).await;
    world.here(ONE, &[]).await;
    world.here(TWO, &[]).await;
    world.more(attempt).await.unwrap();
    assert_eq!(world.on(ONE).await, None, "now they are on the second one");
    assert!(world.take(ONE, Some(view.task.id), &[]).await.is_none(), "also for who serves one task");
    assert_eq!(world.on(TWO).await.unwrap().saved, saved(2));
    world.check(attempt).await;
}

pub(crate) async fn a_turn_that_is_taken_up_goes_back_to_its_files(world: World) {
    let view = world.create("x", None).await.unwrap();
    for machine in [ONE, TWO] {
        world.here(machine, &[]).await;
    }
    let job = world.on(ONE).await.unwrap();
    let turn = job.turn.id;
    let events = vec![snapshot(turn, "/one"), tell(EventKind::Patch { turn, patch: patch(1) })];
    world.append(turn, batch(1, 0, events)).await.unwrap();
    world.append(turn, moving(1, 2, Transition::Prepare)).await.unwrap();
    world.append(turn, moving(1, 2, Transition::Run)).await.unwrap();
    let park = Transition::Park { on: Waiting::Input, patch: Some(patch(1)) };
    world.append(turn, moving(1, 2, park)).await.unwrap();
    world.store.advance(turn, Expected::Any, Transition::Wake, world.now()).await.unwrap();
    assert_eq!(world.on(TWO).await, None);
    assert_eq!(world.on(ONE).await.unwrap().saved, saved(1));
    world.pass_ms(LEASE_MS + 1);
    world.store.expire(world.now()).await.unwrap();
    assert_eq!(world.on(TWO).await, None, "nor when its worker was lost");
    world.pass_ms(wait_ms());
    assert_eq!(world.on(TWO).await.unwrap().saved, saved(1));
    world.check(view.attempts[0].attempt.id).await;
}

pub(crate) async fn what_the_server_has_is_what_the_log_says(world: World) {
    let (_, attempt, turn) = world.follows(&[]).await;
    let job = world.on(ONE).await.unwrap();
    assert_eq!((job.saved, job.saved_at), (saved(1), 1));
    // This one puts everything back, says something more and is lost.
    let none = Some(Saved { patch: None });
    let layers = vec!["/three".to_owned()];
    let events = vec![
        said(turn, "two"),
        tell(EventKind::Snapshot { turn, layers, live: None, saved: none.clone() }),
        said(turn, "three"),
        tell(EventKind::Snapshot {
            turn,
            layers: vec!["/three".into()],
            live: Some("s".into()),
            saved: None,
        }),
    ];
    world.append(turn, batch(1, 0, events)).await.unwrap();
    world.pass_ms(LEASE_MS + 1);
    world.store.expire(world.now()).await.unwrap();
    world.here(ONE, &[]).await;
    let job = world.on(ONE).await.unwrap();
    assert_eq!((job.saved, job.saved_at, job.layers_at, job.history.len()), (none, 2, 3, 3));
    // What replaces the history has seen nothing.
    let context = Context { change: ContextChange::Replace, entries: vec!["all".into()] };
    world.append(turn, batch(2, 0, vec![tell(EventKind::Context { turn, context })])).await.unwrap();
    world.store.finish(turn, end(2, 1, Vec::new()), world.now()).await.unwrap();
    let next = world.more(attempt).await.unwrap();
    let job = world.on(ONE).await.unwrap();
    assert_eq!((job.turn.id, job.saved_at, job.history.len()), (next, 0, 1));
}

pub(crate) async fn a_fork_prefers_where_its_turn_was(world: World) {
    let (_, attempt, turn) = world.follows(&[]).await;
    world.pass_ms(wait_ms() + 1);
    let job = world.on(TWO).await.unwrap();
    world.leaves(&job, "/two", patch(2)).await;
    assert_eq!(job.turn.id, turn);
    for machine in [ONE, TWO] {
        world.here(machine, &[]).await;
    }
    for (number, machine, other) in [(1, ONE, TWO), (2, TWO, ONE)] {
        let draft = ForkDraft { turn: number, input: "Another way".into(), images: Vec::new() };
        let fork = world.store.fork(attempt, draft, world.copying(None), &world.ids(1)).await.unwrap();
        assert_eq!(world.on(other).await, None);
        let job = world.on(machine).await.unwrap();
        assert_eq!(job.task.id, fork.task.id);
        let n = u8::try_from(number).unwrap();
        assert_eq!((job.saved, job.saved_at, job.layers_at), (saved(n), number.into(), number.into()));
        world.check(fork.attempts[0].attempt.id).await;
        world.store.finish(job.turn.id, end(1, 0, Vec::new()), world.now()).await.unwrap();
    }
    assert_eq!(world.store.violations(world.now(), 9).await.unwrap(), []);
}

pub(crate) async fn what_a_busy_worker_has_is_there(world: World) {
    let mut turns = Vec::new();
    for _ in 0..2 {
        let mut request = request("x", 1);
        request.labels = vec!["gpu".to_owned()];
        let view = world.store.create_task(request, world.sent(None), &world.ids(1)).await.unwrap();
        turns.push(view.attempts[0].turns[0].id);
    }
    world.here(ONE, &["gpu"]).await;
    let job = world.take(ONE, None, &["gpu"]).await.unwrap();
    for _ in 0..8 {
        world.pass_ms(LEASE_MS / 2);
        world.append(job.turn.id, batch(1, 0, Vec::new())).await.unwrap();
    }
    world.here(TWO, &[]).await;
    assert_eq!(world.hold(turns[1]).await.0, Hold::Slot);
    world.store.finish(job.turn.id, end(1, 0, Vec::new()), world.now()).await.unwrap();
    assert_eq!(world.hold(turns[1]).await.0, Hold::Labels { labels: vec!["gpu".to_owned()] });
}

pub(crate) async fn a_question_goes_on_anywhere(world: World) {
    for machine in [ONE, TWO] {
        world.here(machine, &[]).await;
    }
    let mut asks = request("x", 1);
    asks.kind = legwork_domain::Kind::Ask;
    let view = world.store.create_task(asks, world.sent(None), &world.ids(1)).await.unwrap();
    let job = world.on(ONE).await.unwrap();
    let asking = job.turn.id;
    world.append(asking, batch(1, 0, vec![snapshot(asking, "/one")])).await.unwrap();
    world.pass_ms(LEASE_MS + 1);
    world.store.expire(world.now()).await.unwrap();
    assert_eq!(world.on(TWO).await, None, "one that is not answered has what it found out so far");
    world.here(ONE, &[]).await;
    world.on(ONE).await.unwrap();
    world.store.finish(asking, end(2, 0, Vec::new()), world.now()).await.unwrap();
    let turn = world.more(view.attempts[0].attempt.id).await.unwrap();
    world.here(TWO, &[]).await;
    assert_eq!(
        world.hold(turn).await.0,
        Hold::Slot,
        "it left no files to wait for, and none that could be gone"
    );
    assert_eq!(world.on(TWO).await.unwrap().turn.id, turn);
}

pub(crate) async fn who_starts_from_nothing_goes_anywhere(world: World) {
    let (_, attempt, turn) = world.follows(&[]).await;
    world.store.cancel_turn(turn, world.now()).await.unwrap();
    let again = TurnId::from_u128(world.number());
    world.store.retry(attempt, again, RetryFrom::Fresh, world.copying(None)).await.unwrap();
    let job = world.on(TWO).await.unwrap();
    assert_eq!((job.turn.id, job.saved, job.layers.len()), (again, None, 0));
}

pub(crate) async fn files_that_are_known_to_be_gone_are_no_ground(world: World) {
    world.here(ONE, &[]).await;
    let view = world.create("x", None).await.unwrap();
    let attempt = view.attempts[0].attempt.id;
    let job = world.on(ONE).await.unwrap();
    let turn = job.turn.id;
    // Files, and no patch of them.
    let mut ended = end(1, 0, vec![snapshot(turn, "/one")]);
    ended.ended.at = world.now();
    ended.ended.outcome = legwork_domain::Outcome::Cancelled;
    world.store.finish(turn, ended, world.now()).await.unwrap();
    let gone = |result: Result<TurnId, Error>| match result {
        Err(Error::Conflict { code, sentence }) => (code, sentence),
        other => panic!("{other:?}"),
    };
    let retry = async |from| {
        let id = TurnId::from_u128(world.number());
        world.store.retry(attempt, id, from, world.copying(None)).await.map(|turn| turn.id)
    };
    world.pass_ms(2000);
    // Another machine that keeps files for longer keeps none of these.
    let (id, version) = (worker(TWO), String::new());
    let other = Presence {
        id,
        machine: Some(TWO),
        labels: Vec::new(),
        slots: 1,
        version,
        keeps_ms: Some(90_000_000),
    };
    world.store.touch_worker(&other, world.now()).await.unwrap();
    let (code, sentence) = gone(world.more(attempt).await);
    assert_eq!(code, "files_gone");
    assert!(sentence.contains("nothing has used them for 0 hours"), "{sentence}");
    assert_eq!(gone(retry(RetryFrom::Left).await).0, "files_gone");
    world.store.forget_workers(world.now().plus_ms(25 * 3_600_000)).await.unwrap();
    let (code, sentence) = gone(world.more(attempt).await);
    assert_eq!(code, "files_gone");
    assert!(sentence.contains("no worker of the machine that had them is known"), "{sentence}");
    let draft = ForkDraft { turn: 1, input: "y".into(), images: Vec::new() };
    let fork = world.store.fork(attempt, draft, world.copying(None), &world.ids(1)).await;
    assert!(matches!(fork, Err(Error::Conflict { code: "files_gone", .. })), "{fork:?}");
    retry(RetryFrom::Fresh).await.unwrap();
}

pub(crate) async fn people_take_turns_on_every_machine(world: World) {
    let (ada, bob) = (legwork_domain::UserId::from_u128(1), legwork_domain::UserId::from_u128(2));
    for (user, name) in [(ada, "ada"), (bob, "bob")] {
        world.store.create_user(user, name, &world.act()).await.unwrap();
    }
    // Each has two turns with files on machine one, Ada's before Bob's, and then one without.
    let mut attempts = Vec::new();
    for user in [ada, ada, bob, bob] {
        let mut act = world.act();
        act.actor.user = user;
        let sent = legwork_store::Sent { act, key: None, queued_max: None, access: None };
        let view = world.store.create_task(request("x", 1), sent, &world.ids(1)).await.unwrap();
        let job = world.take(ONE, Some(view.task.id), &[]).await.unwrap();
        world.leaves(&job, "/one", patch(1)).await;
        attempts.push((user, view.attempts[0].attempt.id));
    }
    let mut wanted = Vec::new();
    for (user, attempt) in &attempts {
        let mut sent = world.sent(None);
        sent.act.actor.user = *user;
        let more = FollowUp::new("more".into(), Vec::new());
        let id = TurnId::from_u128(world.number());
        wanted.push(world.store.follow_up(*attempt, id, more, sent).await.unwrap().id);
    }
    for user in [ada, bob] {
        let mut act = world.act();
        act.actor.user = user;
        let sent = legwork_store::Sent { act, key: None, queued_max: None, access: None };
        let view = world.store.create_task(request("x", 1), sent, &world.ids(1)).await.unwrap();
        wanted.push(view.attempts[0].turns[0].id);
    }
    let mut order = Vec::new();
    world.here(ONE, &[]).await;
    while let Some(job) = world.on(ONE).await {
        order.push(job.turn.id);
    }
    assert_eq!(order, [0, 2, 1, 3, 4, 5].map(|n| wanted[n]));
}

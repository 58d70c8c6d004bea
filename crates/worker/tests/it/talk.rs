//! People speak to turns: they answer, decide, steer and pay.

use futures::StreamExt;
use legwork_domain::{
    Allowance, AttemptId, Author, Decision, Event, EventKind, Item, ItemBody, Kind, Outcome, Period, Reply,
    Spender, State, Steer, TaskView, Waiting,
};

use crate::crash::{prints, until};
use crate::world::{Run, World};

const ASKS: &str = r#"
log = "requests.jsonl"
[[turn]]
calls = [
    { tool = "exec_command", arguments = { cmd = "echo one >> log" } },
    { tool = "ask_user", arguments = { question = "Which colour?", options = ["red", "blue"] } },
]
usage = { input = 100, output = 10 }
[[turn]]
expect = "The user answers: blue"
calls = [{ tool = "exec_command", arguments = { cmd = "cat log || echo no file; echo blue >> log" } }]
usage = { input = 100, output = 10 }
[[turn]]
text = "Done."
usage = { input = 100, output = 10 }
"#;

/// The attempt's log up to the moment when it is parked on this, and what it asks.
async fn parked(world: &World, view: &TaskView, on: Waiting) -> Option<Item> {
    let mut asks = None;
    let mut events = Box::pin(world.client.events(view.attempts[0].attempt.id, 0));
    while let Some(event) = events.next().await {
        match event.unwrap().kind {
            EventKind::ItemStarted { item } if item.asks() => asks = Some(item),
            EventKind::State { state: State::Parked { on: told, .. }, .. } => {
                assert_eq!(told, on);
                return asks;
            }
            EventKind::State { state: State::Finished(ended), .. } => panic!("it ended: {}", ended.sentence),
            _ => {}
        }
    }
    panic!("the log ended");
}

fn attempt(view: &TaskView) -> AttemptId {
    view.attempts[0].attempt.id
}

async fn answer(world: &World, view: &TaskView, reply: Reply) {
    world.client.answer(attempt(view), &reply, "answer").await.unwrap();
}

fn shown(run: &Run, asks: &Item) -> Vec<Item> {
    run.items().filter(|item| item.id == asks.id).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_waits_for_days() {
    let world = World::without_worker().await;
    let repository = world.repository(&[("a", "a\n")]);
    let task = world.task(&repository, world.script(ASKS));
    let mut worker = world.start_process();
    let view = world.client.create_task(&task, "k").await.unwrap();
    let asks = parked(&world, &view, Waiting::Input).await.unwrap();
    let turn = world.client.task(view.task.id).await.unwrap().attempts[0].turns[0].clone();
    let State::Parked { patch: Some(patch), .. } = turn.state else { panic!("{:?}", turn.state) };
    let partial = world.client.blob(&patch.blob).await.unwrap();
    assert!(String::from_utf8_lossy(&partial).contains("+one"), "what was done so far can be looked at");
    // Nobody is there for it, and what was there is gone.
    worker.kill();
    let live = world.directory.path().join("sandboxes/live");
    let left = |name: &str| !name.starts_with("discarded-");
    let names =
        std::fs::read_dir(live).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| left(name)).count(), 0, "no sandbox is held");
    answer(&world, &view, Reply::Answer { item: asks.id, text: "blue".into() }).await;
    let _another = world.start_process();
    let run = world.follow(&view).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    assert!(String::from_utf8_lossy(&run.patch).contains("+one\n+blue\n"), "{:?}", run.output());
    let [answered] = &shown(&run, &asks)[..] else { panic!("it ends once") };
    assert!(matches!(&answered.body, ItemBody::Question { answer: Some(text), .. } if text == "blue"));
    assert_eq!((run.ended.usage.tokens(), run.ended.usage.model_requests), (330, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_of_a_question_can_be_asked_too() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let mut task = world.task(&repository, world.script(ASKS));
    task.kind = Kind::Ask;
    let view = world.client.create_task(&task, "k").await.unwrap();
    let asks = parked(&world, &view, Waiting::Input).await.unwrap();
    answer(&world, &view, Reply::Answer { item: asks.id, text: "blue".into() }).await;
    let run = world.follow(&view).await;
    assert_eq!(run.ended.outcome, Outcome::NoChange, "{}", run.ended.sentence);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_waits_for_a_yes() {
    for (decision, lines) in
        [(Decision::Approved, "+one\n+pushed\n+end\n"), (Decision::Denied, "+one\n+end\n")]
    {
        let world = World::new().await;
        let repository = world.repository(&[("a", "a\n")]);
        let commands =
            ["echo one >> log", "true && deploy() { echo pushed >> log; } && deploy now", "echo end >> log"];
        let mut task = world.task(&repository, world.model(&commands));
        task.environment.approve.push("deploy *".into());
        let view = world.client.create_task(&task, "k").await.unwrap();
        let asks = parked(&world, &view, Waiting::Approval).await.unwrap();
        assert!(matches!(&asks.body, ItemBody::Approval { action, .. } if action.contains("deploy now")));
        answer(&world, &view, Reply::Decision { item: asks.id, decision }).await;
        let run = world.follow(&view).await;
        assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
        let patch = String::from_utf8_lossy(&run.patch);
        assert!(patch.contains(lines), "{decision:?}: {patch}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_a_turn_is_heard_once_also_by_the_next_worker() {
    let world = World::without_worker().await;
    let repository = world.repository(&[("a", "a\n")]);
    let script = r#"
log = "requests.jsonl"
[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "echo one >> log; echo ready; sleep 3" } }]
[[turn]]
expect = "and the docs"
calls = [{ tool = "exec_command", arguments = { cmd = "echo two >> log; echo heard; sleep 5" } }]
[[turn]]
text = "Done."
"#;
    let task = world.task(&repository, world.script(script));
    let mut worker = world.start_process();
    let view = world.client.create_task(&task, "k").await.unwrap();
    until(&world, &view, |kind| prints(kind, "ready")).await;
    world.client.steer(attempt(&view), &Steer { text: "and the docs".into() }, "steer").await.unwrap();
    until(&world, &view, |kind| prints(kind, "heard")).await;
    worker.kill();
    world.leases_lapse().await;
    let _another = world.start_process();
    let run = world.follow(&view).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    let told = |event: &Event| {
        let EventKind::Context { context, .. } = &event.kind else { return 0 };
        context.entries.iter().filter(|entry| entry["origin"] == "user").count()
    };
    assert_eq!(run.events.iter().map(told).sum::<usize>(), 1, "the model hears it once");
    let said =
        |item: &&Item| matches!(item.body, ItemBody::Message { role: Author::User, message: Some(_), .. });
    assert_eq!(run.items().filter(said).count(), 1, "and people see it once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_used_up_pauses_the_turn_until_it_is_raised() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let script = "output_max = 1000\n".to_owned()
        + ASKS.split_once("[[turn]]").unwrap().0
        + r#"
[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "echo one >> log" } }]
usage = { input = 9000, output = 500 }
[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "echo two >> log" } }]
usage = { input = 9000, output = 500 }
[[turn]]
text = "Done."
usage = { input = 9000, output = 500 }
"#;
    let mut task = world.task(&repository, world.script(&script));
    task.budget = Some(Allowance { tokens: Some(15_000), ..Allowance::default() });
    let view = world.client.create_task(&task, "k").await.unwrap();
    assert_eq!(parked(&world, &view, Waiting::Budget).await, None);
    let turn = world.client.task(view.task.id).await.unwrap().attempts[0].turns[0].clone();
    assert_eq!((turn.usage.tokens(), turn.usage.model_requests), (9500, 1));
    let more = Allowance { tokens: Some(100_000), ..Allowance::default() };
    world.client.set_budget(Spender::Task(view.task.id), Period::Total, &more).await.unwrap();
    let run = world.follow(&view).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    assert!(String::from_utf8_lossy(&run.patch).contains("+one\n+two\n"));
    assert_eq!((run.ended.usage.tokens(), run.ended.usage.model_requests), (28_500, 3));
    assert!(run.notices().contains("raise the budget"), "{}", run.notices());
}

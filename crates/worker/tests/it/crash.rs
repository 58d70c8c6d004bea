//! Workers and servers that go away in the middle of a turn: what is finished is not repeated.

use std::time::{Duration, Instant};

use futures::StreamExt;
use legwork_domain::{EventKind, ItemBody, ItemStatus, Outcome, Phase, Precision, State, TaskView};
use tokio_util::sync::CancellationToken;

use crate::world::{Run, World, be_a_worker, check};

/// Not a test: the process that is killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_its_own() {
    be_a_worker().await;
}

/// Each command leaves a line, so that one that is made twice is seen. A command that was interrupted may not have begun:
/// the second one looks, as a model is told to.
const SCRIPT: &str = r#"
log = "requests.jsonl"
[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "echo one >> log" } }]
usage = { input = 100, output = 10 }
[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "grep -q one log || echo one >> log; echo two >> log; echo ready; sleep 3" } }]
usage = { input = 100, output = 10 }
[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "echo three >> log" } }]
usage = { input = 100, output = 10 }
[[turn]]
text = "Done."
usage = { input = 100, output = 10 }
"#;

/// Requests that the model got, over all workers.
fn requests(world: &World) -> usize {
    let log = std::fs::read_to_string(world.directory.path().join("requests.jsonl")).unwrap();
    log.lines().filter(|line| line.contains("\"POST\"")).count()
}

/// No request is made twice whose answer the log has. A machine so busy that the second worker loses its lease too may make it lose an
/// answer that it was hearing.
fn each_is_asked_once(world: &World, run: &Run) {
    let leased = |kind: &EventKind| matches!(kind, EventKind::State { state: State::Leased { .. }, .. });
    let lives = run.events.iter().filter(|event| leased(&event.kind)).count();
    let asked = requests(world);
    assert!(asked >= 4 && asked - 4 <= lives - 2, "{asked} requests in {lives} lives: {:#?}", run.events);
}

/// Runs the script, kills the worker at the first event of this kind, and lets another go on.
async fn killed_at(is_the_moment: impl Fn(&EventKind) -> bool) -> (World, Run) {
    killed_in(SCRIPT, is_the_moment).await
}

async fn killed_in(script: &str, is_the_moment: impl Fn(&EventKind) -> bool) -> (World, Run) {
    let world = World::without_worker().await;
    let repository = world.repository(&[("a", "a\n")]);
    let mut task = world.task(&repository, world.script(script));
    task.environment.checks.push(check("echo checking; sleep 1; grep three log"));
    let mut worker = world.start_process();
    let view = world.client.create_task(&task, "k").await.unwrap();
    until(&world, &view, is_the_moment).await;
    worker.kill();
    world.leases_lapse().await;
    let _another = world.start_process();
    let run = world.follow(&view).await;
    (world, run)
}

fn is_whole(run: &Run) {
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    let patch = String::from_utf8_lossy(&run.patch);
    let lines: Vec<&str> =
        patch.lines().filter(|line| line.starts_with('+') && !line.starts_with("+++")).collect();
    assert_eq!(lines, ["+one", "+two", "+three"], "each command had its effect once");
    let usage = run.ended.usage;
    assert_eq!((usage.model_requests, usage.tool_calls), (4, 3));
    match usage.precision {
        Precision::Reported => assert_eq!(usage.tokens(), 440, "what was spent is known to the token"),
        // The worker was lost while it heard an answer, and the answer's end would have said what it cost.
        Precision::Estimated => assert!(usage.tokens() > 330, "{usage:?}"),
    }
    let mut open: Vec<_> = Vec::new();
    for event in &run.events {
        match &event.kind {
            EventKind::ItemStarted { item } => open.push(item.id),
            EventKind::ItemCompleted { item } => open.retain(|id| *id != item.id),
            _ => {}
        }
    }
    assert_eq!(open, [], "every item has its end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_laid_for_its_sandboxes_is_gone_once_another_starts() {
    let world = World::without_worker().await;
    let repository = world.repository(&[("a", "a\n")]);
    let task = world.task(&repository, world.script(SCRIPT));
    let mut worker = world.start_process();
    let view = world.client.create_task(&task, "k").await.unwrap();
    until(&world, &view, |kind| prints(kind, "ready")).await;
    let laid = world.directory.path().join("worker/egress");
    let names = || std::fs::read_dir(&laid).unwrap().map(|entry| entry.unwrap().path());
    let left: Vec<_> = names().collect();
    assert!(left.iter().any(|directory| directory.join("ca-bundle.pem").exists()), "{left:?}");
    worker.kill();
    assert!(left.iter().any(|directory| directory.exists()), "nobody could tidy up");
    world.leases_lapse().await;
    let _another = world.start_process();
    is_whole(&world.follow(&view).await);
    let still: Vec<_> = left.iter().filter(|directory| directory.exists()).collect();
    assert!(still.is_empty(), "{still:?}");
}

/// Whether a command prints this.
pub(crate) fn prints(kind: &EventKind, text: &str) -> bool {
    matches!(kind, EventKind::ItemUpdated { delta, .. } if delta.contains(text))
}

/// Whether the context grows by an entry of this kind that holds this text.
fn tells(kind: &EventKind, entry: &str, text: &str) -> bool {
    let EventKind::Context { context, .. } = kind else { return false };
    context.entries.iter().any(|value| value["entry"] == entry && value.to_string().contains(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_first_answer() {
    let (world, run) = killed_at(|kind| matches!(kind, EventKind::Snapshot { live: Some(_), .. })).await;
    is_whole(&run);
    assert!((4..=5).contains(&requests(&world)), "an answer that had not come may be asked for again");
}

#[tokio::test(flavor = "multi_thread")]
async fn between_an_answer_and_its_command() {
    // Its command takes its time, so that the kill comes before the next request.
    let script = SCRIPT.replacen("cmd = \"echo one", "cmd = \"sleep 3; echo one", 1);
    let (world, run) = killed_in(&script, |kind| tells(kind, "call", "echo one")).await;
    is_whole(&run);
    each_is_asked_once(&world, &run);
}

#[tokio::test(flavor = "multi_thread")]
async fn during_a_command() {
    let (world, run) = killed_at(|kind| prints(kind, "ready")).await;
    is_whole(&run);
    each_is_asked_once(&world, &run);
    assert!(run.notices().contains("goes on"), "{}", run.notices());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_edit() {
    let (world, run) = killed_at(|kind| {
        let EventKind::ItemCompleted { item } = kind else { return false };
        matches!(&item.body, ItemBody::Command(run) if run.command.contains("three"))
    })
    .await;
    is_whole(&run);
    assert!((4..=5).contains(&requests(&world)));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_word() {
    let (world, run) = killed_at(|kind| tells(kind, "assistant", "Done.")).await;
    is_whole(&run);
    each_is_asked_once(&world, &run);
}

#[tokio::test(flavor = "multi_thread")]
async fn during_the_checks() {
    let (world, run) = killed_at(|kind| {
        let EventKind::ItemStarted { item } = kind else { return false };
        matches!(&item.body, ItemBody::Command(run) if run.phase == Phase::CheckPatched)
    })
    .await;
    is_whole(&run);
    each_is_asked_once(&world, &run);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_patch_is_saved() {
    let (world, run) = killed_at(|kind| matches!(kind, EventKind::Patch { .. })).await;
    is_whole(&run);
    each_is_asked_once(&world, &run);
}

/// Waits until the log tells this.
pub(crate) async fn until(world: &World, view: &TaskView, is_the_moment: impl Fn(&EventKind) -> bool) {
    let mut events = Box::pin(world.client.events(view.attempts[0].attempt.id, 0));
    while !is_the_moment(&events.next().await.expect("the moment comes").unwrap().kind) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_stop_gives_its_turn_back() {
    let world = World::without_worker().await;
    let repository = world.repository(&[("a", "a\n")]);
    let task =
        world.task(&repository, world.model(&["echo one >> log; echo ready; sleep 1000", "echo two >> log"]));
    let stop = CancellationToken::new();
    let worker = world.start_worker_until(stop.clone());
    let view = world.client.create_task(&task, "k").await.unwrap();
    until(&world, &view, |kind| prints(kind, "ready")).await;
    let told = Instant::now();
    stop.cancel();
    worker.await.unwrap().unwrap();
    assert!(told.elapsed() < Duration::from_secs(30), "{:?}", told.elapsed());
    let turn = world.client.task(view.task.id).await.unwrap().attempts[0].turns[0].clone();
    assert_eq!((turn.state, turn.tries), (State::Queued, 0), "given back, and no try is lost");
    assert!(turn.usage.worked_ms > 0);
    world.start_worker();
    let run = world.follow(&view).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    let patch = String::from_utf8_lossy(&run.patch);
    assert!(patch.contains("+one\n+two\n"), "{patch}");
    let command = run.items().find(|item| matches!(item.body, ItemBody::Command(_))).unwrap();
    assert_eq!(command.status, ItemStatus::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_for_twenty_seconds_costs_nothing() {
    let mut world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let long = "echo one >> log; echo ready; sleep 15; echo two >> log";
    let task = world.task(&repository, world.model(&[long, "echo three >> log"]));
    let view = world.client.create_task(&task, "k").await.unwrap();
    until(&world, &view, |kind| prints(kind, "ready")).await;
    world.server_is_away(Duration::from_secs(20)).await;
    let run = world.follow(&view).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    let patch = String::from_utf8_lossy(&run.patch);
    assert!(patch.contains("+one\n+two\n+three\n"), "{patch}");
    let turn = &world.client.task(view.task.id).await.unwrap().attempts[0].turns[0];
    assert_eq!((turn.epoch, turn.tries), (1, 1), "one lease saw it through");
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_one_that_is_away_when_the_patch_is_saved() {
    let mut world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let view = world.client.create_task(&world.task(&repository, world.script(SCRIPT)), "k").await.unwrap();
    until(&world, &view, |kind| tells(kind, "assistant", "Done.")).await;
    world.server_is_away(Duration::from_secs(3)).await;
    is_whole(&world.follow(&view).await);
}

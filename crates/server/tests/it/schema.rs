//! The committed schemas are those of the code, and real lines of a log keep to them.

use legwork_domain::{
    Author, Change, ChangeKind, Check, CheckRun, CommandRun, Context, ContextChange, DiffStat, EventKind,
    Failure, Item, ItemBody, ItemId, ItemStatus, Level, Limit, NewEvent, Outcome, Patch, Phase, PlanStep,
    PlanStepStatus, Timestamp, TurnId, Usage, Verdict,
};
use serde_json::{Value, json};

use crate::world::{World, end, tell};

#[test]
fn the_committed_schemas_are_those_of_the_code() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schema");
    let committed = |name: &str| -> Value {
        serde_json::from_str(&std::fs::read_to_string(folder.join(name)).unwrap()).unwrap()
    };
    let stale = "is stale: run `cargo run -p legwork-server --example schema`";
    // As it is served: its numbers are of other types before they are text.
    let openapi: Value = serde_json::from_str(&legwork_server::openapi().to_string()).unwrap();
    assert!(committed("openapi.json") == openapi, "schema/openapi.json {stale}");
    assert!(committed("events.json") == legwork_server::events_schema(), "schema/events.json {stale}");
}

fn items(turn: TurnId) -> Vec<NewEvent> {
    let text = String::new;
    let run = CommandRun {
        command: "ls".into(),
        workdir: "/workspace".into(),
        phase: Phase::CheckBase,
        output: text(),
        output_bytes: 3,
        exit_code: None,
        duration_ms: Some(1),
    };
    let change = Change { path: "b".into(), kind: ChangeKind::Update, moved_from: Some("a".into()) };
    let step = PlanStep { step: "one".into(), status: PlanStepStatus::InProgress };
    let bodies = [
        ItemBody::Message { role: Author::Assistant, text: "Hi.".into(), message: None },
        ItemBody::Reasoning { text: text() },
        ItemBody::Command(run),
        ItemBody::FileChange { changes: vec![change], output: text() },
        ItemBody::ToolCall { name: "x".into(), input: text(), output: text() },
        ItemBody::Plan { steps: vec![step] },
        ItemBody::Instructions { files: vec!["AGENTS.md".into()] },
        ItemBody::Notice { level: Level::Warning, text: "Hm.".into() },
    ];
    let at = Timestamp::from_micros(5);
    let item = |(n, body)| Item {
        id: ItemId::new(n),
        turn,
        status: ItemStatus::InProgress,
        started_at: at,
        ended_at: None,
        body,
    };
    let mut events = Vec::new();
    for item in (1..).zip(bodies).map(item) {
        events.push(tell(EventKind::ItemStarted { item: item.clone() }));
        let item = Item { status: ItemStatus::Completed, ended_at: Some(at), ..item };
        events.push(tell(EventKind::ItemCompleted { item }));
    }
    events
}

fn others(turn: TurnId) -> Vec<NewEvent> {
    let (id, text) = ("0".repeat(40), String::from);
    let blob = "a".repeat(64).parse().unwrap();
    let patch = Patch { blob, base_commit: id.clone(), tree: id.clone(), stat: DiffStat::default() };
    let run = |exit_code| CheckRun { item: ItemId::new(1), exit_code, at: Timestamp::from_micros(5) };
    let check = Check::new("t", "t");
    let verdict = Verdict::new(check, vec![run(Some(1))], vec![run(None)]);
    let context =
        Context { change: ContextChange::Append, entries: vec![json!({"type": "message"}), json!({})] };
    [
        EventKind::Base {
            turn,
            commit: id.clone(),
            tree: id,
            name: Some(text("main")),
            image: None,
            repositories: Vec::new(),
        },
        EventKind::ItemUpdated { item: ItemId::new(1), delta: text("x") },
        EventKind::Usage { turn, usage: Usage { cost_microusd: Some(7), ..Usage::default() } },
        EventKind::Context { turn, context },
        EventKind::Snapshot { turn, layers: vec![text("l")], live: Some(text("s")), saved: None },
        EventKind::Artifact { turn, name: text("out.txt"), blob: patch.blob.clone() },
        EventKind::Patch { turn, patch },
        EventKind::Verdict { turn, verdict },
    ]
    .map(tell)
    .into()
}

/// The data lines of an attempt's stream.
async fn lines(world: &World, job: &legwork_domain::Assignment) -> Vec<Value> {
    let path = format!("/v1/attempts/{}/events", job.attempt.id);
    let body = world.http("GET", &path).send().await.unwrap().text().await.unwrap();
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|line| serde_json::from_str(line).unwrap()).filter(|line| *line != json!({})).collect()
}

#[tokio::test]
async fn real_lines_keep_to_the_schema() {
    let world = World::start().await;
    let validator = jsonschema::draft202012::new(&legwork_server::events_schema()).unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    for (n, outcome) in [
        Outcome::Succeeded,
        Outcome::Failed { reason: Failure::ModelAuth },
        Outcome::LimitReached { limit: Limit::Cost },
    ]
    .into_iter()
    .enumerate()
    {
        let job = world.job(&n.to_string()).await;
        let mut events = items(job.turn.id);
        events.extend(others(job.turn.id));
        let sent = events.len() as u64;
        world.append(&job, 0, events).await;
        world.client.finish(job.turn.id, &end(&job, sent, outcome)).await.unwrap();
        for line in lines(&world, &job).await {
            let errors: Vec<String> = validator.iter_errors(&line).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{line}\n{errors:?}");
            kinds.insert(line["kind"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(kinds.len(), 11, "a kind was not tried: {kinds:?}");
}

#[tokio::test]
async fn lines_that_no_log_holds_are_seen() {
    let world = World::start().await;
    let validator = jsonschema::draft202012::new(&legwork_server::events_schema()).unwrap();
    let job = world.job("a").await;
    world.append(&job, 0, items(job.turn.id)).await;
    world.client.finish(job.turn.id, &end(&job, 16, Outcome::NoChange)).await.unwrap();
    for line in lines(&world, &job).await {
        for (field, wrong) in [("seq", json!("one")), ("kind", json!("surprise")), ("attempt", json!(7))] {
            let mut wrong_line = line.clone();
            wrong_line[field] = wrong;
            assert!(!validator.is_valid(&wrong_line), "{wrong_line}");
        }
    }
}

//! Work that goes on on a machine that does not have its files.

use legwork_domain::{
    Assignment, Context, ContextChange, Ended, EventBatch, EventKind, Failure, Finish, FollowUp, Lease,
    LeaseRequest, NewEvent, Outcome, Precision, TaskView, Timestamp, WorkerId,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::world::{Run, World, git_in};

impl World {
    /// Another turn of the attempt, to its end.
    pub(crate) async fn goes_on(&self, view: &TaskView) -> Run {
        let next = FollowUp::new("More".into(), Vec::new());
        let before = self.client.attempt(view.attempts[0].attempt.id).await.unwrap().turns.len();
        self.client.follow_up(view.attempts[0].attempt.id, &next, &before.to_string()).await.unwrap();
        self.follow(view).await
    }

    /// All that workers of the first machine left on the disk is gone.
    fn loses_its_machine(&self) {
        for name in ["sandboxes", "worker"] {
            std::fs::remove_dir_all(self.directory.path().join(name)).unwrap();
        }
    }
}

/// A worker, until it is told to stop and has come to its end.
struct Working {
    stop: CancellationToken,
    run: tokio::task::JoinHandle<Result<(), legwork_worker::Error>>,
}

impl Working {
    fn at(world: &World) -> Self {
        let stop = CancellationToken::new();
        Self { run: world.start_worker_until(stop.clone()), stop }
    }

    async fn ends(self) {
        self.stop.cancel();
        self.run.await.unwrap().unwrap();
    }
}

const STEPS: &str = r#"
[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "rm gone; printf '\\0\\377\\n' > bytes; echo x > tool; chmod +x tool; ln -s a link; mkdir -p d/e; echo deep > d/e/f; echo warm > ignored; echo rest > /var/tmp/rest; git add -A; git -c user.name=T -c user.email=t@example.org commit -qm mine" } }]
[[turn]]
text = "One."
[[turn]]
calls = [{ tool = "exec_command", arguments = { cmd = "git log --format=%s; git status --porcelain -uall; test -x tool; readlink link; cat d/e/f; od -An -tx1 bytes; ls ignored /var/tmp/rest gone 2>/dev/null; echo two >> a" } }]
expect = "The work goes on on another machine"
[[turn]]
text = "Two."
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_follow_up_stands_on_the_patch_and_its_own_holds_both() {
    let world = World::without_worker().await;
    let repository = world.repository(&[("a", "a\n"), ("gone", "gone\n"), (".gitignore", "ignored\n")]);
    let one = Working::at(&world);
    let view = world.client.create_task(&world.task(&repository, world.script(STEPS)), "k").await.unwrap();
    let first = world.follow(&view).await;
    assert_eq!(first.ended.outcome, Outcome::Succeeded, "{}", first.ended.sentence);
    one.ends().await;
    world.loses_its_machine();
    world.start_worker_at("two");

    let run = world.goes_on(&view).await;

    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    assert_eq!(
        run.output(),
        "one\n D gone\n?? bytes\n?? d/e/f\n?? link\n?? tool\na\ndeep\n 00 ff 0a\n",
        "the patch's files, and neither commits nor ignored files nor what lay beside the work tree"
    );
    let notices = run.notices();
    assert!(notices.contains("goes on from its last patch (5 files"), "{notices}");
    assert_eq!(run.base(), first.base());
    let applied = repository.applied(&run.base(), &run.patch).path;
    assert_eq!(std::fs::read(applied.join("bytes")).unwrap(), b"\0\xff\n");
    assert_eq!(std::fs::read_link(applied.join("link")).unwrap().to_str(), Some("a"));
    assert_eq!(std::fs::read_to_string(applied.join("a")).unwrap(), "a\ntwo\n");
    assert!(!applied.join("gone").exists() && applied.join("d/e/f").exists());
    assert!(git_in(&applied, &["ls-files", "-s", "tool"]).starts_with("100755"));
    // From now on its files are where it went.
    let again = world.goes_on(&view).await;
    assert_eq!(again.notices().matches("goes on from its last patch").count(), 1, "{}", again.notices());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_back_stays_put_back() {
    let world = World::without_worker().await;
    let repository = world.repository(&[("a", "a\n")]);
    let one = Working::at(&world);
    let script = [
        ("echo one >> a", "One."),
        ("git checkout -q a", "None."),
        ("cat a; echo three >> a", "Three."),
    ]
    .map(|(cmd, text)| {
        format!("[[turn]]\ncalls = [{{ tool = \"exec_command\", arguments = {{ cmd = \"{cmd}\" }} }}]\n[[turn]]\ntext = \"{text}\"\n")
    });
    let task = world.task(&repository, world.script(&script.concat()));
    let view = world.client.create_task(&task, "k").await.unwrap();
    assert_eq!(world.follow(&view).await.ended.outcome, Outcome::Succeeded);
    assert_eq!(world.goes_on(&view).await.ended.outcome, Outcome::NoChange);
    one.ends().await;
    world.loses_its_machine();
    world.start_worker_at("two");
    let run = world.goes_on(&view).await;
    assert_eq!((run.ended.outcome, run.output().as_str()), (Outcome::Succeeded, "a\n"));
    assert!(String::from_utf8_lossy(&run.patch).contains(" a\n+three\n"));
    assert!(run.notices().contains("None differed from the base"), "{}", run.notices());
}

/// What a worker of another machine told of a turn before nobody heard of it any more.
struct Before<'a> {
    world: &'a World,
    job: Box<Assignment>,
    told: u64,
}

impl<'a> Before<'a> {
    async fn takes_a_turn(world: &'a World) -> Self {
        let request = LeaseRequest::of(WorkerId::from_u128(9));
        let job = world.client.lease(&request).await.unwrap().unwrap();
        Self { world, job: Box::new(job), told: 0 }
    }

    async fn tells(&mut self, kind: EventKind) {
        let events = vec![NewEvent { at: Timestamp::from_micros(1), kind }];
        let Lease { epoch, id, .. } = self.job.lease;
        let batch = EventBatch { epoch, lease: Some(id), first: self.told, events, transition: None };
        self.world.client.append(self.job.turn.id, &batch).await.unwrap();
        self.told += 1;
    }

    /// Its files, which nobody finds.
    async fn has_files(&mut self) {
        let (turn, layers) = (self.job.turn.id, vec!["/no/such/layer".into()]);
        self.tells(EventKind::Snapshot { turn, layers, live: None, saved: None }).await;
    }

    async fn talks(&mut self, entries: serde_json::Value) {
        let serde_json::Value::Array(entries) = entries else { panic!("entries are an array") };
        let context = Context { change: ContextChange::Append, entries };
        self.tells(EventKind::Context { turn: self.job.turn.id, context }).await;
    }

    async fn ends_cancelled(self) {
        let Lease { epoch, id, .. } = self.job.lease;
        let ended = Ended::nothing(Outcome::Cancelled, "Cancelled.", Timestamp::from_micros(2));
        let finish =
            Finish { epoch, lease: Some(id), first: self.told, events: Vec::new(), ended, blobs: Vec::new() };
        self.world.client.finish(self.job.turn.id, &finish).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_word_about_files_that_are_lost_is_none() {
    let world = World::without_worker().await;
    let repository = world.repository(&[("a", "a\n")]);
    let write = "[[turn]]\ncalls = [{ tool = \"exec_command\", arguments = { cmd = \"echo one > log\" } }]\n";
    let script = format!(
        "{write}[[turn]]\ntext = \"It is written.\"\n{write}[[turn]]\ntext = \"It is written again.\"\n"
    );
    let view = world.client.create_task(&world.task(&repository, world.script(&script)), "k").await.unwrap();
    let mut before = Before::takes_a_turn(&world).await;
    before.has_files().await;
    let turn = before.job.turn.id;
    let history = json!([
        { "origin": "goal", "turn": turn, "entry": "user", "parts": [{ "text": "Write a log" }] },
        { "origin": "model", "entry": "call", "id": "call_1", "name": "exec_command",
          "input": { "json": "{\"cmd\":\"echo one > log\"}" } },
        { "origin": "tool", "entry": "output", "id": "call_1", "parts": [{ "text": "Process exited with code 0" }] },
        { "origin": "model", "stop": "end_turn", "entry": "assistant", "text": "It is written." },
    ]);
    before.talks(history).await;
    world.leases_lapse().await;
    world.start_worker();
    let run = world.follow(&view).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    assert!(String::from_utf8_lossy(&run.patch).contains("+one\n"), "{}", run.notices());
    assert!(run.notices().contains("it goes on from a fresh checkout"), "{}", run.notices());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_a_lost_worker_heard_is_paid_for() {
    let world = World::without_worker().await;
    let repository = world.repository(&[("a", "a\n")]);
    let view = world.client.create_task(&world.task(&repository, world.model(&["true"])), "k").await.unwrap();
    let mut before = Before::takes_a_turn(&world).await;
    let turn = before.job.turn.id;
    let history = json!([
        { "origin": "goal", "turn": turn, "entry": "user", "parts": [{ "text": "Look around" }] },
        { "origin": "model", "entry": "call", "id": "call_1", "name": "exec_command", "input": { "json": "{\"cmd\":\"true\"}" } },
    ]);
    before.talks(history).await;
    world.leases_lapse().await;
    world.start_worker();
    let usage = world.follow(&view).await.ended.usage;
    assert_eq!((usage.model_requests, usage.tool_calls, usage.precision), (2, 1, Precision::Estimated));
    assert!(usage.input_tokens > 1000, "what a request says before all: {usage:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_has_anything_the_turn_says_so() {
    let world = World::without_worker().await;
    let repository = world.repository(&[("a", "a\n")]);
    let view = world.client.create_task(&world.task(&repository, world.model(&["true"])), "k").await.unwrap();
    let mut before = Before::takes_a_turn(&world).await;
    before.has_files().await;
    before.ends_cancelled().await;
    world.start_worker();
    let run = world.goes_on(&view).await;
    assert_eq!(run.ended.outcome, Outcome::Failed { reason: Failure::Sandbox });
    assert!(run.ended.sentence.contains("no patch of them is kept"), "{}", run.ended.sentence);
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_over_one_directory_are_of_one_machine() {
    let world = World::without_worker().await;
    let _one = world.start_process();
    let _two = world.start_process();
    world.start_worker_at("two");
    let workers = loop {
        let workers = world.client.workers().await.unwrap().workers;
        if workers.len() == 3 {
            break workers;
        }
        tokio::task::yield_now().await;
    };
    let mut machines: Vec<_> = workers.iter().map(|worker| worker.machine.unwrap()).collect();
    machines.sort_unstable();
    machines.dedup();
    assert_eq!(machines.len(), 2);
    let name = std::fs::read_to_string(world.directory.path().join("two/worker/machine")).unwrap();
    assert!(machines.iter().any(|machine| machine.to_string() == name));
}

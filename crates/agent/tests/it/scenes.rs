//! What a turn does with calls, their results and its context.

use std::sync::Arc;

use legwork_agent::Telling;
use legwork_domain::{ChangeKind, Check, EventKind, ItemBody, ItemStatus, Kind, TestClaim};
use legwork_model::{Delta, EditTool, Entry, Info, Part};
use serde_json::json;
use tokio::sync::Notify;

use crate::world::{Act, Scene, answer, call, done, patch, run, say, stable};

/// Results are told in the order in which they come.
fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[tokio::test]
async fn a_bug_is_fixed_with_evidence() {
    let scene = Scene::new(
        &[("n", "1\n"), ("AGENTS.md", "Be kind.\n")],
        vec![
            vec![run("c1", "cat n; exit 3"), done(100)],
            vec![say("I see."), patch("c2", "n", "@@\n-1\n+2"), run("c3", "test 2 = $(cat n)"), done(200)],
            vec![say("Done: the check passes [item_6]."), done(300)],
        ],
    );
    let folder = scene.folder.clone();
    let mut scene = scene;
    scene.job.brief.checks = vec![Check::new("two", "grep 2 n")];
    let played = scene.play().await;
    assert_eq!(answer(&played.report.stop), "Done: the check passes [item_6].");
    assert_eq!(folder.text("n"), "2\n");
    played.assert_items_whole();
    played.assert_calls_answered();
    insta::assert_snapshot!(played.told(), @r#"
    [context] Environment: | - working directory: /workspace (the root of the checkout) | - shell: bash | - network: none but loopback | - sandbox: a fresh isolated machine that is thrown away after the task | - the user can be asked with ask_user, and the work then waits; ask only what you cannot find out and must not guess | You may change the checkout; the patch is taken from its files when you stop.
    [context] Instructions of this repository, from the root to the working directory: |  | <file path="AGENTS.md"> | Be kind. | </file>
    [goal] do it |  | Acceptance: these commands must exit 0 at the root of the checkout, in a fresh sandbox with your patch: | - two: `grep 2 n`
    [model] c1 exec_command {"json":"{\"cmd\":\"cat n; exit 3\"}"}
    [tool] c1 = Process exited with code 3 | Original token count: 1 | Evidence: item_3 | Output: | 1
    [model] I see.
    [model] c2 apply_patch {"json":"{\"input\":\"*** Begin Patch\\n*** Update File: n\\n@@\\n-1\\n+2\\n*** End Patch\"}"}
    [model] c3 exec_command {"json":"{\"cmd\":\"test 2 = $(cat n)\"}"}
    [tool] c2 = Success. Updated the following files: | M n
    [tool] c3 = Process exited with code 0 | Original token count: 0 | Evidence: item_6 | Output:
    [model] Done: the check passes [item_6].
    "#);
    let items = played.items();
    let claims = TestClaim::find("The check passes [item_6].", &items);
    assert!(format!("{claims:?}").contains("Proven"), "{claims:?} {items:#?}");
    assert_eq!(played.report.usage.tool_calls, 3);
    assert_eq!(played.report.usage.tokens(), 600);
}

#[tokio::test]
async fn calls_start_while_the_answer_streams_and_writers_wait() {
    let started = Arc::new(Notify::new());
    let scene = Scene::new(
        &[("a", "old\n")],
        vec![
            vec![
                run("c1", "echo one > one; while [ ! -e go ]; do :; done; cat a"),
                patch("c2", "a", "@@\n-old\n+new"),
                run("c3", "cat a"),
                Act::Await(started.clone()),
                done(10),
            ],
            vec![say("ok"), done(20)],
        ],
    );
    let folder = scene.folder.clone();
    let watch = tokio::spawn(async move {
        while folder.text("one") != "one\n" {
            tokio::task::yield_now().await;
        }
        assert_eq!(folder.text("a"), "old\n", "the writer waits for the command before it");
        legwork_sandbox::Sandbox::write(&*folder, "/workspace/go".as_ref(), b"", None).await.unwrap();
        started.notify_one();
    });
    let played = scene.play().await;
    watch.await.unwrap();
    played.assert_calls_answered();
    let told = played.told();
    assert!(told.contains("Output: | old"), "{told}");
    assert!(told.contains("Output: | new"), "{told}");
}

/// The runtime likes to run the task that was spawned last first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_numbered_in_the_order_of_the_calls() {
    let mut answer: Vec<Act> = (0..12).map(|n| run(&format!("c{n}"), &format!("echo {n}"))).collect();
    answer.push(done(10));
    let played = Scene::new(&[], vec![answer, vec![say("ok"), done(20)]]).play().await;
    let mut commands: Vec<(u32, String)> = played
        .items()
        .iter()
        .filter_map(|item| match &item.body {
            ItemBody::Command(run) => Some((item.id.number(), run.command.clone())),
            _ => None,
        })
        .collect();
    commands.sort();
    let said: Vec<String> = commands.into_iter().map(|(_, command)| command).collect();
    assert_eq!(said, (0..12).map(|n| format!("echo {n}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn images_that_a_model_cannot_read_are_left_out_aloud() {
    let mut scene = Scene::new(&[], vec![vec![say("I see nothing."), done(10)]]);
    scene.job.images = vec!["data:image/png;base64,iVBORw0KGgo=".to_owned()];
    let played = scene.play().await;
    let notices: Vec<String> = played
        .items()
        .iter()
        .filter_map(|item| match &item.body {
            ItemBody::Notice { text, .. } => Some(text.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(notices, ["test/player reads no images; those of the task were left out."]);
}

#[tokio::test]
async fn wrong_calls_are_answered_clearly() {
    let bad = Act::Give(Delta::Entry(Entry::Call {
        id: "c2".into(),
        name: "exec_command".into(),
        input: legwork_model::CallInput::Json("{\"cmd\": ".into()),
    }));
    let scene = Scene::new(
        &[],
        vec![
            vec![
                call("c1", "bash", json!({"command": "ls"})),
                bad,
                run("c2", "echo same id"),
                call(
                    "",
                    "update_plan",
                    json!({"plan": [{"step": "a", "status": "in_progress"}, {"step": "b", "status": "in_progress"}]}),
                ),
                call("c5", "write_stdin", json!({"session_id": 7})),
                call("c6", "exec_command", json!({"cmd": "true", "workdir": "none"})),
                call(
                    "c7",
                    "apply_patch",
                    json!({"input": "*** Begin Patch\n*** Add File: ../../etc/x\n+1\n*** End Patch"}),
                ),
                done(10),
            ],
            vec![say("ok"), done(20)],
        ],
    );
    let played = scene.play().await;
    played.assert_items_whole();
    played.assert_calls_answered();
    let outputs: Vec<String> =
        played.told().lines().filter(|line| line.starts_with("[tool]")).map(str::to_owned).collect();
    let outputs = sorted(outputs);
    insta::assert_snapshot!(outputs.join("\n"), @r#"
    [tool] c1 = There is no tool "bash" here. The tools are: exec_command, write_stdin, update_plan, ask_user, apply_patch. Shell commands go to exec_command as {"cmd": "…"}.
    [tool] c2 = The arguments of exec_command are not valid: EOF while parsing a value at line 1 column 8. Send one JSON object that matches its schema.
    [tool] c5 = There is no running command with session ID 7; it has ended and its output was returned.
    [tool] c6 = could not start sh: No such file or directory (os error 2) (in /workspace/none)
    [tool] c7 = ../../etc/x is outside /workspace; only files of the checkout can be patched
    [tool] call_2 = Process exited with code 0 | Original token count: 2 | Evidence: item_4 | Output: | same id
    [tool] call_3 = At most one step can be in progress.
    "#);
}

#[tokio::test]
async fn requests_only_grow_and_the_log_rebuilds_the_context() {
    let scene = Scene::new(
        &[],
        vec![
            vec![run("c1", "echo 1"), done(10)],
            vec![run("c2", "echo 2"), done(20)],
            vec![say("end"), done(30)],
        ],
    );
    let player = scene.player.clone();
    let played = scene.play().await;
    let requests = std::mem::take(&mut *player.requests.lock().unwrap());
    for pair in requests.windows(2) {
        assert_eq!(pair[0].instructions, pair[1].instructions);
        assert_eq!(pair[0].tools, pair[1].tools);
        assert_eq!(pair[0].entries, pair[1].entries[..pair[0].entries.len()]);
    }
    let mut second = Scene::new(&[], vec![vec![say("again"), done(40)]]);
    second.job.past.history = played.history();
    second.job.input = "and now?".into();
    let second = second.of_turn(2);
    let player = second.player.clone();
    second.play().await;
    let first_request = &player.requests.lock().unwrap()[0];
    let known = &requests[2].entries;
    assert_eq!(first_request.entries[..known.len()], known[..]);
    assert_eq!(first_request.entries.len(), known.len() + 2);
}

#[tokio::test]
async fn a_call_is_made_once_the_log_has_it() {
    let scene = Scene::new(&[], vec![vec![run("c1", "touch made"), done(10)], vec![say("ok"), done(20)]]);
    let folder = scene.folder.clone();
    let mut told = Vec::new();
    let (turn, mut log) = scene.under_way();
    while let Some(telling) = log.recv().await {
        match telling {
            Telling::Event(event) => told.push(event.kind),
            Telling::Keep(kept) => {
                let call = |kind: &EventKind| matches!(kind, EventKind::Context { context, .. } if context.entries[0]["entry"] == "call");
                assert!(told.iter().any(call), "the call is told before: {told:?}");
                assert_ne!(folder.text("made"), "");
                kept.send(()).unwrap();
            }
        }
    }
    turn.await.unwrap();
    assert_eq!(folder.text("made"), "");
}

#[tokio::test]
async fn a_full_window_is_compacted_with_goal_and_acceptance_verbatim() {
    let info = Info { context_window: 10_000, ..Info::unknown("test/player") };
    let mut scene = Scene::with_info(
        &[],
        vec![
            vec![run("c1", "echo 1"), done(9_500)],
            vec![say("SUMMARY: half is done"), done(9_600)],
            vec![run("c2", "echo 2"), done(500)],
            vec![say("end"), done(600)],
        ],
        info,
    );
    scene.job.brief.checks = vec![Check::new("t", "make test")];
    let player = scene.player.clone();
    let played = scene.play().await;
    assert_eq!(answer(&played.report.stop), "end");
    insta::assert_snapshot!(played.told(), @r#"
    [context] Environment: | - working directory: /workspace (the root of the checkout) | - shell: bash | - network: none but loopback | - sandbox: a fresh isolated machine that is thrown away after the task | - the user can be asked with ask_user, and the work then waits; ask only what you cannot find out and must not guess | You may change the checkout; the patch is taken from its files when you stop.
    [goal] do it |  | Acceptance: these commands must exit 0 at the root of the checkout, in a fresh sandbox with your patch: | - t: `make test`
    [summary] The earlier part of this conversation was replaced by this summary of yours: |  | SUMMARY: half is done
    [model] c2 exec_command {"json":"{\"cmd\":\"echo 2\"}"}
    [tool] c2 = Process exited with code 0 | Original token count: 1 | Evidence: item_5 | Output: | 2
    [model] end
    "#);
    let requests = player.requests.lock().unwrap();
    assert_eq!(requests[2].entries.len(), 3);
}

#[tokio::test]
async fn a_long_command_is_waited_for_written_to_and_ended_with_the_turn() {
    let scene = Scene::new(
        &[],
        vec![
            vec![
                call(
                    "c1",
                    "exec_command",
                    json!({"cmd": "read x; echo got $x; sleep 600", "tty": true, "yield_time_ms": 250}),
                ),
                done(10),
            ],
            vec![call("c2", "write_stdin", json!({"session_id": 1, "chars": "hello\n"})), done(20)],
            vec![say("enough"), done(30)],
        ],
    );
    let played = scene.play().await;
    played.assert_items_whole();
    let told = played.told();
    assert!(told.contains("Process running with session ID 1"), "{told}");
    assert!(told.contains("Output: | got hello"), "{told}");
    let command = played.items().into_iter().find(|item| matches!(item.body, ItemBody::Command(_))).unwrap();
    assert_eq!(command.status, ItemStatus::Cancelled);
    assert!(
        matches!(command.body, ItemBody::Command(run) if run.output == "got hello\n" && run.exit_code.is_none())
    );
}

#[tokio::test]
async fn a_flood_of_output_and_words_stays_bounded() {
    let words = (0..20_000).map(|_| Act::Give(Delta::Text("word ".into())));
    let mut last: Vec<Act> = words.collect();
    last.extend([say(&"word ".repeat(20_000)), done(10)]);
    let flood = "head -c 30000000 /dev/zero | tr '\\0' x; echo; echo END";
    let scene = Scene::new(&[], vec![vec![run("c1", flood), done(10)], last]);
    let played = scene.play().await;
    played.assert_items_whole();
    assert!(played.events.len() < 100, "{}", played.events.len());
    let told = played.told();
    let output = told.lines().find(|line| line.starts_with("[tool]")).unwrap();
    assert!(output.len() < 42_000 && output.ends_with("x | END"), "{}", output.len());
    assert!(
        output.contains("Original token count: 7500002")
            && output.contains("the whole output had 30000005 bytes")
    );
    let deltas: usize = played
        .events
        .iter()
        .map(|event| if let EventKind::ItemUpdated { delta, .. } = event { delta.len() } else { 0 })
        .sum();
    assert!(deltas < 500_000, "{deltas}");
}

#[tokio::test]
async fn a_question_gets_no_writers() {
    let mut scene = Scene::new(
        &[("a", "1")],
        vec![vec![patch("c1", "a", "-1\n+2"), done(10)], vec![say("42"), done(20)]],
    );
    scene.job.kind = Kind::Ask;
    let (folder, player) = (scene.folder.clone(), scene.player.clone());
    let played = scene.play().await;
    assert_eq!(answer(&played.report.stop), "42");
    assert_eq!(folder.text("a"), "1");
    assert!(player.requests.lock().unwrap()[0].tools.iter().all(|tool| tool.name != "apply_patch"));
}

#[tokio::test]
async fn files_are_edited_by_strings_and_pictures_are_seen() {
    let info = Info { edit_tool: EditTool::EditFile, images: true, ..Info::unknown("test/player") };
    let scene = Scene::with_info(
        &[("a.txt", "one\ntwo\n"), ("p.png", "\u{0}no picture")],
        vec![
            vec![
                call("c1", "read_file", json!({"path": "a.txt"})),
                call("c2", "edit_file", json!({"path": "a.txt", "old_string": "two", "new_string": "2"})),
                call("c3", "write_file", json!({"path": "d/b", "content": "B"})),
                call("c4", "view_image", json!({"path": "p.png"})),
                run("c5", "printf '\\211PNG\\r\\n\\032\\nrest' > p.png"),
                done(10),
            ],
            vec![call("c6", "view_image", json!({"path": "p.png"})), done(20)],
            vec![say("ok"), done(30)],
        ],
        info,
    );
    let folder = scene.folder.clone();
    let player = scene.player.clone();
    let played = scene.play().await;
    played.assert_items_whole();
    assert_eq!((folder.text("a.txt").as_str(), folder.text("d/b").as_str()), ("one\n2\n", "B"));
    let changes: Vec<_> = played
        .items()
        .into_iter()
        .filter_map(|item| match item.body {
            ItemBody::FileChange { changes, .. } => Some((changes[0].path.clone(), changes[0].kind)),
            _ => None,
        })
        .collect();
    assert_eq!(changes, [("a.txt".to_owned(), ChangeKind::Update), ("d/b".to_owned(), ChangeKind::Add)]);
    let requests = player.requests.lock().unwrap();
    let Some(Entry::Output { parts, .. }) = requests[2].entries.last() else { panic!() };
    assert!(
        matches!(&parts[1], Part::Image(url) if url.starts_with("data:image/png;base64,iVBORw0K")),
        "{parts:?}"
    );
    assert!(played.told().contains("not a PNG"), "{}", stable(&played.told()));
}

#[tokio::test]
async fn the_least_recently_used_command_makes_room() {
    let start =
        |n: u32| call(&format!("c{n}"), "exec_command", json!({"cmd": "sleep 600", "yield_time_ms": 250}));
    let mut first: Vec<Act> = (0..65).map(start).collect();
    first.push(done(10));
    let second = vec![call("w", "write_stdin", json!({"session_id": 1, "chars": "\u{3}"})), done(20)];
    let played = Scene::new(&[], vec![first, second, vec![say("ok"), done(30)]]).play().await;
    played.assert_items_whole();
    played.assert_calls_answered();
    let told = played.told();
    assert!(told.contains("w = There is no running command with session ID 1"), "{told}");
}

#[tokio::test]
async fn a_command_without_a_terminal_can_be_interrupted() {
    let scene = Scene::new(
        &[],
        vec![
            vec![call("c1", "exec_command", json!({"cmd": "sleep 600", "yield_time_ms": 250})), done(10)],
            vec![
                call("w1", "write_stdin", json!({"session_id": 1, "chars": "y\n"})),
                call("w2", "write_stdin", json!({"session_id": 1, "chars": "\u{3}", "yield_time_ms": 5000})),
                done(20),
            ],
            vec![say("ok"), done(30)],
        ],
    );
    let told = scene.play().await.told();
    assert!(told.contains("w1 = The standard input of this command is closed"), "{told}");
    assert!(told.contains("w2 = Process exited with code 130 (signal 2)"), "{told}");
}

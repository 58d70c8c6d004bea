//! Everything that goes wrong on the way ends in success after recovery, or in an error that says what to do.

use std::time::{Duration, Instant};

use legwork_model::scripted::{Endpoint, Script};
use legwork_model::{CallInput, Entry, Error, Settings, Stop, Timing, Wire};

use crate::world::{Answer, KEY, WIRES, World, request};

/// A turn with all places that a fault can strike.
fn turn(faults: &str) -> String {
    format!(
        r#"
        [[turn]]
        reasoning = "Some thoughts, long enough to come in pieces, or so we hope for the sake of this test."
        text = "Some text, long enough to come in several pieces, each of which is one event."
        calls = [{{ tool = "exec_command", arguments = {{ cmd = "cargo test --workspace --all-targets -- --nocapture" }} }}]
        faults = [{faults}]
        "#
    )
}

fn short_waits(settings: &mut Settings) {
    settings.timing = Timing { connect_ms: 2000, load_ms: 150, idle_ms: 150, progress_ms: 300 };
}

fn assert_whole(answer: &Answer, what: &str) {
    assert_eq!(answer.finished().stop, Stop::EndTurn, "{what}");
    assert!(
        answer.text.starts_with("Some text") && answer.text.ends_with("one event."),
        "{what}: {}",
        answer.text
    );
    assert!(answer.reasoning.starts_with("Some thoughts") && answer.reasoning.ends_with("test."), "{what}");
    let Some(Entry::Call { input: CallInput::Json(arguments), .. }) = answer.entries.last() else {
        panic!("{what}: {:?}", answer.entries)
    };
    let arguments: serde_json::Value = serde_json::from_str(arguments).unwrap();
    assert_eq!(arguments["cmd"], "cargo test --workspace --all-targets -- --nocapture", "{what}");
}

const PLACES: [&str; 6] = ["connect", "first_byte", "reasoning", "text", "arguments", "end"];

/// What must have come of the broken answer, so that the fault struck there and not earlier.
fn assert_struck_at(at: &str, answer: &Answer, what: &str) {
    let [(reasoning, text)] = &answer.void[..] else { panic!("{what}: {:?}", answer.void) };
    let expected = match at {
        "reasoning" => (true, false),
        "text" | "arguments" | "end" => (true, true),
        _ => (false, false),
    };
    assert_eq!((!reasoning.is_empty(), !text.is_empty()), expected, "{what}: {:?}", answer.void);
}

/// Every fault at every place, on every wire: asked again, then whole.
#[tokio::test]
async fn a_broken_answer_is_asked_for_again() {
    for wire in WIRES {
        for at in PLACES {
            for fault in [
                format!("{{ kind = \"cut\", at = \"{at}\" }}"),
                format!("{{ kind = \"close\", at = \"{at}\" }}"),
                format!("{{ kind = \"garbage\", at = \"{at}\" }}"),
                format!("{{ kind = \"error\", at = \"{at}\", code = \"server_error\", message = \"oops\" }}"),
            ] {
                let world = World::new(wire, &turn(&fault)).await;
                let answer = world.ask(&request("Hi")).await;
                let what = format!("{wire:?} {fault}");
                assert_whole(&answer, &what);
                assert_struck_at(at, &answer, &what);
                assert_eq!(answer.retries.len(), 1, "{what} {:?}", answer.retries);
                assert_eq!(world.endpoint.requests().len(), 2, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_silent_answer_is_asked_for_again() {
    for wire in WIRES {
        for at in PLACES {
            let fault = format!("{{ kind = \"stall\", at = \"{at}\" }}");
            let world = World::with(wire, &turn(&fault), short_waits).await;
            let answer = world.ask(&request("Hi")).await;
            assert_whole(&answer, &format!("{wire:?} {fault}"));
            assert_struck_at(at, &answer, &format!("{wire:?} {fault}"));
            let [(why, _)] = &answer.retries[..] else { panic!("{:?}", answer.retries) };
            assert!(why.starts_with("no event in 0.") || why.starts_with("no answer in 0."), "{why}");
            world.endpoint.hang_ups(1).await;
        }
    }
}

#[tokio::test]
async fn pings_without_progress_do_not_keep_an_answer_alive() {
    for wire in WIRES {
        let fault = "{ kind = \"ping\", at = \"text\", every_ms = 20 }";
        let world = World::with(wire, &turn(fault), short_waits).await;
        let answer = world.ask(&request("Hi")).await;
        assert_whole(&answer, &format!("{wire:?}"));
        let [(why, _)] = &answer.retries[..] else { panic!("{:?}", answer.retries) };
        assert!(why.starts_with("no progress in 0.3"), "{why}");
    }
}

#[tokio::test]
async fn unknown_events_and_comments_are_ignored() {
    for wire in WIRES {
        for at in PLACES {
            let world =
                World::new(wire, &turn(&format!("{{ kind = \"unknown_event\", at = \"{at}\" }}"))).await;
            let answer = world.ask(&request("Hi")).await;
            assert_whole(&answer, &format!("{wire:?} {at}"));
            assert_eq!(answer.retries, []);
        }
    }
}

#[tokio::test]
async fn a_huge_line_is_bounded() {
    for wire in WIRES {
        let fault = "{ kind = \"huge_line\", at = \"text\", bytes = 17000000 }";
        let world = World::new(wire, &turn(fault)).await;
        let answer = world.ask(&request("Hi")).await;
        assert_whole(&answer, &format!("{wire:?}"));
        assert_eq!(answer.retries[0].0, "an event of the stream is larger than any honest one");
    }
}

#[tokio::test]
async fn statuses_and_foreign_answers_are_asked_for_again() {
    for wire in WIRES {
        let faults = r#"
            { kind = "status", status = 429, code = "rate_limit_exceeded", retry_after = "0.02" },
            { kind = "status", status = 500, code = "server_error", message = "oops" },
            { kind = "status", status = 503 },
            { kind = "content_type", value = "text/html", body = "<html>captive portal</html>" },
        "#;
        let world = World::new(wire, &turn(faults)).await;
        let begun = Instant::now();
        let answer = world.ask(&request("Hi")).await;
        assert_whole(&answer, &format!("{wire:?}"));
        assert_eq!(answer.retries[0], ("HTTP 429: no message".to_owned(), 20));
        assert!(begun.elapsed() >= Duration::from_millis(20));
        let whys: Vec<&str> = answer.retries[1..].iter().map(|(why, _)| why.as_str()).collect();
        assert_eq!(
            whys,
            [
                "HTTP 500: oops",
                "HTTP 503: no message",
                "it answered with text/html instead of an event stream"
            ]
        );
    }
}

#[tokio::test]
async fn a_time_that_the_provider_names_is_honoured() {
    let faults = r#"
        { kind = "status", status = 429, message = "Rate limit reached. Please try again in 0.031s." },
        { kind = "error", at = "text", code = "rate_limit_exceeded", message = "Please try again in 17ms. Thanks." },
    "#;
    for wire in WIRES {
        let world = World::new(wire, &turn(faults)).await;
        let answer = world.ask(&request("Hi")).await;
        assert_whole(&answer, &format!("{wire:?}"));
        let waits: Vec<u64> = answer.retries.iter().map(|(_, ms)| *ms).collect();
        assert_eq!(waits, [31, 17], "{:?}", answer.retries);
    }
    let hours = "{ kind = \"status\", status = 429, retry_after = \"7200\", message = \"come back later\" }";
    let world = World::new(Wire::Chat, &turn(hours)).await;
    let answer = world.ask(&request("Hi")).await;
    assert!(matches!(answer.error(), Error::Unavailable { tries: 1, .. }), "{answer:?}");
}

/// What a caller can do differs, so the errors do.
#[tokio::test]
async fn fatal_errors_are_told_apart_and_not_repeated() {
    let faults = [
        (
            r#"{ kind = "status", status = 401, code = "invalid_api_key", message = "Incorrect API key provided: sk-very-secret-0123" }"#,
            "auth",
        ),
        (
            r#"{ kind = "status", status = 429, code = "insufficient_quota", message = "Check your plan" }"#,
            "quota",
        ),
        (r#"{ kind = "status", status = 402, message = "Pay" }"#, "quota"),
        (
            r#"{ kind = "status", status = 400, code = "context_length_exceeded", message = "Too long" }"#,
            "overflow",
        ),
        (
            r#"{ kind = "status", status = 400, code = "invalid_request_error", message = "prompt is too long: 3 > 2" }"#,
            "overflow",
        ),
        (r#"{ kind = "status", status = 422, message = "Wrong" }"#, "rejected"),
        (r#"{ kind = "status", status = 302 }"#, "rejected"),
        (r#"{ kind = "error", at = "text", code = "context_length_exceeded" }"#, "overflow"),
        (r#"{ kind = "error", at = "first_byte", code = "insufficient_quota" }"#, "quota"),
        (r#"{ kind = "error", at = "arguments", code = "invalid_prompt" }"#, "rejected"),
    ];
    for wire in WIRES {
        for (fault, expected) in faults {
            let world = World::new(wire, &turn(fault)).await;
            let answer = world.ask(&request("Hi")).await;
            let error = answer.error();
            let got = match error {
                Error::Auth { .. } => "auth",
                Error::Quota { .. } => "quota",
                Error::ContextOverflow { .. } => "overflow",
                Error::Rejected { .. } => "rejected",
                Error::Config(_) | Error::Unavailable { .. } => "other",
            };
            assert_eq!((got, world.endpoint.requests().len()), (expected, 1), "{wire:?} {fault} {error}");
            assert!(!format!("{error} {error:?}").contains(KEY), "{error}");
        }
    }
}

#[tokio::test]
async fn tries_are_bounded_and_the_last_failure_is_told() {
    let always = |fault: &str| turn(&[fault; 40].join(", "));
    for wire in WIRES {
        let world = World::new(wire, &always("{ kind = \"status\", status = 500 }")).await;
        let answer = world.ask(&request("Hi")).await;
        assert_eq!(
            answer.error().to_string(),
            "test gave no complete answer in 5 tries; the last one: HTTP 500: no message"
        );

        let world = World::new(wire, &always("{ kind = \"close\", at = \"text\" }")).await;
        let answer = world.ask(&request("Hi")).await;
        let expected =
            "test gave no complete answer in 6 tries; the last one: the stream ended before its last event";
        assert_eq!(answer.error().to_string(), expected);
    }
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_tells_no_key() {
    let closed = Endpoint::start(Script::default()).await.unwrap().base_url().to_owned();
    let with_password = closed.replace("http://", "http://user:hunter2password@");
    let settings = crate::world::settings(Wire::Responses, &with_password);
    let catalog = legwork_model::Catalog::new(settings).unwrap();
    let model = catalog.open("test/model").await.unwrap();
    let answer = crate::world::read(&*model, &request("Hi")).await;
    let shown = format!("{answer:?} {}", answer.error());
    assert!(matches!(answer.error(), Error::Unavailable { tries: 5, .. }), "{shown}");
    assert!(!shown.contains("hunter2") && !shown.contains(KEY), "{shown}");
    assert!(shown.contains("cannot connect"), "{shown}");
}

/// A connection is used again, also after an answer with an error status and after one whose end comes late.
#[tokio::test]
async fn connections_are_kept_alive() {
    let script = r#"
        [[turn]]
        text = "one"
        faults = [{ kind = "status", status = 500 }, { kind = "linger", ms = 3 }]
        [[turn]]
        text = "two"
    "#;
    for wire in WIRES {
        let world = World::new(wire, script).await;
        let mut request = request("Hi");
        for _ in 0..2 {
            let answer = world.ask(&request).await;
            request.entries.extend(answer.entries);
            request.entries.push(Entry::User { parts: vec![legwork_model::Part::Text("on".into())] });
        }
        assert_eq!((world.endpoint.requests().len(), world.endpoint.connections()), (3, 1), "{wire:?}");
    }
}

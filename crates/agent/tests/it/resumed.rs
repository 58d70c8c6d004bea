//! A turn goes on where the log ends.

use legwork_domain::{ItemBody, TurnId, Usage};
use serde_json::json;

use crate::world::{Scene, answer, done, say};

const CALL: &str = r#"{"origin": "model", "entry": "call", "id": "c1", "name": "exec_command", "input": {"json": "{\"cmd\":\"make\"}"}}"#;

/// A context whose turn has begun, as the log gives it back.
fn begun(turn: u128, rest: &[&str]) -> Vec<serde_json::Value> {
    let turn = TurnId::from_u128(turn);
    let goal = json!({"origin": "goal", "turn": turn, "entry": "user", "parts": [{"text": "do it"}]});
    let rest = rest.iter().map(|text| serde_json::from_str(text).unwrap());
    std::iter::once(goal).chain(rest).collect()
}

#[tokio::test]
async fn calls_that_an_earlier_turn_left_open_get_a_result() {
    let mut scene = Scene::new(&[], vec![vec![say("ok"), done(10)]]);
    scene.job.past.history = begun(7, &[CALL, r#"{"origin": "future", "entry": "telepathy"}"#]);
    let played = scene.play().await;
    insta::assert_snapshot!(played.told(), @r"
    [tool] c1 = Interrupted: the machine was lost while this ran. Whether it came to its end, and what it did, is not known. Look before you repeat it.
    [goal] do it
    [model] ok
    ");
}

#[tokio::test]
async fn a_turn_is_taken_up_where_the_log_ends() {
    let mut scene = Scene::new(&[], vec![vec![say("ok"), done(10)]]);
    scene.job.past.history = begun(1, &[CALL]);
    scene.job.past.spent =
        Usage { input_tokens: 100, model_requests: 3, worked_ms: 5000, ..Usage::default() };
    let played = scene.play().await;
    insta::assert_snapshot!(played.told(), @r"
    [tool] c1 = Interrupted: the machine was lost while this ran. Whether it came to its end, and what it did, is not known. Look before you repeat it.
    [note] (The machine was stopped and started again. Commands that still ran have ended, and /tmp is empty. All other files are as your commands left them. Go on from here.)
    [model] ok
    ");
    let usage = played.report.usage;
    assert_eq!((usage.tokens(), usage.model_requests), (110, 4));
    assert!(usage.worked_ms >= 5000);
}

#[tokio::test]
async fn a_turn_whose_last_word_is_told_asks_nobody() {
    let last = r#"{"origin": "model", "stop": "end_turn", "entry": "assistant", "text": "All done."}"#;
    let mut scene = Scene::new(&[], Vec::new());
    scene.job.past.history =
        begun(1, &[CALL, r#"{"origin": "tool", "entry": "output", "id": "c1", "parts": []}"#, last]);
    let played = scene.play().await;
    assert_eq!(answer(&played.report.stop), "All done.");
    assert_eq!(played.told(), "");
}

#[tokio::test]
async fn a_message_that_the_model_has_heard_is_only_shown() {
    let message = crate::world::steer("and the docs");
    let heard = json!({"origin": "user", "message": message.id, "entry": "user", "parts": [{"text": "and the docs"}]});
    let mut scene = Scene::new(&[], vec![vec![say("ok"), done(10)]]);
    scene.job.past.history = begun(1, &[&heard.to_string()]);
    scene.steer("and the docs");
    let played = scene.play().await;
    assert!(!played.told().contains("and the docs"), "{}", played.told());
    let shown = |item: &legwork_domain::Item| matches!(item.body, ItemBody::Message { message: Some(id), .. } if id == message.id);
    assert_eq!(played.items().iter().filter(|item| shown(item)).count(), 1);
}

//! People are heard, asked and waited for.

use std::sync::Arc;

use legwork_agent::Stop;
use legwork_domain::{Author, Decision, EventKind, ItemBody, MessageBody, Waiting};
use legwork_model::Entry;
use serde_json::json;
use tokio::sync::Notify;

use crate::world::{Act, Scene, answer, call, done, run, say};

#[tokio::test]
async fn what_the_user_says_meanwhile_reaches_the_model() {
    let go = Arc::new(Notify::new());
    let scene = Scene::new(
        &[],
        vec![vec![Act::Await(go.clone()), say("done"), done(10)], vec![say("really done"), done(20)]],
    );
    let (steer, player) = (scene.steering(), scene.player.clone());
    scene.steer("first");
    let teller = tokio::spawn(async move {
        while player.requests.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        steer.send(crate::world::steer("and the docs")).await.unwrap();
        go.notify_one();
    });
    let played = scene.play().await;
    teller.await.unwrap();
    assert_eq!(answer(&played.report.stop), "really done");
    let users: Vec<String> = played
        .items()
        .into_iter()
        .filter_map(|item| match item.body {
            ItemBody::Message { role: Author::User, text, .. } => Some(text),
            _ => None,
        })
        .collect();
    assert_eq!(users, ["do it", "first", "and the docs"]);
}

/// Plays a turn whose only answer asks, and gives the context and the item that the log has of it.
async fn parked(mut scene: Scene) -> (Vec<serde_json::Value>, legwork_domain::Item, Option<Waiting>) {
    scene.job.approve = vec!["rm *".into()];
    let played = scene.play().await;
    let on = if let Stop::Parked { on } = played.report.stop { Some(on) } else { None };
    let asks = played.events.iter().find_map(|event| match event {
        EventKind::ItemStarted { item } if item.asks() => Some(item.clone()),
        _ => None,
    });
    (played.history(), asks.unwrap(), on)
}

#[tokio::test]
async fn a_question_parks_the_turn_and_its_answer_goes_on_with_it() {
    let ask = call("q1", "ask_user", json!({"question": "Which colour?", "options": ["red", "blue"]}));
    let first = vec![ask, run("c1", "echo beside > beside"), done(10)];
    let (history, item, on) = parked(Scene::new(&[], vec![first])).await;
    assert_eq!(on, Some(Waiting::Input));
    let text = serde_json::to_string(&history).unwrap();
    assert!(text.contains("Process exited with code 0"), "the other call was ended: {text}");

    let mut waiting = Scene::new(&[], Vec::new());
    waiting.job.past.history = history.clone();
    waiting.say(MessageBody::Steer { text: "still there?".into() });
    let still = waiting.play().await;
    assert!(matches!(still.report.stop, Stop::Parked { on: Waiting::Input }), "a word that is no answer");
    assert_eq!(still.told(), "");

    let mut next = Scene::new(&[], vec![vec![say("Blue it is."), done(20)]]);
    next.job.past.history = history;
    next.say(MessageBody::Steer { text: "and quickly".into() });
    next.say(MessageBody::Answer { item: item.id, text: "blue".into() });
    let player = next.player.clone();
    let played = next.play().await;
    assert_eq!(answer(&played.report.stop), "Blue it is.");
    insta::assert_snapshot!(played.told(), @r"
    [tool] q1 = The user answers: blue
    [note] (The machine was stopped and started again. Commands that still ran have ended, and /tmp is empty. All other files are as your commands left them. Go on from here.)
    [user] and quickly
    [model] Blue it is.
    ");
    let answered = played.items().into_iter().find(|shown| shown.id == item.id).unwrap();
    assert!(matches!(answered.body, ItemBody::Question { answer: Some(text), .. } if text == "blue"));
    let entries = player.requests.lock().unwrap()[0].entries.clone();
    let places =
        |id: &str| entries.iter().position(|entry| matches!(entry, Entry::Output { id: of, .. } if of == id));
    assert!(places("q1").is_some() && places("c1").is_some());
}

#[tokio::test]
async fn a_command_that_needs_a_yes_runs_with_it_and_not_without() {
    let first = || vec![run("c1", "true && rm a; echo gone"), done(10)];
    let (history, item, on) = parked(Scene::new(&[("a", "1")], vec![first()])).await;
    assert_eq!(on, Some(Waiting::Approval));
    let decided = async |decision| {
        let mut next = Scene::new(&[("a", "1")], vec![vec![say("ok"), done(20)]]);
        next.job.past.history = history.clone();
        next.job.approve = vec!["rm *".into()];
        next.say(MessageBody::Decision { item: item.id, decision });
        let folder = next.folder.clone();
        let played = next.play().await;
        assert_eq!(answer(&played.report.stop), "ok");
        (folder.text("a") == "1", played)
    };
    let (is_there, denied) = decided(Decision::Denied).await;
    assert!(is_there && denied.told().contains("The user denies this"), "{}", denied.told());
    let (is_there, approved) = decided(Decision::Approved).await;
    assert!(!is_there && approved.told().contains("Output: | gone"), "{}", approved.told());
    // A worker that is lost while the approved command runs leaves it interrupted, not unasked.
    let mut lost = Scene::new(&[("a", "1")], vec![vec![say("I look."), done(20)]]);
    lost.job.past.history = history.clone();
    lost.job.past.history.push(json!({"origin": "approved", "call": "c1"}));
    let played = lost.play().await;
    assert!(played.told().contains("c1 = Interrupted"), "{}", played.told());
}

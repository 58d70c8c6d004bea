//! How a turn ends before its agent says so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use legwork_agent::Stop;
use legwork_domain::{ItemBody, ItemStatus, Limit, Limits};
use legwork_model::{Delta, Error as ModelError, Stop as ModelStop};
use tokio::sync::Notify;

use crate::world::{Act, Scene, answer, done, end, patch, retrying, run, say};

#[tokio::test]
async fn a_cancel_ends_every_call_with_a_result_at_once() {
    let scene = Scene::new(
        &[],
        vec![vec![
            run("c1", "echo started > started; sleep 600"),
            patch("c2", "a", "@@\n-old\n+new"),
            run("c3", "echo never > never"),
            Act::Stall,
        ]],
    );
    let (folder, cancel) = (scene.folder.clone(), scene.job.cancel.clone());
    let canceller = tokio::spawn({
        let folder = folder.clone();
        async move {
            while folder.text("started") != "started\n" {
                tokio::task::yield_now().await;
            }
            cancel.cancel();
            Instant::now()
        }
    });
    let played = scene.play().await;
    let took = canceller.await.unwrap().elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert!(matches!(played.report.stop, Stop::Cancelled), "{:?}", played.report.stop);
    played.assert_items_whole();
    played.assert_calls_answered();
    assert_ne!(folder.text("never"), "never\n");
    let command = played.items().into_iter().find(|item| matches!(item.body, ItemBody::Command(_))).unwrap();
    assert_eq!(command.status, ItemStatus::Cancelled);
}

#[tokio::test]
async fn a_void_answer_leaves_a_note_and_no_entry() {
    let started = Arc::new(Notify::new());
    let scene = Scene::new(
        &[],
        vec![
            vec![
                Act::Give(Delta::Text("half a wo".into())),
                run("v1", "echo once >> log; echo did it"),
                Act::Await(started.clone()),
                retrying(),
                say("afresh"),
                run("c1", "cat log"),
                done(10),
            ],
            vec![say("I know."), done(20)],
        ],
    );
    let folder = scene.folder.clone();
    let watch = tokio::spawn(async move {
        while folder.text("log") != "once\n" {
            tokio::task::yield_now().await;
        }
        started.notify_one();
    });
    let played = scene.play().await;
    watch.await.unwrap();
    assert_eq!(answer(&played.report.stop), "I know.");
    played.assert_items_whole();
    played.assert_calls_answered();
    let told = played.told();
    assert!(!told.contains("half a wo") && !told.contains("v1 exec_command"), "{told}");
    let note = told.lines().find(|line| line.starts_with("[note]")).unwrap();
    assert!(note.contains("echo once >> log") && note.contains("Their effects stay"), "{note}");
    let half = played.items().into_iter().find(|item| item.status == ItemStatus::Interrupted);
    assert!(matches!(half.unwrap().body, ItemBody::Message { text, .. } if text == "half a wo"));
}

#[tokio::test]
async fn a_void_answer_without_a_new_call_is_not_the_last_word() {
    let scene = Scene::new(
        &[],
        vec![
            vec![run("v1", "true"), retrying(), say("all done"), done(10)],
            vec![say("now I know"), done(20)],
        ],
    );
    assert_eq!(answer(&scene.play().await.report.stop), "now I know");
}

#[tokio::test]
async fn limits_stop_before_they_are_spent() {
    let loops =
        || (0..9).map(|n| vec![run(&format!("c{n}"), &format!("echo {n}; cat {n}")), done(2000)]).collect();
    let stopped = async |limits: Limits| {
        let mut scene = Scene::new(&[], loops());
        scene.job.limits = limits;
        let player = Arc::clone(&scene.player);
        let played = scene.play().await;
        played.assert_items_whole();
        played.assert_calls_answered();
        // What an answer may take is what is left after its own request, prompt and tools included.
        let mut left = limits.tokens;
        for request in player.requests.lock().unwrap().iter() {
            assert!(request.output_max < left || left.is_none(), "{:?} of {left:?}", request.output_max);
            left = left.map(|left| left - 2000);
        }
        match played.report.stop {
            Stop::Limit { limit, .. } => {
                (limit, played.report.usage.model_requests, played.report.usage.tool_calls)
            }
            other => panic!("{other:?}"),
        }
    };
    let none = Limits::default();
    assert_eq!(stopped(Limits { model_requests: 2, ..none }).await, (Limit::ModelRequests, 2, 2));
    assert_eq!(stopped(Limits { tool_calls: 2, ..none }).await, (Limit::ToolCalls, 3, 2));
    assert_eq!(stopped(Limits { tokens: Some(5000), ..none }).await, (Limit::Tokens, 2, 2));
    assert_eq!(stopped(Limits { tokens: Some(1000), ..none }).await, (Limit::Tokens, 0, 0));
    assert_eq!(stopped(Limits { cost_microusd: Some(1), ..none }).await, (Limit::Cost, 1, 1));
}

#[tokio::test]
async fn the_wall_time_ends_what_runs() {
    let mut scene = Scene::new(&[], vec![vec![run("c1", "sleep 600"), done(10)]]);
    scene.job.limits.wall_ms = 200;
    let played = scene.play().await;
    assert!(
        matches!(played.report.stop, Stop::Limit { limit: Limit::WallTime, .. }),
        "{:?}",
        played.report.stop
    );
    played.assert_items_whole();
    played.assert_calls_answered();
}

#[tokio::test]
async fn going_in_circles_ends_the_turn() {
    let answers = (0..20).map(|n| vec![run(&format!("c{n}"), "cat none"), done(10)]).collect();
    let played = Scene::new(&[], answers).play().await;
    let Stop::Limit { limit: Limit::NoProgress, detail } = played.report.stop else { panic!() };
    assert!(detail.contains("No such file") && detail.contains("tree state"), "{detail}");
    assert_eq!(played.report.usage.model_requests, 6);
}

#[tokio::test]
async fn a_context_overflow_is_compacted_once() {
    let overflow = || vec![Act::Fail(ModelError::ContextOverflow { message: "too long".into() })];
    let scene = Scene::new(&[], vec![overflow(), vec![say("sum"), done(10)], vec![say("end"), done(20)]]);
    assert_eq!(answer(&scene.play().await.report.stop), "end");
    let scene = Scene::new(&[], vec![overflow(), vec![say("sum"), done(10)], overflow()]);
    let played = scene.play().await;
    assert!(matches!(played.report.stop, Stop::Model(ModelError::ContextOverflow { .. })));
}

#[tokio::test]
async fn refusals_errors_and_empty_answers_are_honest_ends() {
    let refusal = Scene::new(&[], vec![vec![say("I will not."), end(ModelStop::Refusal, 10)]]).play().await;
    assert!(matches!(refusal.report.stop, Stop::Refusal { answer } if answer == "I will not."));
    let auth = ModelError::Auth { provider: "p".into(), message: "no".into() };
    let failed =
        Scene::new(&[], vec![vec![Act::Give(Delta::Text("par".into())), Act::Fail(auth)]]).play().await;
    failed.assert_items_whole();
    assert!(matches!(failed.report.stop, Stop::Model(ModelError::Auth { .. })));
    let empty = Scene::new(&[], (0..3).map(|_| vec![done(10)]).collect()).play().await;
    assert!(matches!(empty.report.stop, Stop::Limit { limit: Limit::NoProgress, .. }));
    let cut = vec![vec![say("one"), end(ModelStop::MaxTokens, 10)], vec![say("two"), done(20)]];
    assert_eq!(answer(&Scene::new(&[], cut).play().await.report.stop), "two");
}

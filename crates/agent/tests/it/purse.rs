//! Who holds a budget is asked before each request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use legwork_agent::{Grant, Stop, Telling, Wish};
use legwork_domain::{EventKind, Waiting};

use tokio::sync::Notify;

use crate::world::{Act, Scene, answer, done, run, say};

/// Holds a budget.
struct Purse(Mutex<Vec<Grant>>);

#[async_trait::async_trait]
impl legwork_agent::Purse for Purse {
    fn is_bounded(&self) -> bool {
        true
    }

    async fn reserve(&self, _wish: Wish) -> Grant {
        self.0.lock().unwrap().pop().unwrap()
    }
}

#[tokio::test]
async fn an_empty_purse_parks_the_turn_and_a_fuller_one_goes_on() {
    let purse = |mut grants: Vec<Grant>| {
        grants.reverse();
        Some(Arc::new(Purse(Mutex::new(grants))) as Arc<dyn legwork_agent::Purse>)
    };
    let mut scene = Scene::new(&[], vec![vec![run("c1", "echo once >> log"), done(10)]]);
    scene.job.purse = purse(vec![Grant::Given, Grant::NotYet("The budget is used up.".into())]);
    let player = scene.player.clone();
    let played = scene.play().await;
    assert!(matches!(played.report.stop, Stop::Parked { on: Waiting::Budget }), "{:?}", played.report.stop);
    assert_eq!(played.report.usage.model_requests, 1);
    assert_eq!(player.requests.lock().unwrap().len(), 1, "nothing is sent that is not paid for");

    let mut next = Scene::new(&[], vec![vec![say("ok"), done(20)]]);
    (next.job.past.history, next.job.past.spent) = (played.history(), played.report.usage);
    next.job.purse = purse(vec![Grant::Given]);
    let played = next.play().await;
    assert_eq!(answer(&played.report.stop), "ok");
    assert_eq!(played.report.usage.model_requests, 2);
}

/// Holds a budget of one answer, and knows of an answer once the log has it.
struct OneAnswer(Arc<AtomicU64>);

#[async_trait::async_trait]
impl legwork_agent::Purse for OneAnswer {
    fn is_bounded(&self) -> bool {
        true
    }

    async fn reserve(&self, _wish: Wish) -> Grant {
        if self.0.load(Ordering::SeqCst) == 0 { Grant::Given } else { Grant::NotYet("All is spent.".into()) }
    }
}

#[tokio::test]
async fn a_request_is_judged_once_the_log_has_what_the_last_one_cost() {
    let known = Arc::new(AtomicU64::new(0));
    let go = Arc::new(Notify::new());
    // No call in the answer, so nobody else asks the log to keep up.
    let mut scene = Scene::new(
        &[],
        vec![vec![Act::Await(go.clone()), say("first"), done(10)], vec![say("unpaid"), done(20)]],
    );
    scene.job.purse = Some(Arc::new(OneAnswer(Arc::clone(&known))));
    let (steer, player) = (scene.steering(), scene.player.clone());
    tokio::spawn(async move {
        while player.requests.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        steer.send(crate::world::steer("and the docs")).await.unwrap();
        go.notify_one();
    });
    let (turn, mut log) = scene.under_way();
    let mut told = 0;
    while let Some(telling) = log.recv().await {
        match telling {
            Telling::Event(event) => told += u64::from(matches!(event.kind, EventKind::Usage { .. })),
            // As a server does that hears in batches.
            Telling::Keep(kept) => {
                known.store(told, Ordering::SeqCst);
                kept.send(()).unwrap();
            }
        }
    }
    let report = turn.await.unwrap();
    assert!(matches!(report.stop, Stop::Parked { on: Waiting::Budget }), "{:?}", report.stop);
}

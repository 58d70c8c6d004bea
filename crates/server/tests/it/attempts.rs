//! Attempts over HTTP: follow-ups, steers, answers, patches.

use bytes::Bytes;
use futures::StreamExt;
use legwork_domain::{
    Decision, Directive, EventBatch, EventKind, FollowUp, Item, ItemBody, ItemId, ItemStatus, MessageBody,
    Outcome, Patch, Reply, Steer, Timestamp, Transition, Waiting,
};

use crate::world::{World, asks, batch, end, tell};

fn more(input: &str) -> FollowUp {
    FollowUp::new(input.into(), Vec::new())
}

#[tokio::test]
async fn a_follow_up_starts_when_the_turn_before_it_has_ended() {
    let world = World::start().await;
    let job = world.job("a").await;
    let attempt = job.attempt.id;
    let queued = world.client.follow_up(attempt, &more("and more"), "k").await.unwrap();
    assert_eq!(world.client.follow_up(attempt, &more("and more"), "k").await.unwrap(), queued);
    let refused = world.client.follow_up(attempt, &more("other"), "k").await.unwrap_err();
    assert_eq!(refused.code(), Some("idempotency_key_reused"));
    assert_eq!(world.client.attempt(attempt).await.unwrap().turns.len(), 2);
    let following = world.client.events(attempt, 0);
    let waiting = asks(20_000, None);
    let last = end(&job, 0, Outcome::NoChange);
    let (next, ended) = tokio::join!(world.client.lease(&waiting), world.client.finish(job.turn.id, &last));
    ended.unwrap();
    let next = next.unwrap().unwrap();
    assert_eq!((next.turn.id, next.turn.input.as_str()), (queued.id, "and more"));
    world.client.finish(next.turn.id, &end(&next, 0, Outcome::NoChange)).await.unwrap();
    // queued, leased, finished of both, in one log.
    assert_eq!(following.count().await, 6);
    let cancelled = world.client.follow_up(attempt, &more("not this"), "l").await.unwrap();
    let cancelled = world.client.cancel_turn(cancelled.id).await.unwrap();
    assert_eq!(cancelled.state.ended().unwrap().outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn a_steer_reaches_the_worker_with_its_next_call() {
    let world = World::start().await;
    let job = world.job("a").await;
    let steer = Steer { text: "and the docs".into() };
    let said = world.client.steer(job.attempt.id, &steer, "k").await.unwrap();
    assert_eq!(world.client.steer(job.attempt.id, &steer, "k").await.unwrap(), said);
    let accepted = world.client.append(job.turn.id, &batch(&job, 0, Vec::new())).await.unwrap();
    assert_eq!(accepted.directives, [Directive::Hear { message: said }]);
    world.client.finish(job.turn.id, &end(&job, 0, Outcome::Cancelled)).await.unwrap();
    let late = world.client.steer(job.attempt.id, &steer, "l").await.unwrap_err();
    assert_eq!(late.code(), Some("no_live_turn"));
    let empty = world.client.steer(job.attempt.id, &Steer { text: " ".into() }, "m").await.unwrap_err();
    assert_eq!(empty.code(), Some("invalid"));
}

#[tokio::test]
async fn an_approval_wakes_the_turn_that_waits_for_it() {
    let world = World::start().await;
    let job = world.job("a").await;
    let body = ItemBody::Approval { action: "rm -r build".into(), reason: "stale".into(), decision: None };
    let asking = Item {
        id: ItemId::new(1),
        turn: job.turn.id,
        status: ItemStatus::InProgress,
        started_at: Timestamp::from_micros(5),
        ended_at: None,
        body,
    };
    let park = Transition::Park { on: Waiting::Approval, patch: None };
    let asked = batch(&job, 0, vec![tell(EventKind::ItemStarted { item: asking })]);
    world.client.append(job.turn.id, &EventBatch { transition: Some(park), ..asked }).await.unwrap();
    let reply = Reply::Decision { item: ItemId::new(1), decision: Decision::Approved };
    let waiting = asks(20_000, None);
    let (next, said) =
        tokio::join!(world.client.lease(&waiting), world.client.answer(job.attempt.id, &reply, "k"));
    let next = next.unwrap().unwrap();
    assert_eq!(next.messages, [said.unwrap()]);
    assert!(matches!(next.messages[0].body, MessageBody::Decision { decision: Decision::Approved, .. }));
    let again = world.client.answer(job.attempt.id, &reply, "l").await.unwrap_err();
    assert_eq!(again.code(), Some("answered"));
    let unknown = Reply::Answer { item: ItemId::new(7), text: "x".into() };
    assert_eq!(
        world.client.answer(job.attempt.id, &unknown, "m").await.unwrap_err().code(),
        Some("not_found")
    );
}

#[tokio::test]
async fn a_patch_is_read_as_text_and_not_twice() {
    let world = World::start().await;
    let job = world.job("a").await;
    assert_eq!(world.client.patch(job.attempt.id).await.unwrap(), None);
    let bytes = Bytes::from_static(b"--- a\n+++ b\n");
    let blob = world.client.put_blob(bytes.clone()).await.unwrap();
    let artifact = EventKind::Artifact { turn: job.turn.id, name: "a.txt".into(), blob: blob.clone() };
    world.append(&job, 0, vec![tell(artifact)]).await;
    let mut last = end(&job, 1, Outcome::Succeeded);
    let stat = legwork_domain::DiffStat::default();
    last.ended.patch = Some(Patch { blob: blob.clone(), base_commit: "c".into(), tree: "t".into(), stat });
    world.client.finish(job.turn.id, &last).await.unwrap();
    assert_eq!(world.client.patch(job.attempt.id).await.unwrap(), Some(bytes));
    let path = format!("/v1/attempts/{}/patch", job.attempt.id);
    let answer = world.http("GET", &path).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/x-diff");
    let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(tag, format!("\"{blob}\""));
    let again = world.http("GET", &path).header("if-none-match", tag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), again.text().await.unwrap().len()), (304, 0));
    let artifacts = world.client.artifacts(job.attempt.id).await.unwrap().artifacts;
    assert_eq!(artifacts.iter().map(|artifact| artifact.name.as_str()).collect::<Vec<_>>(), ["a.txt"]);
}

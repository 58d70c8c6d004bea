//! Two servers over one Postgres are one service.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use legwork_domain::{Outcome, Problem, TaskQuery};
use legwork_store::{Notice, Store};

use crate::postgres::{Cluster, Database};
use crate::world::{World, asks, delta, end, seqs};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_goes_its_way_through_two_servers() {
    let database = Database::new();
    let one = World::start_over(Some(database.url())).await;
    let two = one.beside().await;
    let asking = asks(30_000, None);
    let (job, view) = tokio::join!(two.client.lease(&asking), async {
        one.client.tasks(&TaskQuery::default()).await.unwrap();
        one.create("x", "key").await
    });
    let job = job.unwrap().unwrap();
    assert_eq!(job.task.id, view.task.id);
    assert_eq!(two.create("x", "key").await.task.id, view.task.id);
    let watcher = tokio::spawn(one.client.events(job.attempt.id, 0).collect::<Vec<_>>());
    two.append(&job, 0, vec![delta("a")]).await;
    one.append(&job, 1, vec![delta("b")]).await;
    two.client.finish(job.turn.id, &end(&job, 2, Outcome::NoChange)).await.unwrap();
    let seen = tokio::time::timeout(PATIENCE, watcher).await.unwrap().unwrap();
    let seen: Vec<_> = seen.into_iter().map(Result::unwrap).collect();
    assert_eq!(seqs(&seen), [1, 2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_tells_the_others_what_changed() {
    let database = Database::new();
    let world = World::start_over(Some(database.url())).await;
    world.client.tasks(&TaskQuery::default()).await.unwrap();
    let store = Store::connect(&database.url()).await.unwrap();
    let mut exchange = store.exchange("test".into()).await.unwrap().unwrap();
    let mut heard = BTreeSet::new();
    let told = async {
        // The server begins to tell a moment after it serves.
        for n in 0.. {
            let job = world.job(&n.to_string()).await;
            world.append(&job, 0, vec![delta("a")]).await;
            while let Ok(told) = tokio::time::timeout(Duration::from_millis(200), exchange.next()).await {
                heard.extend(told.unwrap());
                if heard.contains(&Notice::Queue) && heard.contains(&Notice::Attempt(job.attempt.id)) {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_postgres_is_told_and_got_over() {
    let mut cluster = Cluster::new("lost");
    let world = World::start_over(Some(cluster.url())).await;
    let job = world.job("a").await;
    let watcher = tokio::spawn(world.client.events(job.attempt.id, 0).collect::<Vec<_>>());
    world.append(&job, 0, vec![delta("before")]).await;
    cluster.stop_at_once();
    for (method, path) in [("GET", "/v1/tasks"), ("POST", "/v1/leases")] {
        let asked = world.http(method, path).json(&asks(0, None));
        let answer = asked.send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["retry-after"]),
            (503, &"1".parse().unwrap())
        );
        let problem: Problem = answer.json().await.unwrap();
        assert_eq!(problem.code, "busy");
        assert!(problem.detail.starts_with("The database cannot be reached."), "{problem:?}");
    }
    cluster.start();
    world.append(&job, 1, vec![delta("after")]).await;
    world.client.finish(job.turn.id, &end(&job, 2, Outcome::NoChange)).await.unwrap();
    let seen = tokio::time::timeout(PATIENCE, watcher).await.unwrap().unwrap();
    let seen: Vec<_> = seen.into_iter().map(Result::unwrap).collect();
    assert_eq!(seqs(&seen), [1, 2, 3, 4, 5]);
}

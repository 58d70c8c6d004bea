//! The database goes away and comes back: calls say so, nothing is lost or doubled, and nobody has to be restarted.

use std::sync::atomic::{AtomicU32, Ordering};

use legwork_domain::TaskId;
use legwork_store::{Error, Store};
use tokio::sync::watch;

use crate::postgres::Cluster;
use crate::world::{Place, World, batch, completed, started};

/// Tasks that are accepted before, between and after the crashes.
const PHASE: u32 = 20;
const CRASHES: u32 = 3;
const WRITERS: u32 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_of_postgres_lose_and_double_nothing() {
    let mut cluster = Cluster::new("crashes");
    let store = Store::connect(&cluster.url()).await.unwrap();
    let world = World::over(store, Place::sqlite());
    let (accepted, mut seen) = watch::channel(0);
    let keys = AtomicU32::new(0);
    let writers = futures::future::join_all((0..WRITERS).map(|_| write(&world, &keys, &accepted)));
    let crashes = async {
        for crash in 1..=CRASHES {
            seen.wait_for(|count| *count >= crash * PHASE).await.unwrap();
            cluster = tokio::task::spawn_blocking(move || {
                cluster.stop_at_once();
                cluster.start();
                cluster
            })
            .await
            .unwrap();
        }
        cluster
    };
    let (written, _running) = futures::join!(writers, crashes);
    let (mut tasks, mut refused) = (Vec::new(), 0);
    for (accepted, told) in written {
        tasks.extend(accepted);
        refused += told;
    }
    println!("{} tasks accepted, {refused} calls told to come again", tasks.len());
    for task in &tasks {
        let view = world.store.task(*task).await.unwrap();
        world.check(view.attempts[0].attempt.id).await;
    }
    let mut listed = 0;
    let mut cursor = None;
    loop {
        let page = world.store.tasks(cursor, 50).await.unwrap();
        listed += page.tasks.len();
        let Some(next) = page.next else { break };
        cursor = Some(next.parse().unwrap());
    }
    assert_eq!(listed, tasks.len(), "a key made two tasks");
}

/// Hands in tasks and works on turns until enough are accepted; gives back the tasks, and how often it had to repeat.
async fn write(world: &World, keys: &AtomicU32, accepted: &watch::Sender<u32>) -> (Vec<TaskId>, u32) {
    let (mut tasks, mut refused) = (Vec::new(), 0);
    while *accepted.borrow() < (CRASHES + 1) * PHASE {
        let key = keys.fetch_add(1, Ordering::Relaxed).to_string();
        let task = until_done(&mut refused, || world.create("x", Some(&key))).await;
        tasks.push(task.task.id);
        accepted.send_modify(|count| *count += 1);
        // What a lease that was lost with the connection holds is not this test's concern: it would lapse.
        let Ok(Some(job)) = world.try_lease(Some(task.task.id)).await else { continue };
        let turn = job.turn.id;
        let events = batch(job.lease.epoch, 0, vec![started(turn, 1), completed(turn, 1)]);
        until_done(&mut refused, || world.append(turn, events.clone())).await;
    }
    (tasks, refused)
}

/// Repeats what may be repeated. Any error but `Busy` is a failure.
async fn until_done<T>(refused: &mut u32, call: impl AsyncFn() -> Result<T, Error>) -> T {
    loop {
        match call().await {
            Ok(done) => return done,
            Err(Error::Busy(_)) => *refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[tokio::test]
async fn a_database_that_is_away_is_said_to_be() {
    let mut cluster = Cluster::new("away");
    let store = Store::connect(&cluster.url()).await.unwrap();
    let world = World::over(store, Place::sqlite());
    world.create("x", Some("key")).await.unwrap();
    cluster.stop_at_once();
    let away = world.create("x", Some("key")).await.unwrap_err();
    assert!(matches!(away, Error::Busy(_)), "{away:?}");
    assert_eq!(away.to_string(), "the database cannot be reached");
    let away = world.store.tasks(None, 1).await.unwrap_err();
    assert!(matches!(away, Error::Busy(_)), "{away:?}");
    let away = Store::connect(&cluster.url()).await.unwrap_err();
    assert!(matches!(away, Error::Busy(_)), "{away:?}");
    cluster.start();
    assert_eq!(world.store.tasks(None, 50).await.unwrap().tasks.len(), 1);
    world.create("y", None).await.unwrap();
}

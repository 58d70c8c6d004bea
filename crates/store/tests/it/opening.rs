//! Opening: from nothing, again, by many at once.

use std::time::Instant;

use legwork_store::{Error, Store};

use crate::world::World;

#[tokio::test]
async fn what_was_accepted_is_there_after_a_restart() {
    let world = World::sqlite().await;
    let view = world.create("x", Some("key")).await.unwrap();
    let job = world.lease().await.unwrap();
    world.store.close().await;
    let path = world.folder.path().join("legwork.db");
    let started = Instant::now();
    let store = Store::open(&path).await.unwrap();
    println!("opened an existing store in {:?}", started.elapsed());
    let again = store.task(view.task.id).await.unwrap();
    assert_eq!(again.attempts[0].turns[0].state, job.turn.state);
}

#[tokio::test]
async fn many_may_open_a_new_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("legwork.db");
    let opened = futures::future::join_all((0..8).map(|_| Store::open(&path))).await;
    for store in opened {
        assert_eq!(store.unwrap().tasks(None, 1).await.unwrap().tasks, []);
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_said_to_be_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("legwork.db");
    std::fs::write(&path, "not a database, but long enough to have a header of the right size".repeat(20))
        .unwrap();
    let refused = Store::open(&path).await;
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
}

//! Opening: from nothing, again, by many at once.

use legwork_store::{Error, Store};

use crate::world::World;

pub(crate) async fn what_was_accepted_is_there_after_a_restart(world: World) {
    let view = world.create("x", Some("key")).await.unwrap();
    let job = world.lease().await.unwrap();
    world.store.close().await;
    let store = world.place.open().await;
    let again = store.task(view.task.id).await.unwrap();
    assert_eq!(again.attempts[0].turns[0].state, job.turn.state);
}

pub(crate) async fn many_may_open_a_new_database_at_once(world: World) {
    let place = world.place.another();
    for store in futures::future::join_all((0..8).map(|_| place.open())).await {
        assert_eq!(
            store
                .tasks(
                    legwork_domain::Visible::All,
                    legwork_domain::UserId::LOCAL,
                    &legwork_domain::TaskQuery::default()
                )
                .await
                .unwrap()
                .tasks,
            []
        );
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

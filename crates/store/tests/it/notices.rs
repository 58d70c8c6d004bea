//! Servers that share a database hear of each other's writes.

use legwork_domain::AttemptId;
use legwork_store::Notice;

use crate::world::{Place, World};

#[tokio::test]
async fn what_one_server_tells_the_others_hear() {
    let world = World::new(Place::postgres()).await;
    let attempt = |_| AttemptId::from_u128(world.number());
    let mut one = world.store.exchange("one".into()).await.unwrap().unwrap();
    let mut two = world.beside().await.store.exchange("two".into()).await.unwrap().unwrap();
    let told: Vec<Notice> = (0..4).map(attempt).map(Notice::Attempt).chain([Notice::Queue]).collect();
    one.tell([]).await.unwrap();
    one.tell(told.clone()).await.unwrap();
    two.tell([Notice::Queue]).await.unwrap();
    assert_eq!(two.next().await.unwrap(), told);
    // Its own notice came first, and it passes over that.
    assert_eq!(one.next().await.unwrap(), [Notice::Queue]);
    // More than one notice holds.
    let many: Vec<Notice> = (0..500).map(attempt).map(Notice::Attempt).collect();
    two.tell(many.clone()).await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < many.len() {
        heard.extend(one.next().await.unwrap());
    }
    assert_eq!(heard, many);
}

#[tokio::test]
async fn over_a_file_there_is_nobody_to_tell() {
    let world = World::new(Place::sqlite()).await;
    assert!(world.store.exchange("one".into()).await.unwrap().is_none());
}

use bytes::Bytes;
use legwork_domain::{BlobId, DiffStat, Outcome, Patch};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{TOKEN, World, end};

fn absent() -> BlobId {
    "0".repeat(64).parse().unwrap()
}

#[tokio::test]
async fn bytes_come_back_as_they_were() {
    let world = World::start().await;
    let large: Bytes = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    for bytes in [Bytes::new(), Bytes::from_static(b"\0\xff"), large] {
        let id = world.client.put_blob(bytes.clone()).await.unwrap();
        assert_eq!(world.client.put_blob(bytes.clone()).await.unwrap(), id);
        assert!(world.client.blob(&id).await.unwrap() == bytes);
    }
    let left = std::fs::read_dir(world.data().join("blobs/unfinished")).unwrap().count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn bytes_under_a_wrong_name_are_refused_and_not_kept() {
    let world = World::start().await;
    let path = format!("/v1/blobs/{}", absent());
    let refused = world.http("PUT", &path).body("other bytes").send().await.unwrap();
    assert_eq!(refused.status(), 422);
    assert!(refused.text().await.unwrap().contains("blob_mismatch"));
    assert_eq!(world.client.blob(&absent()).await.unwrap_err().code(), Some("not_found"));
    assert_eq!(std::fs::read_dir(world.data().join("blobs/unfinished")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let world = World::start().await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "PUT /v1/blobs/{} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n\r\n",
        absent(),
        64 * 1024 * 1024 + 1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 16];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413 Pay");
}

#[tokio::test]
async fn a_turn_cannot_end_with_what_was_never_stored() {
    let world = World::start().await;
    let job = world.job("a").await;
    let mut last = end(&job, 0, Outcome::Succeeded);
    let stat = DiffStat { files: 1, added: 1, removed: 0 };
    let patch = |blob| Patch { blob, base_commit: "c".into(), tree: "t".into(), stat };
    last.ended.patch = Some(patch(absent()));
    let refused = world.client.finish(job.turn.id, &last).await.unwrap_err();
    assert_eq!(refused.code(), Some("blob_missing"));
    last.ended.patch = Some(patch(world.client.put_blob(Bytes::from_static(b"diff")).await.unwrap()));
    last.blobs = vec![absent()];
    let refused = world.client.finish(job.turn.id, &last).await.unwrap_err();
    assert_eq!(refused.code(), Some("blob_missing"));
    last.blobs.clear();
    world.client.finish(job.turn.id, &last).await.unwrap();
}

//! The seam between replay and follow: each event once, in order, whoever writes, cuts or restarts meanwhile.

use futures::{StreamExt, TryStreamExt};
use legwork_client::Client;
use legwork_domain::{AttemptId, Event, Outcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::operations::{page, value};
use crate::world::{TOKEN, World, delta, end, seqs};

async fn read_all(client: &Client, attempt: AttemptId, after: u64) -> Vec<Event> {
    client.events(attempt, after).try_collect().await.unwrap()
}

#[tokio::test]
async fn the_wire_is_as_described() {
    let world = World::start().await;
    let view = world.create("x", "a").await;
    let attempt = view.attempts[0].attempt.id;
    world.client.cancel(view.task.id).await.unwrap();
    let answer = world.http("GET", &format!("/v1/attempts/{attempt}/events?after=1")).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let body = answer.text().await.unwrap();
    let event = &read_all(&world.client, attempt, 1).await[0];
    let line = serde_json::to_string(event).unwrap();
    assert_eq!(body, format!("id: 2\ndata: {line}\n\nevent: end\ndata: {{}}\n\n"));
}

#[tokio::test]
async fn the_last_event_id_goes_before_the_parameter() {
    let world = World::start().await;
    let view = world.create("x", "a").await;
    world.client.cancel(view.task.id).await.unwrap();
    let path = format!("/v1/attempts/{}/events?after=0", view.attempts[0].attempt.id);
    let answer = world.http("GET", &path).header("last-event-id", "2").send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "event: end\ndata: {}\n\n");
    let refused = world.http("GET", &path).header("last-event-id", "two").send().await.unwrap();
    assert_eq!(refused.status(), 422);
    let beyond = world.http("GET", &path).header("last-event-id", "99").send().await.unwrap();
    assert_eq!(beyond.status(), 409);
    assert!(beyond.text().await.unwrap().contains("The log ends with event 2, so 99 was never read"));
}

#[tokio::test]
async fn a_log_can_be_taken_up_at_any_place() {
    let world = World::start().await;
    let job = world.job("a").await;
    world.append(&job, 0, (0..20).map(|n| delta(&n.to_string())).collect()).await;
    world.client.finish(job.turn.id, &end(&job, 20, Outcome::NoChange)).await.unwrap();
    let whole = read_all(&world.client, job.attempt.id, 0).await;
    assert_eq!(seqs(&whole), (1..=23).collect::<Vec<_>>());
    for after in 0..=23 {
        assert_eq!(read_all(&world.client, job.attempt.id, after).await, whole[after as usize..]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_come_while_a_worker_writes_miss_and_repeat_nothing() {
    const BATCHES: u64 = 120;
    let world = World::start().await;
    let job = world.job("a").await;
    let mut readers = Vec::new();
    for n in 0..BATCHES {
        world.append(&job, 2 * n, vec![delta("a"), delta("b")]).await;
        if n % 10 == 0 {
            let (client, attempt) = (world.client.clone(), job.attempt.id);
            // Some begin in the past, some at the end.
            let after = if n % 20 == 0 { n } else { 2 + 2 * n };
            readers.push(tokio::spawn(async move { (after, read_all(&client, attempt, after).await) }));
        }
    }
    world.client.finish(job.turn.id, &end(&job, 2 * BATCHES, Outcome::NoChange)).await.unwrap();
    for reader in readers {
        let (after, events) = reader.await.unwrap();
        assert_eq!(seqs(&events), (after + 1..=2 + 2 * BATCHES + 1).collect::<Vec<_>>());
    }
}

/// A network that cuts each connection after so many bytes of the answer.
async fn cutting(server: std::net::SocketAddr, bytes: usize) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = TcpStream::connect(server).await.unwrap();
                let (mut from_near, mut to_near) = near.split();
                let (from_far, mut to_far) = far.split();
                let mut limited = from_far.take(bytes as u64);
                tokio::select! {
                    _ = tokio::io::copy(&mut from_near, &mut to_far) => {}
                    _ = tokio::io::copy(&mut limited, &mut to_near) => {}
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_reader_whose_network_breaks_again_and_again_reads_each_event_once() {
    let world = World::start().await;
    let job = world.job("a").await;
    world.append(&job, 0, (0..30).map(|n| delta(&"x".repeat(n * 7))).collect()).await;
    // Enough for the head and some events, cut anywhere.
    for bytes in [1000, 1501] {
        let address = cutting(world.address, bytes).await;
        let client = Client::new(&format!("http://{address}"), TOKEN).unwrap();
        let events: Vec<Event> = client.events(job.attempt.id, 0).take(32).try_collect().await.unwrap();
        assert_eq!(seqs(&events), (1..=32).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_reader_that_does_not_follow_gets_what_is_written() {
    let world = World::start().await;
    let job = world.job("a").await;
    world.append(&job, 0, vec![delta("so far")]).await;
    let events: Vec<Event> = world.client.events_so_far(job.attempt.id).try_collect().await.unwrap();
    assert_eq!(seqs(&events), [1, 2, 3]);
}

#[tokio::test]
async fn a_reader_outlives_a_restart_of_the_server() {
    let world = World::start().await;
    let job = world.job("a").await;
    let mut events = Box::pin(world.client.events(job.attempt.id, 0));
    for seq in 1..=2 {
        assert_eq!(events.next().await.unwrap().unwrap().seq, seq);
    }
    let world = world.restart().await;
    world.append(&job, 0, vec![delta("after")]).await;
    world.client.finish(job.turn.id, &end(&job, 1, Outcome::NoChange)).await.unwrap();
    let rest: Vec<Event> = events.try_collect().await.unwrap();
    assert_eq!(seqs(&rest), [3, 4]);
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_up_nobody() {
    let world = World::start().await;
    let job = world.job("a").await;
    let mut stuck = TcpStream::connect(world.address).await.unwrap();
    let ask = format!(
        "GET /v1/attempts/{}/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n\r\n",
        job.attempt.id
    );
    stuck.write_all(ask.as_bytes()).await.unwrap();
    let large = "x".repeat(512 * 1024);
    for n in 0..32 {
        world.append(&job, n, vec![delta(&large)]).await;
    }
    world.client.finish(job.turn.id, &end(&job, 32, Outcome::NoChange)).await.unwrap();
    assert_eq!(read_all(&world.client, job.attempt.id, 0).await.len(), 35);
    let mut late = Vec::new();
    stuck.read_to_end(&mut late).await.unwrap();
    assert!(late.len() > 32 * large.len());
    let tail = String::from_utf8_lossy(&late[late.len() - 64..]);
    assert!(tail.contains("event: end\ndata: {}\n\n"), "{tail:?}");
}

#[tokio::test]
async fn a_log_that_is_not_there_is_said_so_at_once() {
    let world = World::start().await;
    let mut events = Box::pin(world.client.events(AttemptId::from_u128(1), 0));
    assert_eq!(events.next().await.unwrap().unwrap_err().code(), Some("not_found"));
    assert!(events.next().await.is_none());
}

/// A log that no socket's buffers hold, and a socket that asks for it and reads nothing.
async fn asks_and_never_reads(world: &World, attempt: AttemptId) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut silent = socket.connect(world.address).await.unwrap();
    let head = format!(
        "GET /v1/attempts/{attempt}/events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\n\r\n",
        world.address
    );
    silent.write_all(head.as_bytes()).await.unwrap();
    silent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_cut_off_and_can_come_back() {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
    let world = World::start_with(|config| config.stall = std::time::Duration::from_secs(1)).await;
    let job = world.job("a").await;
    let text = "x".repeat(50_000);
    for n in 0..10 {
        world.append(&job, 20 * n, (0..20).map(|_| delta(&text)).collect()).await;
    }
    let mut silent = asks_and_never_reads(&world, job.attempt.id).await;
    let open = async || value(&page(&world).await, "legwork_open_streams") > 0.5;
    tokio::time::timeout(PATIENCE, async { while !open().await {} }).await.unwrap();
    tokio::time::timeout(PATIENCE, async { while open().await {} }).await.unwrap();

    let mut rest = Vec::new();
    // An error or an end, as the kernel has it.
    let _ = silent.read_to_end(&mut rest).await;
    assert!(rest.len() < 10 * 20 * text.len());
    world.client.finish(job.turn.id, &end(&job, 200, Outcome::NoChange)).await.unwrap();
    assert_eq!(seqs(&read_all(&world.client, job.attempt.id, 100).await), (101..=203).collect::<Vec<_>>());
}

//! `kill -9` of real server processes: at each step of a task's way, and at random.
//!
//! A proxy stands before a server and kills it at a named moment of a call: when the server has the call and may be anywhere
//! in it, or when it has answered and the answer is lost. Nothing of that is in the product.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use legwork_client::{Client, Error};
use legwork_domain::{EventKind, Finish, Outcome, TaskView};
use legwork_server::{Deep, deep_look};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;

use crate::process::Process;
use crate::world::{TOKEN, asks, batch, delta, end, request, seqs};

/// When the server dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// It has the call, and is somewhere in it.
    Asked,
    /// It has done it and says so; nobody hears it.
    Answered,
}

/// A call of this path at which the server dies once.
#[derive(Clone, Copy, Debug)]
struct Point {
    call: &'static str,
    moment: Moment,
}

struct Proxy {
    address: SocketAddr,
    server: Mutex<Process>,
    armed: Mutex<Option<Point>>,
}

impl Proxy {
    async fn start(server: Process, point: Point) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Arc::new(Self { address, server: Mutex::new(server), armed: Mutex::new(Some(point)) });
        let all = Arc::clone(&proxy);
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&all).carry(caller));
            }
        });
        proxy
    }

    /// Carries one connection, until either end closes it or the server dies.
    async fn carry(self: Arc<Self>, mut caller: TcpStream) {
        let address = self.server.lock().await.address;
        let Ok(mut server) = TcpStream::connect(address).await else { return };
        let (mut question, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        let mut fatal = None;
        loop {
            tokio::select! {
                read = caller.read(&mut question) => {
                    let Ok(length @ 1..) = read else { return };
                    if let Some(point) = self.strikes(&question[..length]).await {
                        fatal = Some(point);
                    }
                    if server.write_all(&question[..length]).await.is_err() {
                        return;
                    }
                    if fatal.is_some_and(|point| point.moment == Moment::Asked) {
                        return self.server.lock().await.killed_and_started();
                    }
                }
                read = server.read(&mut answer) => {
                    let Ok(length @ 1..) = read else { return };
                    if fatal.is_some() {
                        return self.server.lock().await.killed_and_started();
                    }
                    if caller.write_all(&answer[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Whether this is the call, which is so once.
    async fn strikes(&self, question: &[u8]) -> Option<Point> {
        let mut armed = self.armed.lock().await;
        let line = question.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let path = line.strip_prefix("POST ")?.strip_suffix(" HTTP/1.1")?;
        armed.take_if(|point| path.ends_with(point.call))
    }
}

/// Calls until there is an answer.
async fn insist<T>(mut call: impl AsyncFnMut() -> Result<T, Error>) -> T {
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) if error.is_retryable() => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A task's whole way, each call until it is answered; gives the task as it is then.
async fn whole_way(client: &Client) -> TaskView {
    let task = request("x");
    let view = insist(async || client.create_task(&task, "key").await).await;
    let job = loop {
        if let Some(job) = insist(async || client.lease(&asks(500, None)).await).await {
            break job;
        }
    };
    for first in 0..3 {
        let batch = batch(&job, first, vec![delta(&first.to_string())]);
        insist(async || client.append(job.turn.id, &batch).await).await;
    }
    let finish: Finish = end(&job, 3, Outcome::NoChange);
    insist(async || client.finish(job.turn.id, &finish).await).await;
    let again = insist(async || client.create_task(&task, "key").await).await;
    assert_eq!(again.task.id, view.task.id, "one key, one task");
    again
}

async fn dies_at(call: &'static str, moment: Moment) -> TaskView {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let proxy = Proxy::start(Process::start(&data, None), Point { call, moment }).await;
    let client = Client::new(&format!("http://{}", proxy.address), TOKEN).unwrap();
    let view = whole_way(&client).await;
    assert!(proxy.armed.lock().await.is_none(), "the server died");
    let events = client.events_so_far(view.attempts[0].attempt.id);
    let events: Vec<_> = futures::StreamExt::collect::<Vec<_>>(events).await;
    let events: Vec<_> = events.into_iter().map(Result::unwrap).collect();
    assert_eq!(seqs(&events), (1..=events.len() as u64).collect::<Vec<_>>());
    let deltas = events.iter().filter_map(|event| {
        let EventKind::ItemUpdated { delta, .. } = &event.kind else { return None };
        Some(delta.as_str())
    });
    assert_eq!(deltas.collect::<Vec<_>>(), ["0", "1", "2"], "each event once");
    let look = Deep { data, database: None, secrets: Vec::new(), key: None };
    assert_eq!(deep_look(look).await.unwrap().violations, []);
    view
}

/// How many leases the turn had.
fn leases(view: &TaskView) -> u64 {
    view.attempts[0].turns[0].epoch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_create() {
    dies_at("/v1/tasks", Moment::Asked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_create() {
    dies_at("/v1/tasks", Moment::Answered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_lease() {
    dies_at("/v1/leases", Moment::Asked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_lease() {
    let view = dies_at("/v1/leases", Moment::Answered).await;
    assert_eq!(leases(&view), 2, "a lease that nobody heard of lapses, and the turn goes to the next");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_batch_of_events() {
    dies_at("/events", Moment::Asked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_batch_of_events() {
    let view = dies_at("/events", Moment::Answered).await;
    assert_eq!(leases(&view), 1, "a server that comes back takes no turn away");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_finish() {
    dies_at("/finish", Moment::Asked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_finish() {
    let view = dies_at("/finish", Moment::Answered).await;
    assert_eq!(leases(&view), 1);
}

//! Where the URLs of tasks may lead: real git over loopback, by names that only the worker's resolver knows.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use legwork_domain::{Failure, Outcome};
use legwork_egress::{Opened, Resolver};

use crate::checkouts::Daemon;
use crate::world::{Repository, Run, World};

/// Every name of this world is this machine, as an attacker's name would be.
struct Here;

#[async_trait]
impl Resolver for Here {
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        assert!(name.ends_with(".example"), "{name}");
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }
}

/// What the operator opens: this machine.
fn opened() -> Opened {
    Opened { networks: vec!["127.0.0.0/8".parse().unwrap()], hosts: Vec::new() }
}

/// A web server over a directory, for git's oldest way over HTTP. What is below `/moved` is said to be elsewhere.
struct Web {
    port: u16,
    requests: Arc<AtomicUsize>,
}

impl Web {
    fn serve(root: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, requests) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = answer(&stream.unwrap(), &root);
            }
        });
        Self { port, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: &TcpStream, root: &Path) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap()?;
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let path = first.split(' ').nth(1).unwrap().split('?').next().unwrap();
    let close = "Connection: close\r\n";
    if let Some(rest) = path.strip_prefix("/moved/") {
        return write!(stream, "HTTP/1.1 301 Moved\r\nLocation: /{rest}\r\nContent-Length: 0\r\n{close}\r\n");
    }
    match std::fs::read(root.join(path.trim_start_matches('/'))) {
        Ok(body) => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{close}\r\n", body.len())?;
            stream.write_all(&body)
        }
        Err(_) => write!(stream, "HTTP/1.1 404 No\r\nContent-Length: 0\r\n{close}\r\n"),
    }
}

async fn look(world: &World, url: String) -> Run {
    let mut task = world.task(&Repository { path: url.clone().into() }, world.model(&["cat a"]));
    task.prompt = format!("look at {url}");
    world.run(&task).await
}

fn is_refused(run: &Run, why: &str) {
    assert_eq!(run.ended.outcome, Outcome::Failed { reason: Failure::Checkout }, "{}", run.ended.sentence);
    assert!(run.ended.sentence.contains(why), "{}", run.ended.sentence);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_leads_into_the_house_is_not_followed() {
    let world = World::without_worker().await;
    world.repository(&[("a", "1\n")]).git(&["update-server-info"]);
    let root = world.directory.path().to_path_buf();
    let (web, daemon) = (Web::serve(root.clone()), Daemon::serve(&root));
    world.start_worker_reaching(Arc::new(Here), Opened::default());
    for url in [
        format!("http://127.0.0.1:{}/repository/.git", web.port),
        format!("http://outside.example:{}/repository/.git", web.port),
        format!("git://outside.example:{}/repository", daemon.port),
        "git@outside.example:repository".to_owned(),
        format!("http://[::ffff:127.0.0.1]:{}/repository/.git", web.port),
    ] {
        is_refused(&look(&world, url).await, "is not at a public address");
    }
    assert_eq!(web.requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn git_goes_to_the_address_that_was_looked_at() {
    let world = World::without_worker().await;
    world.repository(&[("a", "1\n")]).git(&["update-server-info"]);
    let root = world.directory.path().to_path_buf();
    let (web, daemon) = (Web::serve(root.clone()), Daemon::serve(&root));
    world.start_worker_reaching(Arc::new(Here), opened());
    for url in [
        format!("http://outside.example:{}/repository/.git", web.port),
        format!("git://outside.example:{}/repository", daemon.port),
    ] {
        let run = look(&world, url).await;
        assert_eq!(run.output(), "1\n", "{}", run.ended.sentence);
    }
    let moved = format!("http://outside.example:{}/moved/repository/.git", web.port);
    is_refused(&look(&world, moved).await, "the host leads elsewhere");
}

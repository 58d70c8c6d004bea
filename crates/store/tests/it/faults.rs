//! The database goes away and comes back: calls say so, nothing is lost or doubled, and nobody has to be restarted.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use legwork_domain::{TaskId, TaskQuery, UserId, Visible};
use legwork_store::{Error, Store};
use tokio::sync::watch;

use crate::postgres::{Cluster, sql};
use crate::world::{Place, World, batch, completed, started, updated};

/// Tasks that are accepted before, between and after the crashes.
const PHASE: u32 = 20;
const CRASHES: u32 = 3;
const WRITERS: u32 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_of_postgres_lose_and_double_nothing() {
    let mut cluster = Cluster::new("crashes");
    let world = World::new(Place::Elsewhere(cluster.url())).await;
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
    let mut query = TaskQuery::default();
    loop {
        let page = world.store.tasks(Visible::All, UserId::LOCAL, &query).await.unwrap();
        listed += page.tasks.len();
        query.cursor = page.next;
        if query.cursor.is_none() {
            break;
        }
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
    let world = World::new(Place::Elsewhere(cluster.url())).await;
    world.create("x", Some("key")).await.unwrap();
    cluster.stop_at_once();
    let away = world.create("x", Some("key")).await.unwrap_err();
    assert!(matches!(away, Error::Busy(_)), "{away:?}");
    assert_eq!(away.to_string(), "the database cannot be reached");
    let away = world.store.tasks(Visible::All, UserId::LOCAL, &TaskQuery::default()).await.unwrap_err();
    assert!(matches!(away, Error::Busy(_)), "{away:?}");
    let away = Store::connect(&cluster.url()).await.unwrap_err();
    assert!(matches!(away, Error::Busy(_)), "{away:?}");
    cluster.start();
    assert_eq!(world.list(&TaskQuery::default()).await.len(), 1);
    world.create("y", None).await.unwrap();
}

#[tokio::test]
async fn a_database_that_hangs_is_busy_until_it_goes_on() {
    let cluster = Cluster::new("hangs");
    let world = World::new(Place::Elsewhere(cluster.url())).await;
    world.create("x", Some("key")).await.unwrap();
    cluster.freeze();
    let query = TaskQuery::default();
    let (write, read) =
        tokio::join!(world.create("y", None), world.store.tasks(Visible::All, UserId::LOCAL, &query));
    assert!(matches!((&write, &read), (Err(Error::Busy(_)), Err(Error::Busy(_)))), "{write:?} {read:?}");
    cluster.thaw();
    world.create("z", None).await.unwrap();
    assert_eq!(
        world.store.tasks(Visible::All, UserId::LOCAL, &TaskQuery::default()).await.unwrap().tasks.len(),
        2
    );
}

/// A program that holds a lock until its input ends, once it has said so.
struct Holder(Child);

impl Holder {
    fn start(program: &mut Command) -> Self {
        let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.ends_with("held")), "the lock is not held");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

const LOCK_A_FILE: &str = "
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute('BEGIN IMMEDIATE')
print('held', flush=True)
sys.stdin.read()
";

#[tokio::test]
async fn a_locked_file_is_busy() {
    let world = World::new(Place::sqlite()).await;
    let path = world.place.url().replacen("sqlite:", "", 1);
    let holder = Holder::start(Command::new("python3").args(["-c", LOCK_A_FILE, &path]));
    is_busy_while_held(world, holder).await;
}

#[tokio::test]
async fn a_locked_table_is_busy() {
    let world = World::new(Place::postgres()).await;
    let mut psql = crate::postgres::psql(&world.place.url());
    // psql reads on only when its input says more, and ends the transaction with it.
    let holder =
        Holder::start(psql.args(["-c", "BEGIN", "-c", "LOCK TABLE turns", "-c", "SELECT 'held'", "-f", "-"]));
    is_busy_while_held(world, holder).await;
}

async fn is_busy_while_held(world: World, holder: Holder) {
    let refused = world.create("x", Some("key")).await.unwrap_err();
    assert!(matches!(refused, Error::Busy(_)), "{refused:?}");
    assert_eq!(refused.to_string(), "the database is busy");
    drop(holder);
    world.create("x", Some("key")).await.unwrap();
    assert_eq!(world.list(&TaskQuery::default()).await.len(), 1);
}

const SMALL_DISK: &str = "LEGWORK_TEST_SMALL_DISK";

#[tokio::test]
async fn a_full_disk_is_said_to_be_full_and_breaks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // A disk of the child's own, gone with it.
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-ec"])
        .arg("mount -t tmpfs -o size=3m small \"$0\"; exec \"$@\"")
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .args(["faults::on_a_small_disk", "--exact", "--nocapture"])
        .env(SMALL_DISK, folder.path())
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}");
}

/// Not a test by itself: does nothing unless the parent test started it.
#[tokio::test]
async fn on_a_small_disk() {
    let Ok(folder) = std::env::var(SMALL_DISK) else { return };
    let ballast = Path::new(&folder).join("ballast");
    fs::write(&ballast, vec![0; 1024 * 1024]).unwrap();
    let world = World::new(Place::Elsewhere(format!("sqlite:{folder}/legwork.db"))).await;
    let view = world.create("x", None).await.unwrap();
    let job = world.lease().await.unwrap();
    let (turn, line) = (job.turn.id, "x".repeat(10_000));
    let mut sent = 0;
    let full = loop {
        match world.append(turn, batch(1, sent, vec![updated(1, &line)])).await {
            Ok(_) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, Error::Full(_)), "after {sent}: {full:?}");
    assert!(sent > 20, "{sent}");
    // What is there can be read, and what is not accepted is not there.
    assert_eq!(world.check(job.attempt.id).await.len() as u64, 2 + sent);
    let full = world.create("y", None).await;
    assert!(matches!(full, Err(Error::Full(_))), "{full:?}");
    fs::remove_file(&ballast).unwrap();
    world.append(turn, batch(1, sent, vec![updated(1, &line)])).await.unwrap();
    world.create("z", None).await.unwrap();
    assert_eq!(world.check(view.attempts[0].attempt.id).await.len() as u64, 3 + sent);
    assert_eq!(world.beside().await.list(&TaskQuery::default()).await.len(), 2);
}

#[tokio::test]
async fn a_full_disk_of_postgres_is_said_to_be_full() {
    let world = World::new(Place::postgres()).await;
    let url = world.place.url();
    // Postgres itself tells it as this code, wherever it meets it.
    let full = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
                $$BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END$$; \
                CREATE TRIGGER full_disk BEFORE INSERT ON events EXECUTE FUNCTION full_disk()";
    sql(&url, full);
    let refused = world.create("x", None).await;
    assert!(matches!(refused, Err(Error::Full(_))), "{refused:?}");
    sql(&url, "DROP TRIGGER full_disk ON events");
    world.create("x", None).await.unwrap();
    assert_eq!(world.list(&TaskQuery::default()).await.len(), 1);
}

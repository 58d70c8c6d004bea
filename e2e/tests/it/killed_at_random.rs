use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastrand::Rng;
use legwork_domain::{Event, StreamCheck, Violation};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::repo::with_a_bug;
use crate::script::Script;
use crate::service::free_port;
use crate::world::{Outcome, Running, World};

/// Longer than a server needs to come back on a busy machine, short enough to lapse within the story.
const LEASE: Duration = Duration::from_secs(5);
/// Tasks of one generation.
const TASKS: usize = 3;
/// Misfortunes of one generation.
const ROUNDS: usize = 7;
/// Of these, at most so many take a worker: a third loss of one turn would end it.
const WORKERS_LOST_MAX: usize = 2;
/// Commands of each task. Every one of them has the whole effect, so that any of them may be lost.
const STEPS: usize = 8;

/// A program that dies and is started again.
struct Part {
    start: Box<dyn Fn() -> Child>,
    child: Child,
}

impl Part {
    fn new(start: impl Fn() -> Child + 'static) -> Self {
        Self { child: start(), start: Box::new(start) }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn killed_and_started(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = (self.start)();
    }

    /// Frozen for so long: to all others as good as dead, and then back.
    fn frozen(&self, time: Duration) {
        self.signal(Signal::STOP);
        thread::sleep(time);
        self.signal(Signal::CONT);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One server and two workers on one data directory.
struct Fleet {
    server: Part,
    workers: [Part; 2],
    url: String,
    token: String,
}

impl Fleet {
    fn start(world: &World) -> Self {
        let settings = world.path("home/.config/legwork");
        std::fs::create_dir_all(&settings).unwrap();
        let lease = format!("[server]\nlease = \"{}s\"\n", LEASE.as_secs());
        std::fs::write(settings.join("config.toml"), lease).unwrap();
        let listen = format!("127.0.0.1:{}", free_port());
        let url = format!("http://{listen}");
        let template = Template::of(world);
        let server = {
            let template = template.clone();
            Part::new(move || template.start(&["server", "--listen", &listen], ""))
        };
        while std::fs::read(world.path("home/data/server.json")).map_or(0, |text| text.len()) == 0 {
            thread::sleep(Duration::from_millis(20));
        }
        let token = world.own_token();
        let worker = || {
            let (template, url, token) = (template.clone(), url.clone(), token.clone());
            Part::new(move || template.start(&["worker", "--server", &url, "--slots", "2"], &token))
        };
        Self { workers: [worker(), worker()], server, url, token }
    }

    /// One generation's misfortunes.
    fn suffer(&mut self, rng: &mut Rng) {
        let mut workers_lost = 0;
        for _ in 0..ROUNDS {
            thread::sleep(Duration::from_millis(rng.u64(200..2000)));
            match rng.u8(..4) {
                0 if workers_lost < WORKERS_LOST_MAX => {
                    workers_lost += 1;
                    rng.choice(&mut self.workers).unwrap().killed_and_started();
                }
                1 if workers_lost < WORKERS_LOST_MAX => {
                    workers_lost += 1;
                    rng.choice(&mut self.workers).unwrap().frozen(LEASE + Duration::from_secs(3));
                }
                2 => self.server.frozen(Duration::from_millis(rng.u64(100..1500))),
                _ => self.server.killed_and_started(),
            }
        }
    }
}

/// How a program of the world is started, without the world.
#[derive(Clone)]
struct Template {
    program: std::path::PathBuf,
    home: std::path::PathBuf,
}

impl Template {
    fn of(world: &World) -> Self {
        Self { program: world.legwork().get_program().into(), home: world.path("home") }
    }

    fn start(&self, arguments: &[&str], token: &str) -> Child {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .env("LEGWORK_HOME", self.home.join("data"))
            .env("LEGWORK_WORKER_TOKEN", token)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().unwrap()
    }
}

/// Follows a log as it really comes, by curl, and is cut off again and again; gives what was wrong with the transcript.
fn cut_off(url: String, token: String, attempt: String, mut rng: Rng) -> JoinHandle<(u64, Vec<Violation>)> {
    thread::spawn(move || {
        let (mut check, mut last) = (StreamCheck::default(), 0);
        loop {
            check.connected(last);
            let output = Command::new("curl")
                .args(["-sN", "--max-time", &rng.u32(1..5).to_string()])
                .arg(format!("{url}/v1/attempts/{attempt}/events"))
                .args(["-H", &format!("Authorization: Bearer {token}")])
                .args(["-H", &format!("Last-Event-ID: {last}")])
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            let (whole, _) = text.rsplit_once("\n\n").unwrap_or_default();
            for message in whole.split("\n\n") {
                let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name));
                if field("event: ") == Some("end") {
                    return (last, check.finish());
                }
                if let (Some(id), Some(event)) = (field("id: "), field("data: ")) {
                    let event: Event = serde_json::from_str(event).unwrap();
                    last = id.parse().unwrap();
                    check.received(last, &event);
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
    })
}

/// Commands that came to their own end, by their text.
fn commands(seen: &Outcome) -> BTreeMap<String, usize> {
    let mut commands = BTreeMap::new();
    for item in seen.items("command") {
        if item["phase"] == "agent" && item["status"] == "completed" {
            *commands.entry(item["command"].to_string()).or_default() += 1;
        }
    }
    commands
}

/// A server and two workers are killed and frozen at random, one watcher is cut off again and again: each accepted task ends
/// once with the right patch, and nothing that is kept or was seen breaks a rule.
///
/// `LEGWORK_KILL_SEED` plays the same misfortunes again, `LEGWORK_KILL_GENERATIONS` more of them.
#[test]
fn what_was_accepted_ends_once_whoever_is_killed() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("LEGWORK_KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
    let mut stderr = std::io::stderr();
    writeln!(stderr, "LEGWORK_KILL_SEED={seed}").unwrap();
    let mut rng = Rng::with_seed(seed);
    let world = World::new();
    let mut fleet = Fleet::start(&world);
    for _ in 0..number("LEGWORK_KILL_GENERATIONS").unwrap_or(1) {
        generation(&world, &mut fleet, &mut rng);
    }
    let deep = world.legwork_says(&["doctor", "--deep", "--json"]);
    assert_eq!(deep.exits(0).events[0]["violations"], Value::Array(Vec::new()), "seed {seed}");
}

fn generation(world: &World, fleet: &mut Fleet, rng: &mut Rng) {
    let repo = with_a_bug(world.repo(&format!("project-{}", rng.u32(..))));
    let step = |n| format!("sed -i 's/[$]1 - [$]2/$1 + $2/' add.sh; sleep 0.3; echo step {n}");
    let script = (0..STEPS).fold(Script::new(), |script, n| script.exec(&step(n))).says("Changed the sign.");
    let watched: Vec<_> = (0..TASKS)
        .map(|_| {
            let task = world.hand_over(&repo, &script, &["--check", "sh test.sh", "Make add.sh add"]);
            let stays = world.legwork_starts(&["task", "watch", "--json", &task]);
            let shown = world.legwork_says(&["task", "show", "--json", &task]);
            let attempt =
                shown.exits(0).events[0]["attempts"][0]["attempt"]["id"].as_str().unwrap().to_owned();
            (task, stays, cut_off(fleet.url.clone(), fleet.token.clone(), attempt, rng.fork()))
        })
        .collect();
    fleet.suffer(rng);
    for (task, stays, cut) in watched {
        judge(world, &task, stays, cut);
    }
}

fn judge(world: &World, task: &str, stays: Running, cut: JoinHandle<(u64, Vec<Violation>)>) {
    let seen = stays.end();
    seen.exits(0).is_numbered_without_gap();
    assert_eq!(seen.end()["outcome"]["outcome"], "succeeded");
    assert_eq!(seen.judgements(), ["fixed"]);
    let (last, violations) = cut.join().unwrap();
    assert_eq!(violations, []);
    assert_eq!(last, seen.events.len() as u64, "both saw all of it");
    let repeated: Vec<_> = commands(&seen).into_iter().filter(|(_, times)| *times > 1).collect();
    assert_eq!(repeated, [], "no command that came to its end was made again");
    let patch = world.legwork_says(&["task", "diff", task]);
    let patch = &patch.exits(0).stdout;
    assert!(patch.contains("+echo $(($1 + $2))") && patch.matches("diff --git").count() == 1, "{patch}");
}

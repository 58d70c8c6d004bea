use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastrand::Rng;
use legwork_domain::{Event, StreamCheck, Violation};
use serde_json::Value;

use crate::fleet::Fleet;
use crate::repo::with_a_bug;
use crate::script::Script;
use crate::world::{Outcome, Running, World};

/// Longer than a server or its database needs to come back on a busy machine, short enough to lapse within the story.
const LEASE: Duration = Duration::from_secs(5);
/// Far longer than a generation takes, and shorter than the test may.
const PATIENCE: Duration = Duration::from_secs(200);
/// Tasks of one generation.
const TASKS: usize = 3;
/// Misfortunes of one generation.
const ROUNDS: usize = 7;
/// Of these, at most so many take a worker: a third loss of one turn would end it.
const WORKERS_LOST_MAX: usize = 2;
/// Commands of each task. Every one of them has the whole effect, so that any of them may be lost.
const STEPS: usize = 8;

/// One generation's misfortunes.
fn suffer(fleet: &mut Fleet, rng: &mut Rng) {
    let mut workers_lost = 0;
    for _ in 0..ROUNDS {
        thread::sleep(Duration::from_millis(rng.u64(200..2000)));
        // Outages that add up to a lease would rightly cost a worker its turn, which is not counted here.
        fleet.recovers();
        match (rng.u8(..5), &mut fleet.database) {
            (0, _) if workers_lost < WORKERS_LOST_MAX => {
                workers_lost += 1;
                rng.choice(&mut fleet.workers).unwrap().killed_and_started();
            }
            (1, _) if workers_lost < WORKERS_LOST_MAX => {
                workers_lost += 1;
                rng.choice(&mut fleet.workers).unwrap().frozen(LEASE + Duration::from_secs(3));
            }
            (2, _) => rng.choice(&fleet.servers).unwrap().frozen(Duration::from_millis(rng.u64(100..1500))),
            (3, Some(database)) => {
                database.stop_at_once();
                thread::sleep(Duration::from_millis(rng.u64(100..1500)));
                database.start();
            }
            _ => rng.choice(&mut fleet.servers).unwrap().killed_and_started(),
        }
    }
}

/// Follows a log as it really comes, by curl, and is cut off again and again; gives what was wrong with the transcript.
fn cut_off(
    urls: Vec<String>,
    token: String,
    attempt: String,
    mut rng: Rng,
) -> JoinHandle<(u64, Vec<Violation>)> {
    thread::spawn(move || {
        let (mut check, mut last) = (StreamCheck::default(), 0);
        loop {
            check.connected(last);
            let output = Command::new("curl")
                .args(["-sN", "--max-time", &rng.u32(1..5).to_string()])
                .arg(format!("{}/v1/attempts/{attempt}/events", rng.choice(&urls).unwrap()))
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

/// Servers and workers are killed and frozen at random, one watcher is cut off again and again: each accepted task ends
/// once with the right patch, and nothing that is kept or was seen breaks a rule.
///
/// `LEGWORK_KILL_SEED` plays the same misfortunes again, `LEGWORK_KILL_GENERATIONS` more of them.
fn what_was_accepted_ends_once(world: &World, mut fleet: Fleet) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("LEGWORK_KILL_SEED").unwrap_or_else(|| fastrand::u64(..));
    let mut stderr = std::io::stderr();
    writeln!(stderr, "LEGWORK_KILL_SEED={seed}").unwrap();
    let mut rng = Rng::with_seed(seed);
    let _watchdog = fleet.watchdog(PATIENCE);
    for _ in 0..number("LEGWORK_KILL_GENERATIONS").unwrap_or(1) {
        generation(world, &mut fleet, &mut rng);
    }
    let place = fleet.database_arguments();
    let arguments = ["doctor", "--deep", "--json"].into_iter().chain(place.iter().map(String::as_str));
    let deep = world.legwork_says(&arguments.collect::<Vec<_>>());
    assert_eq!(deep.exits(0).events[0]["violations"], Value::Array(Vec::new()), "seed {seed}");
}

#[test]
fn what_was_accepted_ends_once_whoever_is_killed() {
    let world = World::new();
    what_was_accepted_ends_once(&world, Fleet::on_a_file(&world, LEASE));
}

#[test]
fn what_two_servers_accepted_ends_once_whoever_is_killed_and_their_postgres_too() {
    let world = World::new();
    what_was_accepted_ends_once(&world, Fleet::on_postgres(&world, LEASE));
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
            (task, stays, cut_off(fleet.urls.clone(), fleet.token.clone(), attempt, rng.fork()))
        })
        .collect();
    suffer(fleet, rng);
    // The command line looks for the server of this machine, and would open the data directory itself without one.
    fleet.recovers();
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

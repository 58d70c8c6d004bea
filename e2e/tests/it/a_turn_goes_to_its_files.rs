use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::repo::{Repo, with_a_bug};
use crate::script::Script;
use crate::service::{Service, is_a_command};
use crate::world::{Outcome, Running, World};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(240);

/// A server and its user; machines with workers are worlds of their own.
struct Office {
    world: World,
    server: Service,
    token: String,
    repo: Repo,
}

impl Office {
    fn open() -> Self {
        let world = World::new();
        let settings = world.path("home/.config/legwork");
        std::fs::create_dir_all(&settings).unwrap();
        let rules = "[server]\nlease = \"5s\"\nfiles_wait = \"30s\"\n";
        std::fs::write(settings.join("config.toml"), rules).unwrap();
        let repo = with_a_bug(world.repo("project"));
        repo.file(".gitignore", "cache\n").commit("ignore: the cache");
        let server = world.serve(&["server"]);
        let token = world.legwork_says(&["token", "new", "rack", "--worker"]).exits(0).stdout.clone();
        Self { world, server, token: token.trim().to_owned(), repo }
    }

    /// A worker on a machine.
    fn worker(&self, machine: &World) -> Running {
        let mut command = machine.legwork();
        command.args(["worker", "--server", &self.server.url, "--slots", "4"]);
        command.env("LEGWORK_WORKER_TOKEN", &self.token);
        Running::spawn(command)
    }

    fn machine(&self) -> World {
        let machine = World::new();
        machine.allows_local_repositories(&self.world);
        machine
    }

    fn says(&self, arguments: &[&str]) -> Outcome {
        self.world.legwork_says(arguments)
    }

    /// Waits until `legwork task show` says this of a task.
    fn shows(&self, id: &str, words: &str) {
        let start = Instant::now();
        loop {
            let shown = self.says(&["task", "show", id]).exits(0).stdout.clone();
            if shown.contains(words) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{shown}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// The end of a task, as its log has it.
    fn watched(&self, id: &str) -> Outcome {
        let seen = self.says(&["task", "watch", "--json", id]);
        seen.exits(0).is_numbered_without_gap();
        seen
    }

    fn diff(&self, id: &str) -> String {
        self.says(&["task", "diff", id]).exits(0).stdout.clone()
    }
}

#[test]
fn the_machine_that_has_its_files_takes_it_while_another_is_idle() {
    let office = Office::open();
    let [one, two] = [office.machine(), office.machine()];
    let _first = office.worker(&one);
    let mut script = Script::new().exec("echo warm > cache").says("Warm.");
    for n in 0..4 {
        script = script.exec(&format!("cat cache && echo {n} >> log")).says("Done.");
    }
    let id = office.world.hand_over(&office.repo, &script, &["Warm up"]);
    office.says(&["task", "wait", &id]).exits(0);
    let _second = office.worker(&two);
    let other =
        office.world.hand_over(&office.repo, &Script::new().says("Here."), &["--ask", "Are you there?"]);
    office.says(&["task", "wait", &other]).exits(0);

    for n in 0..4 {
        office.says(&["task", "send", &id, "Once more"]).exits(0);
        office.says(&["task", "wait", &id]).exits(0);
        let seen = office.watched(&id);
        let command = seen.items("command").pop().unwrap();
        assert_eq!((command["exit_code"].as_i64(), command["output"].as_str()), (Some(0), Some("warm\n")));
        assert!(office.diff(&id).contains(&format!("+{n}\n")));
    }
}

#[test]
fn a_lost_machines_turns_go_on_from_their_patches() {
    let office = Office::open();
    let [one, two] = [office.machine(), office.machine()];
    let first = office.worker(&one);
    let begun = || Script::new().exec("echo one >> log; echo warm > cache").says("One.");
    let next = |script: Script| {
        script
            .exec("cat log; test ! -e cache && echo two >> log")
            .expects("The work goes on on another machine")
            .says("Two.")
    };
    let follows = office.world.hand_over(&office.repo, &next(begun()), &["Begin"]);
    let question = json!({ "question": "Which colour?", "options": ["red", "blue"] });
    let asks = Script::new()
        .exec("echo one >> log")
        .calls("ask_user", &question)
        .exec("cat log; echo blue >> log")
        .expects("The user answers: blue")
        .says("Done.");
    let asks = office.world.hand_over(&office.repo, &asks, &["Paint it"]);
    let runs = begun()
        .exec("echo lost >> log; sleep 600")
        .exec("cat log; echo two >> log")
        .expects("Interrupted: the machine was lost")
        .says("Two.");
    let runs = office.world.hand_over(&office.repo, &runs, &["Begin"]);
    office.says(&["task", "wait", &follows]).exits(0);
    office.says(&["task", "wait", &asks]).exits(5);
    office.says(&["task", "wait", &runs]).exits(0);
    office.says(&["task", "send", &runs, "Go on"]).exits(0);
    let mut watch = office.world.legwork_starts(&["task", "watch", "--json", &runs]);
    watch.wait_for(|event| is_a_command(event) && event["item"]["command"].as_str().unwrap().contains("600"));

    first.kill();
    first.end();
    drop(one);
    let _second = office.worker(&two);
    office.says(&["task", "send", &follows, "More"]).exits(0);
    office.says(&["task", "answer", &asks, "blue"]).exits(0);
    let fork = office.says(&["task", "fork", "--json", &follows, "More", "--turn", "1"]);
    let fork = fork.exits(0).events[0]["task"]["id"].as_str().unwrap().to_owned();
    let silent = "the machine that has its files has not been heard of for";
    for id in [&follows, &asks, &fork] {
        office.shows(id, silent);
    }

    for (id, lines) in [
        (&follows, "+one\n+two\n"),
        (&asks, "+one\n+blue\n"),
        (&fork, "+one\n+two\n"),
        (&runs, "+one\n+two\n"),
    ] {
        let seen = office.watched(id);
        let end = seen.ends().pop().unwrap();
        assert_eq!(end["outcome"]["outcome"], "succeeded", "{end}");
        let command = seen.items("command").pop().unwrap();
        assert_eq!(command["exit_code"], 0, "{command}");
        assert_eq!(command["output"], "one\n", "its files are those of the patch");
        let notices = seen.items("notice");
        let told =
            |item: &&&serde_json::Value| item.to_string().contains("goes on from its last patch (1 file,");
        assert_eq!(notices.iter().filter(told).count(), 1, "{notices:?}");
        let patch = office.diff(id);
        assert!(patch.contains(lines) && !patch.contains("cache"), "{patch}");
        std::fs::write(office.world.path("change.patch"), patch).unwrap();
        let fresh = office.repo.clone_to(office.world.path(&format!("fresh-{id}")));
        fresh.apply(&office.world.path("change.patch"));
        assert_eq!(fresh.read("log"), lines.replace('+', ""));
    }
}

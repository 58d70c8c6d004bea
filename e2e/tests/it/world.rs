use std::ffi::{OsStr, OsString};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::repo::Repo;
use crate::script::Script;

/// Debian's `nobody` and `nogroup`, which every Linux has in some form.
const NOBODY: u32 = 65_534;

/// A machine's corner in which one story happens: a home, a data directory, repositories.
pub(crate) struct World {
    root: TempDir,
    program: PathBuf,
    user: User,
}

/// Who runs the program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    /// Whoever runs the tests.
    Same,
    /// `nobody`.
    Ordinary,
}

impl World {
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new().prefix("legwork-e2e-").tempdir().unwrap();
        std::fs::create_dir(root.path().join("home")).unwrap();
        Self { root, program: program(), user: User::Same }
    }

    /// A world whose program is run by an ordinary user, also where the tests are run by root. The program is copied, since
    /// the build directory may be out of that user's reach.
    pub(crate) fn of_an_ordinary_user() -> Self {
        let world = Self::new();
        if !rustix::process::geteuid().is_root() {
            return world;
        }
        let copy = world.path("legwork-copy");
        std::fs::copy(&world.program, &copy).unwrap();
        std::fs::set_permissions(world.root.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let world = Self { program: copy, user: User::Ordinary, ..world };
        world.give(&world.path("home"));
        world
    }

    /// A path in the world; nothing is made there.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// An empty repository of that name.
    pub(crate) fn repo(&self, name: &str) -> Repo {
        Repo::init(self.path(name))
    }

    /// The arguments that name a scripted model.
    pub(crate) fn model(&self, script: &Script) -> [OsString; 2] {
        // Each script has its file: tasks of several may be under way.
        let mut hasher = DefaultHasher::new();
        script.to_toml().hash(&mut hasher);
        self.model_in(&format!("script-{:x}.toml", hasher.finish()), script)
    }

    /// The same from the file of that name, which can be written anew between turns.
    pub(crate) fn model_in(&self, name: &str, script: &Script) -> [OsString; 2] {
        let file = self.path(name);
        // At once: a task of the same script may be under way.
        let draft = self.path("script.draft");
        std::fs::write(&draft, script.to_toml()).unwrap();
        std::fs::rename(&draft, &file).unwrap();
        ["--model".into(), format!("scripted/{}", file.display()).into()]
    }

    /// `legwork run --json` on `repo` with the scripted model, to its end.
    pub(crate) fn run(&self, repo: &Repo, script: &Script, arguments: &[&str]) -> Outcome {
        self.start(repo, script, arguments).end()
    }

    /// The same, under way.
    pub(crate) fn start(&self, repo: &Repo, script: &Script, arguments: &[&str]) -> Running {
        let mut command = self.legwork();
        command.args(["run", "--json", "--repo"]).arg(repo.path()).args(self.model(script)).args(arguments);
        self.give(repo.path());
        Running::spawn(command)
    }

    /// Any other `legwork` command, to its end. What it prints is not events.
    pub(crate) fn legwork_says(&self, arguments: &[&str]) -> Outcome {
        self.legwork_starts(arguments).end()
    }

    /// The same, under way.
    pub(crate) fn legwork_starts(&self, arguments: &[&str]) -> Running {
        let mut command = self.legwork();
        command.args(arguments);
        Running::spawn(command)
    }

    /// `legwork task new --json` on `repo` with the scripted model; gives the task's id.
    pub(crate) fn hand_over(&self, repo: &Repo, script: &Script, arguments: &[&str]) -> String {
        self.hand_over_to(self.model(script), repo, arguments)
    }

    /// The same with the arguments that name the model.
    pub(crate) fn hand_over_to(&self, model: [OsString; 2], repo: &Repo, arguments: &[&str]) -> String {
        let mut command = self.legwork();
        command.args(["task", "new", "--json", "--repo"]).arg(repo.path()).args(model).args(arguments);
        let outcome = Running::spawn(command).end();
        outcome.exits(0).events[0]["task"]["id"].as_str().unwrap().to_owned()
    }

    /// A command of the story's own, in this world's environment, to its end.
    pub(crate) fn end(&self, command: Command) -> Outcome {
        self.end_with(command, &[])
    }

    /// The same with these variables.
    pub(crate) fn end_with(&self, mut command: Command, variables: &[(&str, &OsStr)]) -> Outcome {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("LEGWORK_HOME", self.path("home/data"))
            .envs(variables.iter().copied());
        Running::spawn(command).end()
    }

    /// The program with an environment that holds nothing of the tester's but the `PATH`.
    pub(crate) fn legwork(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("LEGWORK_HOME", self.path("home/data"))
            .current_dir(self.path("home"));
        if self.user == User::Ordinary {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Gives a directory and all below to the one who runs the program.
    pub(crate) fn give(&self, path: &Path) {
        if self.user == User::Ordinary {
            let owner = format!("{NOBODY}:{NOBODY}");
            let status = Command::new("chown").args(["-hR", &owner]).arg(path).status().unwrap();
            assert!(status.success(), "chown {}", path.display());
        }
    }
}

/// The `legwork` that cargo built beside this test.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("legwork");
    assert!(
        program.exists(),
        "{} is not there. Build it first: cargo build -p legwork-cli (or run the whole suite: cargo nextest run --workspace)",
        program.display()
    );
    program
}

/// A program under way.
pub(crate) struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    stdout: String,
    stderr: JoinHandle<String>,
}

impl Running {
    pub(crate) fn spawn(command: Command) -> Self {
        Self::spawn_reading(command, Stdio::null())
    }

    /// The same with something on standard input.
    pub(crate) fn spawn_reading(mut command: Command, stdin: impl Into<Stdio>) -> Self {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut errors = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            errors.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        Self { child, lines, stdout: String::new(), stderr }
    }

    /// Reads events until one is as wanted, and gives it. The test runner's time-out bounds the wait.
    pub(crate) fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut line = String::new();
            let read = self.lines.read_line(&mut line).unwrap();
            self.stdout.push_str(&line);
            assert!(read > 0, "the program ended before that event\n{}", self.stdout);
            match serde_json::from_str(&line) {
                Ok(event) if wanted(&event) => return event,
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Reads, by byte, what is drawn on a terminal until it ends with this text; what is drawn later is not read.
    pub(crate) fn wait_for_text(&mut self, wanted: &str) {
        let mut drawn = Vec::new();
        while !drawn.ends_with(wanted.as_bytes()) {
            let mut byte = [0];
            let read = self.lines.read(&mut byte).unwrap();
            assert!(read > 0, "the program ended before {wanted:?}\n{}", String::from_utf8_lossy(&drawn));
            drawn.extend_from_slice(&byte);
        }
        self.stdout.push_str(&String::from_utf8_lossy(&drawn));
    }

    /// Ctrl-C.
    pub(crate) fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// What supervisors send.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// The sudden death.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Outcome {
        let mut rest = Vec::new();
        self.lines.read_to_end(&mut rest).unwrap();
        self.stdout.push_str(&String::from_utf8_lossy(&rest));
        let code = self.child.wait().unwrap().code();
        let stderr = self.stderr.join().unwrap();
        let events = self.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Outcome { code, stdout: self.stdout, stderr, events }
    }
}

/// What a program left.
pub(crate) struct Outcome {
    /// `None` after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The lines of standard output that are JSON.
    pub(crate) events: Vec<Value>,
}

/// Lines of a long output that are shown when a story fails: why it ended as it did stands at its end.
const SHOWN_LINES: usize = 40;

impl Outcome {
    /// Fails the story, with the errors and the end of what was said, unless the exit code is `code`.
    #[track_caller]
    pub(crate) fn exits(&self, code: i32) -> &Self {
        let lines: Vec<_> = self.stdout.lines().collect();
        let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
        assert_eq!(self.code, Some(code), "\n-- stderr\n{}\n-- the end of stdout\n{last}", self.stderr);
        self
    }

    /// Events of one kind.
    pub(crate) fn kind(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["kind"] == kind).collect()
    }

    /// Completed items of one type.
    pub(crate) fn items(&self, of: &str) -> Vec<&Value> {
        let completed = self.kind("item_completed").into_iter().map(|event| &event["item"]);
        completed.filter(|item| item["type"] == of).collect()
    }

    /// How often the agent's commands with this text came to their own end.
    pub(crate) fn commands(&self, text: &str) -> usize {
        let commands = self.items("command").into_iter().filter(|item| {
            let is_it = item["command"].as_str().is_some_and(|command| command.contains(text));
            is_it && item["phase"] == "agent" && item["status"] == "completed"
        });
        commands.count()
    }

    /// How the turns ended, one an attempt, in the order of the events.
    pub(crate) fn ends(&self) -> Vec<&Value> {
        let states = self.kind("state").into_iter().map(|event| &event["state"]);
        states.filter(|state| state["name"] == "finished").collect()
    }

    /// How the only turn ended.
    #[track_caller]
    pub(crate) fn end(&self) -> &Value {
        let ends = self.ends();
        assert_eq!(ends.len(), 1, "{}\n{}", self.stdout, self.stderr);
        ends[0]
    }

    /// The judgements of the only turn's checks.
    #[track_caller]
    pub(crate) fn judgements(&self) -> Vec<&str> {
        let verdicts = self.end()["verdicts"].as_array().unwrap();
        verdicts.iter().map(|verdict| verdict["judgement"].as_str().unwrap()).collect()
    }

    /// Fails unless each attempt's events are numbered 1, 2, 3, … as they came.
    #[track_caller]
    pub(crate) fn is_numbered_without_gap(&self) {
        let mut last = std::collections::BTreeMap::new();
        for event in &self.events {
            let attempt = event["attempt"].as_str().unwrap();
            let seq = event["seq"].as_u64().unwrap();
            let before = last.insert(attempt, seq).unwrap_or(0);
            assert_eq!(seq, before + 1, "in the log of {attempt}");
        }
        assert!(!last.is_empty(), "no event at all\n{}", self.stderr);
    }
}

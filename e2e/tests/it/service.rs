//! Processes that stay: a server, a worker, or both, and the ways to speak with them that a user has.

use std::fs::File;
use std::io::Write as _;
use std::process::Command;

use serde_json::Value;

use crate::repo::Repo;
use crate::script::Script;
use crate::world::{Outcome, Running, World};

/// A server of a world. It is killed with the story, whatever its end.
pub(crate) struct Service {
    running: Option<Running>,
    /// Where it listens.
    pub(crate) url: String,
}

impl World {
    /// The task that the example of the documents makes.
    pub(crate) fn created(&self, url: &str, script: &Script, repo: &Repo) -> Value {
        let example = examples().into_iter().find(|example| example.contains("Idempotency-Key")).unwrap();
        let mut shell = Command::new("sh");
        shell.arg("-euc").arg(example).current_dir(self.path("home"));
        let (token, [_, model]) = (self.own_token(), self.model(script));
        let variables = [
            ("LEGWORK_SERVER", url.as_ref()),
            ("LEGWORK_TOKEN", token.as_ref()),
            ("LEGWORK_MODEL", model.as_ref()),
            ("REPOSITORY", repo.path().as_ref()),
        ];
        self.end_with(shell, &variables).exits(0);
        serde_json::from_slice(&std::fs::read(self.path("home/task.json")).unwrap()).unwrap()
    }

    /// curl that follows an attempt's log.
    pub(crate) fn sse(&self, url: &str, attempt: &str, after: u64) -> Running {
        let mut curl = Command::new("curl");
        curl.args(["-sSN", &format!("{url}/v1/attempts/{attempt}/events")])
            .args(["-H", &format!("Authorization: Bearer {}", self.own_token())])
            .args(["-H", &format!("Last-Event-ID: {after}")]);
        Running::spawn(curl)
    }

    /// `legwork up` or `legwork server` on the world's data directory, at a port of its own.
    pub(crate) fn serve(&self, arguments: &[&str]) -> Service {
        let mut command = self.legwork();
        command.args(arguments).args(["--listen", "127.0.0.1:0", "--json"]);
        Service::start(command)
    }

    /// Lets workers of this world take the repositories of another by their path, and play its scripts.
    pub(crate) fn allows_local_repositories(&self, of: &Self) {
        let settings = self.path("home/.config/legwork");
        std::fs::create_dir_all(&settings).unwrap();
        let mut file = File::options().append(true).create(true).open(settings.join("config.toml")).unwrap();
        let below = of.path("");
        writeln!(file, "[worker]\nlocal_repositories = [{below:?}]\nscripts = [{below:?}]").unwrap();
    }

    /// The token that the server of the data directory takes from its own user.
    pub(crate) fn own_token(&self) -> String {
        let text = std::fs::read(self.path("home/data/server.json")).unwrap();
        let address: Value = serde_json::from_slice(&text).unwrap();
        address["token"].as_str().unwrap().to_owned()
    }
}

impl Service {
    /// Starts `command`, which prints its address as JSON.
    pub(crate) fn start(command: Command) -> Self {
        let mut running = Running::spawn(command);
        let address = running.wait_for(|line| line["url"].is_string());
        Self { running: Some(running), url: address["url"].as_str().unwrap().to_owned() }
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.running.as_ref().unwrap().terminate();
    }

    /// The sudden death.
    pub(crate) fn kill(mut self) {
        let running = self.running.take().unwrap();
        running.kill();
        running.end();
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Outcome {
        self.running.take().unwrap().end()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }
}

/// The examples of `docs/api.md`, in order.
pub(crate) fn examples() -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
    let text = std::fs::read_to_string(page).unwrap();
    let blocks = text.split("```sh\n").skip(1);
    blocks.map(|block| block.split_once("```").unwrap().0.to_owned()).collect()
}

/// A port that nobody listens at, for a server that is to come back at the same address.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Whether an event of the log begins a command.
pub(crate) fn is_a_command(event: &Value) -> bool {
    event["kind"] == "item_started" && event["item"]["type"] == "command"
}

/// The ids of whole messages of a log that curl followed.
pub(crate) fn seqs(curl: &Outcome) -> Vec<u64> {
    let whole = curl.stdout.rsplit_once("\n\n").map_or("", |(whole, _)| whole);
    whole.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
}

//! A server and a worker in this process, and tasks whose times the log tells.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use legwork_client::Client;
use legwork_domain::{
    Environment, Event, EventKind, ItemBody, LocalChanges, NewTask, Outcome as Ended, Phase, Source, State,
    Timestamp, WorkerId,
};
use legwork_model::{Catalog, Settings};
use legwork_sandbox::Toolchains;
use legwork_sandbox::local::{self, Options};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Outcome, source};

const TOKEN: &str = "token";

/// Says that there is something to do, once, and is done.
const SCRIPT: &str = "[[turn]]\ncalls = [{ tool = \"exec_command\", arguments = { cmd = \"true\" } }]\n[[turn]]\ntext = \"Done.\"\n";

/// Where the time to the first command went.
pub(crate) struct Times {
    /// To the event `base`.
    pub(crate) checkout: Duration,
    /// From there to the snapshot that the agent's sandbox stands on: set-up, and that sandbox.
    pub(crate) setup: Duration,
    /// From there to the first command: the decoy, services, the model's answer.
    pub(crate) rest: Duration,
}

impl Times {
    pub(crate) fn whole(&self) -> Duration {
        self.checkout + self.setup + self.rest
    }
}

pub(crate) struct House {
    client: Client,
    script: PathBuf,
    /// Ends both.
    _stop: DropGuard,
}

impl House {
    pub(crate) async fn open(place: &Path) -> Outcome<Self> {
        let stop = CancellationToken::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let client = Client::new(&format!("http://{}", listener.local_addr()?), TOKEN)?;
        let config = legwork_server::Config::new(place.join("server"), TOKEN.into());
        tokio::spawn(legwork_server::serve(listener, config, stop.clone()));
        let script = place.join("script.toml");
        std::fs::write(&script, SCRIPT)?;
        tokio::spawn(legwork_worker::run(worker(client.clone(), place)?, stop.clone()));
        Ok(Self { client, script, _stop: stop.drop_guard() })
    }

    /// Runs a task to its end and tells its times.
    pub(crate) async fn run(&self, repository: &Path, prompt: &str) -> Outcome<Times> {
        let source = Source {
            repository: repository.display().to_string(),
            base: None,
            local_changes: LocalChanges::Leave,
        };
        let task = NewTask {
            environment: Environment {
                setup: Some(source::SETUP.to_owned()),
                // As a package manager that finds all there.
                maintenance: Some("test -d node_modules".to_owned()),
                ..Environment::default()
            },
            ..NewTask::new(prompt.to_owned(), source, format!("scripted/{}", self.script.display()))
        };
        let view = self.client.create_task(&task, prompt).await?;
        let events = self.client.events(view.attempts[0].attempt.id, 0);
        let events: Vec<Event> = events.collect::<Vec<_>>().await.into_iter().collect::<Result<_, _>>()?;
        times(&events)
    }
}

fn worker(client: Client, place: &Path) -> Outcome<legwork_worker::Config> {
    let backend = local::open(Options { state: place.join("sandboxes"), guest: "/proc/self/exe".into() })?;
    let owner = backend.owner();
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(legwork_worker::Config {
        client,
        backend: Arc::new(backend),
        catalog: Arc::new(Catalog::new(Settings::default())?),
        data: place.join("worker"),
        slots: 1,
        keep: legwork_worker::Keep::default(),
        local: legwork_worker::LocalRepositories::Any,
        mounts: Vec::new(),
        images: legwork_image::Store::open(legwork_image::Settings::new(place.join("images"), owner))?,
        toolchains: Toolchains { binds: Vec::new(), env: Vec::new() },
        network: legwork_worker::Network::default(),
        id: WorkerId::from_u128(1),
        task: None,
        labels: Vec::new(),
        remotes: legwork_worker::Remotes {
            env: vec![("PATH".into(), path)],
            reach: legwork_worker::Reach::Any,
        },
    })
}

fn times(events: &[Event]) -> Outcome<Times> {
    let at = |what: &str, is_it: &dyn Fn(&EventKind) -> bool| -> Outcome<Timestamp> {
        let found = events.iter().find(|event| is_it(&event.kind));
        Ok(found.ok_or_else(|| format!("the log has no {what}: {:?}", events.last()))?.at)
    };
    let ended = |kind: &EventKind| matches!(kind, EventKind::State { state: State::Finished(ended), .. } if ended.outcome == Ended::NoChange);
    at("good end", &ended)?;
    let leased = at("lease", &|kind| matches!(kind, EventKind::State { state: State::Leased { .. }, .. }))?;
    let base = at("base", &|kind| matches!(kind, EventKind::Base { .. }))?;
    let ground = at("snapshot", &|kind| matches!(kind, EventKind::Snapshot { live: Some(_), .. }))?;
    let command = at(
        "command",
        &|kind| matches!(kind, EventKind::ItemStarted { item } if matches!(&item.body, ItemBody::Command(run) if run.phase == Phase::Agent)),
    )?;
    let between = |from: Timestamp, to: Timestamp| {
        Duration::from_micros(u64::try_from(to.micros() - from.micros()).unwrap_or_default())
    };
    Ok(Times {
        checkout: between(leased, base),
        setup: between(base, ground),
        rest: between(ground, command),
    })
}

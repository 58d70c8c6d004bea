//! A small honest world for the loop: a folder as the checkout, real processes in it, and a model that plays a script.
//!
//! **Test-only: nothing here is isolated.** The real backends have their own suites; what counts here is that commands
//! run, that files are bytes on a disk, and that a process group dies when its handle is dropped.

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use legwork_agent::{Files, Job, Past, Report, Telling, Timeline, run_turn};
use legwork_domain::{
    Context, EventKind, Item, Kind, Limits, Message, MessageBody, MessageId, Timestamp, TurnId, UserId,
};
use legwork_model::{
    CallInput, Delta, Entry, Error as ModelError, Finished, Info, Model, Request, Stop, Usage,
};
use legwork_sandbox::{
    Command, Control, Error, Exit, File, Layer, Output, Process, Sandbox, Stdin, WORKSPACE,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// A checkout in a temporary folder.
pub struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    pub fn new(files: &[(&str, &str)]) -> Arc<Self> {
        let folder = Self { dir: tempfile::tempdir().unwrap() };
        for (path, contents) in files {
            let path = folder.dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, contents).unwrap();
        }
        Arc::new(folder)
    }

    pub fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(path)).unwrap_or_else(|error| error.kind().to_string())
    }

    fn host(&self, inside: &Path) -> Result<PathBuf, Error> {
        let why = || Error::Path { path: inside.display().to_string(), why: "not in the world".into() };
        inside.strip_prefix(WORKSPACE).map(|path| self.dir.path().join(path)).map_err(|_| why())
    }
}

fn path_error(path: &Path, error: &std::io::Error) -> Error {
    Error::Path { path: path.display().to_string(), why: error.to_string() }
}

#[async_trait]
impl Sandbox for Folder {
    async fn exec(&self, command: Command) -> Result<Process, Error> {
        let start = |why: String| Error::Start { program: command.argv[0].clone(), why };
        let mut child = tokio::process::Command::new(&command.argv[0])
            .args(&command.argv[1..])
            .current_dir(self.host(Path::new(&command.workdir)).map_err(|error| start(error.to_string()))?)
            .envs(command.env.iter().cloned())
            .stdin(if command.stdin == Stdin::Open { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| start(error.to_string()))?;
        let (output, outputs) = mpsc::channel(16);
        let (control, mut controls) = mpsc::channel(16);
        let group = child.id().unwrap();
        let mut stdin = child.stdin.take();
        let readers = [
            tokio::spawn(copy(child.stdout.take().unwrap(), output.clone(), Output::Stdout)),
            tokio::spawn(copy(child.stderr.take().unwrap(), output.clone(), Output::Stderr)),
        ];
        tokio::spawn(async move {
            let status = loop {
                tokio::select! {
                    status = child.wait() => break status.unwrap(),
                    control = controls.recv() => match control {
                        Some(Control::Stdin(bytes)) => drop(stdin.as_mut().unwrap().write_all(&bytes).await),
                        Some(Control::CloseStdin) => drop(stdin.take()),
                        Some(Control::Resize(_)) => {}
                        Some(Control::Signal(signal)) => kill(group, signal),
                        None => { kill(group, 9); return }
                    },
                }
            };
            for reader in readers {
                let _ = tokio::time::timeout(Duration::from_millis(50), reader).await;
            }
            let exit = match std::os::unix::process::ExitStatusExt::signal(&status) {
                Some(signal) => Exit::Signal(signal),
                None => Exit::Code(status.code().unwrap()),
            };
            let _ = output.send(Output::Exited(exit)).await;
        });
        Ok(Process::new(outputs, control))
    }

    fn outlet(&self) -> Option<legwork_sandbox::Outlet> {
        None
    }

    async fn read(&self, path: &Path, bytes_max: u64) -> Result<File, Error> {
        let host = self.host(path)?;
        let found = std::fs::symlink_metadata(&host).map_err(|error| path_error(path, &error))?;
        if !found.is_file() || found.len() > bytes_max {
            return Err(Error::Path {
                path: path.display().to_string(),
                why: "not a file of that size".into(),
            });
        }
        let contents = Bytes::from(std::fs::read(&host).map_err(|error| path_error(path, &error))?);
        Ok(File { contents, mode: found.permissions().mode() & 0o7777 })
    }

    async fn write(&self, path: &Path, contents: &[u8], mode: Option<u32>) -> Result<(), Error> {
        let host = self.host(path)?;
        std::fs::create_dir_all(host.parent().unwrap()).map_err(|error| path_error(path, &error))?;
        std::fs::write(&host, contents).map_err(|error| path_error(path, &error))?;
        mode.map_or(Ok(()), |mode| std::fs::set_permissions(&host, std::fs::Permissions::from_mode(mode)))
            .map_err(|error| path_error(path, &error))
    }

    async fn remove(&self, path: &Path) -> Result<(), Error> {
        std::fs::remove_file(self.host(path)?).map_err(|error| path_error(path, &error))
    }

    async fn snapshot(&self) -> Result<Layer, Error> {
        Err(Error::Gone)
    }

    async fn destroy(&self) -> Result<(), Error> {
        Ok(())
    }
}

async fn copy(
    mut from: impl tokio::io::AsyncRead + Unpin,
    to: mpsc::Sender<Output>,
    kind: fn(Bytes) -> Output,
) {
    let mut buffer = vec![0; 8192];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if to.send(kind(Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
            return;
        }
    }
}

fn kill(group: u32, signal: i32) {
    let _ = std::process::Command::new("kill")
        .args([&format!("-{signal}"), "--", &format!("-{group}")])
        .stderr(Stdio::null())
        .status();
}

/// What the model does in an answer.
pub enum Act {
    /// Yields.
    Give(Delta),
    /// Waits until the test says so.
    Await(Arc<Notify>),
    /// Ends with an error.
    Fail(ModelError),
    /// Says no more and never ends.
    Stall,
}

/// A model that plays a script, one list of acts a request, and keeps the requests.
pub struct Player {
    pub info: Info,
    answers: Mutex<VecDeque<Vec<Act>>>,
    pub requests: Mutex<Vec<Request>>,
}

#[async_trait]
impl Model for Player {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn stream(&self, request: Request) -> Result<legwork_model::Stream, ModelError> {
        self.requests.lock().unwrap().push(request);
        let acts = self.answers.lock().unwrap().pop_front().expect("the script is over");
        let acts = futures::stream::iter(acts).then(|act| async move {
            match act {
                Act::Give(delta) => Ok(delta),
                Act::Await(notify) => {
                    notify.notified().await;
                    Ok(Delta::Text(String::new()))
                }
                Act::Fail(error) => Err(error),
                Act::Stall => std::future::pending().await,
            }
        });
        Ok(acts.boxed())
    }
}

/// A finished message.
pub fn say(text: &str) -> Act {
    Act::Give(Delta::Entry(Entry::Assistant { text: text.into() }))
}

/// A call with JSON arguments.
pub fn call(id: &str, name: &str, arguments: Value) -> Act {
    let input = CallInput::Json(arguments.to_string());
    Act::Give(Delta::Entry(Entry::Call { id: id.into(), name: name.into(), input }))
}

/// A command.
pub fn run(id: &str, cmd: &str) -> Act {
    call(id, "exec_command", serde_json::json!({ "cmd": cmd }))
}

/// A patch of the file `path`.
pub fn patch(id: &str, path: &str, body: &str) -> Act {
    let input = format!("*** Begin Patch\n*** Update File: {path}\n{body}\n*** End Patch");
    call(id, "apply_patch", serde_json::json!({ "input": input }))
}

/// The end of an answer of `tokens` tokens in all.
pub fn done(tokens: u64) -> Act {
    end(Stop::EndTurn, tokens)
}

pub fn end(stop: Stop, tokens: u64) -> Act {
    let usage = Usage { input_tokens: tokens.saturating_sub(10), output_tokens: 10, ..Usage::default() };
    Act::Give(Delta::Done(Finished { stop, usage }))
}

pub fn retrying() -> Act {
    Act::Give(Delta::Retrying { why: "the stream broke off".into(), after_ms: 1 })
}

/// A turn to be run.
pub struct Scene {
    pub folder: Arc<Folder>,
    pub player: Arc<Player>,
    pub job: Job,
    steer: mpsc::Sender<Message>,
    events: mpsc::Receiver<Telling>,
}

/// What a turn left.
pub struct Played {
    pub report: Report,
    pub events: Vec<EventKind>,
}

impl Scene {
    pub fn new(files: &[(&str, &str)], answers: Vec<Vec<Act>>) -> Self {
        Self::with_info(files, answers, Info::unknown("test/player"))
    }

    pub fn with_info(files: &[(&str, &str)], answers: Vec<Vec<Act>>, info: Info) -> Self {
        let folder = Folder::new(files);
        let player =
            Arc::new(Player { info, answers: Mutex::new(answers.into()), requests: Mutex::default() });
        let (sender, events) = mpsc::channel(10_000);
        let (steer, steered) = mpsc::channel(8);
        let job = Job {
            model: player.clone(),
            sandbox: folder.clone(),
            timeline: Timeline::new(TurnId::from_u128(1), 1, sender),
            kind: Kind::Code,
            past: Past { history: Vec::new(), files: Files::Kept, spent: legwork_domain::Usage::default() },
            input: "do it".into(),
            images: Vec::new(),
            brief: legwork_agent::Brief::default(),
            approve: Vec::new(),
            limits: Limits::default(),
            started: std::time::Instant::now(),
            cache_key: "key".into(),
            purse: None,
            messages: steered,
            cancel: CancellationToken::new(),
        };
        Self { folder, player, job, steer, events }
    }

    pub fn steer(&self, text: &str) {
        self.steer.try_send(steer(text)).unwrap();
    }

    /// Anything that a person may say.
    pub fn say(&self, body: MessageBody) {
        let id = MessageId::from_u128(7_000 + self.steer.capacity() as u128);
        self.steer.try_send(Message { id, body, ..steer("") }).unwrap();
    }

    /// A way to steer while the turn runs.
    pub fn steering(&self) -> mpsc::Sender<Message> {
        self.steer.clone()
    }

    /// The same as another turn.
    pub fn of_turn(mut self, turn: u128) -> Self {
        let (sender, events) = mpsc::channel(10_000);
        self.job.timeline = Timeline::new(TurnId::from_u128(turn), 1, sender);
        Self { events, ..self }
    }

    /// Starts it and gives what it tells to the caller.
    pub fn under_way(self) -> (tokio::task::JoinHandle<Report>, mpsc::Receiver<Telling>) {
        (tokio::spawn(run_turn(self.job)), self.events)
    }

    pub async fn play(self) -> Played {
        let Self { mut events, job, folder, .. } = self;
        let log = tokio::spawn(async move {
            let mut told = Vec::new();
            while let Some(telling) = events.recv().await {
                match telling {
                    Telling::Event(event) => told.push(event.kind),
                    Telling::Keep(kept) => drop(kept.send(())),
                }
            }
            told
        });
        let report = run_turn(job).await;
        drop(folder);
        Played { report, events: log.await.unwrap() }
    }
}

/// What the agent said at the end, or why there is no such thing.
pub fn answer(stop: &legwork_agent::Stop) -> String {
    match stop {
        legwork_agent::Stop::EndTurn { answer } => answer.clone(),
        other => format!("{other:?}"),
    }
}

impl Played {
    /// The model's context as the log has it.
    pub fn history(&self) -> Vec<Value> {
        let mut history = Vec::new();
        for event in &self.events {
            if let EventKind::Context { context, .. } = event {
                Context::clone(context).apply(&mut history);
            }
        }
        history
    }

    /// Items in their final form.
    pub fn items(&self) -> Vec<Item> {
        let completed = self.events.iter().filter_map(|event| match event {
            EventKind::ItemCompleted { item } => Some(item.clone()),
            _ => None,
        });
        completed.collect()
    }

    /// Every item that started was completed exactly once.
    pub fn assert_items_whole(&self) {
        let mut started: Vec<_> = self
            .events
            .iter()
            .filter_map(|event| match event {
                EventKind::ItemStarted { item } => Some(item.id),
                _ => None,
            })
            .collect();
        let mut completed: Vec<_> = self.items().iter().map(|item| item.id).collect();
        started.sort();
        completed.sort();
        assert_eq!(started, completed);
    }

    /// Every call in the context has exactly one result.
    pub fn assert_calls_answered(&self) {
        let ids = |kind: &str| -> Vec<String> {
            let history = self.history();
            let of_kind = history.iter().filter(|entry| entry["entry"] == kind);
            of_kind.map(|entry| entry["id"].as_str().unwrap().to_owned()).collect()
        };
        let (mut calls, mut outputs) = (ids("call"), ids("output"));
        calls.sort();
        outputs.sort();
        assert_eq!(calls, outputs);
    }

    /// The context as one line an entry.
    pub fn told(&self) -> String {
        self.history().iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn line(entry: &Value) -> String {
    let parts = |entry: &Value| -> String {
        let parts = entry["parts"].as_array().unwrap().iter();
        parts
            .map(|part| part["text"].as_str().unwrap_or("(image)").to_owned())
            .collect::<Vec<_>>()
            .join(" + ")
    };
    let origin = entry["origin"].as_str().unwrap();
    let said = match entry["entry"].as_str().unwrap_or("(mark)") {
        "user" => parts(entry),
        "output" => format!("{} = {}", entry["id"].as_str().unwrap(), stable(&parts(entry))),
        "assistant" => entry["text"].as_str().unwrap().to_owned(),
        "call" => format!(
            "{} {} {}",
            entry["id"].as_str().unwrap(),
            entry["name"].as_str().unwrap(),
            entry["input"]
        ),
        other => other.to_owned(),
    };
    format!("[{origin}] {}", said.replace('\n', " | "))
}

/// An output without what differs on every run.
pub fn stable(text: &str) -> String {
    let kept =
        text.lines().filter(|line| !line.starts_with("Chunk ID: ") && !line.starts_with("Wall time: "));
    kept.collect::<Vec<_>>().join("\n")
}

/// What a person says to the running turn.
pub fn steer(text: &str) -> Message {
    Message {
        id: MessageId::from_u128(text.bytes().fold(0, |sum, byte| sum * 31 + u128::from(byte))),
        turn: TurnId::from_u128(1),
        by: UserId::LOCAL,
        at: Timestamp::from_micros(1),
        body: MessageBody::Steer { text: text.into() },
    }
}

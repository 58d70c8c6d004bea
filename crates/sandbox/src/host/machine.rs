//! One live sandbox.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::launch::{Guest, Host, Started, Wanted};
use super::link::Link;
use super::outlet;
use super::process::{Input, Pump};
use super::ready::{Ready, ready};
use super::remains::Remains;
use super::state::Live;
use super::warden::Warden;
use super::{Step, blocking};
use crate::guest::{HOME, USER};
use crate::protocol::{CHUNK_BYTES, Request, Setup, Start, Writing};
use crate::{
    Access, Command, Doors, Error, File, IMAGE_TREES_MAX, IfLost, Image, LAYERS_MAX, Layer, Limits, Outlet,
    Output, PATH, Process, Sandbox, Spec, Stdin,
};

/// Commands and transfers at the same time; an agent has a handful. It bounds what the guest holds for us.
pub(super) const REQUESTS_MAX: usize = 256;

/// Binds of one sandbox: each costs a mount at every start.
const BINDS_MAX: usize = 64;

/// How long a machine may take to be made; it takes milliseconds.
pub(crate) const SETUP_WAIT: Duration = Duration::from_secs(20);

/// Output that waits between the pump and the handle's holder.
const OUTPUT_MAX: usize = 4;

/// Requests of a handle's holder that wait for the pump.
const CONTROL_MAX: usize = 16;

/// A tmpfs lives in memory: no more of it than a quarter of what the sandbox may have, and no more than this.
const TMP_BYTES_MAX: u64 = 4 << 30;

/// A live sandbox of this backend.
pub(super) struct Machine {
    host: Arc<Host>,
    link: Arc<Link>,
    init: OwnedFd,
    env: Vec<(String, String)>,
    warden: JoinHandle<()>,
    /// Until somebody takes it.
    outlet: Mutex<Option<Outlet>>,
    /// What stands at the doors; it goes when this does.
    accepting: Mutex<JoinSet<()>>,
    /// Taken by whoever ends the sandbox.
    remains: Mutex<Option<Remains>>,
}

/// Makes a sandbox. On an error, or when the caller goes away, nothing of it is left.
pub(super) async fn create(host: &Arc<Host>, spec: Spec) -> Result<Machine, Error> {
    check(&spec)?;
    let mut setup = host_setup(host, &spec)?;
    if !host.launcher.limits_memory().await? {
        setup.watch_memory_bytes = Some(spec.limits.memory_bytes);
    }
    let wanted = Wanted { name: spec.name.clone(), limits: spec.limits, setup };
    let Started { remains, launched: Guest { pid, socket } } = host.launch(wanted).await?;
    let kept = if spec.if_lost == IfLost::Kept { remains.live().keep() } else { Ok(()) };
    let holds = kept.and_then(|()| Ok((remains.init()?, remains.init()?)));
    let mut draft = Draft(Some(remains));
    let (init, killer) = holds?;
    let Ready { stream, rest, doors } = match tokio::time::timeout(SETUP_WAIT, ready(socket)).await {
        Ok(Ok(ready)) => ready,
        Ok(Err(error)) => return Err(draft.bury(error).await),
        Err(_) => return Err(draft.bury(timed_out()).await),
    };
    host.launcher.prepare();
    let link = Arc::new(Link::start(stream, rest, move || {
        let _ = pidfd_send_signal(&killer, Signal::KILL);
    }));
    let (outlet, accepting) = match spec.doors {
        Doors::Closed => (None, JoinSet::new()),
        Doors::Open => {
            outlet::serve(doors, pid).map(|(outlet, work)| (Some(outlet), work)).step("open the way out")?
        }
    };
    let remains = draft.0.take();
    let warden = watch(&spec, remains.as_ref(), &init, pid)?;
    Ok(Machine {
        host: Arc::clone(host),
        link,
        init,
        env: environment(&spec.env),
        warden,
        outlet: Mutex::new(outlet),
        accepting: Mutex::new(accepting),
        remains: Mutex::new(remains),
    })
}

fn timed_out() -> Error {
    Error::Setup { step: "make the machine in time".to_owned(), source: std::io::ErrorKind::TimedOut.into() }
}

/// A sandbox that is being made.
struct Draft(Option<Remains>);

impl Draft {
    async fn bury(mut self, error: Error) -> Error {
        if let Some(remains) = self.0.take() {
            let _ = bury(remains).await;
        }
        error
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        bury_aside(self.0.take());
    }
}

async fn bury(remains: Remains) -> Result<(), Error> {
    let work = move || {
        remains.bury();
        Ok(())
    };
    blocking(work).await
}

/// Removes files that nobody can reach any more. Nobody waits for it; what it does not reach is left to `reap`.
fn remove_later(files: Option<Live>) {
    if let Some(files) = files {
        drop(tokio::task::spawn_blocking(move || files.remove()));
    }
}

/// Ends a sandbox that nobody waits for, where nothing async may run any more.
fn bury_aside(remains: Option<Remains>) {
    if let Some(remains) = remains {
        std::thread::spawn(move || remains.bury());
    }
}

/// Tells what this machine lacks from what went wrong.
pub(crate) fn explain(step: String, errno: i32) -> Error {
    let source = std::io::Error::from_raw_os_error(errno);
    let missing = |what: &str, mend: &str| Error::Unavailable {
        what: format!("{what} ({step}: {source})"),
        mend: mend.to_owned(),
    };
    match step.as_str() {
        "clone into new namespaces" => missing(
            "making user namespaces",
            "Allow it: sysctl -w user.max_user_namespaces=28633 kernel.unprivileged_userns_clone=1 \
             kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        "mount the overlay" => missing(
            "overlayfs in a user namespace on the state directory's file system",
            "Use Linux 5.11 or later and put the state directory (LEGWORK_HOME) on ext4, xfs, btrfs or tmpfs",
        ),
        "mount /proc" => missing(
            "a fresh /proc",
            "In a container, run it with /proc unmasked (docker: --security-opt systempaths=unconfined)",
        ),
        _ => Error::Setup { step, source },
    }
}

fn check(spec: &Spec) -> Result<(), Error> {
    let refuse = |why: String| Err(Error::Invalid(why));
    if spec.layers.len() > LAYERS_MAX {
        return refuse(format!("{} layers; at most {LAYERS_MAX}", spec.layers.len()));
    }
    if spec.binds.len() > BINDS_MAX {
        return refuse(format!("{} binds; at most {BINDS_MAX}", spec.binds.len()));
    }
    if let Image::Trees(trees) = &spec.image
        && (trees.is_empty() || trees.len() > IMAGE_TREES_MAX)
    {
        return refuse(format!("an image of {} trees; 1 to {IMAGE_TREES_MAX}", trees.len()));
    }
    let is_plain = |path: &Path| {
        path.is_absolute() && path.components().all(|part| !matches!(part, std::path::Component::ParentDir))
    };
    match spec
        .binds
        .iter()
        .find(|bind| !is_plain(&bind.host) || !is_plain(&bind.inside) || bind.inside == Path::new("/"))
    {
        Some(bind) => refuse(format!("{} cannot be shown at {}", bind.host.display(), bind.inside.display())),
        None => Ok(()),
    }
}

/// What the guest is to make, but for the sandbox's own directory.
fn host_setup(host: &Host, spec: &Spec) -> Result<Setup, Error> {
    let mut lower: Vec<String> = Vec::new();
    for layer in spec.layers.iter().rev() {
        lower.push(text(&host.state.layer(layer)?)?);
    }
    let mut binds = Vec::new();
    match &spec.image {
        Image::Host => {
            lower.push(text(&host.base.skeleton)?);
            binds.extend(host.base.shown.iter().map(|path| (path.clone(), path.clone())));
        }
        Image::Trees(trees) => {
            lower.push(text(&host.base.over)?);
            for tree in trees.iter().rev() {
                lower.push(text(tree)?);
            }
            lower.push(text(&host.base.below)?);
        }
    }
    for bind in &spec.binds {
        binds.push((text(&bind.host)?, text(&bind.inside)?));
    }
    let Limits { memory_bytes, processes, disk_bytes, open_files, .. } = spec.limits;
    Ok(Setup {
        lower,
        binds,
        workspace_read_only: spec.workspace == Access::Read,
        tmp_bytes: (memory_bytes / 4).clamp(1 << 20, TMP_BYTES_MAX),
        open_files: u64::from(open_files),
        processes: u64::from(processes).saturating_add(1),
        file_bytes: disk_bytes,
        has_doors: spec.doors == Doors::Open,
        ..Setup::default()
    })
}

pub(crate) fn text(path: &Path) -> Result<String, Error> {
    path.to_str().map(str::to_owned).ok_or_else(|| Error::Invalid(format!("{} is not UTF-8", path.display())))
}

/// The environment of every command: ours, then the spec's.
fn environment(spec: &[(String, String)]) -> Vec<(String, String)> {
    let own = [
        ("PATH", PATH),
        ("HOME", HOME),
        ("USER", USER),
        ("LOGNAME", USER),
        ("TMPDIR", "/tmp"),
        ("LANG", "C.UTF-8"),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    merge(own.into_iter().chain(spec.iter().cloned()))
}

/// One value for each name: the last.
fn merge(pairs: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut merged: Vec<(String, String)> = Vec::new();
    for (name, value) in pairs {
        match merged.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => merged.push((name, value)),
        }
    }
    merged
}

/// Ends the sandbox when a limit is reached that only the host can see.
fn watch(spec: &Spec, remains: Option<&Remains>, init: &OwnedFd, pid: i32) -> Result<JoinHandle<()>, Error> {
    let upper = remains.map(|remains| remains.live().upper()).unwrap_or_default();
    let warden = Warden::new(upper, pid, spec.limits.disk_bytes);
    let wall = Duration::from_millis(spec.limits.wall_ms);
    let init = init.try_clone().step("hold the guest")?;
    let name = spec.name.clone();
    Ok(tokio::spawn(async move {
        let verdict = warden.watch(wall).await;
        tracing::warn!(sandbox = %name, ?verdict, "a sandbox reached a limit and was ended");
        let _ = pidfd_send_signal(&init, Signal::KILL);
    }))
}

impl Machine {
    fn take_remains(&self) -> Option<Remains> {
        self.remains.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Nobody gets out of a sandbox that has ended.
    fn close_doors(&self) {
        self.outlet.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.accepting.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    fn start_of(&self, command: &Command) -> Result<Start, Error> {
        let has_nul = |text: &String| text.contains('\0');
        if command.argv.first().is_none_or(String::is_empty) {
            return Err(Error::Invalid("a command without a program".to_owned()));
        }
        if command.argv.iter().any(has_nul)
            || command.env.iter().any(|(name, value)| has_nul(name) || has_nul(value))
        {
            return Err(Error::Invalid("a NUL byte in a command".to_owned()));
        }
        let terminal = command.terminal.map(|size| (size.rows, size.columns));
        let default = terminal.map(|_| ("TERM".to_owned(), "xterm-256color".to_owned()));
        Ok(Start {
            argv: command.argv.clone(),
            env: merge(
                default.into_iter().chain(self.env.iter().cloned()).chain(command.env.iter().cloned()),
            ),
            workdir: command.workdir.clone(),
            terminal,
            stdin_open: command.stdin == Stdin::Open,
            timeout_ms: command.timeout_ms,
            output_bytes_max: command.output_bytes_max,
        })
    }
}

#[async_trait]
impl Sandbox for Machine {
    async fn exec(&self, command: Command) -> Result<Process, Error> {
        let start = self.start_of(&command)?;
        let route = self.link.open_command(start.output_bytes_max)?;
        let (output_tx, output) = mpsc::channel::<Output>(OUTPUT_MAX);
        let (control, control_rx) = mpsc::channel(CONTROL_MAX);
        // Before anything is sent: from now on, dropping this future ends the command.
        let process = Process::new(output, control);
        self.link.send(&Request::Exec(route.id, Box::new(start))).await?;
        let pump = Pump {
            id: route.id,
            link: Arc::clone(&self.link),
            events: route.events,
            output: output_tx,
            control: control_rx,
            input: Input::default(),
        };
        tokio::spawn(pump.run());
        match route.started.await {
            Ok(Ok(id)) => Ok(process.with_id(Some(id))),
            Ok(Err(why)) => {
                Err(Error::Start { program: command.argv.into_iter().next().unwrap_or_default(), why })
            }
            Err(_) => Err(self.link.gone()),
        }
    }

    async fn read(&self, path: &Path, bytes_max: u64) -> Result<File, Error> {
        self.link.read(&absolute(path)?, bytes_max).await
    }

    async fn write(&self, path: &Path, contents: &[u8], mode: Option<u32>) -> Result<(), Error> {
        let path = absolute(path)?;
        let writing = Writing { path: path.clone(), mode, size: contents.len() as u64 };
        let requests = |id| {
            let chunk = |piece| Request::Chunk(id, Bytes::copy_from_slice(piece));
            std::iter::once(Request::Write(id, writing))
                .chain(contents.chunks(CHUNK_BYTES).map(chunk))
                .collect()
        };
        self.link.perform(&path, requests).await
    }

    async fn remove(&self, path: &Path) -> Result<(), Error> {
        let path = absolute(path)?;
        self.link.perform(&path, |id| vec![Request::Remove(id, path.clone())]).await
    }

    fn outlet(&self) -> Option<Outlet> {
        self.outlet.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn snapshot(&self) -> Result<Layer, Error> {
        if self.link.is_gone() {
            return Err(self.link.gone());
        }
        let remains = self.take_remains().ok_or(Error::Gone)?;
        self.warden.abort();
        self.close_doors();
        let host = Arc::clone(&self.host);
        let (frozen, files) = blocking(move || Ok(remains.freeze(&host.state))).await?;
        remove_later(files);
        frozen
    }

    async fn destroy(&self) -> Result<(), Error> {
        self.warden.abort();
        self.close_doors();
        if let Some(remains) = self.take_remains() {
            remove_later(blocking(move || Ok(remains.close())).await?);
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.warden.abort();
        self.close_doors();
        let _ = pidfd_send_signal(&self.init, Signal::KILL);
        bury_aside(self.take_remains());
    }
}

fn absolute(path: &Path) -> Result<String, Error> {
    let path = text(path)?;
    if path.starts_with('/') && !path.contains('\0') {
        Ok(path)
    } else {
        Err(Error::Invalid(format!("{path:?} is not an absolute path")))
    }
}

//! What a sandbox costs, as ratios taken in one run: `cargo run --release -p legwork-sandbox --example bench_sandbox`
//! (with `-- neighbours` only what a neighbour costs).
//!
//! Measured against the least that could be done (a process in the same namespaces, cloned and executed by hand), and
//! against `unshare`, `bwrap` and `docker run` where they can be run. Rounds alternate, so that a busy machine disturbs all alike.

#![expect(
    unsafe_code,
    reason = "clones and executes by hand, to measure it; each block says why it is sound"
)]
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

mod neighbours;

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;
use std::process::{Command as HostCommand, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use legwork_sandbox::local::{self, Options};
use legwork_sandbox::{Access, Backend, Command, IfLost, Image, Layer, Limits, Output, Sandbox, Spec};
use nix::libc;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Rounds of each: enough for a stable median.
const ROUNDS: usize = 60;

/// Names a local image with `/bin/echo`; then `docker run` takes part, in every tenth round.
const DOCKER_IMAGE: &str = "LEGWORK_BENCH_DOCKER_IMAGE";

/// `bwrap` with the mounts that the figures of the reference are for.
const BWRAP: [&str; 19] = [
    "--unshare-all",
    "--ro-bind",
    "/usr",
    "/usr",
    "--symlink",
    "usr/bin",
    "/bin",
    "--symlink",
    "usr/lib",
    "/lib",
    "--symlink",
    "usr/lib64",
    "/lib64",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
];

/// What a sandbox of ours mounts beside that, as far as `bwrap` can: it has no overlay, no limits and no filter.
const SHOWN: [&str; 5] = ["/opt", "/nix/store", "/etc/alternatives", "/etc/pki", "/etc/ssl/certs"];
const FRESH: [&str; 6] = ["--tmpfs", "/run", "--tmpfs", "/sys", "--tmpfs", "/dev/shm"];

fn main() -> Outcome<()> {
    // Before any thread exists.
    legwork_sandbox::guest::run_if_guest();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(measure())
}

async fn measure() -> Outcome<()> {
    let state = tempfile::tempdir()?;
    let local: Arc<dyn Backend> =
        Arc::new(local::open(Options { state: state.path().into(), guest: "/proc/self/exe".into() })?);
    if std::env::args().nth(1).is_some_and(|part| part == "neighbours") {
        return neighbours::measure(&local).await;
    }
    compare(&local).await?;
    processor(&local).await?;
    in_one_sandbox(&local).await?;
    layers(&local).await?;
    neighbours::measure(&local).await
}

async fn compare(local: &Arc<dyn Backend>) -> Outcome<()> {
    let (mut fork, mut clone, mut own, mut parts) = (vec![], vec![], vec![], vec![]);
    let (mut unshare, mut bwrap, mut bwrap_same, mut docker) = (vec![], vec![], vec![], vec![]);
    let image = std::env::var(DOCKER_IMAGE).unwrap_or_default();
    let shown = SHOWN.iter().flat_map(|path| ["--ro-bind-try", path, path]);
    let same: Vec<&str> = BWRAP.into_iter().chain(shown).chain(FRESH).chain(["/usr/bin/echo", "x"]).collect();
    for round in 0..ROUNDS {
        fork.push(timed(|| host("/usr/bin/echo", &["x"]))?);
        clone.push(timed(bare_clone)?);
        let start = Instant::now();
        parts.push(fresh(local, &format!("fresh-{round}"), &[]).await?);
        own.push(start.elapsed());
        unshare.extend(timed(|| host("/usr/bin/unshare", &["-Urmpfniu", "/usr/bin/echo", "x"])).ok());
        let arguments: Vec<&str> = BWRAP.into_iter().chain(["/usr/bin/echo", "x"]).collect();
        bwrap.extend(timed(|| host("/usr/bin/bwrap", &arguments)).ok());
        bwrap_same.extend(timed(|| host("/usr/bin/bwrap", &same)).ok());
        if round % 10 == 0 && !image.is_empty() {
            let run = ["run", "--rm", "--network", "none", &image, "/bin/echo", "x"];
            docker.extend(timed(|| host("/usr/bin/docker", &run)).ok());
        }
    }
    let base = median(&clone);
    println!("fresh sandbox: create, first output, destroy (medians of {ROUNDS})");
    for (name, times) in [
        ("spawn of a program", &fork),
        ("clone + exec, same namespaces", &clone),
        ("unshare", &unshare),
        ("bwrap", &bwrap),
        ("bwrap, same mounts", &bwrap_same),
        ("docker run", &docker),
        ("legwork", &own),
    ] {
        match median(times) {
            Duration::ZERO => println!("  {name:32} not installed"),
            time => {
                println!(
                    "  {name:32} {time:>9.2?}  {:>5.2} x clone",
                    time.as_secs_f64() / base.as_secs_f64()
                );
            }
        }
    }
    let part = |index: usize| median(&parts.iter().map(|times| times[index]).collect::<Vec<_>>());
    println!("  of which create {:.2?}, command {:.2?}, destroy {:.2?}", part(0), part(1), part(2));
    Ok(())
}

/// The same in processor time, which a busy machine stretches less: of this program and all that it waited for.
async fn processor(local: &Arc<dyn Backend>) -> Outcome<()> {
    let start = used()?;
    for _ in 0..ROUNDS {
        bare_clone()?;
    }
    let middle = used()?;
    for round in 0..ROUNDS {
        fresh(local, &format!("used-{round}"), &[]).await?;
    }
    let end = used()?;
    let each = |from: Duration, to: Duration| to.saturating_sub(from) / u32::try_from(ROUNDS).unwrap_or(1);
    let (clone, own) = (each(start, middle), each(middle, end));
    let ratio = own.as_secs_f64() / clone.as_secs_f64();
    println!("processor time of each: clone {clone:.2?}, legwork {own:.2?}: {ratio:.2} x");
    Ok(())
}

fn used() -> Outcome<Duration> {
    let mut sum = Duration::ZERO;
    for who in [nix::sys::resource::UsageWho::RUSAGE_SELF, nix::sys::resource::UsageWho::RUSAGE_CHILDREN] {
        let usage = nix::sys::resource::getrusage(who)?;
        for time in [usage.user_time(), usage.system_time()] {
            sum += Duration::from_micros(u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec())?);
        }
    }
    Ok(sum)
}

/// Commands in a sandbox that lives.
async fn in_one_sandbox(local: &Arc<dyn Backend>) -> Outcome<()> {
    let sandbox = local.create(spec("long", &[])).await?;
    let mut times = vec![];
    for _ in 0..ROUNDS * 2 {
        let start = Instant::now();
        echo(&sandbox, &["sh", "-c", "echo x"]).await?;
        times.push(start.elapsed());
    }
    println!("one command in a live sandbox: {:.2?}", median(&times));
    let start = Instant::now();
    let bytes = echo(&sandbox, &["head", "-c", "256000000", "/dev/zero"]).await?;
    println!("output of a command: {:.0} MB/s", bytes as f64 / 1e6 / start.elapsed().as_secs_f64());
    println!("memory of all guests: {} KiB proportional", guests_kib());
    Ok(sandbox.destroy().await?)
}

/// The same work on a small and on a large layer.
async fn layers(local: &Arc<dyn Backend>) -> Outcome<()> {
    let small = filled(local, "small", 1).await?;
    let large = filled(local, "large", 1000).await?;
    let (mut on_small, mut on_large, mut freeze) = (vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        for (layer, times) in [(&small, &mut on_small), (&large, &mut on_large)] {
            let start = Instant::now();
            fresh(local, &format!("layer-{round}"), &[layer]).await?;
            times.push(start.elapsed());
        }
        let sandbox = local.create(spec("freeze", &[&large])).await?;
        let start = Instant::now();
        local.discard(sandbox.snapshot().await?).await?;
        freeze.push(start.elapsed());
    }
    let (small, large) = (median(&on_small), median(&on_large));
    println!(
        "on a layer of 1 MB {small:.2?}, of 1 GB {large:.2?}: {:.2} x",
        large.as_secs_f64() / small.as_secs_f64()
    );
    println!("snapshot and discard: {:.2?}", median(&freeze));
    Ok(())
}

/// A layer of so many files of 1 MB.
async fn filled(local: &Arc<dyn Backend>, name: &str, files: u32) -> Outcome<Layer> {
    let sandbox = local.create(spec(name, &[])).await?;
    let script = format!(
        "i=0; while [ $i -lt {files} ]; do mkdir -p d$((i%100)); head -c 1000000 /dev/zero > d$((i%100))/f$i; i=$((i+1)); done"
    );
    echo(&sandbox, &["sh", "-c", &script]).await?;
    Ok(sandbox.snapshot().await?)
}

fn spec(name: &str, layers: &[&Layer]) -> Spec {
    Spec {
        name: name.to_owned(),
        image: Image::Host,
        layers: layers.iter().map(|&layer| layer.clone()).collect(),
        binds: Vec::new(),
        workspace: Access::Write,
        env: Vec::new(),
        limits: Limits::default(),
        if_lost: IfLost::Removed,
        doors: legwork_sandbox::Doors::Closed,
    }
}

/// One sandbox from nothing to nothing: the times of its three parts.
async fn fresh(local: &Arc<dyn Backend>, name: &str, layers: &[&Layer]) -> Outcome<[Duration; 3]> {
    let start = Instant::now();
    let sandbox = local.create(spec(name, layers)).await?;
    let created = start.elapsed();
    echo(&sandbox, &["/usr/bin/echo", "x"]).await?;
    let ran = start.elapsed();
    sandbox.destroy().await?;
    Ok([created, ran.saturating_sub(created), start.elapsed().saturating_sub(ran)])
}

async fn echo(sandbox: &Arc<dyn Sandbox>, argv: &[&str]) -> Outcome<usize> {
    let mut process = sandbox.exec(command(argv)).await?;
    let mut bytes = 0;
    while let Some(output) = process.next().await {
        if let Output::Stdout(piece) = output {
            bytes += piece.len();
        }
    }
    Ok(bytes)
}

fn command(argv: &[&str]) -> Command {
    Command {
        argv: argv.iter().map(|&part| part.to_owned()).collect(),
        workdir: "/workspace".to_owned(),
        output_bytes_max: u64::MAX,
        ..Command::default()
    }
}

fn timed(work: impl FnOnce() -> Outcome<()>) -> Outcome<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn host(program: &str, arguments: &[&str]) -> Outcome<()> {
    let status =
        HostCommand::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(status.to_string().into()) }
}

/// The least: clone into the namespaces, execute, read the output, wait.
fn bare_clone() -> Outcome<()> {
    let flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP
        | libc::SIGCHLD;
    let (mut reader, writer) = pipe()?;
    let argv = [c"/usr/bin/echo".as_ptr(), c"x".as_ptr(), std::ptr::null()];
    let env = [std::ptr::null()];
    // SAFETY: a fork whose child only makes system calls on memory that was ready before.
    let pid = unsafe {
        let pid = libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0);
        if pid == 0 {
            libc::dup2(writer.as_raw_fd(), 1);
            libc::execve(argv[0], argv.as_ptr(), env.as_ptr());
            libc::_exit(127);
        }
        pid
    };
    drop(writer);
    let mut said = Vec::new();
    reader.read_to_end(&mut said)?;
    // SAFETY: waits for our own child; no status is asked for.
    unsafe { libc::waitpid(i32::try_from(pid)?, std::ptr::null_mut(), 0) };
    if said == b"x\n" { Ok(()) } else { Err("no output of the bare clone".into()) }
}

fn pipe() -> Outcome<(File, File)> {
    let mut ends = [0; 2];
    // SAFETY: the kernel writes two descriptors, which are then owned here alone.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        Ok((File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1])))
    }
}

fn median(times: &[Duration]) -> Duration {
    at(times, 50)
}

fn at(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

/// Memory of this program's guests, shared pages counted in part.
fn guests_kib() -> u64 {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let is_guest = |path: &std::path::PathBuf| {
        std::fs::read(path.join("cmdline")).is_ok_and(|line| line.starts_with(b"legwork-guest"))
    };
    processes.filter(is_guest).map(|path| proportional_kib(&path)).sum()
}

fn proportional_kib(process: &Path) -> u64 {
    let text = std::fs::read_to_string(process.join("smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or("");
    line.trim_end_matches("kB").trim().parse().unwrap_or(0)
}

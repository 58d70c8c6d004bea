//! What a sandbox feels of a neighbour that takes all it can, as ratios taken in one run:
//! `cargo run --release -p legwork-sandbox --example bench_neighbours`.
//!
//! One sandbox runs a command again and again: alone, and beside a neighbour with each kind of bomb. Rounds alternate, so that a
//! busy machine disturbs all alike. The goal is 1.2 times at most where sandboxes have control groups.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use legwork_sandbox::local::{Local, Options};
use legwork_sandbox::{Access, Backend, Command, Doors, IfLost, Image, Limits, Output, Process, Spec};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Times that each bomb is set off, and commands beside each.
const ROUNDS: usize = 4;
const COMMANDS: usize = 20;

/// How long a bomb has to unfold.
const UNFOLDS: Duration = Duration::from_millis(700);

/// Some tens of milliseconds of processes and of computing, as a step of a build has them.
const WORK: &str = "i=0; while [ $i -lt 15 ]; do /bin/true; i=$((i+1)); done; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";

/// Bombs, as Bourne shells and Perl throw them.
const BOMBS: [(&str, &str); 7] = [
    ("nothing", "sleep 1000"),
    ("64 loops", "i=0; while [ $i -lt 64 ]; do (while :; do :; done) & i=$((i+1)); done; wait"),
    ("forks", "perl -e 'while (1) { my $p = fork; if (defined $p && !$p) { while (1) { fork; } } }'"),
    ("memory", "while :; do perl -e 'my @all; while (1) { push @all, \"x\" x (1 << 24); }'; done"),
    ("disk", "while :; do head -c 100000000 /dev/zero > flood; rm flood; done"),
    (
        "small files",
        "while :; do perl -e 'for (1..2000) { open F, \">f$_\"; close F; } unlink glob \"f*\";'; done",
    ),
    ("output", "while :; do head -c 100000000 /dev/zero; done"),
];

fn main() -> Outcome<()> {
    // Before any thread exists.
    legwork_sandbox::guest::run_if_guest();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(measure())
}

async fn measure() -> Outcome<()> {
    let state = tempfile::tempdir()?;
    let local: Arc<dyn Backend> =
        Arc::new(Local::new(Options { state: state.path().into(), guest: "/proc/self/exe".into() })?);
    println!("a command beside a neighbour with a bomb ({} commands each)", ROUNDS * COMMANDS);
    for (cpu_millis, words) in [(0, "that may use every processor"), (1000, "that may use one processor")] {
        println!("  {words}:");
        beside(&local, cpu_millis).await?;
    }
    Ok(())
}

async fn beside(local: &Arc<dyn Backend>, cpu_millis: u32) -> Outcome<()> {
    let victim = local.create(spec("victim", Limits::default())).await?;
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); BOMBS.len()];
    for round in 0..ROUNDS {
        for ((name, bomb), times) in BOMBS.iter().zip(&mut times) {
            let (memory_bytes, disk_bytes) = (1 << 30, 1 << 30);
            let limits = Limits { memory_bytes, disk_bytes, processes: 512, cpu_millis, ..Limits::default() };
            let neighbour =
                local.create(spec(&format!("{}-{round}", name.replace(' ', "-")), limits)).await?;
            let mut process = neighbour.exec(command(bomb)).await?;
            // As a worker does: it reads what comes, and keeps little of it.
            let reads = tokio::spawn(async move { while process.next().await.is_some() {} });
            tokio::time::sleep(UNFOLDS).await;
            for _ in 0..COMMANDS {
                let start = Instant::now();
                ends(victim.exec(command(WORK)).await?).await?;
                times.push(start.elapsed());
            }
            neighbour.destroy().await?;
            reads.await?;
        }
    }
    victim.destroy().await?;
    let alone = at(&times[0], 50);
    for ((name, _), times) in BOMBS.iter().zip(&times) {
        let (middle, late) = (at(times, 50), at(times, 95));
        let ratio = middle.as_secs_f64() / alone.as_secs_f64();
        println!("    {name:12} median {middle:>9.2?}  {ratio:>5.2} x   p95 {late:>9.2?}");
    }
    Ok(())
}

fn spec(name: &str, limits: Limits) -> Spec {
    Spec {
        name: name.to_owned(),
        image: Image::Host,
        layers: Vec::new(),
        binds: Vec::new(),
        workspace: Access::Write,
        env: Vec::new(),
        limits,
        if_lost: IfLost::Removed,
        doors: Doors::Closed,
    }
}

fn command(script: &str) -> Command {
    Command {
        argv: ["sh", "-c", script].map(str::to_owned).into(),
        workdir: "/workspace".to_owned(),
        output_bytes_max: u64::MAX,
        ..Command::default()
    }
}

async fn ends(mut process: Process) -> Outcome<()> {
    while let Some(output) = process.next().await {
        if let Output::Exited(exit) = output
            && exit != legwork_sandbox::Exit::Code(0)
        {
            return Err(format!("the command ended with {exit:?}").into());
        }
    }
    Ok(())
}

fn at(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

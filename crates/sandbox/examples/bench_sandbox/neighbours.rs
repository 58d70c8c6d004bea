//! What a sandbox feels of a neighbour that takes all it can.
//!
//! One sandbox runs a command again and again beside a neighbour: first while that one does nothing, then with its bomb. The
//! ratio is taken in each round, for what a machine gives changes by more than what is measured within a minute. The goal is
//! 1.2 times at most where sandboxes have control groups.

use std::sync::Arc;
use std::time::{Duration, Instant};

use legwork_sandbox::{Backend, Command, Limits, Sandbox, Spec};

use crate::{Outcome, at, command, echo, spec};

/// Times that each bomb is set off, and commands before and beside each.
const ROUNDS: usize = 9;
const COMMANDS: usize = 12;

/// How long a bomb has to unfold.
const UNFOLDS: Duration = Duration::from_millis(700);

/// What is kept of a bomb's output, as of any command that a model runs.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;

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

pub(crate) async fn measure(local: &Arc<dyn Backend>) -> Outcome<()> {
    println!("a command beside a neighbour with a bomb ({} commands each)", ROUNDS * COMMANDS);
    for (cpu_millis, words) in [(0, "that may use every processor"), (1000, "that may use one processor")] {
        println!("  {words}:");
        beside(local, cpu_millis).await?;
    }
    Ok(())
}

async fn beside(local: &Arc<dyn Backend>, cpu_millis: u32) -> Outcome<()> {
    let victim = local.create(spec("victim", &[])).await?;
    let (mut times, mut ratios) = (vec![Vec::new(); BOMBS.len()], vec![Vec::new(); BOMBS.len()]);
    for round in 0..ROUNDS {
        for (nth, (name, bomb)) in BOMBS.iter().enumerate() {
            let (memory_bytes, disk_bytes) = (1 << 30, 1 << 30);
            let limits = Limits { memory_bytes, disk_bytes, processes: 512, cpu_millis, ..Limits::default() };
            let neighbour = local
                .create(Spec { limits, ..spec(&format!("{}-{round}", name.replace(' ', "-")), &[]) })
                .await?;
            let before = commands(&victim).await?;
            let bomb = Command { output_bytes_max: OUTPUT_BYTES_MAX, ..command(&["sh", "-c", bomb]) };
            let mut process = neighbour.exec(bomb).await?;
            let reads = tokio::spawn(async move { while process.next().await.is_some() {} });
            tokio::time::sleep(UNFOLDS).await;
            let beside = commands(&victim).await?;
            neighbour.destroy().await?;
            reads.await?;
            ratios[nth].push(at(&beside, 50).as_secs_f64() / at(&before, 50).as_secs_f64());
            times[nth].extend(beside);
        }
    }
    victim.destroy().await?;
    for (((name, _), times), ratios) in BOMBS.iter().zip(&times).zip(&mut ratios) {
        ratios.sort_by(f64::total_cmp);
        let (least, middle, most) = (ratios[0], ratios[ROUNDS / 2], ratios[ROUNDS - 1]);
        let (median, late) = (at(times, 50), at(times, 95));
        println!(
            "    {name:12} {middle:>5.2} x ({least:.2} to {most:.2})   median {median:>9.2?}   p95 {late:>9.2?}"
        );
    }
    Ok(())
}

async fn commands(victim: &Arc<dyn Sandbox>) -> Outcome<Vec<Duration>> {
    let mut times = Vec::new();
    for _ in 0..COMMANDS {
        let start = Instant::now();
        echo(victim, &["sh", "-c", WORK]).await?;
        times.push(start.elapsed());
    }
    Ok(times)
}

//! What a sandbox feels of a neighbour that takes all it can.
//!
//! One sandbox runs a command again and again: alone, and beside a neighbour with each kind of bomb. Rounds alternate, so that a
//! busy machine disturbs all alike. The goal is 1.2 times at most where sandboxes have control groups.

use std::sync::Arc;
use std::time::{Duration, Instant};

use legwork_sandbox::{Backend, Limits, Spec};

use crate::{Outcome, at, command, echo, spec};

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
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); BOMBS.len()];
    for round in 0..ROUNDS {
        for ((name, bomb), times) in BOMBS.iter().zip(&mut times) {
            let (memory_bytes, disk_bytes) = (1 << 30, 1 << 30);
            let limits = Limits { memory_bytes, disk_bytes, processes: 512, cpu_millis, ..Limits::default() };
            let neighbour = local
                .create(Spec { limits, ..spec(&format!("{}-{round}", name.replace(' ', "-")), &[]) })
                .await?;
            let mut process = neighbour.exec(command(&["sh", "-c", bomb])).await?;
            // As a worker does: it reads what comes, and keeps little of it.
            let reads = tokio::spawn(async move { while process.next().await.is_some() {} });
            tokio::time::sleep(UNFOLDS).await;
            for _ in 0..COMMANDS {
                let start = Instant::now();
                echo(&victim, &["sh", "-c", WORK]).await?;
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

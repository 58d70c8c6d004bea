//! Takes the figures of one session from outside: the server's clock, the kernel's accounting, `/proc`.

use std::fmt;
use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::server::Server;

/// How often memory is looked at; a look costs about a millisecond of another core.
const SAMPLE: Duration = Duration::from_millis(10);
/// Clock ticks a second in `/proc/self/stat`; the same on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// One session.
pub(crate) struct Session {
    first_ms: f64,
    turn_ms: f64,
    tail_ms: f64,
    cpu_s: f64,
    pss_mib: f64,
}

/// Runs `command` to its end against `server`.
pub(crate) fn session(command: &mut Command, server: &Server) -> Result<Session> {
    let cpu = children_cpu()?;
    let peak = Arc::new(Peak::default());
    let start = Instant::now();
    let mut child = command.spawn()?;
    let sampler = peak.clone().watch(child.id());
    let status = child.wait()?;
    let end = Instant::now();
    drop(sampler);
    if !status.success() {
        bail!("it ended with {status}");
    }
    let log = server.log();
    let (first, last) = (log.first().context("no request came")?, log.last().context("no request came")?);
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let mut turns: Vec<f64> = log.windows(2).map(|pair| ms(pair[1].asked - pair[0].answered)).collect();
    Ok(Session {
        first_ms: ms(first.asked - start),
        turn_ms: median(&mut turns),
        tail_ms: ms(end - last.answered),
        cpu_s: children_cpu()? - cpu,
        pss_mib: peak.mib(),
    })
}

/// The medians of several sessions, and the crowd's wall time and memory.
pub(crate) struct Figures {
    row: [f64; 5],
    crowd: (f64, f64),
}

impl Figures {
    pub(crate) fn new(sessions: &mut [Session], crowd: (f64, f64)) -> Self {
        let pick = |figure: fn(&Session) -> f64| {
            let mut all: Vec<f64> = sessions.iter().map(figure).collect();
            median(&mut all)
        };
        let row = [
            pick(|s| s.first_ms),
            pick(|s| s.turn_ms),
            pick(|s| s.tail_ms),
            pick(|s| s.cpu_s),
            pick(|s| s.pss_mib),
        ];
        Self { row, crowd }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, turn, tail, cpu, pss] = self.row;
        let (seconds, mib) = self.crowd;
        write!(
            f,
            "{first:>10.1} {turn:>10.2} {tail:>10.1} {cpu:>10.2} {pss:>10.1} | {seconds:>10.2} {mib:>10.1}"
        )
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Processor time of all children that were waited for, and theirs.
fn children_cpu() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().context("no fields")?.split(' ').collect();
    let ticks =
        |n: usize| fields.get(n).and_then(|field| field.parse::<f64>().ok()).context("a field is missing");
    Ok((ticks(13)? + ticks(14)?) / TICKS)
}

/// The highest memory of a process tree that was seen.
#[derive(Default)]
pub(crate) struct Peak {
    kib: AtomicU64,
    over: AtomicBool,
}

/// Samples until it is dropped.
pub(crate) struct Sampler {
    peak: Arc<Peak>,
    thread: Option<JoinHandle<()>>,
}

impl Peak {
    /// Samples the tree below `root`; the root itself counts unless it is this process.
    pub(crate) fn watch(self: Arc<Self>, root: u32) -> Sampler {
        let peak = self.clone();
        let thread = thread::spawn(move || {
            while !self.over.load(Ordering::Relaxed) {
                self.kib.fetch_max(tree_kib(root), Ordering::Relaxed);
                thread::sleep(SAMPLE);
            }
        });
        Sampler { peak, thread: Some(thread) }
    }

    /// In MiB.
    #[expect(clippy::cast_precision_loss, reason = "memory in KiB is far below 2^52")]
    pub(crate) fn mib(&self) -> f64 {
        self.kib.load(Ordering::Relaxed) as f64 / 1024.0
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.peak.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn tree_kib(root: u32) -> u64 {
    let processes: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| Some((pid, parent(pid)?)))
        .collect();
    let mut tree = vec![root];
    let mut next = 0;
    while let Some(pid) = tree.get(next).copied() {
        tree.extend(processes.iter().filter(|(_, parent)| *parent == pid).map(|(pid, _)| *pid));
        next += 1;
    }
    tree.into_iter().filter(|pid| *pid != std::process::id()).map(pss_kib).sum()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
}

fn pss_kib(pid: u32) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .ok()
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("Pss:").map(str::to_owned)))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse().ok())
        .unwrap_or(0)
}

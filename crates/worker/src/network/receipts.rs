//! From the proxy's ledger to the log, and to the programs that wanted what they did not get.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use legwork_agent::Timeline;
use legwork_domain::{Connection, EventKind, Passage, Phase, Way};
use legwork_egress::{Outcome, Program, Proxy, Receipt};
use tokio_util::task::AbortOnDropHandle;

/// Between two looks at the ledger: what repeats in between is one event.
const PERIOD: Duration = Duration::from_secs(2);

/// Events of one sandbox: a program that opens connections without end fills no log.
const EVENTS_MAX: usize = 2000;

/// Lines that a command is told when it ends.
const TOLD_MAX: usize = 5;

/// Lines that wait for a command to end.
const WAITING_MAX: usize = 20;

/// Tells what left one sandbox.
pub(super) struct Receipts {
    proxy: Arc<Proxy>,
    timeline: Timeline,
    phase: Phase,
    policy: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    events: usize,
    /// What the next command that ends is told.
    waiting: Vec<String>,
    /// What was told already.
    told: HashSet<String>,
}

impl Receipts {
    /// Begins to look at the ledger.
    pub(super) fn start(
        proxy: &Arc<Proxy>,
        timeline: Timeline,
        phase: Phase,
        policy: &'static str,
    ) -> (Arc<Self>, AbortOnDropHandle<()>) {
        let this =
            Arc::new(Self { proxy: Arc::clone(proxy), timeline, phase, policy, state: Mutex::default() });
        let looks = Arc::clone(&this);
        let work = tokio::spawn(async move {
            loop {
                tokio::time::sleep(PERIOD).await;
                looks.look().await;
            }
        });
        (this, AbortOnDropHandle::new(work))
    }

    /// Tells the log what was collected since the last look.
    pub(super) async fn look(&self) {
        for receipt in self.proxy.ledger().take() {
            let Some(event) = self.note(connection(receipt, self.phase)) else { continue };
            self.timeline.tell(event).await;
        }
    }

    fn note(&self, connection: Connection) -> Option<EventKind> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.outcome != Passage::Allowed {
            let line = line(&connection, self.policy);
            if state.waiting.len() < WAITING_MAX
                && state.told.len() < EVENTS_MAX
                && state.told.insert(line.clone())
            {
                state.waiting.push(line);
            }
        }
        state.events += 1;
        (state.events <= EVENTS_MAX).then(|| EventKind::Connection { turn: self.timeline.turn(), connection })
    }

    /// What a command that ends now is told: what was kept from leaving while it ran, each once; and that something was `direct`ly
    /// tried, so many times.
    pub(super) async fn words(&self, direct: u64) -> Option<String> {
        self.look().await;
        if direct > 0
            && let Some(event) = self.note(past_the_proxy(direct, self.phase))
        {
            self.timeline.tell(event).await;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = std::mem::take(&mut state.waiting);
        if lines.is_empty() {
            return None;
        }
        let more = lines.len().saturating_sub(TOLD_MAX);
        let mut text: String =
            lines.iter().take(TOLD_MAX).map(|line| format!("[network] {line}\n")).collect();
        if more > 0 {
            text.push_str(&format!("[network] … and {more} more\n"));
        }
        Some(text)
    }
}

/// `blocked: dl.example:443, wanted by `gradle build`: …`.
fn line(connection: &Connection, policy: &str) -> String {
    let what = match connection.outcome {
        Passage::Denied => "blocked",
        Passage::Failed | Passage::Allowed => "not reached",
    };
    let wanted = connection.program().map_or_else(String::new, |program| {
        let cut: String = program.chars().take(120).collect();
        format!(", wanted by `{cut}`")
    });
    let named = if connection.reason.contains("network policy") {
        String::new()
    } else {
        format!(" (network policy: {policy})")
    };
    format!("{what}: {}{wanted}: {}{named}", connection.place(), connection.reason)
}

/// Tries that the proxy never saw.
fn past_the_proxy(count: u64, phase: Phase) -> Connection {
    Connection {
        host: "an address".to_owned(),
        port: 0,
        way: Way::Direct,
        method: None,
        outcome: Passage::Denied,
        reason: "there is no route to an address without a name; names go through the proxy".to_owned(),
        count,
        sent_bytes: 0,
        received_bytes: 0,
        process: None,
        command_line: None,
        phase,
    }
}

fn connection(receipt: Receipt, phase: Phase) -> Connection {
    let Receipt { at: _, matter, count, sent, received } = receipt;
    let (outcome, reason) = match matter.outcome {
        Outcome::Allowed(rule) => (Passage::Allowed, rule),
        Outcome::Denied(reason) => (Passage::Denied, reason),
        Outcome::Failed(reason) => (Passage::Failed, reason),
    };
    let (process, command_line) = match matter.program {
        Some(Program { process, command_line }) => (Some(process), Some(command_line)),
        None => (None, None),
    };
    Connection {
        host: matter.host,
        port: matter.port,
        way: match matter.way {
            legwork_egress::Way::Tunnel => Way::Tunnel,
            legwork_egress::Way::Https => Way::Https,
            legwork_egress::Way::Http => Way::Http,
            legwork_egress::Way::Name => Way::Name,
        },
        method: matter.method,
        outcome,
        reason,
        count,
        sent_bytes: sent,
        received_bytes: received,
        process,
        command_line,
        phase,
    }
}

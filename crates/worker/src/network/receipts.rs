//! From the proxy's ledger to the log, and to the programs that wanted what they did not get.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use legwork_agent::Timeline;
use legwork_domain::{Connection, EventKind, Passage, Phase, Way};
use legwork_egress::{Outcome, Program, Proxy, Receipt};
use tokio_util::task::AbortOnDropHandle;

/// Between two looks at the ledger: what repeats in between is one event.
const PERIOD: Duration = Duration::from_secs(2);

/// Events of one sandbox that each tell of one thing. After them there is one at each look, of all together: a program that
/// opens connections without end fills no log and hides none.
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
    /// What was allowed has a page of its own: who is refused without end hides nothing by it.
    allowed: Page,
    refused: Page,
    /// What the next command that ends is told.
    waiting: Vec<String>,
    /// What was told already.
    told: HashSet<String>,
}

/// Events of one kind.
#[derive(Default)]
struct Page {
    events: usize,
    /// What came when the page was full.
    rest: Option<Connection>,
}

impl Page {
    /// The event, or nothing if it is told with the rest.
    fn note(&mut self, connection: Connection) -> Option<Connection> {
        if self.events < EVENTS_MAX {
            self.events += 1;
            return Some(connection);
        }
        match &mut self.rest {
            Some(rest) => {
                rest.count += connection.count;
                rest.sent_bytes = rest.sent_bytes.saturating_add(connection.sent_bytes);
                rest.received_bytes = rest.received_bytes.saturating_add(connection.received_bytes);
            }
            none => *none = Some(one_of_many(&connection)),
        }
        None
    }
}

impl State {
    fn note(&mut self, connection: Connection, policy: &str) -> Option<Connection> {
        if connection.outcome == Passage::Allowed {
            return self.allowed.note(connection);
        }
        let line = line(&connection, policy);
        if self.waiting.len() < WAITING_MAX && self.told.len() < EVENTS_MAX && self.told.insert(line.clone())
        {
            self.waiting.push(line);
        }
        self.refused.note(connection)
    }

    fn rest(&mut self) -> Vec<Connection> {
        [&mut self.allowed, &mut self.refused].into_iter().filter_map(|page| page.rest.take()).collect()
    }
}

/// What is left to say of one that is told with others.
fn one_of_many(connection: &Connection) -> Connection {
    Connection {
        host: "(others)".to_owned(),
        port: 0,
        method: None,
        reason: format!("after {EVENTS_MAX} events of a sandbox they are told together"),
        process: None,
        command_line: None,
        ..connection.clone()
    }
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
            self.tell(connection(receipt, self.phase)).await;
        }
        let rest = self.state().rest();
        for connection in rest {
            self.timeline.tell(self.event(connection)).await;
        }
    }

    async fn tell(&self, connection: Connection) {
        let noted = self.state().note(connection, self.policy);
        if let Some(connection) = noted {
            self.timeline.tell(self.event(connection)).await;
        }
    }

    fn event(&self, connection: Connection) -> EventKind {
        EventKind::Connection { turn: self.timeline.turn(), connection }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the log of all that was under way, which ends with this. For when the sandbox has ended.
    pub(super) async fn close(&self) {
        self.proxy.close().await;
        self.look().await;
    }

    /// What a command that ends now is told: what was kept from leaving while it ran, each once; and that something was `direct`ly
    /// tried, so many times.
    pub(super) async fn words(&self, direct: u64) -> Option<String> {
        self.look().await;
        if direct > 0 {
            self.tell(past_the_proxy(direct, self.phase)).await;
        }
        let lines = std::mem::take(&mut self.state().waiting);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn one(outcome: Passage) -> Connection {
        Connection { outcome, sent_bytes: 7, ..past_the_proxy(1, Phase::Agent) }
    }

    #[test]
    fn a_flood_is_told_together_and_hides_nothing_else() {
        let mut state = State::default();
        let told = (0..EVENTS_MAX + 500).filter_map(|_| state.note(one(Passage::Denied), "none")).count();
        assert_eq!(told, EVENTS_MAX);
        assert!(state.note(one(Passage::Allowed), "none").is_some(), "what left is told by itself");
        let [rest] = &state.rest()[..] else { panic!("not one") };
        assert_eq!((rest.count, rest.sent_bytes, rest.outcome), (500, 3500, Passage::Denied));
        assert!(state.rest().is_empty());
    }
}

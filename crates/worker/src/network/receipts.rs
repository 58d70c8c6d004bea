//! From the proxy's ledger to the log, and to the programs that wanted what they did not get.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use legwork_agent::Timeline;
use legwork_domain::{Connection, EventKind, Passage, Phase, Way};
use legwork_egress::{Outcome, Program, Proxy, Receipt};
use legwork_sandbox::CommandId;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::lines::Lines;

/// Between two looks at the ledger: what repeats in between is one event.
const PERIOD: Duration = Duration::from_secs(2);

/// Events of one sandbox that each tell of one thing. After them there is one for each outcome and way at each look, of all together: a program that
/// opens connections without end fills no log and hides none.
const EVENTS_MAX: usize = 2000;

/// Lines that a command is told at a time.
const TOLD_MAX: usize = 5;

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
    lines: Lines,
}

/// Events of one kind.
#[derive(Default)]
struct Page {
    events: usize,
    /// What came when the page was full: one of each outcome and way.
    rest: Vec<Connection>,
}

impl Page {
    /// The event, or nothing if it is told with the rest.
    fn note(&mut self, connection: Connection) -> Option<Connection> {
        if self.events < EVENTS_MAX {
            self.events += 1;
            return Some(connection);
        }
        let alike =
            |known: &&mut Connection| (known.outcome, known.way) == (connection.outcome, connection.way);
        match self.rest.iter_mut().find(alike) {
            Some(rest) => {
                rest.count += connection.count;
                rest.sent_bytes = rest.sent_bytes.saturating_add(connection.sent_bytes);
                rest.received_bytes = rest.received_bytes.saturating_add(connection.received_bytes);
            }
            None => self.rest.push(one_of_many(&connection)),
        }
        None
    }
}

impl State {
    fn note(&mut self, connection: Connection, policy: &str, of: Option<CommandId>) -> Option<Connection> {
        if connection.outcome == Passage::Allowed {
            return self.allowed.note(connection);
        }
        self.lines.add(of, line(&connection, policy));
        self.refused.note(connection)
    }

    fn rest(&mut self) -> Vec<Connection> {
        [&mut self.allowed, &mut self.refused]
            .into_iter()
            .flat_map(|page| std::mem::take(&mut page.rest))
            .collect()
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
                looks.state().lines.age();
            }
        });
        (this, AbortOnDropHandle::new(work))
    }

    /// Tells the log what was collected since the last look.
    pub(super) async fn look(&self) {
        let events = self.collect();
        self.tell(events).await;
    }

    /// Takes from the ledger. At once and whole, whoever else looks meanwhile: what one has taken, none can miss.
    fn collect(&self) -> Vec<Connection> {
        let mut state = self.state();
        let mut events = Vec::new();
        for receipt in self.proxy.ledger().take() {
            let of = receipt.matter.program.as_ref().and_then(|program| program.command).map(CommandId);
            events.extend(state.note(connection(receipt, self.phase), self.policy, of));
        }
        events.extend(state.rest());
        events
    }

    async fn tell(&self, events: impl IntoIterator<Item = Connection>) {
        for connection in events {
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

    /// Begins to note what a command is told, before it is started.
    pub(super) fn starting(self: &Arc<Self>) -> Starting {
        self.state().lines.starting();
        Starting { receipts: Arc::clone(self), is_known: false }
    }

    /// What a command that ends now is told: what its programs were kept from, each once, and what is nobody's; and that something
    /// was `direct`ly tried, so many times.
    pub(super) async fn last_words(&self, id: Option<CommandId>, direct: u64) -> Option<String> {
        self.look().await;
        if direct > 0 {
            let noted = self.state().note(past_the_proxy(direct, self.phase), self.policy, None);
            self.tell(noted).await;
        }
        text(&self.state().lines.at_end(id))
    }
}

/// A command that is being started.
pub(super) struct Starting {
    receipts: Arc<Receipts>,
    is_known: bool,
}

impl Starting {
    /// It runs. `None`: nobody can say which programs are its own.
    pub(super) fn started(mut self, id: Option<CommandId>) -> Listener {
        let news = id.map(|id| self.receipts.state().lines.started(id)).unwrap_or_default();
        self.is_known = id.is_some();
        Listener { receipts: Arc::clone(&self.receipts), id, news }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if !self.is_known {
            self.receipts.state().lines.not_started();
        }
    }
}

/// A command that runs, as one that is told things.
pub(super) struct Listener {
    receipts: Arc<Receipts>,
    id: Option<CommandId>,
    news: Arc<Notify>,
}

impl Listener {
    /// What it is told while it goes on: waits until there is something. Cancel-safe.
    pub(super) async fn words(&self) -> String {
        loop {
            self.news.notified().await;
            let lines = self.id.map(|id| self.receipts.state().lines.so_far(id)).unwrap_or_default();
            if let Some(text) = text(&lines) {
                return text;
            }
        }
    }

    /// [`Receipts::last_words`].
    pub(super) async fn last_words(&self, direct: u64) -> Option<String> {
        self.receipts.last_words(self.id, direct).await
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.receipts.state().lines.ended(id);
        }
    }
}

fn text(lines: &[String]) -> Option<String> {
    let more = lines.len().saturating_sub(TOLD_MAX);
    let mut text: String = lines.iter().take(TOLD_MAX).map(|line| format!("[network] {line}\n")).collect();
    if more > 0 {
        text.push_str(&format!("[network] … and {more} more\n"));
    }
    (!text.is_empty()).then_some(text)
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
        Some(Program { process, command_line, command: _ }) => (Some(process), Some(command_line)),
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
        let told =
            (0..EVENTS_MAX + 500).filter_map(|_| state.note(one(Passage::Denied), "none", None)).count();
        assert_eq!(told, EVENTS_MAX);
        assert!(state.note(one(Passage::Allowed), "none", None).is_some(), "what left is told by itself");
        let [rest] = &state.rest()[..] else { panic!("not one") };
        assert_eq!((rest.count, rest.sent_bytes, rest.outcome), (500, 3500, Passage::Denied));
        assert!(state.rest().is_empty());
        let failed = |way| Connection { way, ..one(Passage::Failed) };
        let rest = [
            one(Passage::Denied),
            failed(Way::Tunnel),
            failed(Way::Tunnel),
            failed(Way::Http),
            one(Passage::Denied),
        ];
        assert!(rest.into_iter().all(|one| state.note(one, "none", None).is_none()));
        let told: Vec<_> = state.rest().into_iter().map(|one| (one.outcome, one.way, one.count)).collect();
        assert_eq!(
            told,
            [
                (Passage::Denied, Way::Direct, 2),
                (Passage::Failed, Way::Tunnel, 2),
                (Passage::Failed, Way::Http, 1)
            ],
            "what was denied and what failed are two"
        );
    }
}

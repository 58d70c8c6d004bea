//! The live timeline of an attempt: which lines an event adds for good, and what is under way below them.
//!
//! Pure, so that a terminal, a pipe and `task logs` show the same. Lines are told once, when a step is over: a calm
//! screen, and one that reads well in a scroll-back buffer or a CI log. What moves (the plan, running commands, what is
//! waited for) is [`Steps::pending`], which only a terminal draws.

pub(crate) mod line;

use std::collections::BTreeMap;

use legwork_domain::{
    Author, Event, EventKind, Item, ItemBody, ItemId, ItemStatus, Phase, PlanStep, State, Timestamp, Usage,
    Waiting,
};

use crate::text::{ACCENT, DIM, Line, PLAIN, duration, thousands};

/// Most running commands that are shown at once; more are counted.
const RUNNING_MAX: usize = 4;
/// Most steps of a plan that are shown below the timeline; the ones around the current step.
const PLAN_MAX: usize = 6;

/// How much of a command's output is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Detail {
    /// The end of what failed.
    #[default]
    Tail,
    /// All that the log holds.
    Whole,
}

/// The timeline of one attempt.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    /// The attempt's number, where there are several.
    label: Option<u8>,
    detail: Detail,
    open: BTreeMap<ItemId, Item>,
    /// The model's latest message. Held back, since the last one is the answer, which the summary shows.
    held: Option<Item>,
    plan: Vec<PlanStep>,
    waits: Option<(String, Timestamp)>,
    /// It waits for a worker.
    queued: bool,
    usage: Usage,
    over: bool,
}

impl Steps {
    /// The timeline of the `number`th of several attempts, whose lines say so; `None`: of the only one.
    #[must_use]
    pub fn new(number: Option<u8>, detail: Detail) -> Self {
        Self { label: number, detail, ..Self::default() }
    }

    /// Takes the next event and gives the lines that it adds for good.
    pub fn take(&mut self, event: &Event) -> Vec<Line> {
        let lines = match &event.kind {
            EventKind::State { state, .. } => self.state(state, event.at),
            EventKind::Base { commit, name, repositories, .. } => {
                let beside = repositories.iter().map(line::beside);
                std::iter::once(line::base(commit, name.as_deref())).chain(beside).collect()
            }
            EventKind::ItemStarted { item } => {
                self.open.insert(item.id, item.clone());
                Vec::new()
            }
            EventKind::ItemCompleted { item } => self.completed(item),
            EventKind::Usage { usage, .. } => {
                self.usage = *usage;
                Vec::new()
            }
            EventKind::Patch { patch, .. } => vec![line::patch(patch)],
            EventKind::Verdict { verdict, .. } => vec![line::verdict(verdict)],
            EventKind::Connection { connection, .. } => line::connection(connection).into_iter().collect(),
            EventKind::ItemUpdated { .. }
            | EventKind::Context { .. }
            | EventKind::Snapshot { .. }
            | EventKind::Artifact { .. } => Vec::new(),
        };
        lines.into_iter().map(|line| self.labelled(line)).collect()
    }

    /// The lines that were held back: the last message, for a view without a summary.
    #[must_use]
    pub fn rest(&self) -> Vec<Line> {
        let lines = self.held.iter().flat_map(|item| line::item(item, self.detail));
        lines.map(|line| self.labelled(line)).collect()
    }

    /// Whether it waits for a worker.
    #[must_use]
    pub const fn is_queued(&self) -> bool {
        self.queued
    }

    /// Says what a queued turn waits for, where more is known than the log tells.
    pub fn wait_for(&mut self, reason: &str) {
        if let Some((what, _)) = self.waits.as_mut().filter(|_| self.queued) {
            reason.clone_into(what);
        }
    }

    fn labelled(&self, line: Line) -> Line {
        match self.label {
            Some(number) => Line::default().with(DIM, &format!("{number}│ ")).then(line),
            None => line,
        }
    }

    fn state(&mut self, state: &State, at: Timestamp) -> Vec<Line> {
        self.over = matches!(state, State::Finished(_));
        self.waits = waits_for(state).map(|what| (what.to_owned(), at));
        self.queued = matches!(state, State::Queued);
        if self.over {
            self.open.clear();
        }
        Vec::new()
    }

    fn completed(&mut self, item: &Item) -> Vec<Line> {
        self.open.remove(&item.id);
        let mut lines = Vec::new();
        if let ItemBody::Plan { steps } = &item.body {
            self.plan.clone_from(steps);
        }
        if matches!(item.body, ItemBody::Message { role: Author::Assistant, .. }) {
            let before = self.held.replace(item.clone());
            lines.extend(before.iter().flat_map(|item| line::item(item, self.detail)));
            return lines;
        }
        if is_of_the_agent(item) {
            let held = self.held.take();
            lines.extend(held.iter().flat_map(|item| line::item(item, self.detail)));
        }
        lines.extend(line::item(item, self.detail));
        lines
    }

    /// What is under way at `now`: plan, running commands, and in the last line what is waited for. Empty at the end.
    #[must_use]
    pub fn pending(&self, now: Timestamp) -> Vec<Line> {
        if self.over {
            return Vec::new();
        }
        let mut lines = line::plan_around_now(&self.plan, PLAN_MAX);
        let running: Vec<&Item> =
            self.open.values().filter(|item| matches!(item.body, ItemBody::Command(_))).collect();
        lines.extend(running.iter().take(RUNNING_MAX).map(|item| line::running(item, now)));
        if running.len() > RUNNING_MAX {
            lines.push(Line::default().with(DIM, &format!("  and {} more", running.len() - RUNNING_MAX)));
        }
        lines.push(self.waiting_line(running.first().copied(), now));
        lines.into_iter().map(|line| self.labelled(line)).collect()
    }

    fn waiting_line(&self, running: Option<&Item>, now: Timestamp) -> Line {
        let (what, since) = match (running, &self.waits) {
            (Some(item), _) => (waits_for_command(item), item.started_at),
            (None, Some(_)) if self.held.is_some() && self.open.is_empty() => {
                ("finishing", self.held.as_ref().map_or(now, |item| item.started_at))
            }
            (None, Some((what, since))) => (what.as_str(), self.open_since().unwrap_or(*since)),
            (None, None) => ("waiting for the first event", now),
        };
        let mut line =
            Line::default().with(ACCENT, what).with(DIM, &format!(" · {}", duration(now.ms_since(since))));
        if self.usage.tokens() > 0 {
            line.push(DIM, &format!(" · {} tokens", thousands(self.usage.tokens())));
        }
        line.push(PLAIN, "");
        line
    }

    fn open_since(&self) -> Option<Timestamp> {
        self.open.values().map(|item| item.started_at).max()
    }
}

/// Whether the model goes on after its last message, which therefore was not its answer.
fn is_of_the_agent(item: &Item) -> bool {
    match &item.body {
        ItemBody::Command(run) => run.phase == Phase::Agent && item.status != ItemStatus::Interrupted,
        ItemBody::Message { .. }
        | ItemBody::FileChange { .. }
        | ItemBody::ToolCall { .. }
        | ItemBody::Question { .. }
        | ItemBody::Approval { .. } => true,
        ItemBody::Reasoning { .. }
        | ItemBody::Plan { .. }
        | ItemBody::Instructions { .. }
        | ItemBody::Notice { .. } => false,
    }
}

const fn waits_for(state: &State) -> Option<&'static str> {
    match state {
        State::Queued => Some("waiting for a worker"),
        State::Leased { .. } => Some("starting"),
        State::Preparing { .. } => Some("preparing checkout and sandbox"),
        State::Running { .. } => Some("waiting for the model"),
        State::Waiting { on: Waiting::Approval, .. } => Some("waiting for your approval"),
        State::Waiting { on: Waiting::Input, .. } => Some("waiting for your answer"),
        State::Waiting { on: Waiting::Budget, .. } => Some("waiting for a larger budget"),
        State::Waiting { on: Waiting::Model, .. } => {
            Some("waiting for the model's provider, which asked for a pause")
        }
        State::Parked { on: Waiting::Approval, .. } => Some("parked: it needs your approval"),
        State::Parked { on: Waiting::Input, .. } => Some("parked: it needs your answer"),
        State::Parked { on: Waiting::Budget, .. } => Some("parked: its budget is used up"),
        State::Parked { on: Waiting::Model, .. } => Some("parked: the model's provider asked for a pause"),
        State::Finished(_) => None,
    }
}

fn waits_for_command(item: &Item) -> &'static str {
    let ItemBody::Command(run) = &item.body else { return "waiting" };
    match run.phase {
        Phase::Setup => "waiting for the set-up",
        Phase::Start => "waiting for the services",
        Phase::Agent => "waiting for the command",
        Phase::CheckBase => "checking the base in a clean sandbox",
        Phase::CheckPatched => "checking the patch in a clean sandbox",
    }
}

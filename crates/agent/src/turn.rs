//! The loop: what the user says, what the model answers, what its calls give, until it has nothing more to do.
//!
//! Each step leaves the log such that the turn can be taken up again (see `resume`): a call is told before it is made, an
//! answer when it is complete, the result of each call when it has come. The one way out of the loop is a [`Stop`], which every helper may return.

use std::collections::VecDeque;
use std::sync::Arc;

use legwork_domain::{
    Author, Check, ContextChange, EventKind, ItemBody, Level, Message, MessageBody, Waiting,
};
use legwork_model::{Entry, Model, Request};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Ending, Reader};
use crate::breaker::Breaker;
use crate::calls::{Running, recorded, results};
use crate::context::{PROMPT, facts, goal, opening};
use crate::history::{History, Mark, Origin, Record, text_tokens};
use crate::limits::Budget;
use crate::resume::{Lost, waits_for};
use crate::tools::{Outcome, Processes, Scene, Toolbox};
use crate::{Job, Purse, Report, Stop, trace};

/// Answers in a row that say nothing or are cut off before the turn ends.
const VAIN_ANSWERS_MAX: u32 = 3;

/// Runs one turn to its end. Never fails: whatever happens is in the report, and everything that was started has ended.
pub async fn run_turn(job: Job) -> Report {
    let mut turn = Turn::new(&job);
    let timer = turn.watch_time();
    let stop = turn.work(job).await.unwrap_or_else(|stop| stop);
    timer.abort();
    turn.scene.processes.close().await;
    Report { stop, usage: turn.budget.spent() }
}

/// A turn under way.
pub(crate) struct Turn {
    pub(crate) model: Arc<dyn Model>,
    pub(crate) scene: Arc<Scene>,
    pub(crate) history: History,
    pub(crate) budget: Budget,
    pub(crate) toolbox: Toolbox,
    pub(crate) purse: Option<Arc<dyn Purse>>,
    breaker: Breaker,
    /// What the model is to know of where it is.
    facts: String,
    cache_key: String,
    /// Ends all that is under way: the user's cancel, or the end of the wall time.
    pub(crate) stop: CancellationToken,
    /// The user's cancel alone.
    cancel: CancellationToken,
    /// Something was said to the model that it has not answered.
    pub(crate) unanswered: bool,
    vain_answers: u32,
    /// What people said that came before its time.
    pub(crate) early: VecDeque<Message>,
    /// A compaction was made since the last whole answer.
    compacted: bool,
}

impl Turn {
    fn new(job: &Job) -> Self {
        let info = job.model.info();
        let scene = Scene {
            sandbox: Arc::clone(&job.sandbox),
            timeline: job.timeline.clone(),
            processes: Processes::new(),
            approve: job.approve.clone(),
        };
        Self {
            toolbox: Toolbox::new(info, job.kind),
            model: Arc::clone(&job.model),
            purse: job.purse.clone(),
            scene: Arc::new(scene),
            history: History::default(),
            budget: Budget::new(job.limits, job.past.spent, job.started),
            breaker: Breaker::default(),
            facts: facts(job.kind, &job.brief),
            cache_key: job.cache_key.clone(),
            stop: job.cancel.child_token(),
            cancel: job.cancel.clone(),
            unanswered: false,
            vain_answers: 0,
            early: VecDeque::new(),
            compacted: false,
        }
    }

    async fn work(&mut self, job: Job) -> Result<Stop, Stop> {
        let Job { past, input, images, brief, mut messages, .. } = job;
        let lost = self.read(past.history, past.files).await;
        if self.history.has_begun(self.scene.timeline.turn()) {
            if let Some(stop) = self.take_up(&lost, &mut messages).await {
                return Ok(stop);
            }
        } else {
            self.close_open_calls().await;
            self.begin(&input, images, &brief.checks, &lost).await?;
        }
        loop {
            self.hear(&mut messages).await;
            self.make_room().await?;
            let answer = self.ask().await?;
            let stop = self.settle(answer).await?;
            self.hear(&mut messages).await;
            if let Some(stop) = stop.filter(|_| !self.unanswered) {
                return Ok(stop);
            }
        }
    }

    /// Says what the model needs before it starts, and what the user says now.
    async fn begin(
        &mut self,
        input: &str,
        images: Vec<String>,
        checks: &[Check],
        lost: &Lost,
    ) -> Result<(), Stop> {
        let first = self.history.records().is_empty();
        let scene = Arc::clone(&self.scene);
        let mut records = Vec::new();
        if first {
            records =
                opening(&*scene.sandbox, &scene.timeline, self.facts.clone()).await.map_err(Stop::Sandbox)?;
        }
        if !images.is_empty() && !self.model.info().images {
            let text =
                format!("{} reads no images; those of the task were left out.", self.model.info().name);
            scene.timeline.notice(Level::Warning, text).await;
        }
        records.extend(lost.note());
        records.push(goal(scene.timeline.turn(), input, images, if first { checks } else { &[] }));
        self.tell(records).await;
        let text = input.to_owned();
        scene.timeline.record(ItemBody::Message { role: Author::User, text, message: None }).await;
        Ok(())
    }

    /// Takes what the user said meanwhile.
    pub(crate) async fn hear(&mut self, messages: &mut mpsc::Receiver<Message>) {
        while let Some(message) = self.early.pop_front().or_else(|| messages.try_recv().ok()) {
            let id = message.id;
            let text = match message.body {
                MessageBody::Steer { text } => text,
                MessageBody::Answer { .. } | MessageBody::Decision { .. } => {
                    self.hear_again(&message).await;
                    continue;
                }
            };
            // A worker that was lost may have told the model and not yet the people.
            if !self.history.has_heard(id) {
                self.tell(vec![Record::said(Origin::User { message: id }, text.clone())]).await;
                self.unanswered = true;
            }
            let body = ItemBody::Message { role: Author::User, text, message: Some(id) };
            self.scene.timeline.record(body).await;
        }
    }

    /// Asks the model; a context that is too long after all is compacted once.
    async fn ask(&mut self) -> Result<Answer, Stop> {
        loop {
            let room = self.reserve(self.request_tokens()).await?;
            let request = Request { output_max: room, ..self.request(self.history.entries()) };
            let mut answer = self.answer(request).await;
            self.spend(&answer).await;
            self.note(&mut answer).await;
            match answer.ending {
                Ending::Done(_) => self.compacted = false,
                Ending::Cancelled => {}
                Ending::Failed(legwork_model::Error::ContextOverflow { .. }) if !self.compacted => {
                    self.compacted = true;
                    self.compact().await?;
                    continue;
                }
                Ending::Failed(error) => return Err(Stop::Model(error)),
            }
            return Ok(answer);
        }
    }

    /// Keeps an answer and the results of its calls; gives the end of the turn if this was the last one.
    async fn settle(&mut self, mut answer: Answer) -> Result<Option<Stop>, Stop> {
        self.unanswered = !answer.calls.is_empty();
        self.keep(&mut answer).await;
        let (outcomes, on) = self.results_of(&mut answer.calls).await;
        let mut outcomes = outcomes;
        let lost = outcomes.iter_mut().find_map(|outcome| outcome.lost.take());
        let traces: Vec<_> = outcomes.iter_mut().map(|outcome| std::mem::take(&mut outcome.trace)).collect();
        // Between a call and its result nothing may be said.
        if on.is_none() {
            self.say_notes(std::mem::take(&mut answer.notes)).await;
        }
        self.go_on(lost, answer.limit.take())?;
        if let Some(on) = on {
            return Err(Stop::Parked { on });
        }
        self.breaker.step(&traces)?;
        self.last_word(answer).await
    }

    /// The results of calls, in the history too; and for what the turn must wait, if one of them asks a person.
    pub(crate) async fn results_of(&mut self, calls: &mut [Running]) -> (Vec<Outcome>, Option<Waiting>) {
        let mut outcomes = recorded(calls, &self.stop, &self.scene.timeline).await;
        let mut on = None;
        for (call, outcome) in calls.iter().zip(&mut outcomes) {
            let parts = std::mem::take(&mut outcome.parts);
            match outcome.asking.take() {
                Some(mut asking) => {
                    let item = asking.tell(&self.scene.timeline).await;
                    on = on.or(Some(waits_for(&item)));
                    self.history.mark(Mark::Asked { call: call.id.clone(), item });
                }
                None => self.history.append(vec![Record::output(call.id.clone(), parts)]),
            }
        }
        (outcomes, on)
    }

    /// Appends an answer to the history, and to the log what was not told while it was read.
    async fn keep(&mut self, answer: &mut Answer) {
        let mut records = std::mem::take(&mut answer.records);
        if let (Ending::Done(finished), Some(last)) = (&answer.ending, records.last_mut()) {
            last.origin = Origin::Model { stop: Some(finished.stop) };
        }
        let rest: Vec<_> = records.iter().skip(answer.told).map(Record::value).collect();
        if !rest.is_empty() {
            self.scene.timeline.context(ContextChange::Append, rest).await;
        }
        self.history.append(records);
        if let Some(usage) = answer.usage() {
            self.history.count(usage);
        }
    }

    /// Fails if the turn is over whatever the model says.
    fn go_on(&self, lost: Option<Box<legwork_sandbox::Error>>, limit: Option<Stop>) -> Result<(), Stop> {
        match (self.stop.is_cancelled(), lost, limit) {
            (true, ..) => Err(self.ended()),
            (false, Some(error), _) => Err(Stop::Sandbox(*error)),
            (false, None, Some(limit)) => Err(limit),
            (false, None, None) => Ok(()),
        }
    }

    /// What an answer without calls means.
    async fn last_word(&mut self, answer: Answer) -> Result<Option<Stop>, Stop> {
        if answer.refusal() {
            return Err(Stop::Refusal { answer: answer.text });
        }
        if self.unanswered {
            self.vain_answers = 0;
            return Ok(None);
        }
        let why = match (answer.cut_off(), answer.text.trim().is_empty()) {
            (false, false) => return Ok(Some(Stop::EndTurn { answer: answer.text })),
            (true, _) => "Your answer was cut off by the output limit. Go on from there, in smaller pieces.",
            (false, true) => {
                "Your answer was empty. Go on with the task, or say in a final message how it ended."
            }
        };
        self.vain_answers += 1;
        if self.vain_answers >= VAIN_ANSWERS_MAX {
            return Err(self.in_vain(&answer));
        }
        self.say_notes(vec![why.to_owned()]).await;
        Ok(None)
    }

    fn in_vain(&self, answer: &Answer) -> Stop {
        let said: String = answer.text.chars().take(200).collect();
        let detail = format!(
            "{} answers in a row were empty or cut off and made no call; the last one said: {said:?}.",
            self.vain_answers
        );
        Stop::Limit { limit: legwork_domain::Limit::NoProgress, detail }
    }

    /// Why the turn was stopped from outside.
    pub(crate) fn ended(&self) -> Stop {
        if self.cancel.is_cancelled() { Stop::Cancelled } else { self.budget.out_of_time() }
    }

    /// Ends all that is under way when the wall time is over.
    fn watch_time(&self) -> tokio::task::JoinHandle<()> {
        let (deadline, stop) = (Instant::from_std(self.budget.deadline()), self.stop.clone());
        tokio::spawn(async move {
            tokio::time::sleep_until(deadline).await;
            stop.cancel();
        })
    }
}

/// What the steps are made of.
impl Turn {
    /// A request with these entries; all else is the same for every one of the turn.
    pub(crate) fn request(&self, entries: Vec<Entry>) -> Request {
        let instructions = PROMPT.to_owned();
        Request {
            instructions,
            entries,
            tools: self.toolbox.specs().to_vec(),
            cache_key: self.cache_key.clone(),
            output_max: None,
        }
    }

    /// About how many tokens the next request has.
    pub(crate) fn request_tokens(&self) -> u64 {
        // The provider's own count holds the prompt and the tools already.
        self.history.tokens() + if self.history.is_counted() { 0 } else { self.fixed_tokens() }
    }

    /// About how many tokens of a request are the prompt and the tools.
    pub(crate) fn fixed_tokens(&self) -> u64 {
        text_tokens(PROMPT) + self.toolbox.tokens()
    }

    /// Sends a request and reads the answer.
    pub(crate) async fn answer(&mut self, request: Request) -> Answer {
        // Not entered: what the answer starts is part of the turn and may outlast it.
        let span = trace::request(&self.model.info().name);
        let answer = self.receive(request).await;
        trace::answered(&span, &answer);
        answer
    }

    async fn receive(&mut self, request: Request) -> Answer {
        let stream = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Answer::none(Ending::Cancelled),
            stream = self.model.stream(request) => stream,
        };
        match stream {
            Ok(stream) => {
                let Self { scene, toolbox, history, budget, stop, .. } = self;
                Reader::new(scene, toolbox, history, budget, stop).read(stream).await
            }
            Err(error) => Answer::none(Ending::Failed(error)),
        }
    }

    /// Counts what an answer cost and tells the sum.
    pub(crate) async fn spend(&mut self, answer: &Answer) {
        if let Some(usage) = answer.usage() {
            self.budget.spend(usage);
        }
        let (turn, usage) = (self.scene.timeline.turn(), self.budget.spent());
        self.scene.timeline.tell(EventKind::Usage { turn, usage }).await;
    }

    /// Says the notes of an answer that failed; those of a good one come after its results.
    async fn note(&mut self, answer: &mut Answer) {
        if matches!(answer.ending, Ending::Failed(_)) {
            self.say_notes(std::mem::take(&mut answer.notes)).await;
        }
    }

    async fn say_notes(&mut self, notes: Vec<String>) {
        self.unanswered |= !notes.is_empty();
        self.tell(notes.into_iter().map(|note| Record::said(Origin::Note, note)).collect()).await;
    }

    /// Ends calls that nobody asked for.
    pub(crate) async fn drop_calls(&self, answer: &mut Answer) {
        let over = CancellationToken::new();
        over.cancel();
        results(&mut answer.calls, &over).await;
        if answer.told > 0 {
            self.retell().await;
        }
    }

    /// Replaces what the log has of the context by the history as it is.
    pub(crate) async fn retell(&self) {
        self.scene.timeline.context(ContextChange::Replace, self.history.values()).await;
    }

    /// Appends to the history and to the log.
    pub(crate) async fn tell(&mut self, records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let values = records.iter().map(Record::value).collect();
        self.history.append(records);
        self.scene.timeline.context(ContextChange::Append, values).await;
    }
}

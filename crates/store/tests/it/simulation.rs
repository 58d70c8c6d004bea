//! The control plane under seeded misfortune: workers that die, repeat themselves, come late or hear no answer, people who
//! send the same task twice and cancel at any moment, watchers that are cut off, machines that are away for long, a clock
//! that jumps.
//!
//! One seed is one history: all chance comes from it, and no two calls run at the same time, so a seed that fails can be
//! played again (`LEGWORK_SEED=17 cargo nextest run -p legwork-store simulation`). What must hold at the end is not written
//! here but in the checker that `legwork doctor --deep` uses.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use legwork_domain::{
    Assignment, AttemptId, Ended, Event, EventBatch, EventKind, Finish, MachineId, NewEvent, Outcome,
    StreamCheck, TaskId, Timestamp, Transition, TurnId, Usage, Waiting,
};
use legwork_store::{Error, Expected, Store};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::machines::wait_ms;
use crate::world::{LEASE_MS, Place, RULES, World, completed, request, started, updated};

/// Steps of one history: enough that most tasks are worked on by several workers.
const STEPS: usize = 120;

/// What may happen to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    /// It was done, but the caller does not know and sends it again.
    AnswerLost,
    /// It never arrived.
    RequestLost,
    /// It arrives after whatever else happens.
    Late,
}

fn fate(rng: &mut Rng) -> Fate {
    match rng.u8(0..20) {
        0..=1 => Fate::AnswerLost,
        2 => Fate::RequestLost,
        3 => Fate::Late,
        _ => Fate::Answered,
    }
}

/// A worker that runs one turn, as the API's contract wants it.
struct Worker {
    job: Assignment,
    machine: Option<MachineId>,
    /// Events of this lease that the store has answered for.
    sent: u64,
    item: u32,
    steps: u8,
    state: Doing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    Leased,
    Preparing,
    Running,
}

/// A call of a worker, whole, so that it can be sent again.
#[derive(Clone)]
enum Call {
    Batch(TurnId, EventBatch),
    Finish(TurnId, Box<Finish>),
}

struct Watcher {
    attempt: AttemptId,
    seen: u64,
    check: StreamCheck,
}

struct Simulation<'a> {
    seed: u64,
    rng: Rng,
    world: &'a World,
    workers: Vec<Worker>,
    late: Vec<Call>,
    watchers: Vec<Watcher>,
    /// What a 2xx was given for: key and task.
    accepted: BTreeMap<String, TaskId>,
    attempts: Vec<(AttemptId, TaskId)>,
    /// When a worker of each machine asked last.
    heard: BTreeMap<MachineId, Timestamp>,
    /// Where the last snapshot was made that the store has answered for.
    files: BTreeMap<AttemptId, Option<MachineId>>,
}

impl<'a> Simulation<'a> {
    fn new(seed: u64, world: &'a World) -> Self {
        Self {
            seed,
            rng: Rng::with_seed(seed),
            world,
            workers: Vec::new(),
            late: Vec::new(),
            watchers: Vec::new(),
            accepted: BTreeMap::new(),
            attempts: Vec::new(),
            heard: BTreeMap::new(),
            files: BTreeMap::new(),
        }
    }

    fn store(&self) -> &Store {
        &self.world.store
    }

    async fn step(&mut self) {
        match self.rng.u8(0..32) {
            0..=2 => self.create().await,
            3..=7 => self.lease().await,
            8..=21 => self.work().await,
            22 => self.cancel().await,
            23 => self.die(),
            24 => self.pass().await,
            25..=26 => self.arrive_late().await,
            27 => self.wake().await,
            _ => self.watch().await,
        }
    }

    /// A person hands a task over, perhaps twice, perhaps with a key that stands for another one.
    async fn create(&mut self) {
        let key = format!("{}-{}", self.seed, self.rng.u8(0..24));
        let known = self.accepted.get(&key).copied();
        let prompt = if known.is_some() && self.rng.u8(0..3) == 0 { "another" } else { key.as_str() };
        let attempts = 1 + u8::try_from(key.len() % 2).unwrap();
        let made = self
            .store()
            .create_task(request(prompt, attempts), self.world.sent(Some(&key)), &self.world.ids(attempts))
            .await;
        match (made, known) {
            (Err(Error::KeyReused), Some(_)) => assert_eq!(prompt, "another"),
            (Ok(view), Some(task)) => assert_eq!(view.task.id, task, "one key, two tasks"),
            (Ok(view), None) => {
                self.attempts.extend(view.attempts.iter().map(|view| (view.attempt.id, view.attempt.task)));
                self.accepted.insert(key, view.task.id);
            }
            (Err(error), _) => panic!("{error:?}"),
        }
    }

    async fn lease(&mut self) {
        let machine = self.rng.choice([None, Some(1), Some(2), Some(3)]).flatten().map(MachineId::from_u128);
        let job = match machine {
            None => self.world.lease().await,
            Some(machine) => {
                self.world.here(machine, &[]).await;
                self.heard.insert(machine, self.world.now());
                self.world.on(machine).await
            }
        };
        let Some(job) = job else { return };
        let files = self.files.get(&job.attempt.id).copied().flatten();
        if let Some(at) = files.filter(|at| Some(*at) != machine).and_then(|at| self.heard.get(&at)) {
            let silent_ms = self.world.now().ms_since(*at);
            assert!(
                silent_ms + 10_000 >= RULES.files_wait_ms,
                "seed {}: taken from who was there",
                self.seed
            );
        }
        // An answer that is lost leaves a lease that nobody knows of.
        if fate(&mut self.rng) != Fate::AnswerLost {
            let item = job.next_item;
            let steps = self.rng.u8(0..6);
            self.workers.push(Worker { job, machine, sent: 0, item, steps, state: Doing::Leased });
        }
    }

    /// One of the workers makes its next call.
    async fn work(&mut self) {
        if self.workers.is_empty() {
            return;
        }
        let at = self.rng.usize(0..self.workers.len());
        let mut worker = self.workers.swap_remove(at);
        let call = worker.next(&mut self.rng);
        match fate(&mut self.rng) {
            Fate::RequestLost => self.workers.push(worker),
            Fate::Late => {
                // The caller waits for its answer in vain, then says the same again; the first one is still on its way.
                self.late.push(call.clone());
                self.send(worker, call).await;
            }
            Fate::AnswerLost => {
                let first = self.call(call.clone()).await;
                assert!(tolerable(&first), "{first:?}");
                self.send(worker, call).await;
            }
            Fate::Answered => self.send(worker, call).await,
        }
    }

    /// Makes the call; the worker goes on if it may.
    async fn send(&mut self, mut worker: Worker, call: Call) {
        let answer = self.call(call.clone()).await;
        assert!(tolerable(&answer), "{answer:?}");
        if answer.is_ok() && tells_of_files(&call) {
            self.files.insert(worker.job.attempt.id, worker.machine);
        }
        if answer.is_ok() && worker.answered(&call) {
            self.workers.push(worker);
        }
    }

    async fn call(&self, call: Call) -> Result<(), Error> {
        match call {
            Call::Batch(turn, batch) => self.world.append(turn, batch).await.map(drop),
            Call::Finish(turn, finish) => {
                self.store().finish(turn, *finish, self.world.now()).await.map(drop)
            }
        }
    }

    async fn arrive_late(&mut self) {
        if self.late.is_empty() {
            return;
        }
        let at = self.rng.usize(0..self.late.len());
        let call = self.late.swap_remove(at);
        let answer = self.call(call).await;
        assert!(tolerable(&answer), "{answer:?}");
    }

    async fn cancel(&mut self) {
        let tasks: Vec<TaskId> = self.accepted.values().copied().collect();
        if let Some(task) = self.rng.choice(tasks) {
            self.store().cancel(task, self.world.now()).await.unwrap();
        }
    }

    fn die(&mut self) {
        if !self.workers.is_empty() {
            let at = self.rng.usize(0..self.workers.len());
            self.workers.swap_remove(at);
        }
    }

    async fn pass(&mut self) {
        let ms = if self.rng.bool() { LEASE_MS / 3 } else { LEASE_MS + 1 };
        self.world.pass_ms(ms);
        self.store().expire(self.world.now()).await.unwrap();
    }

    /// A person has spoken to a parked turn.
    async fn wake(&mut self) {
        let Some(attempt) = self.rng.choice(self.attempts.clone()) else { return };
        let turn = self.last_turn(attempt).await;
        let woken = self.store().advance(turn, Expected::Any, Transition::Wake, self.world.now());
        let woken = woken.await.map(drop);
        assert!(matches!(woken, Ok(()) | Err(Error::Refused(_))), "{woken:?}");
    }

    async fn last_turn(&self, (attempt, task): (AttemptId, TaskId)) -> TurnId {
        let view = self.store().task(task).await.unwrap();
        let view = view.attempts.iter().find(|view| view.attempt.id == attempt).unwrap();
        view.turns.last().unwrap().id
    }

    /// A watcher reads on, or a new one comes, or one is cut off and returns to where it was.
    async fn watch(&mut self) {
        let Some((attempt, _)) = self.rng.choice(self.attempts.clone()) else { return };
        let count = self.watchers.len();
        if count < 4 {
            self.watchers.push(Watcher { attempt, seen: 0, check: StreamCheck::default() });
        }
        let at = self.rng.usize(0..self.watchers.len());
        let cut_off = self.rng.u8(0..4) == 0;
        let limit = self.rng.u32(1..9);
        let watcher = &mut self.watchers[at];
        if cut_off {
            watcher.check.connected(watcher.seen);
        }
        watcher.read(&self.world.store, limit).await;
    }

    /// Lets every turn come to its end, with workers that do not fail.
    async fn drain(&mut self) {
        self.workers.clear();
        self.world.pass_ms(LEASE_MS + 1);
        while !self.store().expire(self.world.now()).await.unwrap().is_empty() {}
        // Whoever is there at the end is of no machine.
        self.world.pass_ms(wait_ms() + 1);
        loop {
            self.world.pass_ms(LEASE_MS + 1);
            while !self.store().expire(self.world.now()).await.unwrap().is_empty() {}
            for attempt in self.attempts.clone() {
                let turn = self.last_turn(attempt).await;
                let any = Expected::Any;
                // Refused where it is not parked.
                let _ = self.store().advance(turn, any, Transition::Wake, self.world.now()).await;
            }
            let mut idle = true;
            while let Some(job) = self.world.lease().await {
                idle = false;
                let end = ending(job.lease.epoch, 0, Outcome::NoChange);
                self.call(Call::Finish(job.turn.id, Box::new(end))).await.unwrap();
            }
            if idle {
                return;
            }
        }
    }

    async fn judge(mut self) {
        let seed = self.seed;
        for call in std::mem::take(&mut self.late) {
            let answer = self.call(call).await;
            assert!(tolerable(&answer), "seed {seed}: {answer:?}");
        }
        for (attempt, _) in &self.attempts {
            let found = self.store().attempt_violations(*attempt, self.world.now()).await.unwrap();
            assert!(found.is_empty(), "seed {seed}: {found:?}");
        }
        for (key, task) in &self.accepted {
            let view = self.store().task(*task).await.unwrap();
            let ended = view.attempts.iter().flat_map(|attempt| &attempt.turns);
            assert!(
                ended.into_iter().all(|turn| turn.state.ended().is_some()),
                "seed {seed}: {key} did not end"
            );
        }
        for mut watcher in self.watchers {
            while watcher.read(&self.world.store, 500).await > 0 {}
            let end = self.world.store.log_end(watcher.attempt).await.unwrap();
            assert_eq!(watcher.seen, end.last_seq, "seed {seed}: a watcher missed the end");
            let found = watcher.check.finish();
            assert!(found.is_empty(), "seed {seed}: {found:?}");
        }
    }
}

impl Worker {
    /// What it does next: move on, tell of steps, then park, give back or finish.
    fn next(&mut self, rng: &mut Rng) -> Call {
        let (turn, epoch, first) = (self.job.turn.id, self.job.lease.epoch, self.sent);
        let batch = |events, transition| {
            Call::Batch(turn, EventBatch { epoch, lease: None, first, events, transition })
        };
        match self.state {
            Doing::Leased => batch(Vec::new(), Some(Transition::Prepare)),
            Doing::Preparing if rng.bool() => {
                let layers = vec![format!("/{epoch}")];
                let kind = EventKind::Snapshot { turn, layers, live: None, saved: None };
                batch(vec![NewEvent { at: Timestamp::from_micros(9), kind }], Some(Transition::Run))
            }
            Doing::Preparing => batch(Vec::new(), Some(Transition::Run)),
            Doing::Running if self.steps > 0 => {
                let spent =
                    Usage { input_tokens: self.job.turn.usage.input_tokens + 1, ..self.job.turn.usage };
                let usage = EventKind::Usage { turn, usage: spent };
                let usage = NewEvent { at: Timestamp::from_micros(9), kind: usage };
                let events = vec![
                    started(turn, self.item),
                    usage,
                    updated(self.item, "…"),
                    completed(turn, self.item),
                ];
                let told = if rng.u8(0..8) == 0 { events[..1].to_vec() } else { events };
                batch(told, None)
            }
            Doing::Running => match rng.u8(0..6) {
                0 => batch(Vec::new(), Some(Transition::Park { on: Waiting::Input, patch: None })),
                1 => batch(Vec::new(), Some(Transition::Release)),
                _ => Call::Finish(turn, Box::new(ending(epoch, first, Outcome::Succeeded))),
            },
        }
    }

    /// Takes the answer to a call; false: its work is done.
    fn answered(&mut self, call: &Call) -> bool {
        let Call::Batch(_, batch) = call else { return false };
        self.sent += batch.events.len() as u64;
        match &batch.transition {
            Some(Transition::Prepare) => self.state = Doing::Preparing,
            Some(Transition::Run) => self.state = Doing::Running,
            Some(_) => return false,
            None => {
                self.item += 1;
                self.steps -= 1;
            }
        }
        true
    }
}

impl Watcher {
    async fn read(&mut self, store: &Store, limit: u32) -> usize {
        let page = store.events(self.attempt, self.seen, limit).await.unwrap();
        for line in &page {
            let event: Event = serde_json::from_str(&line.json).unwrap();
            self.check.received(line.seq, &event);
            self.seen = line.seq;
        }
        page.len()
    }
}

fn tells_of_files(call: &Call) -> bool {
    let Call::Batch(_, batch) = call else { return false };
    batch.events.iter().any(|event| matches!(event.kind, EventKind::Snapshot { .. }))
}

fn ending(epoch: u64, first: u64, outcome: Outcome) -> Finish {
    let ended = Ended::nothing(outcome, "Done.", Timestamp::from_micros(9));
    Finish { epoch, lease: None, first, events: Vec::new(), ended, blobs: Vec::new() }
}

/// A worker that is late is told so; nothing else may go wrong.
fn tolerable(answer: &Result<(), Error>) -> bool {
    matches!(answer, Ok(()) | Err(Error::StaleEpoch { .. } | Error::Refused(_) | Error::Gap { .. }))
}

/// The seeds of a test: so many thousands where `CI` is set, else a few, which is seconds.
fn seeds(all: Range<u64>) -> Range<u64> {
    match std::env::var("LEGWORK_SEED") {
        Ok(seed) => seed.parse().map(|seed: u64| seed..seed + 1).unwrap(),
        Err(_) if std::env::var_os("CI").is_some() => all,
        Err(_) => all.start..all.start + (all.end - all.start).div_ceil(25),
    }
}

fn play(place: Place, seeds: impl Iterator<Item = u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // One database for all: each history ends with nothing left to do.
        let world = World::new(place).await;
        for seed in seeds {
            let mut simulation = Simulation::new(seed, &world);
            for _ in 0..STEPS {
                simulation.step().await;
            }
            simulation.drain().await;
            simulation.judge().await;
        }
        let found = world.store.violations(world.now(), 10).await.unwrap();
        assert!(found.is_empty(), "{found:?}");
    });
}

/// Keeps this thread, and those that it starts, on the `nth` of the processors that it may use.
fn stay_on(nth: usize) {
    let own = sched_getaffinity(None).unwrap();
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).filter(|cpu| own.is_set(*cpu)).cycle().nth(nth).unwrap());
    sched_setaffinity(None, &one).unwrap();
}

/// On each processor a part of them: a query goes from thread to thread, which on one processor costs half.
#[test]
fn histories_on_a_file() {
    let seeds = seeds(0..2000);
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|scope| {
        for nth in 0..threads {
            let claimed = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|seed| *seed < seeds.end);
            scope.spawn(move || {
                stay_on(nth);
                play(Place::sqlite_in_memory(), std::iter::from_fn(claimed));
            });
        }
    });
}

#[test]
fn histories_over_postgres() {
    play(Place::postgres(), seeds(2000..2250));
}

//! Workers that are late, repeat themselves, die and come back, in every order that a generator finds; and many at once.

use std::sync::Arc;

use legwork_domain::{Assignment, AttemptId, State, TaskId, Transition};
use legwork_store::Error;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::world::{LEASE_MS, World, batch, completed, end, moving, started, updated};

/// A worker as the test sees it: what it was given, and how many events it believes to be stored.
struct Worker {
    job: Assignment,
    sent: u64,
    item: u32,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Create,
    Lease,
    /// One of the workers, however old its lease, sends some events, perhaps twice.
    Append {
        worker: usize,
        events: u8,
        twice: bool,
    },
    Move {
        worker: usize,
        run: bool,
    },
    Finish {
        worker: usize,
        twice: bool,
    },
    Cancel {
        worker: usize,
    },
    Lapse,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Create),
        4 => Just(Step::Lease),
        8 => (0..8usize, 0..4u8, any::<bool>()).prop_map(|(worker, events, twice)| Step::Append { worker, events, twice }),
        3 => (0..8usize, any::<bool>()).prop_map(|(worker, run)| Step::Move { worker, run }),
        2 => (0..8usize, any::<bool>()).prop_map(|(worker, twice)| Step::Finish { worker, twice }),
        1 => (0..8usize).prop_map(|worker| Step::Cancel { worker }),
        2 => Just(Step::Lapse),
    ];
    prop::collection::vec(step, 1..40)
}

struct Play {
    world: World,
    workers: Vec<Worker>,
    attempts: Vec<AttemptId>,
}

impl Play {
    async fn step(&mut self, step: Step) {
        match step {
            Step::Create => {
                let view = self.world.create("x", None).await.unwrap();
                self.attempts.push(view.attempts[0].attempt.id);
            }
            Step::Lease => {
                if let Some(job) = self.world.lease().await {
                    let item = job.next_item;
                    self.workers.push(Worker { job, sent: 0, item });
                }
            }
            Step::Lapse => {
                self.world.pass_ms(LEASE_MS + 1);
                self.world.store.expire(self.world.now()).await.unwrap();
            }
            Step::Cancel { worker } => {
                if let Some(worker) = self.workers.get(worker) {
                    self.world.store.cancel(worker.job.task.id, self.world.now()).await.unwrap();
                }
            }
            Step::Append { worker, events, twice } => self.append(worker, events, twice).await,
            Step::Move { worker, run } => {
                let Some(worker) = self.workers.get(worker) else { return };
                let transition = if run { Transition::Run } else { Transition::Prepare };
                let moved = self
                    .world
                    .append(worker.job.turn.id, moving(worker.job.lease.epoch, worker.sent, transition))
                    .await;
                assert!(
                    matches!(moved, Ok(_) | Err(Error::StaleEpoch { .. } | Error::Refused(_))),
                    "{moved:?}"
                );
            }
            Step::Finish { worker, twice } => {
                let Some(worker) = self.workers.get(worker) else { return };
                for _ in 0..=u8::from(twice) {
                    let last = end(worker.job.lease.epoch, worker.sent, vec![updated(1, "last")]);
                    let ended = self.world.store.finish(worker.job.turn.id, last, self.world.now()).await;
                    assert!(matches!(ended, Ok(_) | Err(Error::StaleEpoch { .. })), "{ended:?}");
                }
            }
        }
    }

    /// A write under the present lease is stored whole and once; under any other it changes nothing.
    async fn append(&mut self, worker: usize, events: u8, twice: bool) {
        let Some(worker) = self.workers.get_mut(worker) else { return };
        let (turn, attempt, epoch) = (worker.job.turn.id, worker.job.attempt.id, worker.job.lease.epoch);
        let mut sent = Vec::new();
        for n in 0..events {
            sent.push(match n {
                0 => started(turn, worker.item),
                1 => completed(turn, worker.item),
                _ => updated(worker.item, "more"),
            });
        }
        let before = self.world.log(attempt).await.len();
        let live = self.world.store.task(worker.job.task.id).await.unwrap().attempts[0].turns[0]
            .state
            .lease()
            .is_some_and(|lease| lease.epoch == epoch);
        for _ in 0..=u8::from(twice) {
            let stored = self.world.append(turn, batch(epoch, worker.sent, sent.clone())).await;
            match stored {
                Ok(_) => assert!(live, "a stale epoch was taken"),
                Err(Error::StaleEpoch { .. }) => assert!(!live, "the present epoch was refused"),
                Err(error) => panic!("{error:?}"),
            }
        }
        let grown = self.world.log(attempt).await.len() - before;
        assert_eq!(grown, if live { sent.len() } else { 0 });
        if live {
            worker.sent += sent.len() as u64;
            worker.item += 1;
        }
    }
}

pub(crate) async fn no_order_of_steps_breaks_a_log(world: World) {
    let runtime = tokio::runtime::Handle::current();
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let result = tokio::task::block_in_place(|| {
        runner.run(&steps(), |steps| {
            runtime.block_on(async {
                let world = World::new(world.place.another()).await;
                let mut play = Play { world, workers: Vec::new(), attempts: Vec::new() };
                for step in steps {
                    play.step(step).await;
                }
                for attempt in &play.attempts {
                    play.world.check(*attempt).await;
                }
            });
            Ok(())
        })
    });
    result.unwrap();
}

/// Six workers of three servers share one queue, one of them is always too late, and people cancel meanwhile.
pub(crate) async fn many_at_once_break_no_log(world: World) {
    let servers = [Arc::new(world.beside().await), Arc::new(world.beside().await), Arc::new(world)];
    let mut attempts = Vec::new();
    for n in 0..18 {
        let view = servers[n % 3].create(&format!("task {n}"), None).await.unwrap();
        attempts.push(view.attempts[0].attempt.id);
        if n % 6 == 0 {
            tokio::spawn(cancel(Arc::clone(&servers[1]), view.task.id));
        }
    }
    let workers: Vec<_> = (0..6).map(|n| tokio::spawn(work(Arc::clone(&servers[n % 3]), n == 0))).collect();
    for worker in workers {
        worker.await.unwrap();
    }
    let world = &servers[0];
    while world.lease().await.is_some() {
        world.pass_ms(LEASE_MS + 1);
        world.store.expire(world.now()).await.unwrap();
    }
    world.pass_ms(LEASE_MS + 1);
    world.store.expire(world.now()).await.unwrap();
    for attempt in attempts {
        world.check(attempt).await;
        assert!(world.store.log_end(attempt).await.unwrap().finished);
    }
}

/// Until somebody has the turn, and so beside all that its worker does.
async fn cancel(world: Arc<World>, task: TaskId) {
    while world.store.task(task).await.unwrap().attempts[0].turns[0].state == State::Queued {
        tokio::task::yield_now().await;
    }
    world.store.cancel(task, world.now()).await.unwrap();
}

async fn work(world: Arc<World>, late: bool) {
    while let Some(job) = world.lease().await {
        let (turn, epoch, item) = (job.turn.id, job.lease.epoch, job.next_item);
        if late {
            world.pass_ms(LEASE_MS + 1);
            world.store.expire(world.now()).await.unwrap();
        }
        for k in 0..4 {
            let events = vec![started(turn, item + k), completed(turn, item + k)];
            let sending = batch(epoch, 2 * u64::from(k), events);
            let both = tokio::join!(world.append(turn, sending.clone()), world.append(turn, sending));
            if matches!(both, (Err(Error::StaleEpoch { .. }), _) | (_, Err(Error::StaleEpoch { .. }))) {
                break;
            }
            both.0.unwrap();
            both.1.unwrap();
        }
        let ended = world.store.finish(turn, end(epoch, 8, Vec::new()), world.now()).await;
        assert!(matches!(ended, Ok(_) | Err(Error::StaleEpoch { .. } | Error::Gap { .. })), "{ended:?}");
    }
}

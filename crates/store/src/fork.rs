//! A task that starts where a turn of another one ended: on the files that it left and with the history that it had.
//!
//! What the new attempt needs is copied into its own log, without the secrets that are known by then. So the two have nothing in common from then on: either may go on,
//! be deleted or be compared, and the next worker finds everything where it always looks. The files themselves are the
//! worker's frozen layers, which any number of attempts may stand on.

use legwork_domain::{
    Attempt, AttemptId, Context, ContextChange, EventKind, Fork, ForkDraft, Kind, LaidRepository, MachineId,
    NewEvent, NewTask, Task, TaskView, Timestamp, Turn, TurnId,
};
use serde_json::Value;

use crate::assignment::{self, Resume};
use crate::create::{self, TaskIds};
use crate::idempotency::{Call, taken_meanwhile};
use crate::turn_row::{TurnRow, parsed, text};
use crate::{Connection, Copying, Error, Store, listing, log, machines, queue, read};

/// Bytes of history that one event of the new log holds, unless a single entry is longer: some hundred entries, and far
/// below the largest event.
const CHUNK_BYTES: usize = 1024 * 1024;

impl Store {
    /// Makes a task that goes on from where a turn of an attempt ended, with what that attempt's task was told otherwise.
    /// With a key that came with the same request before, the task of that time is the answer.
    ///
    /// # Errors
    /// [`Error::Conflict`] with `turn_open` if the turn has not ended, with `no_snapshot` if it left no files to
    /// start from, with `files_gone` if no worker keeps them for so long;
    /// [`Error::NotFound`]; [`Error::Invalid`]; [`Error::KeyReused`].
    pub async fn fork(
        &self,
        attempt: AttemptId,
        draft: ForkDraft,
        copying: Copying<'_>,
        ids: &TaskIds,
    ) -> Result<TaskView, Error> {
        draft.validate().map_err(Error::Invalid)?;
        let sent = copying.sent;
        let call = Call::new(&sent, &("fork", attempt, &draft))?;
        let mut transaction = self.write().await?;
        if let Some(task) = call.made(&mut transaction).await? {
            return read::task(&mut transaction, parsed(&task)?).await;
        }
        queue::room(&mut transaction, &sent, 1).await?;
        let Attempt { task, .. } = assignment::attempt(&mut transaction, attempt).await?;
        let task = read::record(&mut transaction, task).await?;
        let point = Point::find(&mut transaction, &task, attempt, draft.turn).await?;
        if task.request.kind != Kind::Ask {
            point.has_files(&mut transaction, (attempt, draft.turn), sent.act.at).await?;
        }
        let mut request = copying.clean(&request(&task, draft))?;
        request.trust = request.trust.lowered_by(sent.trust());
        let mut view = create::new_task(request, ids, &sent.act);
        view.task.forked_from = Some(Fork { attempt, seq: point.seq });
        create::insert(&mut transaction, &view, ids.repository(), &sent.act).await?;
        for view in &view.attempts {
            for turn in &view.turns {
                point.seed(&mut transaction, turn, &copying).await?;
            }
            machines::set(&mut transaction, view.attempt.id, point.machine).await?;
        }
        if !call.keep(&mut transaction, view.task.id, &view.task.id, sent.act.at).await? {
            return Err(taken_meanwhile());
        }
        listing::commit(transaction, view.task.id, sent.act.at).await?;
        view.task = view.task.without_login();
        Ok(view)
    }
}

/// The same request with other words. Its recipe is in it already, as it was resolved when the first task was made.
fn request(task: &Task, draft: ForkDraft) -> NewTask {
    let ForkDraft { input, images, .. } = draft;
    NewTask { prompt: input, images, attempts: 1, environment_id: None, ..task.request.clone() }
}

/// Where a turn ended, as the log tells it.
struct Point {
    /// The snapshot.
    seq: u64,
    base: Option<Pinned>,
    resume: Resume,
    /// Where its files are.
    machine: Option<MachineId>,
}

/// What the attempt's patches are against.
#[derive(Clone)]
struct Pinned {
    commit: String,
    tree: String,
    name: Option<String>,
    image: Option<String>,
    repositories: Vec<LaidRepository>,
}

impl Point {
    async fn find(
        connection: &mut Connection,
        task: &Task,
        attempt: AttemptId,
        number: u32,
    ) -> Result<Self, Error> {
        let turns = TurnRow::load_attempt(connection, attempt).await?;
        let machine = turns.iter().find(|row| row.turn.number == number).and_then(|row| row.machine);
        let upto: Vec<Turn> =
            turns.into_iter().map(|row| row.turn).filter(|turn| turn.number <= number).collect();
        let Some(last) = upto.last().filter(|turn| turn.number == number) else {
            let id = format!("{number} of attempt {attempt}");
            return Err(Error::NotFound { what: "turn", id });
        };
        if last.state.ended().is_none() {
            let sentence = format!("Turn {number} has not ended. Wait for it, or fork at an earlier one.");
            return Err(Error::conflict("turn_open", sentence));
        }
        let mut point = Self { seq: 0, base: None, resume: Resume::default(), machine };
        let mut left = None;
        for event in assignment::steps(connection, attempt).await? {
            let Some(turn) = turn_of(&event.kind).filter(|turn| upto.iter().any(|known| known.id == *turn))
            else {
                continue;
            };
            if matches!(event.kind, EventKind::Snapshot { .. }) {
                (left, point.seq) = (Some(turn), event.seq);
            }
            if let (None, EventKind::Base { commit, tree, name, image, repositories, .. }) =
                (&point.base, &event.kind)
            {
                let (commit, tree) = (commit.clone(), tree.clone());
                let (name, image, repositories) = (name.clone(), image.clone(), repositories.clone());
                point.base = Some(Pinned { commit, tree, name, image, repositories });
            }
            point.resume.apply(event.kind);
        }
        if left != Some(last.id) || point.resume.layers.is_empty() {
            let sentence = format!(
                "Turn {number} left no files to start from: it ended before there were any. Fork at another turn."
            );
            return Err(Error::conflict("no_snapshot", sentence));
        }
        if task.request.kind == Kind::Ask {
            // Such a sandbox cannot change files and leaves none.
            point.resume.live = None;
        }
        Ok(point)
    }

    /// Refuses where the files are known to be gone and the server has nothing of them either. Later turns of the attempt use
    /// them too.
    async fn has_files(
        &self,
        connection: &mut Connection,
        (attempt, number): (AttemptId, u32),
        now: Timestamp,
    ) -> Result<(), Error> {
        if self.resume.saved.is_some() {
            return Ok(());
        }
        let turns = TurnRow::load_attempt(connection, attempt).await?.into_iter().map(|row| row.turn);
        let uses = turns.filter(|turn| turn.number >= number);
        let used = uses.map(|turn| turn.state.ended().map_or(now, |ended| ended.at)).max().unwrap_or(now);
        match machines::lost(connection, self.machine, (used, now)).await? {
            None => Ok(()),
            Some(why) => {
                let sentence = format!(
                    "The files that turn {number} left are no longer kept: {why}. It left no patch to go on from either; start a new task."
                );
                Err(Error::conflict("files_gone", sentence))
            }
        }
    }

    /// Tells the new attempt's log, in the order in which folding it gives the same.
    async fn seed(
        &self,
        connection: &mut Connection,
        turn: &Turn,
        copying: &Copying<'_>,
    ) -> Result<(), Error> {
        let Resume { history, layers, layers_at, live, saved, saved_at, .. } = &self.resume;
        let entries = |count: u64| usize::try_from(count).unwrap_or(usize::MAX).min(history.len());
        let seen = entries(*layers_at);
        let known = saved.as_ref().map_or(seen, |_| entries(*saved_at).min(seen));
        let snapshot =
            |live, saved| EventKind::Snapshot { turn: turn.id, layers: layers.clone(), live, saved };
        let base = self.base.clone().map(|Pinned { commit, tree, name, image, repositories }| {
            EventKind::Base { turn: turn.id, commit, tree, name, image, repositories }
        });
        let mut kinds: Vec<EventKind> = base.into_iter().collect();
        kinds.extend(chunks(&history[..known], turn.id)?);
        if known < seen {
            kinds.push(snapshot(None, saved.clone()));
            kinds.extend(chunks(&history[known..seen], turn.id)?);
        }
        kinds.push(snapshot(live.clone(), saved.clone().filter(|_| known == seen)));
        kinds.extend(chunks(&history[seen..], turn.id)?);
        for kind in kinds {
            let event = NewEvent { at: copying.sent.act.at, kind: copying.clean(&kind)? };
            log::append(connection, turn.attempt, vec![event]).await?;
        }
        Ok(())
    }
}

/// Whose step it is.
const fn turn_of(kind: &EventKind) -> Option<TurnId> {
    match kind {
        EventKind::Base { turn, .. }
        | EventKind::Context { turn, .. }
        | EventKind::Snapshot { turn, .. }
        | EventKind::Patch { turn, .. } => Some(*turn),
        EventKind::State { .. }
        | EventKind::ItemStarted { .. }
        | EventKind::ItemUpdated { .. }
        | EventKind::ItemCompleted { .. }
        | EventKind::Usage { .. }
        | EventKind::Verdict { .. }
        | EventKind::Artifact { .. }
        | EventKind::Connection { .. } => None,
    }
}

/// The entries in events that are not too large.
fn chunks(entries: &[Value], turn: TurnId) -> Result<Vec<EventKind>, Error> {
    let (mut chunks, mut chunk, mut bytes) = (Vec::new(), Vec::new(), 0);
    for entry in entries {
        let length = text(entry)?.len();
        if !chunk.is_empty() && bytes + length > CHUNK_BYTES {
            chunks.push(std::mem::take(&mut chunk));
            bytes = 0;
        }
        bytes += length;
        chunk.push(entry.clone());
    }
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
    let kind =
        |entries| EventKind::Context { turn, context: Context { change: ContextChange::Append, entries } };
    Ok(chunks.into_iter().map(kind).collect())
}

use legwork_domain::{TaskView, Trust};

use super::{Call, Form, Which, find};
use crate::choice::{self, Choice};
use crate::exit::Exit;
use crate::run::home;
use crate::summary;
use crate::text::{ACCENT, BOLD, DIM, Line, PLAIN};

pub(super) async fn run(which: &Which, call: &Call<'_>) -> anyhow::Result<Exit> {
    let view = find::task(which, call.client).await?;
    if call.form == Form::Json {
        return call.answer(&view, &[]);
    }
    let records = find::records(&view, call.client).await?;
    let number = find::attempt(which, &records)?;
    let record = &records[&number];
    let request = &view.task.request;
    let base = record.base.as_ref().map(|(commit, _)| commit.chars().take(12).collect::<String>());
    let mut lines = vec![
        Line::default().with(BOLD, &view.task.title),
        Line::default().with(DIM, "task        ").with(ACCENT, &view.task.id.to_string()),
        Line::default()
            .with(DIM, "repository  ")
            .with(PLAIN, &super::ls::repository(&request.source.repository)),
        Line::default()
            .with(DIM, "base        ")
            .with(PLAIN, base.as_deref().unwrap_or("not checked out yet")),
        Line::default().with(DIM, "model       ").with(PLAIN, &request.model),
    ];
    if request.trust == Trust::Outsider {
        let told = "an outsider: no secrets, and what it makes is used by no other task";
        lines.push(Line::default().with(DIM, "asked by    ").with(PLAIN, told));
    }
    if record.ended.is_none() {
        lines.push(Line::default().with(DIM, "state       ").with(PLAIN, &state(&view, number)));
    }
    let choice = choice::best(&records).unwrap_or(Choice { number, why: String::new() });
    lines.extend(choice::table(&records, &choice));
    lines.extend(summary::answer(record));
    lines.extend(summary::verdicts(record));
    lines.extend(summary::outcome(record));
    lines.extend(summary::needs(record, &view.task));
    lines.extend(summary::next_steps(record, &view.task, summary::Wanted::Later));
    home::write(&lines)?;
    call.client.see(view.task.id).await?;
    Ok(Exit::Done)
}

/// Where the attempt stands, and while it is queued, what it waits for.
fn state(view: &TaskView, number: u8) -> String {
    let attempt = view.attempts.iter().find(|attempt| attempt.attempt.number == number);
    let Some(turn) = attempt.and_then(|attempt| attempt.turns.last()) else { return "unknown".to_owned() };
    let place = view.queue.iter().find(|place| place.turn == turn.id);
    place.map_or_else(
        || turn.state.name().to_owned(),
        |place| format!("{}: {}", turn.state.name(), place.reason),
    )
}

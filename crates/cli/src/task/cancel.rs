use super::{Call, Which, find};
use crate::exit::Exit;
use crate::text::{DIM, Line};

pub(super) async fn run(which: &Which, call: &Call<'_>) -> anyhow::Result<Exit> {
    let id = find::task(which, call.client).await?.task.id;
    let view = call.client.cancel(id).await?;
    let live = view.attempts.iter().filter_map(|attempt| attempt.turns.last());
    let live = live.filter(|turn| turn.state.ended().is_none()).count();
    let text = match live {
        0 => "It is over.".to_owned(),
        _ => "Its worker was asked to stop; it ends as soon as the partial patch is saved.".to_owned(),
    };
    call.answer(&view, &[Line::of(&text).with(DIM, &format!(" legwork task show {id}"))])
}

use super::{Call, Form, Which, find};
use crate::exit::Exit;
use crate::json;
use crate::run::home;
use crate::steps::{Detail, Steps};

pub(super) async fn run(which: &Which, call: &Call<'_>) -> anyhow::Result<Exit> {
    let view = find::task(which, call.client).await?;
    let wanted = |number: u8| which.attempt.is_none_or(|attempt| attempt == number);
    let label = view.attempts.len() > 1;
    for attempt in view.attempts.iter().filter(|attempt| wanted(attempt.attempt.number)) {
        let events = find::log(attempt, call.client).await?;
        if call.form == Form::Json {
            let mut out = std::io::stdout().lock();
            events.iter().try_for_each(|event| json::line(&mut out, event))?;
            continue;
        }
        let mut steps = Steps::new(label.then_some(attempt.attempt.number), Detail::Whole);
        for event in &events {
            home::write(&steps.take(event))?;
        }
        home::write(&steps.rest())?;
    }
    Ok(Exit::Done)
}

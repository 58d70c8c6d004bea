use legwork_domain::{AttemptId, Decision, Item, ItemBody, Reply};
use uuid::Uuid;

use super::{Call, Which, find};
use crate::exit::{Exit, Trouble};
use crate::run;
use crate::text::Line;

/// Answers what a task asked, or decides on an action that it wants to do.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The task's id or its last characters.
    task: String,
    /// The answer; - reads it from standard input.
    #[arg(required_unless_present_any = ["approve", "deny"], conflicts_with_all = ["approve", "deny"])]
    text: Option<String>,
    /// Let it do the action, this once.
    #[arg(long, conflicts_with = "deny")]
    approve: bool,
    /// Do not let it.
    #[arg(long)]
    deny: bool,
    /// The step that asks, where there are several.
    #[arg(long, value_name = "N")]
    step: Option<u32>,
    /// The attempt, where several ask.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=4))]
    attempt: Option<u8>,
}

pub(super) async fn run(args: &Args, call: &Call<'_>) -> anyhow::Result<Exit> {
    let which = Which { task: Some(args.task.clone()), attempt: args.attempt };
    let view = find::task(&which, call.client).await?;
    let mut asked: Vec<(AttemptId, Item)> = Vec::new();
    for (number, record) in find::records(&view, call.client).await? {
        if args.attempt.is_none_or(|attempt| attempt == number) {
            let id = find::id_of(&view, number)?;
            asked.extend(record.asked.into_values().map(|item| (id, item)));
        }
    }
    asked.retain(|(_, item)| args.fits(item));
    let (attempt, item) = match asked.as_slice() {
        [only] => only,
        [] => return Err(nothing(args, &view.task.id.to_string()).into()),
        several => return Err(many(several).into()),
    };
    let reply = match &args.text {
        Some(text) => Reply::Answer { item: item.id, text: run::words(text)? },
        None if args.approve => Reply::Decision { item: item.id, decision: Decision::Approved },
        None => Reply::Decision { item: item.id, decision: Decision::Denied },
    };
    let message = call.client.answer(*attempt, &reply, &Uuid::now_v7().to_string()).await?;
    call.answer(&message, &[Line::of("It goes on with that.")])
}

impl Args {
    /// Whether the item asks for what was given.
    fn fits(&self, item: &Item) -> bool {
        let kind = match &item.body {
            ItemBody::Question { .. } => self.text.is_some(),
            ItemBody::Approval { .. } => self.text.is_none(),
            ItemBody::Message { .. }
            | ItemBody::Reasoning { .. }
            | ItemBody::Command(_)
            | ItemBody::FileChange { .. }
            | ItemBody::ToolCall { .. }
            | ItemBody::Plan { .. }
            | ItemBody::Instructions { .. }
            | ItemBody::Notice { .. } => false,
        };
        kind && self.step.is_none_or(|step| item.id.number() == step)
    }
}

fn nothing(args: &Args, id: &str) -> Trouble {
    let what = match args.text {
        Some(_) => "The task asks no question now; nothing was sent.",
        None => "The task wants no approval now; nothing was sent.",
    };
    Trouble::usage(
        what,
        format!(
            "See what it needs: legwork task show {id}\nSay something else: legwork task send {id} \"…\""
        ),
    )
}

fn many(asked: &[(AttemptId, Item)]) -> Trouble {
    let steps: Vec<String> = asked.iter().map(|(_, item)| item.id.number().to_string()).collect();
    let what = format!("Several steps ask: {}.", steps.join(", "));
    Trouble::usage(what, "Say which one is meant: --step N, and --attempt N where several attempts ask.")
}

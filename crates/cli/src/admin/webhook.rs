use legwork_domain::{
    Delivery, DeliveryId, DeliveryState, Timestamp, Topic, WEBHOOK_OVERLAP_MS_MAX, Webhook, WebhookCreated,
    WebhookId, WebhookRequest, WebhookRotation,
};

use crate::call::Call;
use crate::config::lifetime;
use crate::exit::Exit;
use crate::people;
use crate::run::say;
use crate::table;
use crate::text::{ACCENT, BAD, DIM, GOOD, Line, PLAIN, WARN};

/// What can be done with webhooks.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Tells state changes to an address, and writes the secret that signs them to standard output, this once.
    Add(AddArgs),
    /// Lists webhooks.
    Ls,
    /// Deletes a webhook with the record of its deliveries.
    Rm {
        /// Its id.
        webhook: WebhookId,
    },
    /// Makes a new secret and writes it to standard output, this once.
    Rotate {
        /// Its id.
        webhook: WebhookId,
        /// How long the secret before signs too, for example 12h; at most 7d. 0: no earlier secret signs any more.
        #[arg(long, value_name = "TIME", value_parser = overlap, default_value = "1d")]
        overlap: u64,
    },
    /// Lists what a webhook was told, newest first.
    Deliveries {
        /// Its id.
        webhook: WebhookId,
        /// How many at most.
        #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Sends a delivery again, whatever became of it.
    Replay {
        /// Its id.
        delivery: DeliveryId,
    },
}

/// Where to, and what of.
#[derive(Debug, clap::Args)]
pub(super) struct AddArgs {
    /// An http or https address.
    url: String,
    /// What it hears of: task.created, turn.started, turn.parked, turn.finished, task.alarm; may be repeated. Default: everything.
    #[arg(long = "topic", value_name = "TOPIC", value_parser = topic)]
    topics: Vec<Topic>,
    /// Only what happens in this repository, by URL or id.
    #[arg(long, value_name = "URL")]
    repository: Option<String>,
}

fn topic(text: &str) -> Result<Topic, String> {
    serde_json::from_value(text.into())
        .map_err(|_| "it is task.created, turn.started, turn.parked, turn.finished or task.alarm".to_owned())
}

fn overlap(text: &str) -> Result<u64, String> {
    let ms = if text == "0" { 0 } else { lifetime(text)? };
    if ms > WEBHOOK_OVERLAP_MS_MAX { Err("it is at most 7d".to_owned()) } else { Ok(ms) }
}

pub(super) async fn run(verb: &Verb, call: &Call<'_>) -> anyhow::Result<Exit> {
    match verb {
        Verb::Add(args) => add(args, call).await,
        Verb::Ls => list(call).await,
        Verb::Rm { webhook } => {
            call.client.delete_webhook(*webhook).await?;
            let gone = serde_json::json!({ "id": webhook });
            call.answer(&gone, &[Line::default().with(GOOD, "It is gone: nothing more is sent.")])
        }
        Verb::Rotate { webhook, overlap } => rotate(*webhook, *overlap, call).await,
        Verb::Deliveries { webhook, limit } => deliveries(*webhook, *limit, call).await,
        Verb::Replay { delivery } => {
            let delivery = call.client.replay_delivery(*delivery).await?;
            call.answer(&delivery, &[Line::default().with(GOOD, "It is sent again now, under the same id.")])
        }
    }
}

async fn add(args: &AddArgs, call: &Call<'_>) -> anyhow::Result<Exit> {
    let repository = people::repository(args.repository.as_deref(), call.client).await?;
    let request = WebhookRequest { url: args.url.clone(), topics: args.topics.clone(), repository };
    let made = call.client.create_webhook(&request).await?;
    shown_once(&made, &format!("It is {}.", made.webhook.id), call)
}

async fn rotate(webhook: WebhookId, overlap_ms: u64, call: &Call<'_>) -> anyhow::Result<Exit> {
    let made = call.client.rotate_webhook(webhook, WebhookRotation { overlap_ms }).await?;
    let until = if overlap_ms == 0 {
        "No earlier secret signs any more.".to_owned()
    } else {
        format!("The one before signs too for {}.", people::span(overlap_ms))
    };
    shown_once(&made, &until, call)
}

fn shown_once(made: &WebhookCreated, more: &str, call: &Call<'_>) -> anyhow::Result<Exit> {
    call.answer(made, &[Line::of(&made.secret)])?;
    say(&Line::default().with(DIM, &format!("Keep it safe: it is shown this once. {more}")));
    Ok(Exit::Done)
}

async fn list(call: &Call<'_>) -> anyhow::Result<Exit> {
    let webhooks = call.client.webhooks().await?.webhooks;
    let now = people::now();
    let rows = webhooks.iter().map(|webhook| row(webhook, now)).collect();
    let heads = ["WEBHOOK", "URL", "HEARS", "STATE"];
    call.list(&webhooks, &table::fitted(&heads, rows, table::columns()))
}

fn row(webhook: &Webhook, now: Timestamp) -> Vec<Line> {
    let topics: Vec<String> = webhook.topics.iter().map(|topic| word(*topic)).collect();
    let hears = if topics.is_empty() { "everything".to_owned() } else { topics.join(", ") };
    let overlap = webhook.overlap_until.filter(|until| *until > now);
    let state = match (&webhook.disabled_at, overlap) {
        (Some(_), _) => Line::default()
            .with(BAD, "disabled")
            .with(DIM, &webhook.disabled_because.as_ref().map(|why| format!(": {why}")).unwrap_or_default()),
        (None, Some(until)) => Line::default()
            .with(GOOD, "hears")
            .with(DIM, &format!(", two secrets for {}", people::span(until.ms_since(now)))),
        (None, None) => Line::default().with(GOOD, "hears"),
    };
    vec![
        Line::default().with(DIM, &webhook.id.to_string()),
        Line::default().with(ACCENT, &webhook.url),
        Line::default().with(PLAIN, &hears),
        state,
    ]
}

async fn deliveries(webhook: WebhookId, limit: u16, call: &Call<'_>) -> anyhow::Result<Exit> {
    let mut deliveries: Vec<Delivery> = Vec::new();
    let mut cursor = None;
    while deliveries.len() < usize::from(limit) {
        let page = call.client.deliveries(webhook, cursor).await?;
        deliveries.extend(page.deliveries);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    deliveries.truncate(limit.into());
    let now = people::now();
    let rows = deliveries.iter().map(|delivery| told(delivery, now)).collect();
    let heads = ["DELIVERY", "TOPIC", "TASK", "AGE", "STATE", "TRIES", "WHY"];
    call.list(&deliveries, &table::fitted(&heads, rows, table::columns()))
}

fn told(delivery: &Delivery, now: Timestamp) -> Vec<Line> {
    let state = match delivery.state {
        DeliveryState::Pending => Line::default().with(WARN, "pending"),
        DeliveryState::Delivered => Line::default().with(GOOD, "delivered"),
        DeliveryState::GivenUp => Line::default().with(BAD, "given up"),
    };
    vec![
        Line::default().with(DIM, &delivery.id.to_string()),
        Line::of(&word(delivery.topic)),
        Line::default().with(DIM, &delivery.task.to_string()),
        Line::of(&people::span(now.ms_since(delivery.created_at))),
        state,
        Line::of(&delivery.tries.to_string()),
        Line::of(delivery.last_error.as_deref().unwrap_or_default()),
    ]
}

/// As in JSON.
fn word(topic: Topic) -> String {
    serde_json::to_value(topic).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

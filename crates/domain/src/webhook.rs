//! Webhooks: state changes told to receivers elsewhere.
//!
//! A receiver is told that something changed and where to look, no more: the body is small, and what a caller may read is
//! decided when it reads. The headers and the signature are those of the Standard Webhooks
//! (<https://www.standardwebhooks.com>).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{AttemptId, DeliveryId, Outcome, RepositoryId, TaskId, Timestamp, TurnId, UserId, WebhookId};

/// Longest URL of a webhook, in bytes: what servers and proxies take.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2048;

/// What a webhook can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum Topic {
    /// A task was handed over.
    #[serde(rename = "task.created")]
    TaskCreated,
    /// A worker took a turn; again for each retry.
    #[serde(rename = "turn.started")]
    TurnStarted,
    /// A turn waits for a person or for a budget.
    #[serde(rename = "turn.parked")]
    TurnParked,
    /// A turn ended.
    #[serde(rename = "turn.finished")]
    TurnFinished,
    /// A task was stopped because its decoy secret showed up. Told beside the turn's end.
    #[serde(rename = "task.alarm")]
    TaskAlarm,
}

/// Where state changes are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Whose it is. It hears only of what this user sees.
    pub owner: UserId,
    /// Where to.
    pub url: String,
    /// What it hears of; empty: everything, also what is added later.
    pub topics: Vec<Topic>,
    /// Only of this repository; `None`: of all that its owner sees.
    pub repository: Option<RepositoryId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it hears nothing.
    pub disabled_at: Option<Timestamp>,
    /// Why not, where nobody said so.
    pub disabled_because: Option<String>,
    /// Until when a secret from before the last rotation signs too; a time that has passed if none does any more.
    #[serde(default)]
    pub overlap_until: Option<Timestamp>,
}

/// What a webhook is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookRequest {
    /// An `http` or `https` URL without a user, a password and a fragment; at most 2048 bytes.
    #[schema(
        max_length = 2048,
        pattern = r"^https?://[^\s\x00-\x20\x7f-\x9f/?#@\\]+([/?][^\s\x00-\x20\x7f-\x9f#]*)?$"
    )]
    pub url: String,
    /// What it hears of; empty: everything.
    #[serde(default)]
    pub topics: Vec<Topic>,
    /// Only of this repository.
    #[serde(default)]
    pub repository: Option<RepositoryId>,
}

/// What to change of a webhook; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookChange {
    /// As in the request.
    #[serde(default)]
    #[schema(
        max_length = 2048,
        pattern = r"^https?://[^\s\x00-\x20\x7f-\x9f/?#@\\]+([/?][^\s\x00-\x20\x7f-\x9f#]*)?$"
    )]
    pub url: Option<String>,
    /// As in the request.
    #[serde(default)]
    pub topics: Option<Vec<Topic>>,
    /// Whether it hears anything. What happens while it does not is not told later.
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// The longest overlap of a rotation: a week, until everybody who deploys receivers was at work.
pub const WEBHOOK_OVERLAP_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;

/// How a webhook gets a new secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookRotation {
    /// How long the secret that was the newest signs beside the new one. 0: from now on no earlier secret signs, as is
    /// right for one that leaked. Default: a day; at most a week.
    #[serde(default = "day_ms")]
    #[schema(default = 86_400_000, maximum = 604_800_000)]
    pub overlap_ms: u64,
}

impl Default for WebhookRotation {
    fn default() -> Self {
        Self { overlap_ms: day_ms() }
    }
}

const fn day_ms() -> u64 {
    24 * 60 * 60 * 1000
}

/// A webhook that was just made or got a new secret, with that secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookCreated {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: Webhook,
    /// `whsec_` and 32 random bytes in base 64, with which deliveries are signed. Shown this once.
    pub secret: String,
}

/// Webhooks, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookList {
    /// All that the caller may see.
    pub webhooks: Vec<Webhook>,
}

/// How far a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It is sent, or will be.
    Pending,
    /// The receiver took it.
    Delivered,
    /// The receiver did not take it within three days, or must not have it any more.
    GivenUp,
}

/// One state change on its way to one receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// Its id; the header `webhook-id` of each try.
    pub id: DeliveryId,
    /// To whom.
    pub webhook: WebhookId,
    /// Of what.
    pub topic: Topic,
    /// Of which task.
    pub task: TaskId,
    /// When the state changed.
    pub created_at: Timestamp,
    /// How far it is.
    pub state: DeliveryState,
    /// Tries since it was made, or sent again on demand.
    pub tries: u32,
    /// When the next try comes.
    pub due_at: Option<Timestamp>,
    /// When the last try ended.
    pub last_at: Option<Timestamp>,
    /// The HTTP status that it got.
    pub last_status: Option<u16>,
    /// Why it failed, if it did.
    pub last_error: Option<String>,
}

/// Deliveries, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryList {
    /// A page of them.
    pub deliveries: Vec<Delivery>,
    /// The cursor of the next page, if there is one.
    pub next: Option<DeliveryId>,
}

/// The body of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tidings {
    /// What happened.
    #[serde(rename = "type")]
    pub topic: Topic,
    /// When.
    pub timestamp: Timestamp,
    /// To what.
    #[serde(rename = "data")]
    pub subject: Subject,
}

/// What a delivery is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Subject {
    /// The task.
    pub task: TaskId,
    /// Its title.
    pub title: String,
    /// The attempt, where one turn is meant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub attempt: Option<AttemptId>,
    /// The turn, where one is meant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub turn: Option<TurnId>,
    /// The state's name.
    pub state: String,
    /// How a finished turn ended: `outcome`, and with it `reason` or `limit`.
    #[serde(flatten, default)]
    pub outcome: Option<Outcome>,
    /// Where to read more, below the server's address.
    pub links: Links,
}

/// Paths of the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Links {
    /// The task.
    pub task: String,
    /// The attempt's log.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub events: Option<String>,
}

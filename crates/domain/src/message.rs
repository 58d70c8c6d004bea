use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{ItemId, MessageId, Timestamp, TurnId, UserId};

/// What a person said to a turn that had begun. It is delivered until the log shows that it was heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// Its id; the item that shows it bears the same, so that it is heard once.
    pub id: MessageId,
    /// To which turn.
    pub turn: TurnId,
    /// Who said it.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub body: MessageBody,
}

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "message", rename_all = "snake_case")]
pub enum MessageBody {
    /// Goes into the model's next request.
    Steer {
        /// The words.
        text: String,
    },
    /// The answer to a question of the agent.
    Answer {
        /// The item that asks.
        item: ItemId,
        /// The words.
        text: String,
    },
    /// The decision on an action that the agent asked for.
    Decision {
        /// The item that asks.
        item: ItemId,
        /// Yes or no.
        decision: Decision,
    },
}

/// A person's word on an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may be done, this once.
    Approved,
    /// It must not be done.
    Denied,
}

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{BlobId, ItemId, MessageId, PROMPT_BYTES_MAX, Timestamp, Trust, TurnId, UserId};

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

/// The body of `POST /v1/attempts/{attempt}/messages`: words for the model's next request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Steer {
    /// The words; at most [`PROMPT_BYTES_MAX`] bytes.
    #[schema(min_length = 1, max_length = 262144, pattern = r"\S")]
    pub text: String,
}

/// The body of `POST /v1/attempts/{attempt}/answer`: a person's word on what the agent asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "reply", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// To a question.
    Answer {
        /// The item that asks.
        item: ItemId,
        /// The words; at most [`PROMPT_BYTES_MAX`] bytes.
        #[schema(min_length = 1, max_length = 262144, pattern = r"\S")]
        text: String,
    },
    /// On an action.
    Decision {
        /// The item that asks.
        item: ItemId,
        /// Yes or no.
        decision: Decision,
    },
}

impl Reply {
    /// The item that asks.
    #[must_use]
    pub const fn item(&self) -> ItemId {
        match self {
            Self::Answer { item, .. } | Self::Decision { item, .. } => *item,
        }
    }
}

impl From<Reply> for MessageBody {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Answer { item, text } => Self::Answer { item, text },
            Reply::Decision { item, decision } => Self::Decision { item, decision },
        }
    }
}

/// The body of `POST /v1/attempts/{attempt}/turns`: what to do after all that the attempt has to do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FollowUp {
    /// What to do; at most [`PROMPT_BYTES_MAX`] bytes.
    #[schema(min_length = 1, max_length = 262144, pattern = r"\S")]
    pub input: String,
    /// Images with it, uploaded before; at most [`IMAGES_MAX`].
    #[schema(max_items = 20)]
    #[serde(default)]
    pub images: Vec<BlobId>,
    /// Whose words these are. An outsider's make the whole task an outsider's from now on; nothing makes it a member's again.
    #[serde(default, skip_serializing_if = "Trust::is_usual")]
    pub trust: Trust,
}

/// The body of `POST /v1/attempts/{attempt}/fork`: another way on from where a turn ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkDraft {
    /// Which of the attempt's turns, from 1: the new task starts on the files and with the history that it ended with.
    #[schema(minimum = 1)]
    pub turn: u32,
    /// What to do; at most [`PROMPT_BYTES_MAX`] bytes.
    pub input: String,
    /// Images with it, uploaded before; at most [`IMAGES_MAX`].
    #[serde(default)]
    pub images: Vec<BlobId>,
}

impl ForkDraft {
    /// Says in one sentence what is wrong with it, if anything is.
    ///
    /// # Errors
    /// The sentence, for the person who sent it.
    pub fn validate(&self) -> Result<(), String> {
        if self.images.len() > IMAGES_MAX {
            return Err(format!("{} images were sent; at most {IMAGES_MAX} are taken.", self.images.len()));
        }
        check_words(&self.input)
    }
}

/// Most images with one input: what model providers take in one request is of this size.
pub const IMAGES_MAX: usize = 20;

impl FollowUp {
    /// A member's words.
    #[must_use]
    pub const fn new(input: String, images: Vec<BlobId>) -> Self {
        Self { input, images, trust: Trust::Member }
    }

    /// Says in one sentence what is wrong with it, if anything is.
    ///
    /// # Errors
    /// The sentence, for the person who sent it.
    pub fn validate(&self) -> Result<(), String> {
        if self.images.len() > IMAGES_MAX {
            return Err(format!("{} images were sent; at most {IMAGES_MAX} are taken.", self.images.len()));
        }
        check_words(&self.input)
    }
}

/// Says in one sentence why a person's words cannot be taken, if they cannot.
///
/// # Errors
/// The sentence.
pub fn check_words(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("There are no words in it: say what is meant.".to_owned());
    }
    if text.len() > PROMPT_BYTES_MAX {
        return Err(format!("It has {} bytes; at most {PROMPT_BYTES_MAX} are taken.", text.len()));
    }
    Ok(())
}

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What one turn may spend. Each is checked before it is spent, so a limit is never passed by more than one model
/// answer whose size nobody could know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Input and output tokens together.
    pub tokens: Option<u64>,
    /// Millionths of a US dollar.
    pub cost_microusd: Option<u64>,
    /// Wall time in milliseconds under workers, waits for a worker or a person not counted.
    pub wall_ms: u64,
    /// Requests to the model, retries not counted.
    pub model_requests: u32,
    /// Tool calls.
    pub tool_calls: u32,
}

impl Default for Limits {
    /// Two hours, 500 requests and 2,000 calls: above any honest task seen so far, below a runaway's bill.
    fn default() -> Self {
        Self {
            tokens: None,
            cost_microusd: None,
            wall_ms: 2 * 60 * 60 * 1000,
            model_requests: 500,
            tool_calls: 2000,
        }
    }
}

/// The limit that stopped a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// [`Limits::tokens`].
    Tokens,
    /// [`Limits::cost_microusd`].
    Cost,
    /// [`Limits::wall_ms`].
    WallTime,
    /// [`Limits::model_requests`].
    ModelRequests,
    /// [`Limits::tool_calls`].
    ToolCalls,
    /// The loop breaker: the same state and the same failure again and again.
    NoProgress,
}

/// Whether a figure came from the provider or from our own estimate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// The provider's own figure.
    #[default]
    Reported,
    /// At least one part was estimated (four bytes a token; a price from a table).
    Estimated,
}

/// What a turn has spent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Tokens sent, cached ones included.
    pub input_tokens: u64,
    /// The part of `input_tokens` that the provider read from its prompt cache.
    pub cached_tokens: u64,
    /// Tokens received, reasoning included.
    pub output_tokens: u64,
    /// Millionths of a US dollar; `None` where no price is known.
    pub cost_microusd: Option<u64>,
    /// Requests to the model.
    pub model_requests: u32,
    /// Tool calls.
    pub tool_calls: u32,
    /// Wall time under workers in milliseconds, as they counted it; the time from a lost worker's last word to its end is
    /// not known and not in it.
    #[serde(default)]
    pub worked_ms: u64,
    /// Whether all of it is the provider's word.
    #[serde(default)]
    pub precision: Precision,
}

impl Usage {
    /// Tokens in both directions.
    #[must_use]
    pub const fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Adds `other`. A cost that is unknown on both sides stays unknown.
    pub fn add(&mut self, other: &Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(other.cached_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
        self.cost_microusd = match (self.cost_microusd, other.cost_microusd) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0).saturating_add(b.unwrap_or(0))),
        };
        self.model_requests = self.model_requests.saturating_add(other.model_requests);
        self.tool_calls = self.tool_calls.saturating_add(other.tool_calls);
        self.worked_ms = self.worked_ms.saturating_add(other.worked_ms);
        if other.precision == Precision::Estimated {
            self.precision = Precision::Estimated;
        }
    }
}

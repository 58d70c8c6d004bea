//! Budgets: what a task, a person and the whole server may spend.
//!
//! [`Limits`](crate::Limits) end one turn. A budget bounds many, so what a model request may cost is reserved with the
//! server before it is sent, and a turn that gets no reservation is parked until there is room again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, schema::Type};
use utoipa::{PartialSchema, ToSchema};

use crate::{Day, IdError, LeaseId, TaskId, UserId};

/// What was spent, or is about to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Spending {
    /// Millionths of a US dollar; what has no known price counts nothing.
    pub cost_microusd: u64,
    /// Input and output tokens together.
    pub tokens: u64,
    /// Milliseconds under a worker's lease; waiting in the queue or for a person counts nothing.
    pub wall_ms: u64,
}

/// What may be spent. What is not set has no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Allowance {
    /// Millionths of a US dollar.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_microusd: Option<u64>,
    /// Input and output tokens together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Milliseconds under a worker's lease. Looked at before each model request and not cut in between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
}

/// Over which time a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// From the start on.
    Total,
    /// Each day in UTC anew.
    Day,
}

impl Period {
    /// The word for it, as in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Day => "day",
        }
    }
}

/// Whose spending it is. In JSON: the id of the task or user, or `server`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Spender {
    /// All of it.
    Server,
    /// That of a task.
    Task(TaskId),
    /// That of the tasks which a user handed over.
    User(UserId),
}

impl PartialSchema for Spender {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let text = text.description(Some("`server`, or the id of a task or a user"));
        text.pattern(Some("^(server|(task|usr)_[0-7][0-9a-hjkmnp-tv-z]{25})$")).into()
    }
}

impl ToSchema for Spender {}

impl fmt::Display for Spender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Task(task) => task.fmt(f),
            Self::User(user) => user.fmt(f),
        }
    }
}

impl FromStr for Spender {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text == "server" {
            return Ok(Self::Server);
        }
        text.parse().map(Self::Task).or_else(|_| text.parse().map(Self::User))
    }
}

impl Serialize for Spender {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Spender {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A limit on a spender, and how much of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Budget {
    /// Whose.
    pub spender: Spender,
    /// Over which time.
    pub period: Period,
    /// What may be spent in it.
    pub limit: Allowance,
    /// What was spent in it so far.
    pub spent: Spending,
    /// What model requests that are under way may still cost.
    pub reserved: Spending,
}

/// All budgets that are set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BudgetList {
    /// By spender and period.
    pub budgets: Vec<Budget>,
}

/// The body of `POST /v1/turns/{turn}/reserve`: what the next model request may cost.
///
/// It holds until the turn's next `usage` event, which settles it, or the end of the lease. A turn has one at a time; the
/// next one takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reservation {
    /// The worker's epoch.
    pub epoch: u64,
    /// The worker's lease. A database that was restored gives an epoch a second time, never a lease. Not compared if `None`.
    #[serde(default)]
    pub lease: Option<LeaseId>,
    /// Tokens in both directions, at most.
    pub tokens: u64,
    /// Millionths of a US dollar, at most; `None`: the model has no known price.
    pub cost_microusd: Option<u64>,
}

/// The reply to a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "reservation", rename_all = "snake_case")]
pub enum Reserved {
    /// The request may be sent.
    Granted,
    /// There is no room for it: park the turn on `budget`. It is woken when there is.
    Refused {
        /// The first budget that has none.
        budget: Budget,
    },
    /// A budget bounds money and the model has no known price: no larger budget would help.
    Unpriced {
        /// The budget.
        budget: Budget,
    },
}

impl Budget {
    /// Whether there is room for the request beside what is spent and reserved.
    #[must_use]
    pub const fn judge(self, wish: &Reservation) -> Reserved {
        let Self { limit, spent, reserved, .. } = self;
        let cost = match (limit.cost_microusd, wish.cost_microusd) {
            (Some(_), None) => return Reserved::Unpriced { budget: self },
            (_, cost) => fits(limit.cost_microusd, [spent.cost_microusd, reserved.cost_microusd], cost),
        };
        let tokens = fits(limit.tokens, [spent.tokens, reserved.tokens], Some(wish.tokens));
        // Time cannot be promised back, so one more millisecond must be left.
        let time = fits(limit.wall_ms, [spent.wall_ms, reserved.wall_ms], Some(1));
        if cost && tokens && time { Reserved::Granted } else { Reserved::Refused { budget: self } }
    }
}

const fn fits(limit: Option<u64>, [spent, reserved]: [u64; 2], wish: Option<u64>) -> bool {
    let (Some(limit), Some(wish)) = (limit, wish) else { return true };
    spent.saturating_add(reserved).saturating_add(wish) <= limit
}

impl Spending {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            cost_microusd: self.cost_microusd.saturating_add(other.cost_microusd),
            tokens: self.tokens.saturating_add(other.tokens),
            wall_ms: self.wall_ms.saturating_add(other.wall_ms),
        }
    }
}

/// By what a report on spending has its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsageBy {
    /// One row a day, for the whole server.
    Day,
    /// One row a user.
    User,
    /// One row a task.
    Task,
}

/// The answer to `GET /v1/usage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageReport {
    /// Days in order; users and tasks with the dearest first.
    pub rows: Vec<UsageRow>,
}

/// What one spender spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageRow {
    /// Who.
    pub spender: Spender,
    /// On which day, in a report by day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<Day>,
    /// How much.
    #[serde(flatten)]
    pub spent: Spending,
}

#[cfg(test)]
mod tests {
    use super::*;

    const WISH: Reservation = Reservation { epoch: 1, lease: None, tokens: 10, cost_microusd: Some(5) };

    fn budget(limit: Allowance) -> Budget {
        let spent = Spending { cost_microusd: 90, tokens: 900, wall_ms: 60_000 };
        let reserved = Spending { cost_microusd: 5, tokens: 90, wall_ms: 0 };
        Budget { spender: Spender::Server, period: Period::Day, limit, spent, reserved }
    }

    #[test]
    fn the_last_token_may_be_spent_and_none_beyond() {
        let granted = |limit| budget(limit).judge(&WISH) == Reserved::Granted;
        assert!(granted(Allowance::default()));
        assert!(granted(Allowance { tokens: Some(1000), ..Allowance::default() }));
        assert!(!granted(Allowance { tokens: Some(999), ..Allowance::default() }));
        assert!(granted(Allowance { cost_microusd: Some(100), ..Allowance::default() }));
        assert!(!granted(Allowance { cost_microusd: Some(99), ..Allowance::default() }));
        assert!(granted(Allowance { wall_ms: Some(60_001), ..Allowance::default() }));
        assert!(!granted(Allowance { wall_ms: Some(60_000), ..Allowance::default() }));
    }

    #[test]
    fn money_that_nobody_can_count_is_not_spent() {
        let unpriced = Reservation { cost_microusd: None, ..WISH };
        let bounded = budget(Allowance { cost_microusd: Some(u64::MAX), ..Allowance::default() });
        assert_eq!(bounded.judge(&unpriced), Reserved::Unpriced { budget: bounded });
        let free = budget(Allowance { tokens: Some(u64::MAX), ..Allowance::default() });
        assert_eq!(free.judge(&unpriced), Reserved::Granted);
    }

    #[test]
    fn a_spender_is_one_word() {
        for spender in [Spender::Server, Spender::Task(TaskId::from_u128(1)), Spender::User(UserId::LOCAL)] {
            assert_eq!(spender.to_string().parse(), Ok(spender));
        }
        assert!("turn_00000000000000000000000001".parse::<Spender>().is_err());
    }
}

//! What a turn may spend, reserved before it is spent.
//!
//! A request's size is estimated before it is sent, and its answer may take what is then left and no more: the provider
//! is told to cut it off there. So a limit is passed only by what an estimate is wrong. Money whose amount nobody can know
//! is not spent: a cost limit on a model without a known price ends the turn.

use std::time::{Duration, Instant};

use legwork_domain::{Limit, Limits, Precision, Usage};
use legwork_model::{Info, Price};

use crate::Stop;

/// The least room for an answer that is worth a request: below it no call fits. OpenAI refuses less than 16.
const ANSWER_TOKENS_MIN: u64 = 64;

/// The spending of a turn.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    started: Instant,
    /// What was spent, over all leases of the turn.
    pub(crate) usage: Usage,
    /// Of it, the time under earlier leases.
    worked_before_ms: u64,
    /// The request under way.
    asked: Asked,
}

/// A request that was reserved.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    tokens: u64,
    price: Option<Price>,
}

impl Budget {
    /// What may still be spent by a turn that spent `spent` before and was taken up at `started`.
    pub(crate) fn new(limits: Limits, spent: Usage, started: Instant) -> Self {
        let worked_before_ms = spent.worked_ms;
        Self { limits, started, usage: spent, worked_before_ms, asked: Asked::default() }
    }

    /// When the wall time is over.
    pub(crate) fn deadline(&self) -> Instant {
        self.started + Duration::from_millis(self.limits.wall_ms.saturating_sub(self.worked_before_ms))
    }

    /// What was spent until now.
    pub(crate) fn spent(&mut self) -> Usage {
        let here = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.usage.worked_ms = self.worked_before_ms.saturating_add(here);
        self.usage
    }

    /// Reserves a request of about `tokens` tokens; gives the most tokens that its answer may have, if that is limited.
    pub(crate) fn reserve_request(&mut self, tokens: u64, info: &Info) -> Result<Option<u64>, Stop> {
        self.check_wall()?;
        self.check_requests()?;
        let room = [self.check_tokens(tokens)?, self.check_cost(tokens, info)?];
        self.usage.model_requests += 1;
        self.asked = Asked { tokens, price: info.price };
        Ok(room.into_iter().flatten().min())
    }

    /// Takes back a request that was reserved and not sent.
    pub(crate) const fn give_back_request(&mut self) {
        self.usage.model_requests = self.usage.model_requests.saturating_sub(1);
    }

    /// Reserves a tool call.
    pub(crate) fn reserve_call(&mut self) -> Result<(), Stop> {
        if self.usage.tool_calls >= self.limits.tool_calls {
            return stop(
                Limit::ToolCalls,
                format!("{} tool calls were made, all that this turn may make.", self.limits.tool_calls),
            );
        }
        self.usage.tool_calls += 1;
        Ok(())
    }

    /// Adds what an answer cost.
    pub(crate) fn spend(&mut self, usage: &legwork_model::Usage) -> Usage {
        let answer = Usage {
            input_tokens: usage.input_tokens,
            cached_tokens: usage.cached_tokens,
            output_tokens: usage.output_tokens,
            cost_microusd: usage.cost_microusd,
            model_requests: 0,
            tool_calls: 0,
            worked_ms: 0,
            precision: if usage.estimated { Precision::Estimated } else { Precision::Reported },
        };
        self.usage.add(&answer);
        answer
    }

    /// Adds what an answer cost that broke off after about `output_tokens`. Providers bill such answers and send no
    /// figures for them.
    pub(crate) fn spend_void(&mut self, output_tokens: u64) {
        let Asked { tokens, price } = self.asked;
        let cost = price.map(|price| micros(tokens, price.input) + micros(output_tokens, price.output));
        self.spend(&legwork_model::Usage {
            input_tokens: tokens,
            cached_tokens: 0,
            output_tokens,
            cost_microusd: cost,
            estimated: true,
        });
    }

    /// Adds about what an answer cost whose worker was lost before it told that.
    pub(crate) fn spend_untold(&mut self, input_tokens: u64, output_tokens: u64, calls: usize, info: &Info) {
        self.usage.model_requests += 1;
        self.usage.tool_calls =
            self.usage.tool_calls.saturating_add(u32::try_from(calls).unwrap_or(u32::MAX));
        self.asked = Asked { tokens: input_tokens, price: info.price };
        self.spend_void(output_tokens);
    }

    /// The end by wall time.
    pub(crate) fn out_of_time(&self) -> Stop {
        let detail = format!("The turn ran for its {} s.", self.limits.wall_ms / 1000);
        Stop::Limit { limit: Limit::WallTime, detail }
    }

    fn check_wall(&self) -> Result<(), Stop> {
        if Instant::now() >= self.deadline() { Err(self.out_of_time()) } else { Ok(()) }
    }

    fn check_requests(&self) -> Result<(), Stop> {
        let most = self.limits.model_requests;
        if self.usage.model_requests < most {
            return Ok(());
        }
        stop(Limit::ModelRequests, format!("{most} requests went to the model, all that this turn may make."))
    }

    fn check_tokens(&self, tokens: u64) -> Result<Option<u64>, Stop> {
        let (Some(most), spent) = (self.limits.tokens, self.usage.tokens()) else { return Ok(None) };
        let room = most.saturating_sub(spent.saturating_add(tokens));
        if room >= ANSWER_TOKENS_MIN {
            return Ok(Some(room));
        }
        stop(
            Limit::Tokens,
            format!(
                "{spent} of {most} tokens are spent and the next request has about {tokens}, which leaves no room for its answer."
            ),
        )
    }

    fn check_cost(&self, tokens: u64, info: &Info) -> Result<Option<u64>, Stop> {
        let Some(most) = self.limits.cost_microusd else { return Ok(None) };
        let spent = self.usage.cost_microusd.unwrap_or(0);
        let (next, output) = match (info.price, self.usage.cost_microusd) {
            // Every token at the price of one that is not cached: a cache may be lost at any time.
            (Some(price), _) => (micros(tokens, price.input), price.output),
            // Without a price the first answer shows whether the provider tells the cost.
            (None, known) if known.is_some() || self.usage.model_requests == 0 => (1, 0.0),
            (None, _) => {
                let detail = format!(
                    "No price is known for {}, so the cost limit cannot be held. Set a price in the configuration, or limit tokens instead.",
                    info.name
                );
                return stop(Limit::Cost, detail);
            }
        };
        let room = most.checked_sub(spent.saturating_add(next)).map(|left| affordable(left, output));
        match room {
            Some(None) => return Ok(None),
            Some(Some(room)) if room >= ANSWER_TOKENS_MIN => return Ok(Some(room)),
            Some(Some(_)) | None => {}
        }
        stop(
            Limit::Cost,
            format!(
                "{} of {} US dollars are spent and the next request costs about {}, which leaves no room for its answer.",
                dollars(spent),
                dollars(most),
                dollars(next)
            ),
        )
    }
}

fn stop<T>(limit: Limit, detail: String) -> Result<T, Stop> {
    Err(Stop::Limit { limit, detail })
}

/// Dollars per million tokens times tokens is millionths of a dollar. Floats hold every sum that a turn can cost.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "saturates"
)]
pub(crate) fn micros(tokens: u64, price: f64) -> u64 {
    (tokens as f64 * price).ceil() as u64
}

/// How many tokens `micros` millionths of a dollar buy; `None` if they cost nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "saturates"
)]
fn affordable(micros: u64, price: f64) -> Option<u64> {
    (price > 0.0).then(|| (micros as f64 / price) as u64)
}

fn dollars(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told<T: std::fmt::Debug>(result: Result<T, Stop>) -> String {
        match result {
            Ok(room) => format!("go on, {room:?}"),
            Err(Stop::Limit { limit, detail }) => format!("{limit:?}: {detail}"),
            Err(other) => format!("{other:?}"),
        }
    }

    fn budget(limits: Limits) -> Budget {
        Budget::new(limits, Usage::default(), Instant::now())
    }

    #[test]
    fn what_earlier_leases_spent_counts() {
        let spent = Usage {
            input_tokens: 900,
            model_requests: 3,
            tool_calls: 2,
            worked_ms: 60_000,
            ..Usage::default()
        };
        let resumed = |limits| Budget::new(limits, spent, Instant::now());
        let (info, none) = (Info::unknown("p/m"), Limits::default());
        let said = [
            told(resumed(Limits { tokens: Some(1000), ..none }).reserve_request(200, &info)),
            told(resumed(Limits { model_requests: 3, ..none }).reserve_request(1, &info)),
            told(resumed(Limits { tool_calls: 2, ..none }).reserve_call()),
            told(resumed(Limits { wall_ms: 60_000, ..none }).reserve_request(1, &info)),
            told(resumed(Limits { wall_ms: 90_000, ..none }).reserve_request(1, &info)),
        ];
        let named: Vec<_> = said.iter().map(|said| said.split(':').next().unwrap_or_default()).collect();
        assert_eq!(named, ["Tokens", "ModelRequests", "ToolCalls", "WallTime", "go on, None"]);
    }

    #[test]
    fn each_limit_is_checked_before_it_is_spent() {
        let info = Info::unknown("p/m");
        let priced = Info { price: Some(Price { input: 3.0, cached: 0.3, output: 15.0 }), ..info.clone() };
        let none = Limits::default();
        let mut said = vec![
            told(budget(none).reserve_request(1000, &info)),
            told(budget(Limits { tokens: Some(1000), ..none }).reserve_request(1000, &info)),
            told(budget(Limits { cost_microusd: Some(2999), ..none }).reserve_request(1000, &priced)),
            told(budget(Limits { cost_microusd: Some(3900), ..none }).reserve_request(1000, &priced)),
            told(budget(Limits { cost_microusd: Some(4500), ..none }).reserve_request(1000, &priced)),
            told(budget(Limits { tokens: Some(1063), ..none }).reserve_request(1000, &info)),
            told(budget(Limits { tokens: Some(1064), ..none }).reserve_request(1000, &info)),
            told(budget(Limits { wall_ms: 0, ..none }).reserve_request(1, &info)),
            told(budget(Limits { model_requests: 0, ..none }).reserve_request(1, &info)),
            told(budget(Limits { tool_calls: 0, ..none }).reserve_call()),
        ];
        let mut unpriced = budget(Limits { cost_microusd: Some(9), ..none });
        said.push(told(unpriced.reserve_request(1, &info)));
        said.push(told(unpriced.reserve_request(1, &info)));
        insta::assert_snapshot!(said.join("\n"), @r"
        go on, None
        Tokens: 0 of 1000 tokens are spent and the next request has about 1000, which leaves no room for its answer.
        Cost: 0.000000 of 0.002999 US dollars are spent and the next request costs about 0.003000, which leaves no room for its answer.
        Cost: 0.000000 of 0.003900 US dollars are spent and the next request costs about 0.003000, which leaves no room for its answer.
        go on, Some(100)
        Tokens: 0 of 1063 tokens are spent and the next request has about 1000, which leaves no room for its answer.
        go on, Some(64)
        WallTime: The turn ran for its 0 s.
        ModelRequests: 0 requests went to the model, all that this turn may make.
        ToolCalls: 0 tool calls were made, all that this turn may make.
        go on, None
        Cost: No price is known for p/m, so the cost limit cannot be held. Set a price in the configuration, or limit tokens instead.
        ");
    }

    #[test]
    fn an_answer_that_broke_off_is_paid_for() {
        let priced =
            Info { price: Some(Price { input: 3.0, cached: 0.3, output: 15.0 }), ..Info::unknown("p/m") };
        let mut budget = budget(Limits::default());
        budget.reserve_request(1000, &priced).unwrap();
        budget.spend_void(100);
        assert_eq!((budget.usage.tokens(), budget.usage.cost_microusd), (1100, Some(4500)));
        assert_eq!(budget.usage.precision, Precision::Estimated);
    }
}

//! What a turn may spend, reserved before it is spent.
//!
//! A request's size is estimated before it is sent, so a limit is passed by at most one answer whose size nobody could
//! know. Money whose amount nobody can know is not spent: a cost limit on a model without a known price ends the turn.

use std::time::{Duration, Instant};

use legwork_domain::{Limit, Limits, Precision, Usage};
use legwork_model::Info;

use crate::Stop;

/// The spending of a turn.
#[derive(Debug)]
pub(crate) struct Budget {
    limits: Limits,
    started: Instant,
    /// What was spent.
    pub(crate) usage: Usage,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, started: Instant::now(), usage: Usage::default() }
    }

    /// When the wall time is over.
    pub(crate) fn deadline(&self) -> Instant {
        self.started + Duration::from_millis(self.limits.wall_ms)
    }

    /// Reserves a request of about `tokens` tokens.
    pub(crate) fn reserve_request(&mut self, tokens: u64, info: &Info) -> Result<(), Stop> {
        self.check_wall()?;
        self.check_requests()?;
        self.check_tokens(tokens)?;
        self.check_cost(tokens, info)?;
        self.usage.model_requests += 1;
        Ok(())
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
            precision: if usage.estimated { Precision::Estimated } else { Precision::Reported },
        };
        self.usage.add(&answer);
        answer
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

    fn check_tokens(&self, tokens: u64) -> Result<(), Stop> {
        let (Some(most), spent) = (self.limits.tokens, self.usage.tokens()) else { return Ok(()) };
        if spent.saturating_add(tokens) < most {
            return Ok(());
        }
        stop(
            Limit::Tokens,
            format!("{spent} of {most} tokens are spent and the next request has about {tokens}."),
        )
    }

    fn check_cost(&self, tokens: u64, info: &Info) -> Result<(), Stop> {
        let Some(most) = self.limits.cost_microusd else { return Ok(()) };
        let spent = self.usage.cost_microusd.unwrap_or(0);
        let next = match (info.price, self.usage.cost_microusd) {
            // Every token at the price of one that is not cached: a cache may be lost at any time.
            (Some(price), _) => micros(tokens, price.input),
            // Without a price the first answer shows whether the provider tells the cost.
            (None, known) if known.is_some() || self.usage.model_requests == 0 => 1,
            (None, _) => {
                let detail = format!(
                    "No price is known for {}, so the cost limit cannot be held. Set a price in the configuration, or limit tokens instead.",
                    info.name
                );
                return stop(Limit::Cost, detail);
            }
        };
        if spent.saturating_add(next) <= most {
            return Ok(());
        }
        stop(
            Limit::Cost,
            format!(
                "{} of {} US dollars are spent and the next request costs about {}.",
                dollars(spent),
                dollars(most),
                dollars(next)
            ),
        )
    }
}

fn stop(limit: Limit, detail: String) -> Result<(), Stop> {
    Err(Stop::Limit { limit, detail })
}

/// Dollars per million tokens times tokens is millionths of a dollar. Floats hold every sum that a turn can cost.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "saturates"
)]
fn micros(tokens: u64, price: f64) -> u64 {
    (tokens as f64 * price).ceil() as u64
}

fn dollars(micros: u64) -> String {
    format!("{}.{:04}", micros / 1_000_000, micros % 1_000_000 / 100)
}

#[cfg(test)]
mod tests {
    use legwork_model::Price;

    use super::*;

    fn told(result: Result<(), Stop>) -> String {
        match result {
            Ok(()) => "go on".to_owned(),
            Err(Stop::Limit { limit, detail }) => format!("{limit:?}: {detail}"),
            Err(other) => format!("{other:?}"),
        }
    }

    fn budget(limits: Limits) -> Budget {
        Budget::new(limits)
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
            told(budget(Limits { cost_microusd: Some(3000), ..none }).reserve_request(1000, &priced)),
            told(budget(Limits { wall_ms: 0, ..none }).reserve_request(1, &info)),
            told(budget(Limits { model_requests: 0, ..none }).reserve_request(1, &info)),
            told(budget(Limits { tool_calls: 0, ..none }).reserve_call()),
        ];
        let mut unpriced = budget(Limits { cost_microusd: Some(9), ..none });
        said.push(told(unpriced.reserve_request(1, &info)));
        said.push(told(unpriced.reserve_request(1, &info)));
        insta::assert_snapshot!(said.join("\n"), @r"
        go on
        Tokens: 0 of 1000 tokens are spent and the next request has about 1000.
        Cost: 0.0000 of 0.0029 US dollars are spent and the next request costs about 0.0030.
        go on
        WallTime: The turn ran for its 0 s.
        ModelRequests: 0 requests went to the model, all that this turn may make.
        ToolCalls: 0 tool calls were made, all that this turn may make.
        go on
        Cost: No price is known for p/m, so the cost limit cannot be held. Set a price in the configuration, or limit tokens instead.
        ");
    }
}

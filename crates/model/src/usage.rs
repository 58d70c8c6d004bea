use crate::{Price, Usage};

/// What a cache write costs beside plain input at Anthropic, the one provider that bills it (5 minutes' keeping).
const CACHE_WRITE_FACTOR: f64 = 1.25;

/// Bytes of text that make one token, roughly, in any tokenizer and language that code is written in.
const BYTES_PER_TOKEN: u64 = 4;

/// A provider's figures for one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tokens {
    /// Sent, all of it.
    pub(crate) input: u64,
    /// Of that, read from the cache.
    pub(crate) cached: u64,
    /// Of that, written to the cache.
    pub(crate) written: u64,
    /// Received.
    pub(crate) output: u64,
    /// The bill in US dollars, from providers that send it.
    pub(crate) cost_usd: Option<f64>,
}

impl Tokens {
    /// An estimate from sizes.
    pub(crate) const fn estimate(sent_bytes: u64, received_bytes: u64) -> Self {
        Self {
            input: sent_bytes.div_ceil(BYTES_PER_TOKEN),
            cached: 0,
            written: 0,
            output: received_bytes.div_ceil(BYTES_PER_TOKEN),
            cost_usd: None,
        }
    }

    fn microusd(&self, price: Option<Price>) -> Option<u64> {
        if let Some(usd) = self.cost_usd {
            return Some(whole(usd * 1e6));
        }
        let price = price?;
        let plain = self.input.saturating_sub(self.cached).saturating_sub(self.written);
        let input = float(plain) * price.input + float(self.written) * price.input * CACHE_WRITE_FACTOR;
        Some(whole(input + float(self.cached) * price.cached + float(self.output) * price.output))
    }

    /// The usage at a price.
    pub(crate) fn usage(&self, price: Option<Price>, estimated: bool) -> Usage {
        Usage {
            input_tokens: self.input,
            cached_tokens: self.cached.min(self.input),
            output_tokens: self.output,
            cost_microusd: self.microusd(price),
            estimated,
        }
    }
}

/// Exact up to 2^53, which no bill reaches.
#[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^53")]
const fn float(count: u64) -> f64 {
    count as f64
}

/// Rounded up: a limit must not be passed by fractions. Negative and NaN become 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, which is what is wanted"
)]
fn whole(microusd: f64) -> u64 {
    microusd.ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price = Price { input: 2.0, cached: 0.5, output: 8.0 };

    #[test]
    fn cached_and_written_tokens_have_their_own_price() {
        let tokens = Tokens { input: 1000, cached: 600, written: 200, output: 10, cost_usd: None };
        let usage = tokens.usage(Some(PRICE), false);
        assert_eq!(usage.cost_microusd, Some(200 * 2 + 250 * 2 + 300 + 80));
        assert_eq!((usage.input_tokens, usage.cached_tokens, usage.output_tokens), (1000, 600, 10));
    }

    #[test]
    fn the_providers_bill_wins_and_no_price_is_no_cost() {
        let tokens = Tokens { input: 10, cost_usd: Some(0.000_012_3), ..Tokens::default() };
        assert_eq!(tokens.usage(Some(PRICE), false).cost_microusd, Some(13));
        assert_eq!(Tokens::estimate(9, 4).usage(None, true).cost_microusd, None);
        assert_eq!(Tokens::estimate(9, 4).usage(None, true).input_tokens, 3);
        let nonsense = Tokens { cost_usd: Some(f64::NAN), ..Tokens::default() };
        assert_eq!(nonsense.usage(None, false).cost_microusd, Some(0));
    }
}

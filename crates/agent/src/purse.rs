use async_trait::async_trait;
use legwork_domain::{Level, Limit, Waiting};
use legwork_model::Info;

use crate::Stop;
use crate::limits::micros;
use crate::turn::Turn;

/// What a request to the model may cost, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Tokens in both directions.
    pub tokens: u64,
    /// Millionths of a US dollar; `None`: the model has no known price.
    pub cost_microusd: Option<u64>,
}

/// Who holds a budget.
///
/// `reserve` comes before each request and takes the place of what was reserved before, once the log has what the last
/// answer cost; it may wait. Dropping it half-way is allowed.
#[async_trait]
pub trait Purse: Send + Sync {
    /// Whether a budget bounds the turn now; nothing is reserved as long as none does.
    fn is_bounded(&self) -> bool;

    /// Asks for a request's money.
    async fn reserve(&self, wish: Wish) -> Grant;
}

/// The holder's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The request may be sent.
    Given,
    /// Not before a person has given more; the sentence says why.
    NotYet(String),
    /// No larger budget would help; the sentence says why.
    Never(String),
}

impl Wish {
    fn of(tokens: u64, answer_tokens: u64, info: &Info) -> Self {
        let cost = |price: legwork_model::Price| {
            micros(tokens, price.input).saturating_add(micros(answer_tokens, price.output))
        };
        Self { tokens: tokens.saturating_add(answer_tokens), cost_microusd: info.price.map(cost) }
    }
}

impl Turn {
    /// Reserves a request of about `tokens` tokens with the turn's limits and with who holds the budget; gives the most
    /// tokens that its answer may have, if that is limited.
    pub(crate) async fn reserve(&mut self, tokens: u64) -> Result<Option<u64>, Stop> {
        let room = self.budget.reserve_request(tokens, self.model.info())?;
        let Some(purse) = self.purse.as_ref().filter(|purse| purse.is_bounded()) else { return Ok(room) };
        let info = self.model.info();
        let answer = room.unwrap_or(info.output_max).min(info.output_max);
        let grant = async {
            // A log that takes no more is a turn that was taken away, whose cancel token ends the wait below.
            if self.scene.timeline.kept().await.is_err() {
                std::future::pending::<()>().await;
            }
            purse.reserve(Wish::of(tokens, answer, info)).await
        };
        let grant = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(self.ended()),
            grant = grant => grant,
        };
        match grant {
            Grant::Given => Ok(room),
            Grant::NotYet(why) => {
                self.budget.give_back_request();
                self.scene.timeline.notice(Level::Warning, why).await;
                Err(Stop::Parked { on: Waiting::Budget })
            }
            Grant::Never(detail) => {
                self.budget.give_back_request();
                Err(Stop::Limit { limit: Limit::Cost, detail })
            }
        }
    }
}

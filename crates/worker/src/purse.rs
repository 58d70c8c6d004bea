//! What a request to the model may cost is reserved with the server, once a budget bounds the turn.

use async_trait::async_trait;
use legwork_agent::{Grant, Wish};
use legwork_client::Client;
use legwork_domain::{Assignment, Budget, Lease, Reservation, Reserved, TurnId};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;

/// The server's budgets, for one turn under one lease.
pub(crate) struct Purse {
    client: Client,
    turn: TurnId,
    lease: Lease,
    /// Cancelled once a budget bounds the turn; before that nothing needs to be reserved.
    budgeted: CancellationToken,
}

impl Purse {
    pub(crate) fn new(client: Client, assignment: &Assignment, budgeted: CancellationToken) -> Self {
        Self { client, turn: assignment.turn.id, lease: assignment.lease, budgeted }
    }
}

#[async_trait]
impl legwork_agent::Purse for Purse {
    fn is_bounded(&self) -> bool {
        self.budgeted.is_cancelled()
    }

    async fn reserve(&self, wish: Wish) -> Grant {
        let Lease { id, epoch, .. } = self.lease;
        let Wish { tokens, cost_microusd } = wish;
        let wish = Reservation { epoch, lease: Some(id), tokens, cost_microusd };
        let mut backoff = Backoff::default();
        loop {
            match self.client.reserve(self.turn, &wish).await {
                Ok(Reserved::Granted) => return Grant::Given,
                Ok(Reserved::Refused { budget }) => return Grant::NotYet(used_up(&budget)),
                Ok(Reserved::Unpriced { budget }) => return Grant::Never(unpriced(&budget)),
                // The server may be back before the lease is over; that is the recorder's to find out.
                Err(error) if error.is_retryable() => tokio::time::sleep(backoff.next()).await,
                // The turn is somebody else's, which ends it from outside.
                Err(error) if error.code() == Some("stale_epoch") => std::future::pending().await,
                Err(error) => return Grant::Never(format!("no budget could be reserved: {error}")),
            }
        }
    }
}

fn used_up(budget: &Budget) -> String {
    format!(
        "The budget of {} has no room for the next request to the model, so the turn waits; raise the budget and it goes on from here.",
        budget.spender
    )
}

fn unpriced(budget: &Budget) -> String {
    format!(
        "The budget of {} limits money and the model has no known price; set a price in the configuration, or limit tokens instead",
        budget.spender
    )
}

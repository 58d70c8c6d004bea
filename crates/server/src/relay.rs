//! Passes what this server's bells say to the other servers of its database, and what those say to its bells.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::Server;

/// How long a lost exchange is left alone. Waiting calls look by themselves meanwhile.
const RETRY: Duration = Duration::from_secs(2);

/// Runs until the server shuts down, or ends at once if there are no others.
pub(crate) async fn run(server: Arc<Server>) {
    let own = Uuid::now_v7().to_string();
    loop {
        let ended = tokio::select! {
            ended = relay(&server, &own) => ended,
            () = server.shutdown.cancelled() => return,
        };
        let Err(error) = ended else { return };
        tracing::warn!(%error, "other servers are not heard; the next try comes in {RETRY:?}");
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = server.shutdown.cancelled() => return,
        }
    }
}

async fn relay(server: &Server, own: &str) -> Result<(), legwork_store::Error> {
    let Some(mut exchange) = server.store.exchange(own.to_owned()).await? else { return Ok(()) };
    let mut outbox = server.bells.outbox();
    loop {
        tokio::select! {
            told = exchange.next() => told?.into_iter().for_each(|notice| server.bells.hear(notice)),
            // What rings while this is told is told together at the next turn.
            _ = outbox.changed() => exchange.tell(server.bells.empty_outbox()).await?,
        }
    }
}

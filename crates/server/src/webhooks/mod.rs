//! Sends what the store has written down for webhooks, until the receiver took it or three days have passed.
//!
//! It looks for what is due again and again, so there is nothing to restore after a crash: a delivery that was sent and
//! not settled is due again when its claim lapses, under the same id. Several servers on one database share the work.

mod pauses;
mod sign;

use std::sync::Arc;
use std::time::Duration;

use legwork_domain::Timestamp;
use legwork_store::{After, Parcel, Receipt, Store};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::outbound::Answer;
use crate::vault::{Key, KeyError, SEALED};
use crate::{Error, LOOK_AGAIN, Server, now};

pub(crate) use sign::Secret;

/// Deliveries that are sent at the same time: to as many webhooks, since each gets one at a time.
const SENDING_MAX: usize = 16;

/// Time for one try, from the name's resolution to the answer's head. The standard asks for 15 to 30 seconds.
const SEND_MAX: Duration = Duration::from_secs(15);

/// How long a delivery is ours: a try and the commit of its receipt.
const CLAIM_MS: i64 = 20_000;

/// How long a settled delivery is on record.
const KEEP_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// How often old deliveries are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(600);

/// Runs until the server shuts down.
pub(crate) async fn run(server: Arc<Server>) {
    let mut sending = JoinSet::new();
    let mut swept = Instant::now();
    while !server.shutdown.is_cancelled() {
        match claim(&server, SENDING_MAX - sending.len()).await {
            Ok(parcels) => {
                for parcel in parcels {
                    sending.spawn(deliver(Arc::clone(&server), parcel));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "could not look for deliveries; the next look comes in a second");
            }
        }
        if swept.elapsed() >= SWEEP_INTERVAL {
            swept = Instant::now();
            sweep(&server).await;
        }
        tokio::select! {
            // Its webhook may have more.
            Some(_) = sending.join_next() => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = server.shutdown.cancelled() => {}
        }
    }
    // They hear of the shutdown too and write that down.
    while sending.join_next().await.is_some() {}
}

/// Seals the secrets that a server from before they were sealed kept in plain.
pub(crate) async fn seal_plain(store: &Store, vault: &Key) -> Result<(), Error> {
    for (webhook, plain) in store.webhook_secrets_without(SEALED).await? {
        let sealed = vault.seal_webhook(webhook, &plain).map_err(|_| KeyError::Random)?;
        store.reseal_webhook(webhook, &plain, &sealed).await?;
    }
    Ok(())
}

async fn claim(server: &Server, room: usize) -> Result<Vec<Parcel>, legwork_store::Error> {
    let now = now();
    let room = u32::try_from(room).unwrap_or(u32::MAX);
    server.store.claim_deliveries(now, now.plus_ms(CLAIM_MS), room).await
}

async fn sweep(server: &Server) {
    if let Err(error) = server.store.sweep_deliveries(now().plus_ms(-KEEP_MS)).await {
        tracing::warn!(%error, "could not forget old deliveries; the next sweep tries again");
    }
}

/// One try and its receipt.
async fn deliver(server: Arc<Server>, parcel: Parcel) {
    let receipt = if parcel.visible {
        tokio::select! {
            answer = tokio::time::timeout(SEND_MAX, send(&server, &parcel)) => receipt(&parcel, answer.ok(), now()),
            () = server.shutdown.cancelled() => interrupted(now()),
        }
    } else {
        hidden(now())
    };
    server.metrics.delivered(receipt.after);
    if let Err(error) = server.store.settle_delivery(&parcel, &receipt).await {
        tracing::warn!(delivery = %parcel.id, task = %parcel.task, %error, "a receipt was not written; the delivery is sent again");
    }
}

async fn send(server: &Server, parcel: &Parcel) -> Result<Answer, String> {
    let kept = parcel.secrets.iter();
    let secrets: Option<Vec<String>> =
        kept.map(|secret| server.vault.open_webhook(parcel.webhook, secret)).collect();
    let signed =
        secrets.and_then(|secrets| sign::headers(&secrets, &parcel.id.to_string(), now(), &parcel.body));
    let signed = signed.ok_or_else(|| {
        "The webhook's secret does not open with this server's key. Give the server the key that it had, or make a new webhook."
            .to_owned()
    })?;
    server.outside.out.post(&parcel.url, signed, parcel.body.clone()).await
}

/// What an answer, or its absence, means.
fn receipt(parcel: &Parcel, answer: Option<Result<Answer, String>>, at: Timestamp) -> Receipt {
    let (status, error) = match answer {
        Some(Ok(Answer { status })) if (200..300).contains(&status) => (Some(status), None),
        Some(Ok(Answer { status })) if (300..400).contains(&status) => {
            let error = format!("The receiver answered {status}; redirects are not followed.");
            (Some(status), Some(error))
        }
        Some(Ok(Answer { status })) => (Some(status), Some(format!("The receiver answered {status}."))),
        Some(Err(error)) => (None, Some(error)),
        None => (None, Some(format!("There was no answer within {} s.", SEND_MAX.as_secs()))),
    };
    let after = match (&error, status) {
        (None, _) => After::Delivered,
        (Some(_), Some(410)) => After::Unwanted,
        (Some(_), _) => pauses::next(parcel.tries, parcel.since, at)
            .map_or(After::GivenUp, |due_at| After::Again { due_at }),
    };
    Receipt { at, status, error, after }
}

fn interrupted(at: Timestamp) -> Receipt {
    let error = Some("The server stopped during the try.".to_owned());
    Receipt { at, status: None, error, after: After::Again { due_at: at } }
}

fn hidden(at: Timestamp) -> Receipt {
    let error = Some("The webhook's owner may not see the task any more. Nothing was sent.".to_owned());
    Receipt { at, status: None, error, after: After::GivenUp }
}

//! Reading a log, or the list of tasks, as it grows.
//!
//! The server ends a complete log with an event named `end`. A connection that stops without one was cut, whatever it
//! looks like from here, and is opened again after the last seq that was read. So a reader that gets `None` knows that it
//! has all of it.

use futures::{Stream, stream};
use legwork_domain::{AttemptId, Event, ListChange};

use crate::Error;
use crate::feed::Feed;
use crate::sse::Message;
use crate::transport::Transport;

/// How far a log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Until the attempt's last turn is finished.
    Finished,
    /// Until the end of what is written now.
    Now,
}

pub(crate) fn events(
    transport: Transport,
    attempt: AttemptId,
    after: u64,
    until: Until,
) -> impl Stream<Item = Result<Event, Error>> + Send + 'static {
    let query = match until {
        Until::Finished => "",
        Until::Now => "?follow=false",
    };
    let path = format!("/v1/attempts/{attempt}/events{query}");
    told(Feed::new(transport, "follow an attempt's events", path, after), event)
}

pub(crate) fn changes(
    transport: Transport,
    after: u64,
) -> impl Stream<Item = Result<ListChange, Error>> + Send + 'static {
    told(Feed::new(transport, "follow the list of tasks", "/v1/changes".to_owned(), after), change)
}

/// What a message is.
enum Read<T> {
    /// Something new, with its id.
    New(u64, T),
    /// Nothing comes after it.
    End,
    /// Known already.
    Repeat,
}

/// What the messages of a feed say; an error is the last word.
fn told<T: Send + 'static>(
    feed: Feed,
    read: fn(&Feed, &Message) -> Result<Read<T>, Error>,
) -> impl Stream<Item = Result<T, Error>> + Send + 'static {
    stream::unfold(Some(feed), move |feed| async move {
        let mut feed = feed?;
        loop {
            let message = feed.next().await;
            match message.and_then(|message| read(&feed, &message)) {
                Ok(Read::New(id, told)) => {
                    feed.read(id);
                    return Some((Ok(told), Some(feed)));
                }
                Ok(Read::End) => return None,
                Ok(Read::Repeat) => {}
                Err(error) => {
                    if let Err(error) = feed.recover(error).await {
                        return Some((Err(error), None));
                    }
                }
            }
        }
    })
}

/// The log has no holes, so a hole is a broken server and must not pass for a short log.
fn event(feed: &Feed, message: &Message) -> Result<Read<Event>, Error> {
    if message.name == b"end" {
        return Ok(Read::End);
    }
    let event: Event = parsed(feed, message)?;
    if event.seq <= feed.after {
        Ok(Read::Repeat)
    } else if event.seq == feed.after + 1 {
        Ok(Read::New(event.seq, event))
    } else {
        Err(Error::protocol(feed.action, format!("event {} came after event {}", event.seq, feed.after)))
    }
}

/// A change has no number of its own but the message's.
fn change(feed: &Feed, message: &Message) -> Result<Read<ListChange>, Error> {
    let id = message.id.ok_or_else(|| Error::protocol(feed.action, "a change without an id"))?;
    Ok(Read::New(id, parsed(feed, message)?))
}

fn parsed<T: serde::de::DeserializeOwned>(feed: &Feed, message: &Message) -> Result<T, Error> {
    serde_json::from_slice(&message.data).map_err(|error| Error::protocol(feed.action, error.to_string()))
}

//! What a hostile provider may send, for fuzzing.

use crate::Request;
use crate::answer::Answer;
use crate::settings::Wire;
use crate::sse::{Decoder, Event};
use crate::wire;

fn events(chunks: &[&[u8]]) -> Option<Vec<Event>> {
    let (mut decoder, mut events) = (Decoder::default(), Vec::new());
    for chunk in chunks {
        decoder.feed(chunk).ok()?;
        events.extend(std::iter::from_fn(|| decoder.next()));
    }
    Some(events)
}

/// A stream of events means the same wherever the network cuts it, and no event of any format is more than an error.
pub fn stream(bytes: &[u8]) {
    let [wire, cut, rest @ ..] = bytes else { return };
    let at = rest.len() * usize::from(*cut) / 256;
    let (one, two) = rest.split_at(at);
    let whole = events(&[rest]);
    assert_eq!(whole, events(&[one, two]), "a cut at {at} changes the events");
    let wire = [Wire::Responses, Wire::Chat, Wire::Messages][usize::from(wire % 3)];
    let request = Request::default();
    let (mut fold, mut answer) = (wire::fold(wire), Answer::to(&request));
    for event in whole.unwrap_or_default() {
        if fold.event(&event, &mut answer).is_err() {
            return;
        }
    }
    fold.closed(&mut answer);
    while answer.next().is_some() {}
}

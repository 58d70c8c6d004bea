//! What a server may send that is none of ours, for fuzzing.

use crate::sse::{Message, Messages};

fn messages(chunks: &[&[u8]]) -> Option<Vec<Message>> {
    let (mut stream, mut messages) = (Messages::default(), Vec::new());
    for chunk in chunks {
        stream.push(chunk).ok()?;
        messages.extend(std::iter::from_fn(|| stream.next()));
    }
    Some(messages)
}

/// A stream of messages means the same wherever the network cuts it.
pub fn stream(bytes: &[u8]) {
    let [cut, rest @ ..] = bytes else { return };
    let (one, two) = rest.split_at(rest.len() * usize::from(*cut) / 256);
    assert_eq!(messages(&[rest]), messages(&[one, two]), "a cut at {} changes the messages", one.len());
}

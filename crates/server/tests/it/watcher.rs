//! A watcher without our client's patience and its filters: it writes down what really came.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use legwork_domain::{AttemptId, Event, StreamCheck, Violation};

use crate::world::{TOKEN, http_client};

/// Between a cut and the next try.
const PAUSE: Duration = Duration::from_millis(30);

/// Follows an attempt's log to its end, over whatever servers there are, and gives what was wrong with it and the last seq.
/// It breaks off by itself after `patience` messages of each connection.
pub(crate) async fn follow(
    servers: &[SocketAddr],
    attempt: AttemptId,
    patience: usize,
) -> (Vec<Violation>, u64) {
    let http = http_client();
    let (mut check, mut last) = (StreamCheck::default(), 0);
    for server in servers.iter().cycle() {
        check.connected(last);
        let asked = http
            .get(format!("http://{server}/v1/attempts/{attempt}/events"))
            .bearer_auth(TOKEN)
            .header("Last-Event-ID", last.to_string());
        if let Ok(answer) = asked.send().await
            && answer.status().is_success()
        {
            let (mut text, mut body, mut left) = (Vec::new(), answer.bytes_stream(), patience);
            while left > 0
                && let Some(Ok(bytes)) = body.next().await
            {
                text.extend_from_slice(&bytes);
                while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
                    let message: Vec<u8> = text.drain(..end + 2).collect();
                    let message = String::from_utf8(message).unwrap();
                    if message.contains("event: end") {
                        return (check.finish(), last);
                    }
                    if let Some((id, event)) = parts(&message) {
                        check.received(id, &event);
                        (last, left) = (id, left.saturating_sub(1));
                    }
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    unreachable!("the servers are asked for ever")
}

/// `None` for a comment.
fn parts(message: &str) -> Option<(u64, Event)> {
    let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name));
    let id = field("id: ")?.parse().unwrap();
    Some((id, serde_json::from_str(field("data: ")?).unwrap()))
}

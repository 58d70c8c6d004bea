//! Who may call: for now one static bearer token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};

use crate::Server;
use crate::problem::Failure;

/// The token's digest. The token itself is not kept, so that nothing can show it.
pub(crate) struct Key([u8; 32]);

impl Key {
    pub(crate) fn new(token: &str) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Takes the same time for every wrong token: digests of one length are compared to their end.
    fn opens(&self, token: &[u8]) -> bool {
        let digest: [u8; 32] = Sha256::digest(token).into();
        self.0.iter().zip(digest).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

/// Lets a call through if it carries the token or asks for the server's health.
pub(crate) async fn guard(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    if request.uri().path() == "/v1/health" || authorized(&server.key, &request) {
        next.run(request).await
    } else {
        Failure::unauthorized().into()
    }
}

fn authorized(key: &Key, request: &Request) -> bool {
    let header = request.headers().get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    match header.split_at_checked(7) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => key.opens(token),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_opens() {
        let key = Key::new("token");
        assert!(key.opens(b"token"));
        for wrong in ["", "toke", "token ", "TOKEN", "tokem"] {
            assert!(!key.opens(wrong.as_bytes()), "{wrong:?}");
        }
    }
}

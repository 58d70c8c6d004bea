//! Signatures of the Standard Webhooks, version 1:
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use legwork_domain::Timestamp;
use sha2::Sha256;

use crate::problem::Failure;

/// The specification asks for 24 to 64.
const SECRET_BYTES: usize = 32;
const PREFIX: &str = "whsec_";

/// A secret that is shown once. It has no `Debug` and no `Display`, so that nothing prints it by accident.
pub(crate) struct Secret(String);

impl Secret {
    /// Draws one from the system's randomness.
    pub(crate) fn draw() -> Result<Self, Failure> {
        let mut bytes = [0; SECRET_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| {
            tracing::error!(%error, "the system gives no randomness");
            Failure::internal()
        })?;
        Ok(Self(format!("{PREFIX}{}", BASE64.encode(bytes))))
    }

    /// For sealing, and for the one answer that shows it.
    pub(crate) fn reveal(self) -> String {
        self.0
    }
}

/// The headers of one try, with a signature for each secret, as the specification has it for rotations; `None` if a secret
/// is none, which would mean that the database was damaged.
pub(super) fn headers(
    secrets: &[String],
    id: &str,
    at: Timestamp,
    body: &str,
) -> Option<[(&'static str, String); 3]> {
    let seconds = (at.micros() / 1_000_000).to_string();
    let content = format!("{id}.{seconds}.{body}");
    let signatures: Option<Vec<String>> = secrets.iter().map(|secret| signature(secret, &content)).collect();
    let signatures = signatures?.join(" ");
    Some([("webhook-id", id.to_owned()), ("webhook-timestamp", seconds), ("webhook-signature", signatures)])
}

fn signature(secret: &str, content: &str) -> Option<String> {
    let key = BASE64.decode(secret.strip_prefix(PREFIX)?).ok()?;
    let mut hmac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    hmac.update(content.as_bytes());
    Some(format!("v1,{}", BASE64.encode(hmac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the specification's reference libraries test themselves with.
    #[test]
    fn the_known_example_is_signed_as_known() {
        let (secret, id) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek");
        let at = Timestamp::from_micros(1_614_265_330_000_000);
        let signed = |secrets: &[String]| headers(secrets, id, at, r#"{"test": 2432232314}"#);
        let [_, _, (_, one)] = signed(&[secret.to_owned()]).unwrap();
        assert_eq!(one, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let [_, _, (_, two)] = signed(&["whsec_AAAA".to_owned(), secret.to_owned()]).unwrap();
        assert_eq!(two.split_once(' ').unwrap().1, one);
        assert!(signed(&[secret.to_owned(), "damaged".to_owned()]).is_none());
    }

    #[test]
    fn secrets_have_the_known_form() {
        let secret = Secret::draw().unwrap().reveal();
        assert_eq!(BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap().len(), SECRET_BYTES);
    }
}

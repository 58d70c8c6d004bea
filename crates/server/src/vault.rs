//! Secrets at rest: sealed with a key that is not in the database, so that a copy of the database opens none.
//!
//! XChaCha20-Poly1305 with a random nonce of 24 bytes, which may be drawn for as many secrets as there will ever be. The
//! environment's id and the secret's name are bound to the text: a row that is moved to another name does not open.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use legwork_domain::{EnvironmentId, WebhookId};
use legwork_store::SealedSecret;
use sha2::{Digest as _, Sha256};

use crate::problem::Failure;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Where a key is kept if nobody says otherwise, in the data directory.
const FILE: &str = "secret.key";

/// Before a webhook's secret that is sealed; none in plain begins so.
pub(crate) const SEALED: &str = "sealed:";

/// What seals and opens secrets: 256 bits.
#[derive(Clone)]
pub struct Key([u8; KEY_BYTES]);

/// Without the key.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.id()).finish()
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no key.
    #[error("a key is 64 hexadecimal digits")]
    Form,
    /// Others may read it.
    #[error("the key file {} can be read by others: `chmod 600` it", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
    },
    /// The file cannot be used.
    #[error("cannot use the key file {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Random,
    /// Secrets were sealed with another key.
    #[error(
        "the secret {name} of {environment} was sealed with key {sealed_with}, and the key here is {here}"
    )]
    Other {
        /// Whose secret.
        environment: EnvironmentId,
        /// Which secret.
        name: String,
        /// The key that it needs.
        sealed_with: String,
        /// The key that there is.
        here: String,
    },
}

impl Key {
    /// Reads a key as a file, a key service or a person gives it: 64 hexadecimal digits, with white space around them.
    ///
    /// # Errors
    /// [`KeyError::Form`].
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let bytes = hex::decode(text.trim()).map_err(|_| KeyError::Form)?;
        bytes.try_into().map(Self).map_err(|_| KeyError::Form)
    }

    /// The key in a file that only its owner may read.
    ///
    /// # Errors
    /// [`KeyError::Open`] if others may read it.
    pub fn from_file(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(KeyError::Open { path: path.to_owned() });
        }
        Self::from_text(&fs::read_to_string(path).map_err(failed)?)
    }

    /// The key of a data directory, made now if there is none. Several servers may start there at once.
    pub(crate) fn of(data: &Path) -> Result<Self, KeyError> {
        let path = data.join(FILE);
        let failed = |source| KeyError::File { path: path.clone(), source };
        if !path.try_exists().map_err(failed)? {
            let mut bytes = [0; KEY_BYTES];
            getrandom::fill(&mut bytes).map_err(|_| KeyError::Random)?;
            make(data, &path, &hex::encode(bytes)).map_err(failed)?;
        }
        Self::from_file(&path)
    }

    /// The key of a data directory; `None` if there is none.
    pub(crate) fn kept_in(data: &Path) -> Result<Option<Self>, KeyError> {
        let path = data.join(FILE);
        let there = path.try_exists().map_err(|source| KeyError::File { path: path.clone(), source })?;
        there.then(|| Self::from_file(&path)).transpose()
    }

    /// Names the key without telling it.
    fn id(&self) -> String {
        hex::encode(&Sha256::digest(self.0)[..8])
    }

    /// Seals a value.
    pub(crate) fn seal(
        &self,
        environment: EnvironmentId,
        name: String,
        value: &str,
    ) -> Result<SealedSecret, Failure> {
        let sealed = self.seal_for(&bound(environment, &name), value)?;
        Ok(SealedSecret { environment, name, key_id: self.id(), sealed, bytes: value.len() as u64 })
    }

    /// Opens a sealed value.
    pub(crate) fn open(&self, secret: &SealedSecret) -> Result<String, KeyError> {
        let other = || KeyError::Other {
            environment: secret.environment,
            name: secret.name.clone(),
            sealed_with: secret.key_id.clone(),
            here: self.id(),
        };
        self.open_for(&bound(secret.environment, &secret.name), &secret.sealed).ok_or_else(other)
    }

    /// Seals what a webhook's deliveries are signed with. The text names the key that it needs.
    pub(crate) fn seal_webhook(&self, webhook: WebhookId, secret: &str) -> Result<String, Failure> {
        Ok(format!("{SEALED}{}:{}", self.id(), self.seal_for(&of_webhook(webhook), secret)?))
    }

    /// Opens it; one that was made before they were sealed is as it was. `None`: it needs another key.
    pub(crate) fn open_webhook(&self, webhook: WebhookId, kept: &str) -> Option<String> {
        let Some(sealed) = kept.strip_prefix(SEALED) else { return Some(kept.to_owned()) };
        let (_, sealed) = sealed.split_once(':')?;
        self.open_for(&of_webhook(webhook), sealed)
    }

    /// Seals what a browser keeps of its log-in while it is at a provider.
    pub(crate) fn seal_login(&self, login: &str) -> Result<String, Failure> {
        self.seal_for(OF_LOGIN, login)
    }

    /// Opens it; `None`: it was not sealed here.
    pub(crate) fn open_login(&self, sealed: &str) -> Option<String> {
        self.open_for(OF_LOGIN, sealed)
    }

    /// Nonce and text in hexadecimal digits, which open only with the same `bound`.
    fn seal_for(&self, bound: &str, value: &str) -> Result<String, Failure> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| Failure::internal())?;
        let payload = Payload { msg: value.as_bytes(), aad: bound.as_bytes() };
        let text = self.cipher().encrypt(&nonce.into(), payload).map_err(|_| Failure::internal())?;
        Ok(hex::encode([&nonce[..], &text].concat()))
    }

    fn open_for(&self, bound: &str, sealed: &str) -> Option<String> {
        let bytes = hex::decode(sealed).ok()?;
        let (nonce, text) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload { msg: text, aad: bound.as_bytes() };
        String::from_utf8(self.cipher().decrypt(&(*nonce).into(), payload).ok()?).ok()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.0.into())
    }
}

const OF_LOGIN: &str = "legwork login 1";

/// What a sealed text belongs to.
fn bound(environment: EnvironmentId, name: &str) -> String {
    format!("legwork secret 1\n{environment}\n{name}")
}

fn of_webhook(webhook: WebhookId) -> String {
    format!("legwork webhook 1\n{webhook}")
}

/// The file appears whole or not at all, and the first of several that make it wins.
fn make(data: &Path, path: &Path, text: &str) -> io::Result<()> {
    // Such a file is made with mode 600.
    let mut file = tempfile::NamedTempFile::new_in(data)?;
    writeln!(file, "{text}")?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => File::open(data)?.sync_all(),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVIRONMENT: EnvironmentId = EnvironmentId::from_u128(1);

    fn key(byte: u8) -> Key {
        Key([byte; KEY_BYTES])
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_under_its_name_alone() {
        let sealed = key(1).seal(ENVIRONMENT, "TOKEN".into(), "value").unwrap();
        assert_eq!(key(1).open(&sealed).unwrap(), "value");
        assert!(!sealed.sealed.contains(&hex::encode("value")));
        let again = key(1).seal(ENVIRONMENT, "TOKEN".into(), "value").unwrap();
        assert_ne!(sealed.sealed, again.sealed, "a nonce is used once");
        assert!(matches!(key(2).open(&sealed), Err(KeyError::Other { .. })));
        for moved in [
            SealedSecret { name: "OTHER".into(), ..sealed.clone() },
            SealedSecret { environment: EnvironmentId::from_u128(2), ..sealed.clone() },
            SealedSecret { sealed: sealed.sealed.replace(&sealed.sealed[60..62], "00"), ..sealed.clone() },
            SealedSecret { sealed: "00".into(), ..sealed },
        ] {
            assert!(key(1).open(&moved).is_err(), "{moved:?}");
        }
    }

    #[test]
    fn a_webhooks_secret_opens_for_it_alone() {
        let (one, two) = (WebhookId::from_u128(1), WebhookId::from_u128(2));
        let kept = key(1).seal_webhook(one, "whsec_abc").unwrap();
        assert!(kept.starts_with(&format!("sealed:{}:", key(1).id())) && !kept.contains("whsec_"));
        assert_eq!(key(1).open_webhook(one, &kept).as_deref(), Some("whsec_abc"));
        assert_eq!((key(1).open_webhook(two, &kept), key(2).open_webhook(one, &kept)), (None, None));
        assert_eq!(key(1).open_webhook(one, "whsec_old").as_deref(), Some("whsec_old"));
    }

    #[test]
    fn a_directory_has_one_key_that_only_its_owner_reads() {
        let data = tempfile::tempdir().unwrap();
        let first = Key::of(data.path()).unwrap();
        assert_eq!(Key::of(data.path()).unwrap().id(), first.id());
        let path = data.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Key::of(data.path()), Err(KeyError::Open { .. })));
        assert!(!format!("{first:?}").contains(&hex::encode(first.0)));
    }

    #[test]
    fn a_key_has_a_form() {
        assert!(Key::from_text(&format!(" {}\n", "ab".repeat(32))).is_ok());
        for wrong in ["", "abc", &"ab".repeat(31), &"xy".repeat(32)] {
            assert!(matches!(Key::from_text(wrong), Err(KeyError::Form)), "{wrong}");
        }
    }
}

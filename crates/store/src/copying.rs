//! What a request copies from what is kept: an earlier turn's words, a log's history.
//!
//! What was kept in a log may hold the value of a secret that was registered later. The log stays as it is; what is copied
//! into another one passes through the same knowledge as what comes in at the door. The store knows no secrets, so its
//! caller lends the means.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Error, Sent};

/// Takes the values of secrets out of a document.
pub type Redact<'a> = &'a (dyn Fn(&mut Value) + Send + Sync);

/// How a request came that copies from what is kept.
#[derive(Clone, Copy)]
pub struct Copying<'a> {
    /// Who, when, and under which key.
    pub sent: Sent<'a>,
    /// What everything passes through that is copied.
    pub redact: Redact<'a>,
}

impl Copying<'_> {
    /// The copy without the values of secrets.
    pub(crate) fn clean<T: Serialize + DeserializeOwned>(&self, kept: &T) -> Result<T, Error> {
        let corrupt = |error| Error::corrupt("document")(Box::new(error));
        let mut value = serde_json::to_value(kept).map_err(corrupt)?;
        (self.redact)(&mut value);
        serde_json::from_value(value).map_err(corrupt)
    }
}

/// What went wrong with a model, cut by what a caller can do. No text holds a key or a URL with credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such provider, no key, a malformed base URL: fix the configuration.
    #[error("{0}")]
    Config(String),
    /// The provider refuses the key.
    #[error("{provider} refused the key: {message}")]
    Auth {
        /// Which provider.
        provider: String,
        /// Its words, cut.
        message: String,
    },
    /// The account has nothing left; waiting does not help.
    #[error("{provider} reports that the quota is used up: {message}")]
    Quota {
        /// Which provider.
        provider: String,
        /// Its words, cut.
        message: String,
    },
    /// The context does not fit the model's window: compact and try again.
    #[error("the context does not fit the model's window: {message}")]
    ContextOverflow {
        /// The provider's words, cut.
        message: String,
    },
    /// The request is refused as it is; a repeat would be too.
    #[error("{provider} refused the request ({status}): {message}")]
    Rejected {
        /// Which provider.
        provider: String,
        /// HTTP status, or the error code of the stream.
        status: String,
        /// Its words, cut.
        message: String,
    },
    /// Every retry failed: not reachable, overloaded, or the stream broke off each time.
    #[error("{provider} gave no complete answer in {tries} tries; the last one: {message}")]
    Unavailable {
        /// Which provider.
        provider: String,
        /// How often it was asked.
        tries: u32,
        /// What happened last.
        message: String,
    },
}

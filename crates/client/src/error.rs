use legwork_domain::Problem;

/// Why a call failed, cut by what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server's URL or the token cannot be used: mend the configuration.
    #[error("cannot talk to {base_url:?}: {reason}")]
    Address {
        /// What was configured.
        base_url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No answer came, or it broke off: the call may or may not have had its effect. Try again.
    #[error("could not {action}: the server could not be reached or the answer broke off")]
    Unreachable {
        /// What was attempted.
        action: &'static str,
        /// What the network said.
        #[source]
        source: reqwest::Error,
    },
    /// The connection stayed silent too long. Try again.
    #[error("could not {action}: the server fell silent")]
    Silent {
        /// What was attempted.
        action: &'static str,
    },
    /// The server said no, with its reason.
    #[error("could not {action}: {}", problem.detail)]
    Refused {
        /// What was attempted.
        action: &'static str,
        /// The server's words.
        problem: Box<Problem>,
    },
    /// The answer is not of this API: the address or the version is wrong.
    #[error("could not {action}: the answer is not one of this API ({reason})")]
    Protocol {
        /// What was attempted.
        action: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    pub(crate) fn protocol(action: &'static str, reason: impl Into<String>) -> Self {
        Self::Protocol { action, reason: reason.into() }
    }

    pub(crate) fn unreachable(action: &'static str, source: reqwest::Error) -> Self {
        Self::Unreachable { action, source: source.without_url() }
    }

    /// Whether the same call can succeed a little later without anybody's doing.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Silent { .. } => true,
            Self::Refused { problem, .. } => matches!(problem.status, 429 | 500 | 502..=504 | 507),
            Self::Address { .. } | Self::Protocol { .. } => false,
        }
    }

    /// The server's word for a refusal, such as `stale_epoch`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.problem().map(|problem| problem.code.as_str())
    }

    /// The server's no.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem, .. } => Some(problem),
            Self::Address { .. } | Self::Unreachable { .. } | Self::Silent { .. } | Self::Protocol { .. } => {
                None
            }
        }
    }
}

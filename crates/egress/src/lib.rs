//! What may leave a sandbox.
//!
//! A [`Proxy`] stands behind the doors of one sandbox: it takes what programs inside open towards the outside, decides by
//! [`Policy`] on the names that they say, connects to addresses that it has looked at, puts in the values of
//! [`Secret`]s where they may stand, and writes everything down. It knows nothing of sandboxes: connections are streams, and
//! whoever holds the doors brings them. What is inside is hostile to it, and so is what the outside answers.
//!
//! Hosts whose requests nobody needs to see are tunnelled, and only the name in the TLS hello is read. Where a rule limits
//! methods, or a secret may go, TLS ends here: with a certificate of an authority that was made for this sandbox alone and
//! whose key never leaves this process.

mod body;
mod capacity;
mod connect;
mod dial;
mod exchange;
mod forms;
pub mod hello;
mod host;
mod names;
mod policy;
mod proxy;
mod receipt;
mod secret;
mod stream;
mod tripwire;
mod trust;
mod tunnel;

pub use capacity::Room;
pub use dial::{NoWay, Opened, Resolver, System, Upstream, addresses};
pub use host::{Authority, BadHost, Host};
pub use policy::{Grant, Methods, Pattern, Plain, Policy, Reach, Rule, Scheme};
pub use proxy::{Door, Proxy, Settings, Visit};
pub use receipt::{Ledger, Outcome, Program, Receipt, Way};
pub use secret::{Place, Secret};
pub use stream::Stream;
pub use tripwire::{Tripwire, Watch};
pub use trust::{Roots, STORE_PASSWORD};

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key or certificate could not be made.
    #[error("could not make the sandbox's certificate authority")]
    Certificate(#[from] rcgen::Error),
    /// TLS is not usable.
    #[error("could not set TLS up")]
    Tls(#[from] rustls::Error),
    /// There is too much to look for.
    #[error("the secrets are too many to look for")]
    Secrets,
}

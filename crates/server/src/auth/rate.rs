//! How often one may call: a bucket for each caller, filled at a steady rate.
//!
//! The bounds are far above what an honest client does. They keep one that runs wild, or somebody who tries tokens, from
//! taking the server from the others.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use legwork_domain::{TokenId, UserId};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Origin;
use crate::problem::Failure;

/// So many calls at once, and so many a second after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At once.
    pub burst: NonZeroU32,
    /// A second.
    pub per_second: NonZeroU32,
}

/// How often each may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// An address from which calls come without a valid token. IPv6: a network of 64 bits, as one household has.
    pub strangers: Rate,
    /// A user, over all of its tokens and sessions.
    pub people: Rate,
    /// A worker's token. A worker sends some calls a second for each turn that it runs.
    pub workers: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self { strangers: rate(60, 1), people: rate(1000, 100), workers: rate(10_000, 2000) }
    }
}

const fn rate(burst: u32, per_second: u32) -> Rate {
    let (burst, per_second) = (NonZeroU32::new(burst), NonZeroU32::new(per_second));
    match (burst, per_second) {
        (Some(burst), Some(per_second)) => Rate { burst, per_second },
        _ => Rate { burst: NonZeroU32::MIN, per_second: NonZeroU32::MIN },
    }
}

/// Log-ins about which a provider is asked at a time, wherever they come from: a second has room for some hundreds, and an
/// answer that does not come costs sixty-four connections and no more.
const AT_PROVIDERS_MAX: usize = 64;

/// The buckets.
pub(crate) struct Buckets {
    strangers: Bucket<IpAddr>,
    log_ins: Bucket<IpAddr>,
    at_providers: Semaphore,
    people: Bucket<UserId>,
    workers: Bucket<TokenId>,
}

type Bucket<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock>;

impl Buckets {
    pub(crate) fn new(rates: &Rates) -> Self {
        Self {
            strangers: RateLimiter::dashmap(quota(rates.strangers)),
            log_ins: RateLimiter::dashmap(quota(rates.strangers)),
            at_providers: Semaphore::new(AT_PROVIDERS_MAX),
            people: RateLimiter::dashmap(quota(rates.people)),
            workers: RateLimiter::dashmap(quota(rates.workers)),
        }
    }

    /// For a call that opened nothing. What opens is looked at before this is asked, so that nobody who has it is kept out
    /// by those who have not.
    pub(crate) fn stranger(&self, origin: Origin) -> Result<(), Failure> {
        take(&self.strangers, &network(origin.0))
    }

    /// For a log-in that comes back from an identity provider, which is asked about it until what this gives is dropped.
    pub(crate) fn log_in(&self, origin: Origin) -> Result<SemaphorePermit<'_>, Failure> {
        take(&self.log_ins, &network(origin.0))?;
        self.at_providers.try_acquire().map_err(|_| Failure::too_often(1.0))
    }

    pub(crate) fn person(&self, user: UserId) -> Result<(), Failure> {
        take(&self.people, &user)
    }

    pub(crate) fn worker(&self, token: TokenId) -> Result<(), Failure> {
        take(&self.workers, &token)
    }

    /// Forgets those whose bucket is full again, so that memory holds only who called lately.
    pub(crate) fn sweep(&self) {
        self.strangers.retain_recent();
        self.log_ins.retain_recent();
        self.people.retain_recent();
        self.workers.retain_recent();
    }
}

fn quota(rate: Rate) -> Quota {
    Quota::per_second(rate.per_second).allow_burst(rate.burst)
}

fn take<K: std::hash::Hash + Eq + Clone>(bucket: &Bucket<K>, key: &K) -> Result<(), Failure> {
    bucket.check_key(key).map_err(|early| {
        let wait = early.wait_time_from(DefaultClock::default().now());
        // In whole seconds, as the header has it.
        Failure::too_often(wait.max(Duration::from_secs(1)).as_secs_f64().ceil())
    })
}

fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_calls_too_often_waits_and_the_others_do_not() {
        let buckets = Buckets::new(&Rates { strangers: rate(2, 1), ..Rates::default() });
        let [one, two] = ["192.0.2.1", "192.0.2.2"].map(|address| Origin(address.parse().unwrap()));
        assert!(buckets.stranger(one).is_ok() && buckets.stranger(one).is_ok());
        assert!(buckets.stranger(one).is_err());
        assert!(buckets.stranger(two).is_ok());
    }

    #[test]
    fn a_household_is_one_stranger() {
        let network = |text: &str| network(text.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
    }
}

//! The proxy against real servers on loopback, with a resolver of the tests' own.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "what a helper cannot do fails its test"
)]

mod attacks;
mod credentials;
mod floods;
mod passes;
mod world;

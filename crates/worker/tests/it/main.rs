//! The worker against the real things: server, sandbox, git; only the model is scripted.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "what a helper cannot do fails its test, and a test looks at the few variants that it is about"
)]

mod beside;
mod checkouts;
mod compartments;
mod crash;
mod elsewhere;
mod environments;
mod exact;
mod forks;
mod hostile;
mod images;
mod network;
mod remotes;
mod stops;
mod talk;
mod tools;
mod turns;
mod world;

//! The three wires against the scripted endpoint, over real HTTP.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod answers;
mod catalog;
mod faults;
mod requests;
mod world;

//! What a sandbox promises, and what a hostile task tries, in containers of a real engine.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod conformance;
mod engine;
mod errors;
mod lifetime;
mod world;

//! What a sandbox promises, and what a hostile task tries, on the real backend.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and skips aloud"
)]

mod conformance;
mod escape;
mod hostile_files;
mod lifetime;
mod ordinary_user;
mod world;

//! What a sandbox promises, and what a hostile task tries, on the real backend.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod conformance;
mod foreign_root;
mod hostile_files;
mod lifetime;
mod ordinary_user;
mod walls;
mod world;

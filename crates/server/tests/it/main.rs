//! The server over real HTTP, mostly by the real client.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what a helper cannot do fails its test")]

mod access;
mod attempts;
mod blobs;
mod budgets;
mod changes;
mod deep;
mod events;
mod killed;
mod killed_at_random;
mod lifecycle;
mod matrix;
mod oidc;
mod operations;
#[path = "../../../store/tests/it/postgres.rs"]
#[expect(dead_code, reason = "the store's tests use more of it")]
mod postgres;
mod problems;
mod process;
mod receiver;
mod schema;
mod secrets;
mod sessions;
mod several;
mod standing;
mod tasks;
mod watcher;
mod webhooks;
mod workers;
mod world;

//! The server over real HTTP, mostly by the real client.

#![expect(clippy::unwrap_used, reason = "what a helper cannot do fails its test")]

mod blobs;
mod budgets;
mod events;
mod problems;
mod schema;
mod tasks;
mod workers;
mod world;

//! What any database behind the store must do, and what must hold whoever dies.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "what a helper cannot do fails its test, and a test looks at the few variants that it is about"
)]

mod access;
mod backup;
mod both;
mod budgets;
mod durability;
mod faults;
mod interleavings;
mod lifecycle;
mod list;
mod machines;
mod migrations;
mod notices;
mod opening;
mod postgres;
mod queue;
mod simulation;
mod suite;
mod talk;
mod trust;
mod world;

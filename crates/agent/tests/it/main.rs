//! Turns as a user would see them: a model that says what a test wants, in a machine that really runs commands.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    clippy::needless_pass_by_value,
    unreachable_pub,
    reason = "a broken world ends the test; other variants are not what a test looks for"
)]

mod ends;
mod people;
mod purse;
mod resumed;
mod scenes;
mod wires;
mod world;

//! The commands for the user's own repository, run by a real git where everything is a trap.

#![expect(clippy::unwrap_used, reason = "what a helper cannot do fails its test")]

mod hostile_patches;
mod own;
mod patch;
mod world;

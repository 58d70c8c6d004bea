//! The real binary, as a user starts it: a home directory of its own, real git, real sandbox, scripted model.

#![expect(clippy::unwrap_used, reason = "what a helper cannot do fails its test")]

mod apply_patch;
mod demo;
mod hostile;
mod interrupt;
mod result;
mod terminal;
mod usage;
mod world;

//! The room against registries, archives and directories.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod archives;
mod pulls;
mod registry;

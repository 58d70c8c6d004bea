//! What a repository needs before somebody can work in it: found out from its files, without running any of them.
//!
//! Sans-IO. The caller lists the paths, reads what [`Listing::wanted`] names, and gets back what was found: stacks,
//! toolchains, a set-up, a command that runs the tests, and for each of them the file that says so. Repositories are
//! hostile: what is read is bounded in number, size and depth, nothing is executed, and every word of a file that ends up
//! in a script is quoted or checked first. The scripts run inside sandboxes only.

mod cause;
mod detect;
mod found;
mod others;
mod recipe;
mod shell;
mod stacks;
mod text;
mod toolchains;
mod tree;
mod versions;

pub use cause::{Cause, Ending, cause};
pub use detect::{VERSION, detect};
pub use found::{Detected, Finding, Project};
pub use others::codex_toolchains;
pub use recipe::recipe;
pub use toolchains::toolchain_variables;
pub use tree::{FILE_BYTES_MAX, FILES_MAX, Listing, PATHS_MAX, Tree};

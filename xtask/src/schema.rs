//! `schema/*.json`: the public contract, generated from the types and committed. A test of `server` compares them.

use anyhow::Result;

use crate::shell::run_cargo;

/// Writes the files anew.
pub(crate) fn write() -> Result<()> {
    run_cargo(&["run", "--quiet", "--package", "legwork-server", "--example", "schema"])
}

//! Talking to the terminal and running cargo.

use std::io::Write as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// Prints a line. A closed pipe is no reason to fail.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// The cargo that runs us, at the root of the house.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(crate::house::root());
    command
}

/// Runs cargo with the terminal as its own and fails if it fails.
pub(crate) fn run_cargo(arguments: &[&str]) -> Result<()> {
    let line = format!("cargo {}", arguments.join(" "));
    say(&format!("$ {line}"));
    run(&mut cargo(arguments), &line)
}

/// Runs a program with the terminal as its own and fails if it fails.
pub(crate) fn run(program: &mut Command, name: &str) -> Result<()> {
    let status = program.status().with_context(|| format!("could not start {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

//! Runs the benchmarks: every example of the workspace that is called `bench_*`, in release mode, one after the other.
//!
//! They are programs that print figures and not timed tests: a figure on a busy machine is a fact about the machine.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::house;
use crate::shell::{run, run_cargo, say};

const PREFIX: &str = "bench_";

/// Runs the benchmarks whose name holds `wanted`.
pub(crate) fn run_all(wanted: &str) -> Result<()> {
    let benches = benches(wanted)?;
    ensure!(!benches.is_empty(), "no example called {PREFIX}*{wanted}* in the workspace");
    // All in one build: package by package cargo chooses other features each time and compiles most libraries again.
    run_cargo(&["build", "--release", "--workspace", "--bins", "--examples"])?;
    let examples = house::metadata()?.target_directory.join("release/examples");
    for (package, name) in benches {
        say(&format!("\n== {name} ({package})"));
        run(Command::new(examples.join(&name)).current_dir(house::root()), &name)?;
    }
    Ok(())
}

fn benches(wanted: &str) -> Result<Vec<(String, String)>> {
    let metadata = house::metadata()?;
    let mut benches = Vec::new();
    for package in metadata.workspace_packages() {
        let examples = package.targets.iter().filter(|target| target.is_example());
        for target in
            examples.filter(|target| target.name.starts_with(PREFIX) && target.name.contains(wanted))
        {
            benches.push((package.name.to_string(), target.name.clone()));
        }
    }
    benches.sort();
    Ok(benches)
}

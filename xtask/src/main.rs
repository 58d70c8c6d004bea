//! The house's own tools: `cargo xtask tidy | schema | bench | dist | env-corpus`.
//!
//! They are a Rust program and not scripts so that a contributor needs nothing but cargo, and so that the rules of the
//! house (`tidy`) can be one of its tests.

mod bench;
mod corpus;
mod dist;
mod house;
mod schema;
mod shell;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy | schema | bench [NAME] | dist | env-corpus [--run | --kept]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["tidy"] => tidy::run(),
        ["schema"] => schema::write(),
        ["bench"] => bench::run_all(""),
        ["bench", name] => bench::run_all(name),
        ["dist"] => dist::run(),
        ["env-corpus"] => corpus::run(corpus::Depth::Detect),
        ["env-corpus", "--run"] => corpus::run(corpus::Depth::Run),
        ["env-corpus", "--kept"] => corpus::run(corpus::Depth::Kept),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

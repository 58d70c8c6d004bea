//! `legwork apply-patch`: the agent's patch tool as a command, for conformance runs. Hidden; acts on the working directory.

use std::io::{Read as _, Write as _};

use anyhow::Context as _;
use legwork_agent::apply_patch;

use crate::exit::Exit;

/// The largest patch that is read from standard input, far above what a model can write.
const PATCH_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Applies a patch in the format that models are trained on to the working directory.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The patch. Default: standard input.
    patch: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// If standard input or the working directory cannot be read. A patch that does not apply is exit code 1, with the
/// reason on standard error.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let patch = match args.patch {
        Some(patch) => patch,
        None => {
            let mut text = String::new();
            let stdin = std::io::stdin().take(PATCH_BYTES_MAX);
            { stdin }.read_to_string(&mut text).context("Standard input could not be read as text.")?;
            text
        }
    };
    let dir = std::env::current_dir().context("There is no working directory.")?;
    match apply_patch::run_in(&dir, &patch) {
        Ok(said) => {
            writeln!(std::io::stdout(), "{}", said.trim_end())?;
            Ok(Exit::Done)
        }
        Err(error) => {
            writeln!(std::io::stderr(), "{error}")?;
            Ok(Exit::Failed)
        }
    }
}

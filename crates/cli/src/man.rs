//! `legwork man`: the manual pages, made from the commands themselves.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::exit::Exit;

/// Writes the manual page: legwork man | man -l -
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write a page for each command into this directory, for a package.
    #[arg(long, value_name = "DIRECTORY")]
    all: Option<PathBuf>,
}

/// Runs the verb for `command`, the whole program.
///
/// # Errors
/// If the page cannot be written.
pub fn run(args: &Args, command: clap::Command) -> anyhow::Result<Exit> {
    match &args.all {
        Some(directory) => {
            let unwritten = || format!("The pages could not be written to {}.", directory.display());
            std::fs::create_dir_all(directory).with_context(unwritten)?;
            clap_mangen::generate_to(command, directory).with_context(unwritten)?;
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            std::io::stdout().write_all(&page)?;
        }
    }
    Ok(Exit::Done)
}

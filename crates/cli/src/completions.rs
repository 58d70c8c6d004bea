//! `legwork completions`: the shell's completion of every command and option, made from the commands themselves.

use std::io::Write as _;

use clap_complete::Shell;

use crate::exit::Exit;

/// Writes a completion script for a shell.
///
/// bash: legwork completions bash > ~/.local/share/bash-completion/completions/legwork
/// zsh: legwork completions zsh > "${fpath[1]}/_legwork"
/// fish: legwork completions fish > ~/.config/fish/completions/legwork.fish
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Which shell.
    shell: Shell,
}

/// Runs the verb for `command`, the whole program.
///
/// # Errors
/// If standard output is gone.
pub fn run(args: &Args, mut command: clap::Command) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "legwork", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(Exit::Done)
}

use std::path::Path;

use super::diff::{Found, found};
use super::{Call, Form, Which};
use crate::exit::Exit;
use crate::repository;
use crate::run::home;

/// Applies a task's patch to its repository.
///
/// A patch that does not fit changes nothing; the files in the way are listed, and the exit code is 1.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which task.
    #[command(flatten)]
    which: Which,
    /// Put it as one commit on this new branch instead of changing files.
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// The clone whose files are changed, where the task's repository is a URL. Default: the one around the current directory.
    #[arg(long, value_name = "PATH")]
    repo: Option<String>,
}

pub(super) async fn run(args: &Args, call: &Call<'_>) -> anyhow::Result<Exit> {
    let Found { task, number, patch, contents } = found(&args.which, call).await?;
    let product = home::Product { task: &task, patch: &patch, contents: &contents };
    let clone = match (&args.repo, task.request.source.repository.starts_with('/')) {
        (None, true) => None,
        // Without files to change there is the branch, which needs no clone.
        (None, false) if args.branch.is_some() => None,
        (repo, _) => Some(repository::locate(repo.as_deref())?.name),
    };
    match (&args.branch, clone.as_deref().map(Path::new)) {
        (None, None) => product.apply(call.config)?,
        (None, Some(root)) => product.apply_to(root, call.config)?,
        (Some(name), None) => product.branch(name, call.config)?,
        (Some(name), Some(root)) => product.branch_of(root, name, call.config)?,
    }
    if call.form == Form::Json {
        let done = serde_json::json!({ "task": task.id, "attempt": number, "branch": args.branch, "stat": patch.stat });
        crate::json::line(&mut std::io::stdout(), &done)?;
    }
    Ok(Exit::Done)
}

//! A remote repository as detection sees it: one commit of it, fetched into a bare mirror of our own that is thrown away.
//!
//! Nothing is checked out, so no filter, hook or attribute of the repository is looked at, and nothing of it is run.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use legwork_environment::{FILE_BYTES_MAX, Listing, PATHS_MAX, Tree};
use legwork_git::mirror::{self, Route};
use legwork_git::refs::Refs;
use legwork_git::{Invocation, Url};

use crate::exit::Trouble;

/// The view of a commit; `None`: of what its HEAD names.
///
/// # Errors
/// What git says of the repository, without what may be secret in its URL.
pub(super) fn view(url: &Url, base: Option<&str>, operator: &[(OsString, OsString)]) -> anyhow::Result<Tree> {
    let place = tempfile::tempdir().context("A directory for temporary files cannot be made.")?;
    let directory = place.path().join("mirror.git");
    let refs = Refs::listed(&git(&mirror::list(url, &Route::Open, operator), url)?)?;
    let resolved = refs.resolve(url.public(), base)?;
    if !resolved.steps.is_empty() {
        let what = format!("{} names a commit by its way from another one.", resolved.name);
        return Err(Trouble::usage(what, "Name a branch, a tag or the commit itself.").into());
    }
    git(&mirror::init(&directory, resolved.format), url)?;
    git(&mirror::fetch_shallow(&directory, url, &resolved.object, operator), url)?;
    let listed = mirror::files(&git(&mirror::list_files(&directory, &resolved.object), url)?);
    let listing = Listing::new(listed.iter().take(PATHS_MAX).map(|(path, ..)| path.clone()));
    let wanted: Vec<String> = listing.wanted().into_iter().map(str::to_owned).collect();
    let mut read = Vec::new();
    for (path, object, size) in listed {
        if size <= FILE_BYTES_MAX && wanted.contains(&path) {
            read.push((path, git(&mirror::read_file(&directory, &object), url)?));
        }
    }
    Ok(listing.with(read))
}

fn git(invocation: &Invocation, url: &Url) -> anyhow::Result<Vec<u8>> {
    let (program, arguments) = invocation.argv.split_first().context("There is no command.")?;
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(invocation.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .output()
        .context("git could not be started; install it.")?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).replace(url.secret(), url.public());
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("git did not say why");
    let what = format!("{} cannot be read: {}.", url.public(), last.trim().trim_end_matches('.'));
    Err(Trouble::failed(what, "Look at its address, and whether git can fetch from it here.").into())
}

//! A set-up that is used again for another commit.
//!
//! Where the recipe says how a set-up is brought up to date (`maintenance`), the one of an earlier commit of the same history
//! is taken, the files that git knows are made those of the new commit, and that script runs. Only of an earlier commit of
//! the *same history*, by the same recipe: what a set-up leaves was made by the commit's own code, and a branch that
//! nobody has merged must not reach those that others work on.

use legwork_git::checkout::{HISTORY_BYTES_MAX, history, history_script};
use legwork_sandbox::WORKSPACE;

use crate::checkout::Checkout;
use crate::clean;
use crate::end::End;
use crate::layers::Stack;
use crate::setup::{Done, Step};
use crate::worker::Worker;

/// Times that a set-up is brought up to date before one is made from nothing: what it gathers would never go away, and each
/// time adds two layers.
const TIMES_MAX: u32 = 8;

/// The set-up of an earlier commit.
pub(crate) struct Earlier {
    /// Its files around the new checkout.
    pub(crate) stack: Stack,
    /// That commit.
    pub(crate) commit: String,
    /// How often it was brought up to date before.
    pub(crate) times: u32,
}

/// The newest of this history that was set up by the same recipe; `names` says where there may be one of a commit.
///
/// # Errors
/// The turn's end, if a sandbox cannot be made. A history that cannot be listed has none.
pub(crate) async fn find<N: Iterator<Item = String>>(
    worker: &Worker,
    checkout: &Checkout,
    names: impl Fn(&str) -> N,
) -> Result<Option<Earlier>, End> {
    let backend = worker.config.backend.as_ref();
    let failed = |error| End::sandbox(&error);
    let sandbox = clean::sandbox(backend, worker.name("history"), checkout.layers(), Vec::new())
        .await
        .map_err(failed)?;
    let script = history_script(&checkout.commit);
    let said = clean::run(sandbox.as_ref(), &script, HISTORY_BYTES_MAX).await.map_err(failed)?;
    tokio::spawn(async move { sandbox.destroy().await });
    let known = history(&said.stdout).into_iter().find_map(|commit| {
        names(&commit).find_map(|name| {
            let done = worker.setups.read::<Done>(&name)?;
            let stack = Stack::from_names(&done.layers)?.around(checkout.stack());
            let earlier = Earlier { stack, commit: commit.clone(), times: done.times };
            earlier.may_be_resumed().then_some(earlier)
        })
    });
    Ok(known)
}

impl Earlier {
    /// Whether it is not time to begin from nothing.
    pub(crate) const fn may_be_resumed(&self) -> bool {
        self.times < TIMES_MAX
    }
}

/// What brings it up to date.
pub(crate) fn steps(commit: &str, maintenance: &str) -> [Step; 2] {
    let files = format!("git -C {WORKSPACE} reset --hard --quiet {commit}");
    [
        Step { what: "The checkout over an earlier set-up", script: files },
        Step { what: "The maintenance script", script: maintenance.to_owned() },
    ]
}

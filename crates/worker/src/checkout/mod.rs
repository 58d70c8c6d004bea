//! From a task's source to layers that hold the checkout at an exact commit.
//!
//! Two steps: *which commit* is read from refs as data (no process for a local repository), and *the files* are layers
//! that were made once in a clean sandbox and are shared by all attempts, turns and checks. A new commit of a known
//! repository is one layer on top of an earlier checkout's, with only the difference in it.

mod beside;
mod local;
mod make;

use std::path::PathBuf;

use legwork_domain::{LaidRepository, LocalChanges, Source};
use legwork_git::checkout::REPOSITORIES;
use legwork_git::refs::{Refs, Resolved, is_object_id, object_format};
use legwork_git::{Repository, Route, Url};
use legwork_sandbox::Layer;
use serde::{Deserialize, Serialize};

use crate::cache::{self, Cache};
use crate::compartment::Compartment;
use crate::end::End;
use crate::host;
use crate::layers::Stack;
use crate::worker::Worker;
use local::Local;

/// Most checkouts that an index remembers a repository; the oldest are forgotten first.
const CHECKOUTS_MAX: usize = 64;

/// A checkout and what is to be known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkout {
    /// Names the repository.
    pub(crate) source: String,
    /// Whether somebody's uncommitted changes are in it.
    changes: LocalChanges,
    /// The commit or tag that was asked for, as an object id.
    asked: Vec<String>,
    pub(crate) branch: Option<String>,
    /// The commit that patches are against.
    pub(crate) commit: String,
    /// Its tree.
    pub(crate) tree: String,
    layers: Vec<PathBuf>,
    pub(crate) submodules: u32,
    lfs: u32,
    shallow: bool,
    /// `.legwork/environment.toml`.
    pub(crate) recipe: Option<Vec<u8>>,
    /// What is laid beside it for this turn.
    #[serde(skip)]
    beside: Vec<Beside>,
}

/// Another repository's checkout that is laid beside one.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Beside {
    repository: LaidRepository,
    checkout: Checkout,
}

impl Checkout {
    /// Its layers, lowest first.
    pub(crate) fn layers(&self) -> Vec<Layer> {
        self.layers.iter().map(|path| Layer { path: path.clone() }).collect()
    }

    /// All that nobody has changed yet.
    pub(crate) fn stack(&self) -> Stack {
        Stack::new(self.layers(), self.beside.iter().flat_map(|one| one.checkout.layers()).collect())
    }

    /// A sentence for each repository of which something is not there.
    pub(crate) fn gaps(&self) -> Vec<String> {
        let own = self.lacks().map(|what| format!("The checkout is not complete: {what}."));
        let beside = self.beside.iter().filter_map(|one| {
            let what = one.checkout.lacks()?;
            Some(format!("{REPOSITORIES}/{} is not complete: {what}.", one.repository.path))
        });
        own.into_iter().chain(beside).collect()
    }

    /// What of the repository is not in it.
    fn lacks(&self) -> Option<String> {
        let mut missing = Vec::new();
        if self.submodules > 0 {
            missing.push(format!("submodules that are empty directories: {}", self.submodules));
        }
        if self.lfs > 0 {
            missing.push(format!("files of Git LFS that are pointers without their content: {}", self.lfs));
        }
        if self.shallow {
            missing.push("the history is cut off, as in the repository itself".to_owned());
        }
        (!missing.is_empty()).then(|| missing.join("; "))
    }

    fn is_there(&self) -> bool {
        cache::all_there(&self.layers)
    }
}

/// All that is known of a repository.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Known {
    /// Newest last.
    checkouts: Vec<Checkout>,
}

impl Known {
    fn find(&self, resolved: &Resolved) -> Option<Checkout> {
        let is_it = |checkout: &&Checkout| {
            checkout.changes == LocalChanges::Leave
                && checkout.asked.contains(&resolved.object)
                && checkout.branch == resolved.branch
                && checkout.is_there()
        };
        self.checkouts.iter().rev().find(is_it).cloned()
    }

    fn at(&self, commit: &str) -> Option<Checkout> {
        self.checkouts.iter().rev().find(|checkout| checkout.commit == commit && checkout.is_there()).cloned()
    }

    /// The layers that a further checkout can lie on: whoever has that sees all objects below it, so nobody's uncommitted changes
    /// are there.
    fn newest(&self) -> Option<&Checkout> {
        let plain = |checkout: &&Checkout| checkout.changes == LocalChanges::Leave && checkout.is_there();
        self.checkouts.iter().rev().find(plain)
    }

    fn add(&mut self, checkout: Checkout) {
        self.checkouts.push(checkout);
        let excess = self.checkouts.len().saturating_sub(CHECKOUTS_MAX);
        self.checkouts.drain(..excess);
    }
}

/// Where a checkout lies.
enum Place {
    /// It is what is worked on.
    Workspace,
    /// Beside it, at this path.
    Beside(String),
}

/// Where the objects come from.
enum Origin {
    Local(Local),
    Remote(Url),
}

/// A source, looked at.
struct Found {
    origin: Origin,
    /// Names its index and its mirror.
    key: String,
    /// For `origin` inside and for sentences.
    public: String,
    resolved: Resolved,
    changes: LocalChanges,
    place: Place,
}

/// A checkout and how the user called its base.
pub(crate) struct Ready {
    pub(crate) checkout: Checkout,
    /// The name that was asked for, if it was not the commit itself.
    pub(crate) name: Option<String>,
}

/// Gets the checkout of a source; `pinned` is the commit that an earlier turn or try started from.
///
/// # Errors
/// The turn's end, as a failed checkout.
pub(crate) async fn get(
    worker: &Worker,
    source: &Source,
    pinned: Option<&str>,
    compartment: &Compartment,
) -> Result<Ready, End> {
    get_at(worker, find(worker, source, pinned).await?, pinned, compartment).await
}

async fn get_at(
    worker: &Worker,
    found: Found,
    pinned: Option<&str>,
    compartment: &Compartment,
) -> Result<Ready, End> {
    let name = Some(found.resolved.name.clone()).filter(|name| !is_object_id(name));
    let index = &worker.checkouts;
    if let Some(checkout) = lookup(&known(index, &found, compartment), &found, pinned) {
        return Ok(Ready { checkout, name });
    }
    let own = compartment.own(&found.key);
    let maker = index.lock(&own).await.map_err(End::checkout)?;
    // Another attempt may have made it while this one waited.
    let known = known(index, &found, compartment);
    if let Some(checkout) = lookup(&known, &found, pinned) {
        return Ok(Ready { checkout, name });
    }
    let checkout = make::make(worker, &found, &known, compartment).await?;
    if known.at(&checkout.commit).as_ref() != Some(&checkout) {
        let mut kept: Known = index.read(&own).unwrap_or_default();
        kept.add(checkout.clone());
        index.write(&own, &kept, &maker).map_err(End::checkout)?;
    }
    Ok(Ready { checkout, name })
}

/// What a turn may stand on, its own newest.
fn known(index: &Cache, found: &Found, compartment: &Compartment) -> Known {
    let kept = compartment.names(&found.key).filter_map(|name| index.read::<Known>(&name));
    let mut kept: Vec<Known> = kept.collect();
    kept.reverse();
    Known { checkouts: kept.into_iter().flat_map(|known| known.checkouts).collect() }
}

fn lookup(known: &Known, found: &Found, pinned: Option<&str>) -> Option<Checkout> {
    match pinned {
        Some(commit) => known.at(commit),
        // Uncommitted changes have to be looked at each time.
        None if found.changes == LocalChanges::Include || !found.resolved.is_exact() => None,
        None => known.find(&found.resolved),
    }
}

async fn find(worker: &Worker, source: &Source, pinned: Option<&str>) -> Result<Found, End> {
    let repository = Repository::parse(&source.repository).map_err(End::checkout)?;
    let public = repository.public();
    let changes = if pinned.is_some() { LocalChanges::Leave } else { source.local_changes };
    let (origin, refs, key) = match repository {
        Repository::Path(path) => {
            let (local, refs) = local::open(worker, path).await?;
            // A repository that was put in the place of another one must not see the other's objects.
            let key = cache::key(&[local.common.as_os_str().as_encoded_bytes(), &local.identity()]);
            (Origin::Local(local), refs, key)
        }
        Repository::Url(_) if source.local_changes == LocalChanges::Include => {
            return Err(End::checkout("uncommitted changes can only be taken from a local repository"));
        }
        Repository::Url(url) => {
            let refs = remote_refs(worker, &url, source, pinned).await?;
            let key = cache::key(&[url.secret().as_bytes()]);
            (Origin::Remote(url), refs, key)
        }
    };
    let base = source.base.as_deref();
    let resolved = match pinned {
        Some(commit) => pinned_to(commit, refs.resolve(&public, base).ok()),
        None => refs.resolve(&public, base).map_err(End::checkout)?,
    };
    Ok(Found { origin, key, public, resolved, changes, place: Place::Workspace })
}

/// An earlier commit under the name that it had then; the branch may have moved on since.
fn pinned_to(commit: &str, resolved: Option<Resolved>) -> Resolved {
    let (branch, name) =
        resolved.map_or((None, commit.to_owned()), |resolved| (resolved.branch, resolved.name));
    Resolved { object: commit.to_owned(), steps: String::new(), branch, name, format: object_format(commit) }
}

/// The remote's refs. A whole object id needs none, and then nothing is asked of the network.
async fn remote_refs(worker: &Worker, url: &Url, source: &Source, pinned: Option<&str>) -> Result<Refs, End> {
    if pinned.is_some() || source.base.as_deref().is_some_and(is_object_id) {
        let mut refs = Refs::default();
        refs.set_head(pinned.or(source.base.as_deref()).unwrap_or_default().as_bytes());
        return Ok(refs);
    }
    let unreachable = |why: String| End::checkout(format!("{} cannot be read: {why}", url.public()));
    let route = route(worker, url).await.map_err(unreachable)?;
    let list = legwork_git::mirror::list(url, &route, &worker.config.remotes.env);
    let listed = host::git(&list, url).await.map_err(unreachable)?;
    Refs::listed(&listed).map_err(End::checkout)
}

/// How git may get to a URL, looked at anew each time: names change hands.
async fn route(worker: &Worker, url: &Url) -> Result<Route, String> {
    worker.config.remotes.route(url, worker.config.network.resolver.as_ref()).await
}

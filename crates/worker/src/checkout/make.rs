//! Makes a checkout: fetch, and the script of [`legwork_git::checkout`] in a clean sandbox whose frozen layer is the result.

use std::path::Path;

use legwork_domain::LocalChanges;
use legwork_git::checkout::{
    Changes, Made, RECIPE_BYTES_MAX, REPOSITORIES, SOURCE, STORE, STORES, TREE, Wanted, made, script,
};
use legwork_git::refs::is_object_id;
use legwork_git::{Url, mirror};
use legwork_sandbox::{Bind, Exit, Sandbox, WORKSPACE};

use super::local::Local;
use super::{Checkout, Found, Known, Origin, Place, route};
use crate::clean::{self, Said};
use crate::compartment::Compartment;
use crate::end::End;
use crate::host;
use crate::layers;
use crate::worker::Worker;

/// Most layers of one checkout. Each costs every later look-up of a file a little; then one is made from nothing.
const LAYERS_MAX: usize = 8;

/// The same where it is one of several that lie beside another: eight of them leave the larger part of what a sandbox takes.
const BESIDE_LAYERS_MAX: usize = 3;

/// What the checkout script says beside the recipe: seven short lines.
const REPORT_BYTES_MAX: u64 = 64 * 1024;

/// Makes the checkout, or finds while making it that an earlier one is the same.
pub(super) async fn make(
    worker: &Worker,
    found: &Found,
    known: &Known,
    compartment: &Compartment,
) -> Result<Checkout, End> {
    let most = match &found.place {
        Place::Workspace => LAYERS_MAX,
        Place::Beside(_) => BESIDE_LAYERS_MAX,
    };
    let below = known.newest().filter(|checkout| checkout.layers.len() < most);
    let below = below.map(|checkout| checkout.layers.clone()).unwrap_or_default();
    let layers = below.iter().map(|path| legwork_sandbox::Layer { path: path.clone() }).collect();
    let binds = binds(worker, found, compartment).await?;
    let backend = worker.config.backend.as_ref();
    let sandbox = clean::sandbox(backend, worker.name("checkout"), layers, binds)
        .await
        .map_err(|error| End::sandbox(&error))?;
    let made = run(sandbox.as_ref(), found).await?;
    if let Some(same) = known.at(&made.commit).filter(|same| same.branch == found.resolved.branch) {
        return Ok(same);
    }
    let frozen = sandbox.snapshot().await.map_err(|error| End::sandbox(&error))?;
    let mut asked = vec![made.commit.clone()];
    if found.changes == LocalChanges::Leave {
        asked.extend([found.resolved.object.clone(), made.asked]);
        asked.retain(|object| is_object_id(object));
        asked.dedup();
    }
    let mut layers = below;
    layers.push(match &found.place {
        Place::Workspace => frozen.path,
        Place::Beside(_) => layers::lay_beside(&frozen).map_err(End::checkout)?,
    });
    Ok(Checkout {
        source: found.key.clone(),
        changes: found.changes,
        asked,
        branch: found.resolved.branch.clone(),
        commit: made.commit,
        tree: made.tree,
        layers,
        submodules: made.submodules,
        lfs: made.lfs,
        shallow: made.shallow,
        recipe: made.recipe,
        beside: Vec::new(),
    })
}

async fn run(sandbox: &dyn Sandbox, found: &Found) -> Result<Made, End> {
    let (index, exclude) = match &found.origin {
        Origin::Local(local) => (local.index_inside(), Local::exclude_inside()),
        Origin::Remote(_) => (String::new(), String::new()),
    };
    let changes =
        (found.changes == LocalChanges::Include).then_some(Changes { index: &index, exclude: &exclude });
    let source = legwork_git::checkout::Source::Fetch;
    let wanted = Wanted { resolved: &found.resolved, origin: &found.public, source, changes };
    let (work, store) = match &found.place {
        Place::Workspace => (WORKSPACE.to_owned(), STORE.to_owned()),
        Place::Beside(path) => (format!("{REPOSITORIES}/{path}"), format!("{STORES}/{path}.git")),
    };
    let bytes_max = REPORT_BYTES_MAX + RECIPE_BYTES_MAX as u64;
    let said = clean::run(sandbox, &script(&wanted, &work, &store), bytes_max)
        .await
        .map_err(|error| End::sandbox(&error))?;
    if said.succeeded() {
        return made(&said.stdout).map_err(End::checkout);
    }
    Err(refused(found, &said))
}

/// The sentence for each way in which the script says no.
fn refused(found: &Found, said: &Said) -> End {
    let (public, name, words) = (&found.public, &found.resolved.name, said.last_words());
    End::checkout(match said.exit {
        Exit::Code(20) => format!(
            "{public} cannot be fetched from: {words}. A sandbox reads it as an ordinary user, so its files must be readable by others"
        ),
        Exit::Code(21) => format!("{public} has no commit {name}: {words}"),
        Exit::Code(22) => {
            format!("{name} is the beginning of several commits of {public}: {words}; give more digits")
        }
        Exit::Code(23) => format!("the uncommitted changes of {public} cannot be taken: {words}"),
        Exit::TimedOut => format!("{public} took too long"),
        Exit::Code(_) | Exit::Signal(_) | Exit::Lost => format!("git failed on {public}: {words}"),
    })
}

/// What the sandbox is shown: the source's git directory or our mirror of it, and the user's work tree if asked for.
async fn binds(worker: &Worker, found: &Found, compartment: &Compartment) -> Result<Vec<Bind>, End> {
    let local = match &found.origin {
        Origin::Remote(url) => {
            let mirror = crate::mirror_of(&worker.config.data, url, compartment.trust());
            mirrored(worker, found, url, &mirror).await?;
            worker.shelf.of(compartment.trust()).used([mirror.as_path()]);
            return Ok(vec![clean::bind(&mirror, SOURCE)]);
        }
        Origin::Local(local) => local,
    };
    let mut binds = vec![clean::bind(&local.common, SOURCE)];
    if found.changes == LocalChanges::Include {
        let tree = local.tree.as_ref().ok_or_else(|| {
            End::checkout(format!("{} is bare, so it has no uncommitted changes to include", found.public))
        })?;
        binds.push(clean::bind(tree, TREE));
    }
    Ok(binds)
}

/// Brings our bare mirror of a remote repository up to date.
async fn mirrored(worker: &Worker, found: &Found, url: &Url, mirror: &Path) -> Result<(), End> {
    let unreachable = |why: String| End::checkout(format!("{} cannot be fetched: {why}", url.public()));
    let route = route(worker, url).await.map_err(unreachable)?;
    std::fs::create_dir_all(mirror).map_err(End::checkout)?;
    let object = &found.resolved.object;
    host::git(&mirror::init(mirror, found.resolved.format), url).await.map_err(unreachable)?;
    let commit = Some(object.as_str()).filter(|object| is_object_id(object));
    let fetch = mirror::fetch(mirror, url, &route, commit, &worker.config.remotes.env);
    host::git(&fetch, url).await.map_err(unreachable)?;
    Ok(())
}

//! The layers of an attempt, and which of them a clean sandbox may see.
//!
//! A frozen layer of an agent or a set-up script holds two things: changes of the work tree, which are the result, and
//! changes of everything else (`/etc/ld.so.preload`, say), which no program of ours may ever run over. So a layer is split
//! in two when it is frozen: one rename of its work tree's directory, whatever its size.

use std::error::Error;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use legwork_sandbox::{Backend, Layer, WORKSPACE};

use crate::shelf::Shelf;

/// The endings of the two halves' names.
const WORK: &str = "work";
const REST: &str = "rest";

/// That of a layer with a repository beside the checkout.
const BESIDE: &str = "beside";

/// All layers of an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stack {
    /// Repositories beside the checkout: ours, and lowest, so that set-up and agent may change them.
    beside: Vec<Layer>,
    /// What set-up and agent did outside the work tree, lowest first.
    rest: Vec<Layer>,
    /// The checkout: ours.
    checkout: Vec<Layer>,
    /// What set-up and agent did to the work tree, lowest first.
    work: Vec<Layer>,
}

impl Stack {
    pub(crate) fn new(checkout: Vec<Layer>, beside: Vec<Layer>) -> Self {
        Self { beside, rest: Vec::new(), checkout, work: Vec::new() }
    }

    /// The same around another checkout and what lies beside it.
    pub(crate) fn around(self, Self { beside, checkout, .. }: Self) -> Self {
        Self { beside, checkout, ..self }
    }

    /// For commands of the repository and the agent, lowest first. The rest lies below the checkout, whose own store of
    /// objects is thereby always the true one.
    pub(crate) fn all(&self) -> Vec<Layer> {
        [&self.beside[..], &self.rest, &self.checkout, &self.work].concat()
    }

    /// For our own git: the checkout and what became of its work tree.
    pub(crate) fn clean(&self) -> Vec<Layer> {
        [&self.checkout[..], &self.work].concat()
    }

    /// Where all of them are.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.beside, &self.rest, &self.checkout, &self.work]
            .into_iter()
            .flatten()
            .map(|layer| layer.path.as_path())
    }

    /// The names for the log.
    pub(crate) fn names(&self) -> Vec<String> {
        self.all().iter().map(|layer| layer.path.to_string_lossy().into_owned()).collect()
    }

    /// From the names of the log. `None` if a layer is no longer there.
    pub(crate) fn from_names(names: &[String]) -> Option<Self> {
        let mut stack = Self::default();
        for name in names {
            let path = PathBuf::from(name);
            if !path.is_dir() {
                return None;
            }
            let place = match path.extension().and_then(|extension| extension.to_str()) {
                Some(WORK) => &mut stack.work,
                Some(REST) => &mut stack.rest,
                Some(BESIDE) => &mut stack.beside,
                _ => &mut stack.checkout,
            };
            place.push(Layer { path });
        }
        Some(stack)
    }

    /// How many layers a sandbox on all of it stands on.
    pub(crate) fn depth(&self) -> usize {
        self.beside.len() + self.rest.len() + self.checkout.len() + self.work.len()
    }

    /// Makes one layer of those of each half. The checkout, which many attempts share, stays what it is.
    ///
    /// # Errors
    /// If they cannot be merged; then the stack still holds, and whatever is in it is there.
    pub(crate) async fn merge(&mut self, backend: &dyn Backend, shelf: &Shelf) -> Result<(), Box<dyn Error>> {
        for (layers, ending) in [(&mut self.rest, REST), (&mut self.work, WORK)] {
            if layers.len() < 2 {
                continue;
            }
            let merged = backend.merge(layers).await?;
            let path = half(&merged.path, ending);
            // Before it is there: a crash on the way leaves nothing that nobody knows.
            shelf.used([merged.path.as_path(), &path]);
            std::fs::rename(&merged.path, &path)?;
            *layers = vec![Layer { path }];
        }
        Ok(())
    }

    /// Splits a frozen layer and puts the halves on top.
    ///
    /// # Errors
    /// If the layer's directories cannot be renamed.
    pub(crate) fn push(&mut self, layer: &Layer) -> io::Result<()> {
        let (work, rest) = split(layer)?;
        // A half without a change would only make the stack deeper, and its depth is bounded.
        self.work.extend(work.filter(|work| changes(&work.path.join(WORKSPACE.trim_start_matches('/')))));
        self.rest.extend(Some(rest).filter(|rest| changes(&rest.path)));
        Ok(())
    }
}

/// The half with the work tree, if there is one, and the rest. The sandbox has ended, so nothing changes meanwhile. A layer
/// that was divided before, or half-way, by a worker that is lost since, gives the same.
fn split(layer: &Layer) -> io::Result<(Option<Layer>, Layer)> {
    let inside = WORKSPACE.trim_start_matches('/');
    let (path, [work, rest]) = (&layer.path, halves(layer));
    let tree = path.join(inside);
    if let Some(metadata) = std::fs::symlink_metadata(&tree).ok().filter(std::fs::Metadata::is_dir) {
        // Moving a directory writes its "..", for which it must be writable; a command may have taken that away.
        let mode = metadata.permissions().mode() | 0o700;
        std::fs::set_permissions(&tree, std::fs::Permissions::from_mode(mode))?;
        std::fs::create_dir_all(&work)?;
        std::fs::rename(&tree, work.join(inside))?;
    }
    if !rest.is_dir() {
        std::fs::rename(path, &rest)?;
    }
    Ok((work.join(inside).is_dir().then_some(Layer { path: work }), Layer { path: rest }))
}

/// Where the halves of a layer are once it is divided.
pub(crate) fn halves(layer: &Layer) -> [PathBuf; 2] {
    [half(&layer.path, WORK), half(&layer.path, REST)]
}

/// Names a frozen layer as one with a repository beside the checkout.
///
/// # Errors
/// If it cannot be renamed.
pub(crate) fn lay_beside(layer: &Layer) -> io::Result<PathBuf> {
    let path = half(&layer.path, BESIDE);
    std::fs::rename(&layer.path, &path)?;
    Ok(path)
}

fn half(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// Whether commands left something else than a directory where the work tree was, or nothing (a whiteout of overlayfs).
/// Then the checkout would show through the layer as if nothing had happened.
pub(crate) fn work_tree_is_gone(frozen: &Layer) -> bool {
    let is_gone = |layer: &Path| {
        let tree = layer.join(WORKSPACE.trim_start_matches('/'));
        std::fs::symlink_metadata(tree).is_ok_and(|metadata| !metadata.is_dir())
    };
    is_gone(&frozen.path) || is_gone(&half(&frozen.path, REST))
}

/// Whether a directory hides all that lies below it in other layers: it was removed and made again.
fn is_opaque(directory: &Path) -> bool {
    let marked = |name| rustix::fs::getxattr(directory, name, &mut [0_u8; 8][..]).is_ok_and(|size| size > 0);
    marked("user.overlay.opaque") || marked("trusted.overlay.opaque")
}

/// Whether a layer's directory changes anything below it: it has entries, or hides those of others. One that cannot be read
/// may.
fn changes(directory: &Path) -> bool {
    is_opaque(directory) || std::fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_some())
}

/// Whether a layer's half changes the work tree beside its `.git`.
pub(crate) fn touches_files(layer: &Layer) -> bool {
    let tree = layer.path.join(WORKSPACE.trim_start_matches('/'));
    if is_opaque(&tree) {
        return true;
    }
    let Ok(mut entries) = std::fs::read_dir(tree) else { return true };
    entries.any(|entry| entry.map_or(true, |entry| entry.file_name() != ".git"))
}

impl Stack {
    /// Whether the files of the work tree can differ from the checkout's.
    pub(crate) fn may_differ(&self) -> bool {
        self.work.iter().any(touches_files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(at: &Path, name: &str, files: &[&str]) -> Layer {
        let path = at.join(name);
        std::fs::create_dir_all(&path).unwrap();
        for file in files {
            let file = path.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "x").unwrap();
        }
        Layer { path }
    }

    #[test]
    fn only_the_work_tree_of_a_foreign_layer_is_clean() {
        let at = tempfile::tempdir().unwrap();
        let base = layer(at.path(), "base", &["workspace/a"]);
        let agent = layer(at.path(), "agent", &["workspace/a", "etc/ld.so.preload"]);
        let mut stack = Stack::new(vec![base.clone()], Vec::new());
        stack.push(&agent).unwrap();
        assert_eq!(stack.clean()[0], base);
        assert!(stack.clean().iter().all(|layer| !layer.path.join("etc").exists()));
        assert!(stack.all().iter().any(|layer| layer.path.join("etc/ld.so.preload").exists()));
        assert!(stack.may_differ());
        assert_eq!(Stack::from_names(&stack.names()), Some(stack.clone()));
        let mut again = Stack::new(vec![base], Vec::new());
        again.push(&agent).unwrap();
        assert_eq!(again, stack, "what was divided before gives the same halves");
    }

    #[test]
    fn a_layer_with_only_git_changes_or_a_link_for_a_tree_changes_no_files() {
        let at = tempfile::tempdir().unwrap();
        let mut stack = Stack::new(Vec::new(), Vec::new());
        stack.push(&layer(at.path(), "status", &["workspace/.git/index"])).unwrap();
        assert!(!stack.work.is_empty() && !stack.may_differ());
        let linked = layer(at.path(), "linked", &[]);
        std::os::unix::fs::symlink("/etc", linked.path.join("workspace")).unwrap();
        stack.push(&linked).unwrap();
        assert!(!stack.may_differ());
        assert_eq!(Stack::from_names(&["/no/such/layer".to_owned()]), None);
    }
}

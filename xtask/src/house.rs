//! Where things are in the house: its root, its rooms, its source files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use cargo_metadata::{Metadata, MetadataCommand};

/// Packages' names carry this, folders do not.
pub(crate) const PREFIX: &str = "legwork-";

/// The checkout that this program was built in.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_owned()
}

/// What cargo knows of the workspace's own packages. Needs no network.
pub(crate) fn metadata() -> Result<Metadata> {
    MetadataCommand::new()
        .current_dir(root())
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .context("cargo metadata failed")
}

/// A Rust file of a room.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// From the root, with `/`.
    pub(crate) path: String,
    /// The folder's name: `domain`.
    pub(crate) room: String,
    /// Its content.
    pub(crate) text: String,
}

/// The Rust files under `src` of every crate and of xtask, in the order of their paths.
pub(crate) fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for entry in walkdir::WalkDir::new(root.join("crates"))
        .into_iter()
        .chain(walkdir::WalkDir::new(root.join("xtask/src")))
    {
        let entry = entry.context("could not walk the sources")?;
        let Ok(relative) = entry.path().strip_prefix(root) else { continue };
        let path = relative.to_string_lossy().replace('\\', "/");
        let Some(room) = room_of(&path) else { continue };
        let text = fs::read_to_string(entry.path()).with_context(|| format!("could not read {path}"))?;
        sources.push(Source { room: room.to_owned(), path, text });
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

/// The room whose product code `path` is; `None` for tests, examples and anything that is not Rust.
fn room_of(path: &str) -> Option<&str> {
    if !path.ends_with(".rs") {
        return None;
    }
    let inside = path.strip_prefix("crates/").unwrap_or(path);
    let (room, rest) = inside.split_once('/')?;
    rest.starts_with("src/").then_some(room)
}

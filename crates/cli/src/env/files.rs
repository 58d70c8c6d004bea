//! A directory of this machine as detection sees it: names and regular files, no link followed.

use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use legwork_environment::{FILE_BYTES_MAX, Listing, PATHS_MAX, Tree};

/// What is never looked into: git's own, and what package managers and builds leave.
const SKIPPED: [&str; 6] = [".git", "node_modules", "target", ".venv", "venv", "__pycache__"];

/// Directories between a file and the root: detection looks at manifests near the root, and for tests below them.
const DEPTH_MAX: usize = 8;

/// The view of a directory.
pub(super) fn view(root: &Path) -> Tree {
    let entries = walkdir::WalkDir::new(root).follow_links(false).max_depth(DEPTH_MAX).sort_by_file_name();
    let is_looked_into = |entry: &walkdir::DirEntry| {
        entry.depth() == 0 || !entry.file_name().to_str().is_some_and(|name| SKIPPED.contains(&name))
    };
    let files = entries.into_iter().filter_entry(is_looked_into).filter_map(Result::ok);
    let files = files.filter(|entry| entry.file_type().is_file());
    let paths = files.filter_map(|entry| entry.path().strip_prefix(root).ok()?.to_str().map(str::to_owned));
    let listing = Listing::new(paths.take(PATHS_MAX));
    let wanted: Vec<String> = listing.wanted().into_iter().map(str::to_owned).collect();
    listing.with(wanted.into_iter().filter_map(|path| {
        let bytes = read(&root.join(&path)).ok()?;
        Some((path, bytes))
    }))
}

/// A regular file's content. One that is too large gives one byte too many, which whoever reads it refuses.
///
/// # Errors
/// If it cannot be read, or is something else: a link, a pipe, a directory.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

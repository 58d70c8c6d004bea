//! The files of a local repository, read as plain data.
//!
//! Git is never asked about a user's directory on the host: its `.git` may be a file that points elsewhere, and its
//! configuration may name commands. These parsers say where the parts are; whether to go there is the caller's decision.

use std::path::{Path, PathBuf};

/// The largest of these small files that is read: a path (4,096 bytes on Linux) and a word before it.
pub const POINTER_BYTES_MAX: u64 = 8 * 1024;

/// What a `.git` *file* points to (`gitdir: …`, gitrepository-layout(5)), seen from the directory that it lies in.
#[must_use]
pub fn git_file(contents: &[u8], directory: &Path) -> Option<PathBuf> {
    path_line(contents.strip_prefix(b"gitdir:")?, directory)
}

/// What a `commondir` file names, seen from the git directory that it lies in.
#[must_use]
pub fn common_dir(contents: &[u8], git_dir: &Path) -> Option<PathBuf> {
    path_line(contents, git_dir)
}

/// Whether the `gitdir` file of a linked work tree's git directory points back at `git_file`. A `.git` file without that
/// return could make us read any repository of the user.
#[must_use]
pub fn points_back(contents: &[u8], git_dir: &Path, git_file: &Path) -> bool {
    path_line(contents, git_dir).is_some_and(|path| path == git_file)
}

/// Whether a directory's entries are those of a git directory.
#[must_use]
pub fn is_git_dir(has: impl Fn(&str) -> bool) -> bool {
    has("HEAD") && has("objects") && (has("refs") || has("reftable"))
}

fn path_line(contents: &[u8], base: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let line = contents.split(|byte| *byte == b'\n' || *byte == b'\r').next()?;
    let start = line.iter().position(|byte| *byte != b' ')?;
    let path = Path::new(std::ffi::OsStr::from_bytes(&line[start..]));
    Some(base.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_read_as_data() {
        let here = Path::new("/w");
        assert_eq!(
            git_file(b"gitdir: ../m/.git/worktrees/w\n", here),
            Some("/w/../m/.git/worktrees/w".into())
        );
        assert_eq!(git_file(b"gitdir: /abs\n", here), Some("/abs".into()));
        assert_eq!(git_file(b"gitdir: ", here), None);
        assert_eq!(git_file(b"exec: rm", here), None);
        assert!(points_back(b"/w/.git\n", Path::new("/m"), Path::new("/w/.git")));
        assert!(!points_back(b"/other/.git\n", Path::new("/m"), Path::new("/w/.git")));
    }
}

//! A local repository's layout and refs, read as plain files without following a link below its git directory.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use legwork_git::checkout::SOURCE;
use legwork_git::local::{POINTER_BYTES_MAX, common_dir, git_file, is_git_dir, points_back};
use legwork_git::refs::{REFS_MAX, Refs};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::clean;
use crate::end::End;
use crate::worker::Worker;

/// The largest `packed-refs` that is read: about half a million refs.
const PACKED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Where the parts of a local repository are.
#[derive(Clone, Debug)]
pub(super) struct Local {
    /// The git directory that holds objects and refs.
    pub(super) common: PathBuf,
    /// This work tree's own git directory: the same, or below `worktrees/`.
    git_dir: PathBuf,
    /// The work tree; none in a bare repository.
    pub(super) tree: Option<PathBuf>,
}

impl Local {
    /// The user's index as a checkout sandbox sees it.
    pub(super) fn index_inside(&self) -> String {
        let below = self.git_dir.strip_prefix(&self.common).unwrap_or(Path::new(""));
        Path::new(SOURCE).join(below).join("index").to_string_lossy().into_owned()
    }

    /// What tells it from another repository that stood or will stand at the same place: the directory's identity and
    /// when it was made, where the file system knows that.
    pub(super) fn identity(&self) -> Vec<u8> {
        use std::os::unix::fs::MetadataExt;
        let Ok(metadata) = std::fs::metadata(&self.common) else { return Vec::new() };
        let made = metadata.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        format!("{}:{}:{:?}", metadata.dev(), metadata.ino(), made).into_bytes()
    }

    /// The user's own ignore rules.
    pub(super) fn exclude_inside() -> String {
        format!("{SOURCE}/info/exclude")
    }
}

/// Finds the repository that `path` is in and reads its refs.
pub(super) async fn open(worker: &Worker, path: PathBuf) -> Result<(Local, Refs), End> {
    let allowed = worker.config.local.clone();
    let look = move || -> Result<(Local, Refs), End> {
        // Before anything is looked at, so that nobody learns what there is elsewhere; and then what was found, since git
        // looks above too.
        if !allowed.allow(&path) {
            return Err(forbidden(&path));
        }
        let local = locate(&path)?;
        let parts = [Some(&local.common), Some(&local.git_dir), local.tree.as_ref()];
        if !parts.into_iter().flatten().all(|part| allowed.allow(part)) {
            return Err(forbidden(&path));
        }
        let refs = read_refs(&local).map_err(|error| {
            End::checkout(format!("the refs of {} cannot be read: {error}", local.common.display()))
        })?;
        Ok((local, refs))
    };
    let (local, mut refs) = tokio::task::spawn_blocking(look).await.map_err(End::internal)??;
    if refs.is_elsewhere() {
        refs = list_in_sandbox(worker, &local).await?;
    }
    Ok((local, refs))
}

fn forbidden(path: &Path) -> End {
    End::checkout(format!(
        "this worker does not take {}: of its own machine it takes only repositories that its operator allows. Name the repository by its URL, or allow the directory: `local_repositories` under [worker] of the worker's configuration",
        path.display()
    ))
}

/// Git's own search: from here upwards the nearest `.git`, or a directory that is bare itself.
fn locate(path: &Path) -> Result<Local, End> {
    let unusable = |why: &str| End::checkout(format!("{} {why}", path.display()));
    let start = path.canonicalize().map_err(|error| unusable(&format!("cannot be opened: {error}")))?;
    for tree in start.ancestors() {
        let dot_git = tree.join(".git");
        let Ok(found) = std::fs::symlink_metadata(&dot_git) else {
            if is_git_dir(|name| tree.join(name).exists()) {
                let common = tree.to_path_buf();
                return checked(Local { common: common.clone(), git_dir: common, tree: None });
            }
            continue;
        };
        if found.is_dir() {
            let local = Local { common: dot_git.clone(), git_dir: dot_git, tree: Some(tree.to_path_buf()) };
            return checked(local);
        }
        if found.is_file() {
            return linked(tree, &dot_git)
                .ok_or_else(|| {
                    unusable(
                        "has a .git file that does not name a work tree of the repository that it points to",
                    )
                })
                .and_then(checked);
        }
        return Err(unusable("has a .git that is neither a directory nor a file; links are not followed"));
    }
    Err(unusable("is not in a git repository; run `git init` and commit, or name another path"))
}

/// A linked work tree or a submodule. The git directory must point back, or, as a submodule's, lie in the repository
/// around it: a `.git` file from an archive must not lead to some other repository of the user.
fn linked(tree: &Path, dot_git: &Path) -> Option<Local> {
    let git_dir = git_file(&read_small(dot_git)?, tree)?.canonicalize().ok()?;
    let back = read_small(&git_dir.join("gitdir")).is_some_and(|back| points_back(&back, &git_dir, dot_git));
    let around = tree.parent()?.ancestors().any(|above| git_dir.starts_with(above.join(".git/modules")));
    if !back && !around {
        return None;
    }
    let common = match read_small(&git_dir.join("commondir")) {
        Some(contents) => shared(&git_dir, &common_dir(&contents, &git_dir)?)?,
        None => git_dir.clone(),
    };
    Some(Local { common, git_dir, tree: Some(tree.to_path_buf()) })
}

/// The repository of a linked work tree. It is shown to a sandbox as a whole, so a file from an archive must not name a
/// directory around it (a home, a project with a `.git` of its own): only the place that git itself gives it counts.
fn shared(git_dir: &Path, named: &Path) -> Option<PathBuf> {
    let worktrees = git_dir.parent().filter(|parent| parent.file_name() == Some(OsStr::new("worktrees")))?;
    let common = worktrees.parent()?;
    (named.canonicalize().ok()? == common && is_git_dir(|name| common.join(name).exists()))
        .then(|| common.to_path_buf())
}

fn checked(local: Local) -> Result<Local, End> {
    if std::fs::symlink_metadata(local.common.join("objects/info/alternates")).is_ok() {
        return Err(End::checkout(format!(
            "{} borrows objects of another repository (objects/info/alternates); run `git repack -a -d` in it and remove that file",
            local.common.display()
        )));
    }
    // A second repository inside: git would take it for the one that is meant.
    if std::fs::symlink_metadata(local.common.join(".git")).is_ok() {
        return Err(End::checkout(format!("{} has a .git in it", local.common.display())));
    }
    Ok(local)
}

fn read_small(path: &Path) -> Option<Vec<u8>> {
    read_bounded(openat(CWD, path, FLAGS, Mode::empty()).ok()?.into(), POINTER_BYTES_MAX).ok()
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

fn read_bounded(file: File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file of a plausible size"));
    }
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_refs(local: &Local) -> io::Result<Refs> {
    let mut refs = Refs::default();
    let git_dir = directory(&local.git_dir)?;
    refs.set_head(&read_bounded(below(&git_dir, Path::new("HEAD"), FLAGS)?, POINTER_BYTES_MAX)?);
    let common = directory(&local.common)?;
    for top in ["refs/heads", "refs/tags", "refs/remotes"] {
        add_loose(&common, Path::new(top), &mut refs)?;
    }
    match below(&common, Path::new("packed-refs"), FLAGS) {
        Ok(file) => refs.add_packed(&read_bounded(file, PACKED_BYTES_MAX)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(refs)
}

fn directory(path: &Path) -> io::Result<File> {
    Ok(openat(CWD, path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?.into())
}

/// Opens what lies below a directory; a link on the way or out of it is an error.
fn below(directory: &File, path: &Path, flags: OFlags) -> io::Result<File> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(openat2(directory, path, flags, Mode::empty(), resolve)?.into())
}

fn add_loose(common: &File, top: &Path, refs: &mut Refs) -> io::Result<()> {
    let mut directories = vec![top.to_path_buf()];
    let mut seen = 0;
    while let Some(path) = directories.pop() {
        let Ok(directory) = below(common, &path, OFlags::DIRECTORY | OFlags::CLOEXEC) else { continue };
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") || name.ends_with(b".lock") {
                continue;
            }
            seen += 1;
            if seen > REFS_MAX {
                return Ok(());
            }
            let path = path.join(OsStr::from_bytes(name));
            match below(common, &path, FLAGS) {
                Ok(file) if file.metadata()?.is_dir() => directories.push(path),
                Ok(file) => {
                    refs.add_loose(path.as_os_str().as_bytes(), &read_bounded(file, POINTER_BYTES_MAX)?);
                }
                // A link or something unreadable is no ref.
                Err(_) => {}
            }
        }
    }
    Ok(())
}

/// For forms of refs that only git can read: in a clean sandbox.
async fn list_in_sandbox(worker: &Worker, local: &Local) -> Result<Refs, End> {
    /// As many bytes as ref names of [`REFS_MAX`] have.
    const LISTING_BYTES_MAX: u64 = 32 * 1024 * 1024;
    let binds = vec![clean::bind(&local.common, SOURCE)];
    let backend = worker.config.backend.as_ref();
    let sandbox = clean::sandbox(backend, worker.name("refs"), Vec::new(), binds)
        .await
        .map_err(|error| End::sandbox(&error))?;
    let said = clean::run(sandbox.as_ref(), &legwork_git::checkout::list_script(), LISTING_BYTES_MAX)
        .await
        .map_err(|error| End::sandbox(&error))?;
    if !said.succeeded() {
        return Err(End::checkout(format!(
            "the refs of {} cannot be read: {}",
            local.common.display(),
            said.last_words()
        )));
    }
    Refs::listed(&said.stdout).map_err(End::checkout)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(at: &Path) -> PathBuf {
        for directory in ["r/.git/objects", "r/.git/refs/heads/deep", "r/src"] {
            std::fs::create_dir_all(at.join(directory)).unwrap();
        }
        let git = at.join("r/.git");
        std::fs::write(git.join("HEAD"), "ref: refs/heads/deep/x\n").unwrap();
        std::fs::write(git.join("refs/heads/deep/x"), "a".repeat(40)).unwrap();
        at.join("r").canonicalize().unwrap()
    }

    #[test]
    fn a_repository_is_found_from_inside_it() {
        let at = tempfile::tempdir().unwrap();
        let top = repository(at.path());
        let local = locate(&top.join("src")).unwrap();
        assert_eq!(
            (local.common.as_path(), local.tree.as_deref()),
            (top.join(".git").as_path(), Some(top.as_path()))
        );
        assert_eq!(read_refs(&local).unwrap().resolve("r", None).unwrap().object, "a".repeat(40));
        assert_eq!(local.index_inside(), format!("{SOURCE}/index"));
    }

    #[test]
    fn a_git_file_without_a_way_back_is_refused() {
        let at = tempfile::tempdir().unwrap();
        let victim = repository(at.path());
        let hostile = at.path().join("hostile");
        std::fs::create_dir(&hostile).unwrap();
        std::fs::write(hostile.join(".git"), format!("gitdir: {}/.git\n", victim.display())).unwrap();
        assert!(locate(&hostile).is_err());
        std::fs::remove_file(hostile.join(".git")).unwrap();
        std::os::unix::fs::symlink(victim.join(".git"), hostile.join(".git")).unwrap();
        assert!(locate(&hostile).is_err());
    }

    #[test]
    fn links_among_the_refs_are_not_followed() {
        let at = tempfile::tempdir().unwrap();
        let top = repository(at.path());
        std::fs::write(at.path().join("secret"), "b".repeat(40)).unwrap();
        std::os::unix::fs::symlink(at.path().join("secret"), top.join(".git/refs/heads/leak")).unwrap();
        let refs = read_refs(&locate(&top).unwrap()).unwrap();
        assert!(refs.resolve("r", Some("leak")).is_err());
    }
}

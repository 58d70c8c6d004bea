//! From a compressed archive to a layer's directory.
//!
//! The thread that writes takes the file-system identity of the sandboxes' user first (`setfsuid(2)`): with it go root's
//! rights to write anywhere, make devices and give files away, so that even a path that led astray could change nothing.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use crate::archive;
use crate::decompress::{Measured, content};
use crate::reference::Digest;
use crate::tree::Tree;
use crate::{Error, Step};

/// A layer that was unpacked and is not kept yet. Dropped, it is removed.
pub(crate) struct Unpacked {
    path: PathBuf,
    /// Of the archive, when it is not compressed.
    pub(crate) digest: Digest,
    pub(crate) left_out: u64,
}

impl Unpacked {
    /// Moves it to its place. If another was faster, that one stays: both are the same.
    pub(crate) fn keep(&self, place: &Path) -> Result<(), Error> {
        let moved = std::fs::rename(&self.path, place);
        if place.is_dir() { Ok(()) } else { moved.step(format!("make {}", place.display())) }
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes a tree that was unpacked; one that is gone is none.
pub(crate) fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "an image's layer could not be removed");
    }
}

/// How much, and for whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) owner: (u32, u32),
    pub(crate) bytes_max: u64,
}

/// Unpacks `source` into a new directory in `incoming`.
pub(crate) fn unpack(
    source: impl Read + Send + 'static,
    incoming: &Path,
    rules: Rules,
    image: &str,
) -> Result<Unpacked, Error> {
    let path = incoming.join(format!("{:016x}", fastrand::u64(..)));
    std::fs::DirBuilder::new().mode(0o755).create(&path).step(format!("make {}", path.display()))?;
    let mut unpacked = Unpacked { path, digest: Digest::of(&[0; 32]), left_out: 0 };
    let (uid, gid) = rules.owner;
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&unpacked.path, Some(uid), Some(gid)).step("give away a layer")?;
    }
    let root = OwnedFd::from(File::open(&unpacked.path).step("open a new layer")?);
    let thread = std::thread::Builder::new().name("image-unpack".to_owned());
    let work = move || write(source, root, rules);
    let done = thread.spawn(work).step("start to unpack")?.join();
    let written = done.unwrap_or_else(|_| Err(io::Error::other("the unpacking broke off")));
    let (digest, left_out) = written.map_err(|error| explain(image, error))?;
    unpacked.digest = digest;
    unpacked.left_out = left_out;
    Ok(unpacked)
}

fn write(source: impl Read, root: OwnedFd, rules: Rules) -> io::Result<(Digest, u64)> {
    become_owner(rules.owner)?;
    let mut stream = Measured::new(content(source)?, rules.bytes_max);
    let mut tree = Tree::new(root);
    archive::each(&mut stream, |entry, content| tree.put(entry, content))?;
    // What comes after the archive's end belongs to its digest.
    let digest = stream.finish()?;
    Ok((digest, tree.finish()?))
}

/// For this thread alone. A user who is not root is the owner already.
fn become_owner((uid, gid): (u32, u32)) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    setfsgid(Gid::from_raw(gid));
    setfsuid(Uid::from_raw(uid));
    // The call itself says nothing; asked for what cannot be, it tells what is.
    let is_owner = setfsuid(Uid::from_raw(u32::MAX)).as_raw() == uid;
    if is_owner { Ok(()) } else { Err(io::Error::other("could not become the sandboxes' user")) }
}

/// What the stream holds is the image's fault, what the disk says is not.
fn explain(image: &str, error: io::Error) -> Error {
    let disk = error.raw_os_error().is_some();
    if disk {
        return Error::Disk { step: format!("unpack {image}"), source: error };
    }
    Error::Unusable { image: image.to_owned(), why: error.to_string() }
}

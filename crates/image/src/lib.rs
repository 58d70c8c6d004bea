//! A base image: from a registry, a tarball or a directory to trees of files that an overlay can lie on.
//!
//! No container engine is asked. What a registry sends is verified by its digest before anything reads it, each layer is
//! unpacked once into a directory of its own, in the form that overlayfs wants (whiteouts, opaque directories), and shared
//! by all images and sandboxes. Registries, archives and the names in them are hostile: everything is bounded, nothing is
//! written but below one open directory, and it is written with the rights of the user that sandboxes run as.
//!
//! Which paths and registries may be named is the operator's to say ([`Settings`]); a recipe knows names only.

mod archive;
mod decompress;
mod directory;
mod fetch;
#[doc(hidden)]
pub mod fuzz;
mod manifest;
mod reference;
mod registry;
mod store;
mod tree;
mod unpack;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use reference::{Digest, Reference};
pub use registry::{Credentials, Registry};
pub use store::Store;

/// Most layers of an image: what Docker's engine makes at most. The sandbox's own lie above them.
pub const LAYERS_MAX: usize = 127;

/// Registries that recipes may name if the operator says nothing: those that serve the public.
pub const REGISTRIES: [&str; 7] = [
    "docker.io",
    "ghcr.io",
    "quay.io",
    "mcr.microsoft.com",
    "public.ecr.aws",
    "registry.gitlab.com",
    "gcr.io",
];

/// Where images are kept and which there may be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Holds what was unpacked. On a file system that can hold an overlay's lower directories.
    pub directory: PathBuf,
    /// User and group that sandboxes run as, on the host: what is unpacked belongs to them.
    pub owner: (u32, u32),
    /// The operator's own names. They come before all others.
    pub named: BTreeMap<String, Named>,
    /// Registries that may be named; `*`: any at a public address.
    pub registries: Vec<String>,
    /// How some of them are reached, by their names.
    pub access: BTreeMap<String, Registry>,
    /// Bytes of one layer when it is unpacked.
    pub layer_bytes_max: u64,
}

impl Settings {
    /// No names, the public registries, and layers of at most 16 GiB: the largest that are made for machine learning.
    #[must_use]
    pub fn new(directory: PathBuf, owner: (u32, u32)) -> Self {
        Self {
            directory,
            owner,
            named: BTreeMap::new(),
            registries: REGISTRIES.map(str::to_owned).to_vec(),
            access: BTreeMap::new(),
            layer_bytes_max: 16 << 30,
        }
    }
}

/// What a name of the operator's stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// A root file system on this machine: a directory, or a tarball (`.tar`, `.tar.gz`, `.tar.zst`).
    Path(PathBuf),
    /// An image of a registry, whether recipes may name that registry or not.
    Reference(String),
}

/// An image that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// As it was asked for.
    pub name: String,
    /// Names its content exactly: `sha256:…` of its manifest, or of its files.
    pub digest: String,
    /// Its trees, lowest first.
    pub layers: Vec<PathBuf>,
    /// Variables that its maker set. Its user, entry point and working directory are not used.
    pub env: Vec<(String, String)>,
    /// How it came here.
    pub origin: Origin,
    /// What of it is not here: devices and other things that no sandbox may have.
    pub left_out: u64,
}

/// How an image came to be here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was here already.
    Kept,
    /// Some of its layers were unpacked now.
    Unpacked {
        /// So many of them.
        layers: usize,
        /// Bytes that came over the network.
        fetched_bytes: u64,
    },
    /// It was here already, and whether its name stands for another by now could not be asked.
    Unasked,
}

/// What went wrong, cut by what a caller can do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no image's name.
    #[error("{name:?} is no image: {why}")]
    Name {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The operator has not allowed it.
    #[error("{what} is not allowed here. {mend}")]
    NotAllowed {
        /// Registry or address.
        what: String,
        /// What an operator can do.
        mend: &'static str,
    },
    /// The registry has no such image, or shows it to others only.
    #[error("{image} cannot be had: {why}")]
    Missing {
        /// Which.
        image: String,
        /// In the registry's words, cut.
        why: String,
    },
    /// The registry cannot be reached, or broke off. Trying again may help.
    #[error("{registry} cannot be reached: {why}")]
    Unreachable {
        /// Which.
        registry: String,
        /// Why.
        why: String,
    },
    /// What came breaks the rules or the bounds. Nothing of it was kept.
    #[error("{image} cannot be used: {why}")]
    Unusable {
        /// Which.
        image: String,
        /// Which rule.
        why: String,
    },
    /// The disk or a file of the operator's.
    #[error("could not {step}")]
    Disk {
        /// What was attempted, and on what.
        step: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// Names the step that failed.
trait Step<T> {
    fn step(self, step: impl Into<String>) -> Result<T, Error>;
}

impl<T, E: Into<std::io::Error>> Step<T> for Result<T, E> {
    fn step(self, step: impl Into<String>) -> Result<T, Error> {
        self.map_err(|error| Error::Disk { step: step.into(), source: error.into() })
    }
}

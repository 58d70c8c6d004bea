use std::path::PathBuf;

use crate::Doors;

/// Where the checkout stands inside every sandbox.
pub const WORKSPACE: &str = "/workspace";

/// Where programs are looked for, if a [`Spec`] does not say.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Layers of one sandbox. Overlayfs takes 500, but the names of all must fit into one page of mount options.
pub const LAYERS_MAX: usize = 64;

/// Trees of one base image: what Docker's engine makes at most. With the layers they fit into that page.
pub const IMAGE_TREES_MAX: usize = 127;

/// What a sandbox is made of.
#[derive(Clone, Debug)]
pub struct Spec {
    /// A name for directories, cgroups and logs; letters, digits, `_` and `-`, unique among live sandboxes.
    pub name: String,
    /// The base image, below all layers.
    pub image: Image,
    /// Frozen layers, lowest first; each is a tree rooted at `/` that lies over the base image.
    pub layers: Vec<Layer>,
    /// Host directories or files shown inside.
    pub binds: Vec<Bind>,
    /// Whether commands may change [`WORKSPACE`].
    pub workspace: Access,
    /// The environment of every command, beside the backend's own `PATH`, `HOME`, `USER`, `TMPDIR`.
    pub env: Vec<(String, String)>,
    /// What it may take.
    pub limits: Limits,
    /// What becomes of its files if its worker dies.
    pub if_lost: IfLost,
    /// Whether it has a way out.
    pub doors: Doors,
}

/// The files that lie below all layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Image {
    /// This machine's own programs and libraries, read-only.
    #[default]
    Host,
    /// A foreign root file system: directories of the host that nobody changes, lowest first, at most [`IMAGE_TREES_MAX`], in
    /// overlayfs' own form (whiteouts, `user.overlay.opaque`), of the user that stands behind the inside's. Commands may
    /// change all of it, in the writable layer. Of the host's programs nothing is seen.
    ///
    /// Laid over it are `/etc/passwd`, `/etc/group`, `/etc/hosts` and the like, `/home/agent`, `/dev`, `/proc`, `/sys`, `/tmp`
    /// and `/run`, as for [`Image::Host`]; the host's certificates of authorities lie below it, for images without any.
    Trees(Vec<PathBuf>),
}

/// What becomes of a sandbox's files if its worker dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfLost {
    /// They are removed.
    #[default]
    Removed,
    /// They wait, as a layer, for [`Backend::salvage`](crate::Backend::salvage); whoever asked for it discards it one day.
    Kept,
}

/// What may be done with a part of the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Read and write.
    #[default]
    Write,
    /// Read only.
    Read,
}

/// A frozen tree of files. The backend that made it is the only one that can use it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layer {
    /// Its directory on the host.
    pub path: PathBuf,
}

/// A host directory or file shown read-only inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Absolute path on the host.
    pub host: PathBuf,
    /// Absolute path inside.
    pub inside: PathBuf,
}

/// What a sandbox may take of the machine. 0 means no limit where it makes sense (`cpu_millis`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory of all processes, bytes.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u32,
    /// Thousandths of a processor.
    pub cpu_millis: u32,
    /// Size of the writable layer, bytes.
    pub disk_bytes: u64,
    /// Open files a process.
    pub open_files: u32,
    /// Life of the sandbox, ms.
    pub wall_ms: u64,
}

impl Default for Limits {
    /// 8 GiB memory and disk, 4,096 processes, 65,536 files, a day.
    fn default() -> Self {
        Self {
            memory_bytes: 8 << 30,
            processes: 4096,
            cpu_millis: 0,
            disk_bytes: 8 << 30,
            open_files: 65_536,
            wall_ms: 24 * 60 * 60 * 1000,
        }
    }
}

//! The image of all containers: an empty root with the places where things are mounted.
//!
//! It is made here and imported, for no registry may be reachable and nothing of it ever runs: the program is mounted, and the
//! sandbox's own files become the root before anything foreign starts.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::Path;

use bytes::Bytes;
use hyper::Method;
use legwork_sandbox::Error;
use legwork_sandbox::host::{Enclosure, INSIDE};

use crate::engine::{Call, Engine, failed};

/// How its name begins; the rest tells one content from another. Not a tag: Podman imports everything as `latest`.
const REPOSITORY: &str = "localhost/legwork-sandbox";

/// Empty directories: what runtimes expect, and what is mounted over.
const DIRECTORIES: [&str; 13] = [
    "dev",
    "etc",
    "proc",
    "run",
    "sys",
    "tmp",
    "usr",
    "legwork",
    "legwork/binds",
    "legwork/live",
    "legwork/lower",
    "legwork/mount",
    "legwork/mount/root",
];

/// The image as a tarball, and by what name it is known.
pub(crate) struct Empty {
    pub(crate) name: String,
    tar: Bytes,
}

impl Empty {
    pub(crate) fn new() -> Result<Self, Error> {
        debug_assert_eq!(INSIDE, "/legwork");
        let tar = tarball(&Enclosure::links())
            .map_err(|source| Error::Setup { step: "make the image of containers".to_owned(), source })?;
        let mut hasher = DefaultHasher::new();
        tar.hash(&mut hasher);
        let name = format!("{REPOSITORY}-{:016x}", hasher.finish());
        Ok(Self { name, tar: tar.into() })
    }

    /// Gives it to the engine. One that has it already has it twice for a moment.
    ///
    /// # Errors
    /// What the engine says against it.
    pub(crate) async fn import(&self, engine: &Engine) -> Result<(), Error> {
        let path = format!("/images/create?fromSrc=-&repo={}&tag=latest", self.name);
        let call = Call {
            content_type: "application/x-tar",
            body: self.tar.clone(),
            ..Call::new(Method::POST, path)
        };
        const WHAT: &str = "give the engine the empty image";
        let said = engine.call(call).await?.done(WHAT)?;
        // Docker says what goes wrong on the way below a 200.
        let is_broken = said.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"{\"errorDetail\""));
        if is_broken { Err(failed(WHAT, &String::from_utf8_lossy(&said))) } else { Ok(()) }
    }
}

fn tarball(links: &[(String, std::path::PathBuf)]) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for directory in DIRECTORIES {
        let mut header = header(tar::EntryType::Directory);
        tar.append_data(&mut header, format!("{directory}/"), io::empty())?;
    }
    for (path, to) in links {
        let mut header = header(tar::EntryType::Symlink);
        tar.append_link(&mut header, Path::new(path.trim_start_matches('/')), to)?;
    }
    tar.into_inner()
}

/// The same every time: the content names the image.
fn header(kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(0);
    header.set_mtime(0);
    header
}

//! Byte strings named by their SHA-256: `blobs/ab/abcd…`, written beside and renamed.
//!
//! A name that is there has its bytes whole and on disk, whatever dies in between. The bytes travel in chunks, so the
//! largest blob costs no more memory than the smallest.

use std::fs::{self, DirBuilder};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use futures::StreamExt;
use legwork_domain::BlobId;
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use crate::problem::Failure;
use crate::redact::Known;
use crate::uploads::Uploads;

/// The largest blob: a patch with large binary files, a long output. Larger things belong in the repository.
pub(crate) const BLOB_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What is read of a blob at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// A half-written file of this age has no writer: far above the time in which a client gives up.
const STALE_AGE: Duration = Duration::from_secs(60 * 60);

/// The directory of the blobs.
pub(crate) struct Blobs {
    root: PathBuf,
    unfinished: PathBuf,
    /// Those that people send just now.
    pub(crate) uploads: Uploads,
}

impl Blobs {
    /// Makes the directories under `data`, for this user's eyes only.
    pub(crate) fn open(data: &Path) -> io::Result<Self> {
        let root = data.join("blobs");
        let unfinished = root.join("unfinished");
        DirBuilder::new().recursive(true).mode(0o700).create(&unfinished)?;
        Ok(Self { root, unfinished, uploads: Uploads::default() })
    }

    /// Where writers write before a blob has its name.
    pub(crate) fn unfinished(&self) -> &Path {
        &self.unfinished
    }

    fn path(&self, id: &BlobId) -> PathBuf {
        self.root.join(&id.as_str()[..2]).join(id.as_str())
    }

    pub(crate) async fn has(&self, id: &BlobId) -> io::Result<bool> {
        tokio::fs::try_exists(self.path(id)).await
    }

    /// The file and its length, if there is such a blob.
    pub(crate) async fn get(&self, id: &BlobId) -> io::Result<Option<(File, u64)>> {
        match File::open(self.path(id)).await {
            Ok(file) => {
                let length = file.metadata().await?.len();
                Ok(Some((file, length)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores a body that must have the digest `id`; on disk when it returns. A second time changes nothing, and one that
    /// fails or is cancelled leaves nothing.
    ///
    /// Bytes that hold the value of a secret are refused: they cannot be changed under their digest.
    pub(crate) async fn put(&self, id: &BlobId, body: Body, known: &Known) -> Result<(), Failure> {
        let (file, path) = tempfile::NamedTempFile::new_in(&self.unfinished)?.into_parts();
        let mut file = File::from_std(file);
        let digest = receive(body, &mut file, known).await?;
        if digest != id.as_str() {
            return Err(Failure::blob_mismatch(&digest));
        }
        if self.has(id).await? {
            return Ok(());
        }
        file.sync_all().await?;
        let target = self.path(id);
        let directory = target.parent().unwrap_or(&self.root);
        tokio::fs::create_dir_all(directory).await?;
        path.persist(&target).map_err(|error| error.error)?;
        // The names are on disk only when their directories are.
        File::open(directory).await?.sync_all().await?;
        File::open(&self.root).await?.sync_all().await?;
        Ok(())
    }

    /// Removes a blob; one that is not there is gone already.
    pub(crate) async fn remove(&self, id: &BlobId) -> io::Result<()> {
        match tokio::fs::remove_file(self.path(id)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// All that is stored below `data`, each read to its end. None if there is no directory of blobs.
    pub(crate) fn stored(data: &Path) -> io::Result<Vec<Stored>> {
        let mut stored = Vec::new();
        for folder in entries(&data.join("blobs"))? {
            for path in entries(&folder)? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                // Half-written files have other names.
                if let Ok(id) = name.parse() {
                    stored.push(Stored::read(id, &path)?);
                }
            }
        }
        Ok(stored)
    }

    /// Removes what writers left that were killed.
    pub(crate) fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.unfinished)? {
            let entry = entry?;
            let age = SystemTime::now().duration_since(entry.metadata()?.modified()?).unwrap_or_default();
            if age > STALE_AGE {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// A blob as it lies on the disk.
pub(crate) struct Stored {
    /// Its name.
    pub(crate) id: BlobId,
    /// Its length.
    pub(crate) bytes: u64,
    /// What its name should be.
    pub(crate) digest: String,
}

impl Stored {
    fn read(id: BlobId, path: &Path) -> io::Result<Self> {
        let mut file = fs::File::open(path)?;
        let (mut digest, mut bytes) = (Sha256::new(), 0);
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = file.read(&mut chunk)?;
            if read == 0 {
                return Ok(Self { id, bytes, digest: hex::encode(digest.finalize()) });
            }
            digest.update(&chunk[..read]);
            bytes += read as u64;
        }
    }
}

/// What is in a directory; nothing in one that is not there.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Writes the body to the file and gives back its digest.
async fn receive(body: Body, file: &mut File, known: &Known) -> Result<String, Failure> {
    let mut chunks = body.into_data_stream();
    let (mut digest, mut length, mut seen) = (Sha256::new(), 0, Vec::new());
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Failure::broken_off())?;
        length += chunk.len();
        if length > BLOB_BYTES_MAX {
            return Err(Failure::too_large(BLOB_BYTES_MAX));
        }
        // With the end of what came before, since a value may be cut by the chunks.
        seen.extend_from_slice(&chunk);
        if let Some((name, at)) = known.found_in(&seen) {
            return Err(Failure::secret_in_blob(name, (length - seen.len() + at) as u64));
        }
        seen.drain(..seen.len().saturating_sub(known.longest()));
        digest.update(&chunk);
        file.write_all(&chunk).await?;
    }
    file.flush().await?;
    Ok(hex::encode(digest.finalize()))
}

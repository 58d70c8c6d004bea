//! Small indexes on disk of what was made before: checkouts and set-ups.
//!
//! A file a key, replaced in one step, so that a reader needs no lock and sees the old or the new. Makers of the same key
//! wait for one another, here and in other processes with the same data directory, because making it is dear. What a file
//! says is checked against the disk: an index that is lost or damaged costs time only.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// A directory of indexes.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
}

/// The right to make what a key names; ends when dropped.
#[derive(Debug)]
pub(crate) struct Maker {
    /// Holds the lock (`flock`), which the kernel takes back from a process that dies.
    _lock: File,
}

impl Cache {
    pub(crate) const fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// What is known of the key; nothing if it cannot be read.
    pub(crate) fn read<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let bytes = std::fs::read(self.file(key)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Replaces what is known of the key. Only for who holds its [`Maker`].
    pub(crate) fn write<T: Serialize>(&self, key: &str, value: &T, _maker: &Maker) -> io::Result<()> {
        let file = self.file(key);
        let fresh = file.with_extension("new");
        std::fs::write(&fresh, serde_json::to_vec(value)?)?;
        std::fs::rename(fresh, file)
    }

    /// Waits for the right to make what the key names.
    pub(crate) async fn lock(&self, key: &str) -> io::Result<Maker> {
        let path = self.file(key).with_extension("lock");
        let lock = move || -> io::Result<Maker> {
            if let Some(directory) = path.parent() {
                std::fs::create_dir_all(directory)?;
            }
            let lock = File::create(path)?;
            lock.lock()?;
            Ok(Maker { _lock: lock })
        };
        tokio::task::spawn_blocking(lock).await.map_err(io::Error::other)?
    }

    fn file(&self, key: &str) -> PathBuf {
        self.directory.join(format!("{key}.json"))
    }
}

/// A name for a file from parts of any content; a part's end cannot be mistaken for another's beginning.
pub(crate) fn key(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    hex::encode(digest.finalize())
}

/// Whether all directories are there.
pub(crate) fn all_there(layers: &[PathBuf]) -> bool {
    layers.iter().all(|layer| Path::is_dir(layer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_reads_back_and_damage_is_nothing() {
        let at = tempfile::tempdir().unwrap();
        let cache = Cache::new(at.path().join("c"));
        assert_eq!(cache.read::<u32>("k"), None);
        let maker = cache.lock("k").await.unwrap();
        cache.write("k", &7, &maker).unwrap();
        assert_eq!(cache.read::<u32>("k"), Some(7));
        std::fs::write(cache.file("k"), "{").unwrap();
        assert_eq!(cache.read::<u32>("k"), None);
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(key(&[b"ab", b"c"]), key(&[b"a", b"bc"]));
    }
}

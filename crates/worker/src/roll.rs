//! Which workers of a data directory are dead.
//!
//! Each worker holds a file locked while it lives, and the kernel lets go of the lock when it dies, however that is. So the
//! next worker here knows, and need not guess from a clock, whose turns nobody runs any more, and tells the server. Their
//! epochs go on rising, so that even one that was taken for dead wrongly could write nothing.
//!
//! A lock says something only to the kernel that holds it, and only of the file itself. Where another machine may use the
//! directory too, where this one was started anew, or where the directory is a copy of one that is in use, leases lapse by
//! themselves.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use legwork_client::Client;
use legwork_domain::WorkerId;
use rustix::fs::{FlockOperation, flock};

use crate::backoff::Backoff;

/// Names a start of this machine's kernel (`proc_sys_kernel(5)`).
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// The longest text of an entry: a UUID, two numbers of 64 bits and ends of lines.
const ENTRY_BYTES_MAX: u64 = 128;

/// Dead workers that one start tells of. The next start tells of the rest.
const DEAD_MAX: usize = 100;

/// How long an entry of another kernel is kept: longer than any lease.
const FOREIGN_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The entries of a data directory.
#[derive(Clone, Debug)]
pub(crate) struct Roll {
    directory: PathBuf,
}

/// Shows that a worker lives, until it is dropped.
pub(crate) struct Life {
    _locked: File,
}

/// A worker that is dead.
#[derive(Debug)]
struct Dead {
    worker: WorkerId,
    entry: PathBuf,
}

impl Roll {
    /// That of a data directory, which exists.
    pub(crate) fn of(data: &Path) -> Self {
        Self { directory: data.join("workers") }
    }

    /// Enters a worker. Its entry is locked before it has its name, so that nobody finds it without.
    ///
    /// # Errors
    /// If it cannot be written, or the file system knows no locks.
    pub(crate) fn enter(&self, worker: WorkerId) -> io::Result<Life> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let draft = self.directory.join(format!(".{worker}"));
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.write_all(mark(&file, &boot()?)?.as_bytes())?;
        std::fs::rename(&draft, self.directory.join(worker.to_string()))?;
        Ok(Life { _locked: file })
    }

    /// Tells the server who is dead, for as long as it cannot be reached. What it does not take lapses by itself.
    pub(crate) async fn tell(self, client: Client) {
        let dead = tokio::task::spawn_blocking(move || self.dead()).await.unwrap_or_default();
        for Dead { worker, entry } in dead {
            let mut backoff = Backoff::default();
            loop {
                match client.end_leases(worker).await {
                    Ok(()) => {
                        let _ = std::fs::remove_file(entry);
                        break;
                    }
                    Err(error) if error.is_retryable() => tokio::time::sleep(backoff.next()).await,
                    Err(error) => {
                        tracing::warn!(%error, %worker, "the server was not told of a dead worker; its turns go on when their leases have lapsed");
                        break;
                    }
                }
            }
        }
    }

    fn dead(&self) -> Vec<Dead> {
        let Ok(boot) = boot() else { return Vec::new() };
        let entries = std::fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let dead = entries.filter_map(|entry| {
            let worker = entry.file_name().to_str()?.parse().ok()?;
            let entry = entry.path();
            is_dead(&entry, &boot).then_some(Dead { worker, entry })
        });
        dead.take(DEAD_MAX).collect()
    }
}

/// Whether the worker of this entry was of this kernel, and is no more.
fn is_dead(entry: &Path, boot: &str) -> bool {
    let Ok(file) = File::open(entry) else { return false };
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        return false;
    }
    let mut of = String::new();
    if (&file).take(ENTRY_BYTES_MAX).read_to_string(&mut of).is_ok()
        && mark(&file, boot).is_ok_and(|here| of == here)
    {
        return true;
    }
    let age = file.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
    if age.is_some_and(|age| age > FOREIGN_MAX) {
        let _ = std::fs::remove_file(entry);
    }
    false
}

fn boot() -> io::Result<String> {
    std::fs::read_to_string(BOOT)
}

/// What an entry holds: which kernel has its lock, and which file that is, so that a copy is known for one.
fn mark(file: &File, boot: &str) -> io::Result<String> {
    let it = file.metadata()?;
    Ok(format!("{boot}{}:{}\n", it.dev(), it.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(roll: &Roll) -> Vec<WorkerId> {
        roll.dead().into_iter().map(|dead| dead.worker).collect()
    }

    #[test]
    fn who_let_go_is_dead_and_who_holds_on_is_not() {
        let data = tempfile::tempdir().unwrap();
        let roll = Roll::of(data.path());
        assert_eq!(dead(&roll), []);
        let (one, two) = (WorkerId::from_u128(1), WorkerId::from_u128(2));
        let life = roll.enter(one).unwrap();
        let _other = roll.enter(two).unwrap();
        assert_eq!(dead(&roll), []);
        drop(life);
        assert_eq!(dead(&roll), [one]);
        let _again = roll.enter(one).unwrap();
        assert_eq!(dead(&roll), []);
    }

    #[test]
    fn a_copy_of_a_directory_says_nothing_of_who_lives() {
        let (data, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (roll, copied) = (Roll::of(data.path()), Roll::of(copy.path()));
        let worker = WorkerId::from_u128(1);
        let life = roll.enter(worker).unwrap();
        std::fs::create_dir(&copied.directory).unwrap();
        let entry = worker.to_string();
        std::fs::copy(roll.directory.join(&entry), copied.directory.join(&entry)).unwrap();
        assert_eq!(dead(&copied), []);
        drop(life);
        assert_eq!((dead(&roll), dead(&copied)), (vec![worker], Vec::new()));
    }

    #[test]
    fn another_kernels_worker_is_left_to_its_lease() {
        let data = tempfile::tempdir().unwrap();
        let roll = Roll::of(data.path());
        drop(roll.enter(WorkerId::from_u128(1)).unwrap());
        let entry = roll.directory.join(WorkerId::from_u128(1).to_string());
        std::fs::write(&entry, "11111111-2222-3333-4444-555555555555\n").unwrap();
        assert!(dead(&roll).is_empty() && entry.exists());
        let old = std::time::SystemTime::now() - FOREIGN_MAX * 2;
        File::options().write(true).open(&entry).unwrap().set_modified(old).unwrap();
        assert!(dead(&roll).is_empty() && !entry.exists());
    }
}

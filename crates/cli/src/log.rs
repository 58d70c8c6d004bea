//! Where the program's own log goes: what went wrong inside without ending a command (a lost lease, a sandbox that broke
//! its protocol, a full disk).
//!
//! Warnings and errors are appended to `legwork.log` in the data directory, so that a live view on the terminal stays
//! whole and an odd ending can be explained afterwards. With `LEGWORK_LOG` (`debug`, `legwork_worker=trace`, the syntax of
//! tracing's filters) the log goes to standard error instead. A process that stays has no live view: its log, from `info`
//! on, goes to standard error in any case, where supervisors collect it. The file is opened at the first line, never at
//! start.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::Life;

/// A log above this size is begun anew: weeks of warnings, and nothing for a disk.
const BYTES_MAX: u64 = 4 << 20;

/// Starts the log. `filter` is `LEGWORK_LOG`; one that cannot be read is answered with all warnings on standard error.
pub fn start(home: &Path, filter: Option<&str>, life: Life) {
    let log = tracing_subscriber::fmt().with_target(true);
    match filter.or((life == Life::Service).then_some("info")) {
        Some(filter) => {
            let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn"));
            log.with_env_filter(filter).with_ansi(false).with_writer(io::stderr).init();
        }
        None => {
            let file = LogFile { path: home.join("legwork.log"), opened: OnceLock::new() };
            log.with_max_level(tracing::Level::WARN).with_ansi(false).with_writer(file).init();
        }
    }
}

struct LogFile {
    path: PathBuf,
    opened: OnceLock<Option<File>>,
}

impl LogFile {
    /// `None` where it cannot be had: a log that cannot be written must not end what it tells of.
    fn file(&self) -> Option<&File> {
        let open = || {
            let full = std::fs::metadata(&self.path).is_ok_and(|file| file.len() > BYTES_MAX);
            let mut options = OpenOptions::new();
            options.create(true).mode(0o600);
            if full {
                options.write(true).truncate(true)
            } else {
                options.append(true)
            };
            options.open(&self.path).ok()
        };
        self.opened.get_or_init(open).as_ref()
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Box<dyn Write + 'a>;

    fn make_writer(&'a self) -> Self::Writer {
        match self.file() {
            Some(file) => Box::new(file),
            None => Box::new(io::sink()),
        }
    }
}

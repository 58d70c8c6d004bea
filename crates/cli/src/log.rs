//! Where the program's own log goes: what went wrong inside without ending a command (a lost lease, a sandbox that broke
//! its protocol, a full disk).
//!
//! Warnings and errors are appended to `legwork.log` in the data directory, so that a live view on the terminal stays
//! whole and an odd ending can be explained afterwards. With `LEGWORK_LOG` (`debug`, `legwork_worker=trace`, the syntax of
//! tracing's filters) the log goes to standard error instead. A process that stays has no live view: its log, from `info`
//! on, goes to standard error in any case, where supervisors collect it, with `LEGWORK_LOG_FORMAT=json` as one object a
//! line. The file is opened at the first line, never at start. Spans go to a collector if one is named ([`crate::traces`]).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::prelude::*;

use crate::Life;
use crate::traces::Traces;

/// A log above this size is begun anew: weeks of warnings, and nothing for a disk.
const BYTES_MAX: u64 = 4 << 20;

/// What the environment says of log and traces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `LEGWORK_LOG`. One that cannot be read is answered with all warnings on standard error.
    pub filter: Option<String>,
    /// `LEGWORK_LOG_FORMAT`: `json`, else lines for people.
    pub format: Option<String>,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`: where traces go.
    pub collector: Option<String>,
}

/// Starts log and traces. What it gives back sends the last spans when it is dropped.
pub fn start(home: &Path, wishes: &Wishes, life: Life) -> Option<Traces> {
    let lines = match wishes.filter.as_deref().or((life == Life::Service).then_some("info")) {
        Some(filter) => {
            let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn"));
            let lines = layer().with_ansi(false).with_writer(io::stderr);
            if wishes.format.as_deref() == Some("json") {
                lines.json().flatten_event(true).with_current_span(false).with_filter(filter).boxed()
            } else {
                lines.with_filter(filter).boxed()
            }
        }
        None => {
            let file = LogFile { path: home.join("legwork.log"), opened: OnceLock::new() };
            layer().with_ansi(false).with_writer(file).with_filter(LevelFilter::WARN).boxed()
        }
    };
    let traces = wishes.collector.as_deref().map(Traces::to);
    let spans = traces.as_ref().and_then(|traces| traces.as_ref().ok()).map(Traces::layer);
    tracing_subscriber::registry().with(lines).with(spans).init();
    match traces? {
        Ok(traces) => Some(traces),
        Err(error) => {
            tracing::error!(%error, "no traces are sent: OTEL_EXPORTER_OTLP_ENDPOINT cannot be used");
            None
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

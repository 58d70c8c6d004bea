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
use std::path::PathBuf;
use std::sync::OnceLock;

use legwork_server::Redactor;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::prelude::*;

use crate::Life;
use crate::config::{Config, Vars};
use crate::models;
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

/// Keeps what the environment has of secrets out of the log, and of all that a server in this process stores.
///
/// # Errors
/// If they are too many to be looked for.
pub fn keep_out(config: &Config, vars: Vars<'_>) -> anyhow::Result<()> {
    let tokens = ["LEGWORK_TOKEN", "LEGWORK_WORKER_TOKEN"].into_iter();
    let tokens = tokens.filter_map(|name| Some((name.to_owned(), vars(name)?.trim().to_owned())));
    for (name, value) in models::keys(config, vars).into_iter().chain(tokens) {
        config.redactor.add(&name, &value)?;
    }
    Ok(())
}

/// Starts log and traces. What it gives back sends the last spans when it is dropped.
pub fn start(config: &Config, wishes: &Wishes, life: Life) -> Option<Traces> {
    let lines = match wishes.filter.as_deref().or((life == Life::Service).then_some("info")) {
        Some(filter) => {
            let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn"));
            let lines = layer().with_ansi(false).with_writer(clean(config, io::stderr));
            if wishes.format.as_deref() == Some("json") {
                lines.json().flatten_event(true).with_current_span(false).with_filter(filter).boxed()
            } else {
                lines.with_filter(filter).boxed()
            }
        }
        None => {
            let file = LogFile { path: config.home.join("legwork.log"), opened: OnceLock::new() };
            layer().with_ansi(false).with_writer(clean(config, file)).with_filter(LevelFilter::WARN).boxed()
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

fn clean<M>(config: &Config, sink: M) -> Clean<M> {
    Clean { sink, redactor: config.redactor.clone() }
}

/// Where lines go without the values of secrets.
struct Clean<M> {
    sink: M,
    redactor: Redactor,
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Clean<M> {
    type Writer = CleanWriter<'a, M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        CleanWriter { sink: self.sink.make_writer(), redactor: &self.redactor }
    }
}

struct CleanWriter<'a, W> {
    sink: W,
    redactor: &'a Redactor,
}

impl<W: Write> Write for CleanWriter<'_, W> {
    /// A whole line: that is how the layer writes.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.sink.write_all(self.redactor.text(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
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

#[cfg(test)]
mod tests {
    use legwork_domain::{Environment, EnvironmentDraft, RepositoryDraft, SecretDraft};

    use super::*;
    use crate::local::Host;

    #[tokio::test]
    async fn a_line_is_without_the_secrets_of_the_server_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().to_str().unwrap().to_owned();
        let config = Config::from_vars(&|name| (name == "LEGWORK_HOME").then(|| path.clone())).unwrap();
        let mut host = Host::start(&config).await.unwrap();
        host.ready().await.unwrap();
        let repository =
            host.client.create_repository(&RepositoryDraft { url: "/shop".into() }).await.unwrap();
        let draft = EnvironmentDraft {
            name: "main".into(),
            recipe: Environment::default(),
            audience: legwork_domain::Audience::Team,
        };
        let environment = host.client.create_environment(repository.id, &draft).await.unwrap();
        let secret = SecretDraft { value: "hunter2-hunter2".into() };
        host.client.put_secret(environment.id, "TOKEN", &secret).await.unwrap();
        let mut line = Vec::new();
        let mut writer = CleanWriter { sink: &mut line, redactor: &config.redactor };
        writer.write_all(b"url=https://u:hunter2-hunter2@example\n").unwrap();
        assert_eq!(String::from_utf8(line).unwrap(), "url=https://u:[redacted:TOKEN]@example\n");
        host.stop().await.unwrap();
    }
}

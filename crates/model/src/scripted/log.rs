use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hyper::HeaderMap;
use serde::Serialize;
use serde_json::Value;

/// Most bytes of request bodies that are kept; the oldest requests go first. A test's conversation is far below.
const LOG_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Headers whose values are not written down.
const SECRET_HEADERS: &[&str] = &["authorization", "x-api-key", "api-key", "cookie", "proxy-authorization"];

/// A request that the endpoint got. As JSON it is one line of a request log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Logged {
    /// `POST`.
    pub method: String,
    /// `/v1/responses`.
    pub path: String,
    /// By lower-case name; secret values are `***`.
    pub headers: BTreeMap<String, String>,
    /// The body; what is not JSON is a string.
    pub body: Value,
}

/// A request as it is kept: the body is parsed only for whoever looks.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Bytes,
}

impl Kept {
    pub(super) fn logged(&self) -> Logged {
        let body = serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&self.body).into_owned()));
        Logged { method: self.method.clone(), path: self.path.clone(), headers: self.headers.clone(), body }
    }
}

/// Headers without secrets.
pub(super) fn headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let shown = |name: &str, value: &hyper::header::HeaderValue| {
        if SECRET_HEADERS.contains(&name) {
            "***".to_owned()
        } else {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        }
    };
    headers.iter().map(|(name, value)| (name.to_string(), shown(name.as_str(), value))).collect()
}

/// Where requests are written down: in memory for tests, in a file if the script says so, or nowhere, since a long
/// conversation's contexts would fill the memory of a worker.
#[derive(Debug, Default)]
pub(super) struct Log {
    memory: Option<(VecDeque<Kept>, usize)>,
    file: Option<PathBuf>,
}

impl Log {
    pub(super) fn new(recording: Recording, file: Option<PathBuf>) -> Self {
        let memory = (recording == Recording::On).then(Default::default);
        Self { memory, file }
    }

    pub(super) fn push(&mut self, kept: Kept) -> std::io::Result<()> {
        if let Some(file) = &self.file {
            append(file, &kept.logged())?;
        }
        if let Some((requests, bytes)) = &mut self.memory {
            *bytes += kept.body.len();
            requests.push_back(kept);
            while *bytes > LOG_BYTES_MAX {
                let Some(oldest) = requests.pop_front() else { break };
                *bytes -= oldest.body.len();
            }
        }
        Ok(())
    }

    pub(super) fn requests(&self) -> Vec<Logged> {
        self.memory.iter().flat_map(|(requests, _)| requests).map(Kept::logged).collect()
    }
}

/// Whether requests are kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recording {
    On,
    Off,
}

fn append(file: &Path, logged: &Logged) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(logged)?;
    line.push(b'\n');
    std::fs::OpenOptions::new().create(true).append(true).open(file)?.write_all(&line)
}

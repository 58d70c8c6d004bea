//! The engine's API, as far as it is needed: HTTP over its socket, every call bounded in time and size.
//!
//! Eight calls, whose words have not changed since Docker 19.03 (`docs.docker.com/reference/api/engine`), need no client
//! library: the one there is brings a thousand types that would all be compiled.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use legwork_sandbox::Error;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::sync::OnceCell;

use crate::Settings;

/// The oldest API whose words are used here: that of Docker 19.03 and Podman 3.
const API_MIN: (u16, u16) = (1, 40);

/// How long an engine may take for one call: seconds on a loaded machine, for Podman starts processes of its own for each.
const CALL_WAIT: Duration = Duration::from_secs(30);

/// How much it may answer: a list of some thousand containers.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// An engine.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) settings: Settings,
    facts: OnceCell<Facts>,
}

/// Whose engine it is: their words differ in places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    Docker,
    Podman,
}

/// What an engine is and can do.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) make: Make,
    pub(crate) version: String,
    pub(crate) api: (u16, u16),
    /// It runs as a user, who is root in its containers.
    pub(crate) is_rootless: bool,
    pub(crate) info: Info,
}

/// From `/info`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Info {
    pub(crate) memory_limit: bool,
    pub(crate) pids_limit: bool,
    pub(crate) cpu_cfs_quota: bool,
    pub(crate) default_runtime: String,
    cgroup_version: String,
    /// Podman's word for it.
    rootless: bool,
    runtimes: std::collections::BTreeMap<String, serde_json::Value>,
    security_options: Vec<String>,
}

/// From `/version`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Version {
    version: String,
    api_version: String,
    components: Vec<Component>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Component {
    name: String,
}

/// One call.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// With its query, below the version.
    pub(crate) path: String,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
}

/// What an engine answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Make {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Docker => "Docker",
            Self::Podman => "Podman",
        }
    }
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), content_type: "application/json", body: Bytes::new() }
    }

    pub(crate) fn json(self, body: &serde_json::Value) -> Self {
        Self { body: body.to_string().into(), ..self }
    }
}

impl Answer {
    /// Its body, if it is a success.
    pub(crate) fn done(self, what: &str) -> Result<Bytes, Error> {
        if self.status.is_success() || self.status == StatusCode::NOT_MODIFIED {
            return Ok(self.body);
        }
        Err(failed(what, &self.message()))
    }

    /// The engine's own words for what went wrong.
    pub(crate) fn message(&self) -> String {
        #[derive(Deserialize)]
        struct Problem {
            message: String,
        }
        let told = serde_json::from_slice::<Problem>(&self.body).map(|problem| problem.message);
        let text = told.unwrap_or_else(|_| String::from_utf8_lossy(&self.body).into_owned());
        let text: String = text.chars().filter(|one| !one.is_control()).take(500).collect();
        format!("{text} ({})", self.status.as_u16())
    }
}

impl Engine {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, facts: OnceCell::new() }
    }

    /// What it is, asked once.
    ///
    /// # Errors
    /// If it cannot be used, with what mends it.
    pub(crate) async fn facts(&self) -> Result<&Facts, Error> {
        self.facts.get_or_try_init(|| self.ask()).await
    }

    async fn ask(&self) -> Result<Facts, Error> {
        let version: Version = self.get("/version").await?;
        let api = parse(&version.api_version).ok_or_else(|| self.stranger())?;
        if api < API_MIN {
            return Err(unavailable(
                format!("an engine with API {}.{} or later", API_MIN.0, API_MIN.1),
                format!(
                    "{} speaks {}; take Docker 19.03, Podman 3 or later",
                    self.socket().display(),
                    version.api_version
                ),
            ));
        }
        let mut info: Info = self.get(&format!("/v{}.{}/info", api.0, api.1)).await?;
        let is_podman = version.components.iter().any(|part| part.name.starts_with("Podman"));
        let make = if is_podman { Make::Podman } else { Make::Docker };
        let is_rootless =
            info.rootless || info.security_options.iter().any(|option| option.contains("rootless"));
        if is_rootless && rustix::process::geteuid().is_root() {
            return Err(unavailable(
                format!("an engine of root at {} (that one is rootless)", self.socket().display()),
                "Run the worker as the engine's own user, or name root's engine: `socket` of [worker.docker]",
            ));
        }
        if is_rootless && info.cgroup_version == "1" {
            // It tells of what the machine has; only root may set limits there.
            (info.memory_limit, info.pids_limit, info.cpu_cfs_quota) = (false, false, false);
        }
        let facts = Facts { make, version: version.version, api, is_rootless, info };
        self.check_runtime(&facts)?;
        Ok(facts)
    }

    fn check_runtime(&self, facts: &Facts) -> Result<(), Error> {
        let Some(wanted) = &self.settings.runtime else { return Ok(()) };
        if facts.info.runtimes.contains_key(wanted) {
            return Ok(());
        }
        let known: Vec<_> = facts.info.runtimes.keys().map(String::as_str).collect();
        Err(unavailable(
            format!("the runtime {wanted}"),
            format!("{} knows {}: add it there, or choose one of these", facts.make.name(), known.join(", ")),
        ))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let answer = self.send(Call::new(Method::GET, path), CALL_WAIT).await?;
        if answer.status != StatusCode::OK {
            return Err(failed(&format!("ask the engine for {path}"), &answer.message()));
        }
        serde_json::from_slice(&answer.body).map_err(|_| self.stranger())
    }

    /// A call below the engine's version of the API.
    ///
    /// # Errors
    /// If the engine cannot be reached or does not answer in time. What it answers is the caller's to judge.
    pub(crate) async fn call(&self, call: Call) -> Result<Answer, Error> {
        self.call_within(call, CALL_WAIT).await
    }

    /// The same with a time of its own.
    ///
    /// # Errors
    /// As for [`Self::call`].
    pub(crate) async fn call_within(&self, call: Call, wait: Duration) -> Result<Answer, Error> {
        let (major, minor) = self.facts().await?.api;
        let path = format!("/v{major}.{minor}{}", call.path);
        self.send(Call { path, ..call }, wait).await
    }

    async fn send(&self, call: Call, wait: Duration) -> Result<Answer, Error> {
        let what = format!("{} {}", call.method, call.path);
        match tokio::time::timeout(wait, self.exchange(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Setup {
                step: format!("ask the engine at {}: {what}", self.socket().display()),
                source: io::ErrorKind::TimedOut.into(),
            }),
        }
    }

    async fn exchange(&self, call: Call) -> Result<Answer, Error> {
        let stream = UnixStream::connect(self.socket()).await.map_err(|error| self.unreached(&error))?;
        let broken = |error: hyper::Error| Error::Setup {
            step: format!("speak with the engine at {}", self.socket().display()),
            source: io::Error::other(error),
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let request = Request::builder()
            .method(call.method)
            .uri(call.path)
            .header(HOST, "engine")
            .header(CONTENT_TYPE, call.content_type)
            .body(Full::new(call.body))
            .map_err(|error| Error::Invalid(format!("no request for an engine: {error}")))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| Error::Setup {
                step: format!("hear the engine at {}", self.socket().display()),
                source: io::Error::other(error),
            })?;
            Ok(Answer { status, body: body.to_bytes() })
        };
        // The connection goes on only while somebody waits for its answer. Its end is heard of by that.
        let connection = async {
            let _ = connection.await;
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            biased;
            answer = exchange => answer,
            never = connection => match never {},
        }
    }

    fn socket(&self) -> &Path {
        &self.settings.socket
    }

    fn unreached(&self, error: &io::Error) -> Error {
        let socket = self.socket().display();
        let mend = if error.kind() == io::ErrorKind::PermissionDenied {
            "Let the worker's user open it (the group docker), or take a rootless engine of that user. Who can open it is as good as root"
        } else {
            "Start it (systemctl start docker; podman system service -t 0), or name its socket: `socket` of [worker.docker]"
        };
        unavailable(format!("an engine at {socket} ({error})"), mend)
    }

    /// Whoever listens there speaks something else.
    fn stranger(&self) -> Error {
        unavailable(
            format!("an engine at {}", self.socket().display()),
            "What listens there does not speak Docker's API: name an engine's socket, `socket` of [worker.docker]",
        )
    }
}

fn unavailable(what: impl Into<String>, mend: impl Into<String>) -> Error {
    Error::Unavailable { what: what.into(), mend: mend.into() }
}

/// An engine that did not do as it was told.
pub(crate) fn failed(what: &str, message: &str) -> Error {
    Error::Setup { step: what.to_owned(), source: io::Error::other(message.to_owned()) }
}

fn parse(version: &str) -> Option<(u16, u16)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A value in a query or path (RFC 3986, section 2.3).
pub(crate) fn escaped(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| {
        if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(parse("1.9") < parse("1.40") && parse("1.52") > Some(API_MIN));
        assert_eq!((parse("1"), parse("x.y"), parse("")), (None, None, None));
    }

    #[test]
    fn an_engines_words_are_bounded_and_steer_no_terminal() {
        let answer = |body: &str| Answer { status: StatusCode::CONFLICT, body: body.to_owned().into() };
        assert_eq!(answer(r#"{"message":"no\u001b[2J such"}"#).message(), "no[2J such (409)");
        assert_eq!(answer(&"x".repeat(9000)).message().len(), 506);
    }

    #[tokio::test]
    async fn an_engine_that_says_nothing_holds_nobody() {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("socket");
        let _silent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let engine = Engine::new(Settings { socket, runtime: None });
        let answer = engine.send(Call::new(Method::GET, "/version"), Duration::from_millis(50)).await;
        let Err(Error::Setup { step, source }) = answer else { panic!("an answer") };
        assert!(
            step.ends_with("GET /version") && source.kind() == io::ErrorKind::TimedOut,
            "{step}: {source}"
        );
    }

    #[test]
    fn values_are_escaped() {
        assert_eq!(escaped("a b/c\"é"), "a%20b%2Fc%22%C3%A9");
    }
}

//! Guests in containers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hyper::{Method, StatusCode};
use legwork_sandbox::Error;
use legwork_sandbox::host::{Berth, Enclosure, Launched, Launcher, is_abandoned};
use serde::Deserialize;

use crate::Settings;
use crate::container::{self, SANDBOX, STATE};
use crate::engine::{Answer, Call, Engine, escaped, failed};
use crate::image::Empty;

/// How long a container that was started may take until its guest is there: milliseconds, but on a machine that is loaded.
const MEET_WAIT: Duration = Duration::from_secs(30);

/// How long an engine may take to remove a container, or to list what is there meanwhile.
const SETTLE_WAIT: Duration = Duration::from_secs(20);

/// How long until it is asked again.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);

/// Starts containers.
#[derive(Debug)]
pub(crate) struct Containers {
    engine: Arc<Engine>,
    guest: OnceLock<PathBuf>,
}

/// A container that exists. Dropped, it is removed, unless it was kept.
struct Container {
    engine: Arc<Engine>,
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ended {
    status_code: i64,
}

impl Containers {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { engine: Arc::new(Engine::new(settings)), guest: OnceLock::new() }
    }

    /// Says which program the guest is. The first call counts.
    pub(crate) fn start_with(&self, guest: PathBuf) {
        let _ = self.guest.set(guest);
    }

    /// Makes a container that does not run yet.
    async fn create(&self, berth: &Berth, enclosure: &Enclosure) -> Result<Container, Error> {
        let facts = self.engine.facts().await?;
        let image = Empty::new()?;
        let mounts = enclosure.mounts(self.guest.get().ok_or(Error::Gone)?)?;
        let runtime = self.engine.settings.runtime.as_deref();
        let body = container::body(facts, berth, &image.name, &mounts, runtime);
        let sandbox = berth.label.split('@').next().unwrap_or_default();
        let path = format!("/containers/create?name=legwork-{sandbox}-{:016x}", fastrand::u64(..));
        let create = || self.engine.call(Call::new(Method::POST, path.as_str()).json(&body));
        let mut answer = create().await?;
        if answer.status == StatusCode::NOT_FOUND {
            image.import(&self.engine).await?;
            answer = create().await?;
        }
        let made = answer.done("make a container")?;
        let Created { id } =
            serde_json::from_slice(&made).map_err(|error| failed("make a container", &error.to_string()))?;
        Ok(Container { engine: Arc::clone(&self.engine), id: Some(id) })
    }

    /// Containers of a state directory, with the sandboxes' labels.
    async fn list(&self, labels: &[String]) -> Result<Vec<Listed>, Error> {
        let filters = serde_json::json!({ "label": labels }).to_string();
        let path = format!("/containers/json?all=true&filters={}", escaped(&filters));
        let listed = settled(&self.engine, Method::GET, &path).await?.done("list containers")?;
        serde_json::from_slice(&listed).map_err(|error| failed("list containers", &error.to_string()))
    }
}

impl Container {
    async fn start(&self) -> Result<(), Error> {
        let path = format!("/containers/{}/start", self.id());
        self.engine.call(Call::new(Method::POST, path)).await?.done("start a container").map(drop)
    }

    /// Why it has ended; it does not come back before that.
    async fn ended(&self) -> Error {
        let path = format!("/containers/{}/wait", self.id());
        let answer = match self.engine.call_within(Call::new(Method::POST, path), MEET_WAIT * 2).await {
            Ok(answer) => answer,
            Err(error) => return error,
        };
        let code = serde_json::from_slice::<Ended>(&answer.body).map(|ended| ended.status_code);
        let why = match code {
            Ok(code) => format!("it ended with status {code}, before it had said a word"),
            Err(_) => answer.message(),
        };
        failed("start the guest in a container", &why)
    }

    fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let (Some(id), engine) = (self.id.take(), Arc::clone(&self.engine)) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // What does not go now is found by its labels.
            runtime.spawn(async move { remove(&engine, &id).await });
        }
    }
}

/// Ends a container and removes it. One that is gone already is no error.
async fn remove(engine: &Engine, id: &str) -> Result<(), Error> {
    let answer = settled(engine, Method::DELETE, &format!("/containers/{id}?force=true&v=true")).await?;
    match answer.status {
        StatusCode::NOT_FOUND => Ok(()),
        _ => answer.done("remove a container").map(drop),
    }
}

/// What an engine answers once no container stands in the way that is just ending: it removes each by itself when its first
/// process ends, and while it does so refuses what it is asked of that one (Docker by 409, Podman by 500).
async fn settled(engine: &Engine, method: Method, path: &str) -> Result<Answer, Error> {
    let until = Instant::now() + SETTLE_WAIT;
    loop {
        let answer = engine.call(Call::new(method.clone(), path)).await?;
        let is_busy = answer.status == StatusCode::CONFLICT || answer.status.is_server_error();
        if !is_busy || Instant::now() >= until {
            return Ok(answer);
        }
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
}

#[async_trait]
impl Launcher for Containers {
    fn name(&self) -> &'static str {
        "docker"
    }

    async fn limits_memory(&self) -> Result<bool, Error> {
        Ok(self.engine.facts().await?.info.memory_limit)
    }

    async fn launch(&self, berth: Berth) -> Result<Launched, Error> {
        let enclosure = Enclosure::open(berth.clone())?;
        let mut container = self.create(&berth, &enclosure).await?;
        container.start().await?;
        let met = tokio::time::timeout(MEET_WAIT, async {
            tokio::select! {
                biased;
                met = enclosure.meet() => met,
                error = container.ended() => Err(error),
            }
        });
        match met.await {
            Ok(Ok(launched)) => {
                // It removes itself when its first process ends.
                container.id = None;
                Ok(launched)
            }
            Ok(Err(error)) => Err(self.bury(container, error).await),
            Err(_) => {
                let error = failed("meet the guest of a container", "it did not come in time");
                Err(self.bury(container, error).await)
            }
        }
    }

    async fn evict(&self, state: &Path, label: &str) -> Result<(), Error> {
        let of = [format!("{STATE}={}", state.display()), format!("{SANDBOX}={label}")];
        for container in self.list(&of).await? {
            remove(&self.engine, &container.id).await?;
        }
        Ok(())
    }

    async fn sweep(&self, state: &Path) -> Result<(), Error> {
        for container in self.list(&[format!("{STATE}={}", state.display())]).await? {
            if container.labels.get(SANDBOX).is_some_and(|label| is_abandoned(label)) {
                remove(&self.engine, &container.id).await?;
            }
        }
        Ok(())
    }
}

impl Containers {
    /// Removes a container that came to nothing, so that nothing of it runs when its files are removed.
    async fn bury(&self, mut container: Container, error: Error) -> Error {
        if let Some(id) = container.id.take()
            && let Err(left) = remove(&self.engine, &id).await
        {
            tracing::warn!(container = %id, error = %left, "a container could not be removed");
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Answers one connection after the other, and tells which call each was.
    fn engine(
        answers: &'static [(u16, &'static str)],
    ) -> (tempfile::TempDir, Engine, std::thread::JoinHandle<Vec<String>>) {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let heard = std::thread::spawn(move || {
            let answer = |(status, body): &(u16, &str)| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap();
                let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(head.as_bytes()).unwrap();
                let request = String::from_utf8_lossy(&request[..length]);
                request.split(" HTTP").next().unwrap_or_default().to_owned()
            };
            answers.iter().map(answer).collect()
        });
        (place, Engine::new(Settings { socket, runtime: None }), heard)
    }

    #[tokio::test]
    async fn a_container_that_is_just_ending_is_waited_for() {
        let (_place, engine, heard) = engine(&[
            (200, r#"{"ApiVersion":"1.41"}"#),
            (200, "{}"),
            (500, r#"{"message":"container state improper: stopped"}"#),
            (409, r#"{"message":"removal of container one is already in progress"}"#),
            (404, r#"{"message":"no such container"}"#),
        ]);
        remove(&engine, "one").await.unwrap();
        let heard = heard.join().unwrap();
        assert_eq!(heard[2..], ["DELETE /v1.41/containers/one?force=true&v=true"; 3].map(str::to_owned));
    }

    #[tokio::test]
    async fn what_an_engine_refuses_for_good_is_told() {
        let (_place, engine, _) =
            engine(&[(200, r#"{"ApiVersion":"1.41"}"#), (200, "{}"), (403, r#"{"message":"not you"}"#)]);
        let Err(Error::Setup { source, .. }) = remove(&engine, "one").await else { panic!("no refusal") };
        assert_eq!(source.to_string(), "not you (403)");
    }
}

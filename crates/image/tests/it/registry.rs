//! A registry on loopback: the few calls of the distribution specification that a pull makes, with tokens, redirects, and a
//! hand that bends what it sends.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How it misbehaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ways {
    /// Wants a token for everything.
    pub(crate) token: bool,
    /// Wants this name and password for the token.
    pub(crate) login: Option<String>,
    /// Sends blobs from this other address.
    pub(crate) blobs_from: Option<String>,
    /// Breaks off in the middle of so many layers.
    pub(crate) breaks: usize,
    /// Changes the last byte of blobs.
    pub(crate) bends: bool,
    /// Says 503 to everything.
    pub(crate) is_down: bool,
}

#[derive(Default)]
struct State {
    manifests: BTreeMap<String, Vec<u8>>,
    blobs: BTreeMap<String, Vec<u8>>,
    ways: Ways,
    /// Each request's path, and what it showed.
    asked: Vec<(String, Option<String>)>,
}

#[derive(Clone)]
pub(crate) struct Registry {
    state: Arc<Mutex<State>>,
    pub(crate) url: String,
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// As `legwork_image` names this machine.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Registry {
    pub(crate) async fn start(ways: Ways) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let registry = Self { state: Arc::new(Mutex::new(State { ways, ..State::default() })), url };
        let serving = registry.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let registry = serving.clone();
                tokio::spawn(async move { registry.serve(stream).await });
            }
        });
        registry
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Ways)) {
        change(&mut self.state.lock().unwrap().ways);
    }

    /// What was asked for since the last look.
    pub(crate) fn asked(&self) -> Vec<(String, Option<String>)> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    pub(crate) fn blob(&self, bytes: Vec<u8>) -> (String, usize) {
        let (name, size) = (digest(&bytes), bytes.len());
        self.state.lock().unwrap().blobs.insert(name.clone(), bytes);
        (name, size)
    }

    pub(crate) fn manifest(&self, name: &str, json: &str) -> String {
        let mut state = self.state.lock().unwrap();
        let name_by_digest = digest(json.as_bytes());
        state.manifests.insert(name.to_owned(), json.as_bytes().to_vec());
        state.manifests.insert(name_by_digest.clone(), json.as_bytes().to_vec());
        name_by_digest
    }

    /// An image of these layers (plain archives), behind a list of platforms; its manifest's digest.
    pub(crate) fn image(&self, tag: &str, layers: &[Vec<u8>]) -> String {
        let ids: Vec<String> = layers.iter().map(|layer| format!("\"{}\"", digest(layer))).collect();
        let config = format!(
            r#"{{"os":"linux","architecture":"{}","rootfs":{{"type":"layers","diff_ids":[{}]}},"config":{{"User":"root","Env":["PATH=/opt/bin:/bin","LANG=C"]}}}}"#,
            architecture(),
            ids.join(",")
        );
        let describe = |(name, size): (String, usize)| format!(r#"{{"digest":"{name}","size":{size}}}"#);
        let blobs: Vec<String> = layers.iter().map(|layer| describe(self.blob(gzip(layer)))).collect();
        let config = describe(self.blob(config.into_bytes()));
        let json = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, blobs.join(","));
        let inner = self.manifest("inner", &json);
        let list = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"digest":"{}","size":1,"platform":{{"os":"linux","architecture":"mips"}}}},{{"digest":"{inner}","size":{},"platform":{{"os":"linux","architecture":"{}"}}}}]}}"#,
            digest(b"other"),
            json.len(),
            architecture()
        );
        self.manifest(tag, &list);
        inner
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let key = head.lines().find_map(|line| {
            line.to_lowercase().starts_with("authorization: ").then(|| line[15..].to_owned())
        });
        let (answer, cut) = self.answer(&path, key.as_deref());
        let end = if cut { answer.len() * 2 / 3 } else { answer.len() };
        let _ = stream.write_all(&answer[..end]).await;
        let _ = stream.shutdown().await;
    }

    /// The whole answer, and whether it breaks off.
    fn answer(&self, path: &str, key: Option<&str>) -> (Vec<u8>, bool) {
        let mut state = self.state.lock().unwrap();
        state.asked.push((path.to_owned(), key.map(str::to_owned)));
        let ways = state.ways.clone();
        if ways.is_down {
            return (reply("503 Down", "", b"later"), false);
        }
        if path.starts_with("/token") {
            let opens = ways.login.as_ref().is_none_or(|login| key == Some(login.as_str()));
            return match opens {
                true => (reply("200 OK", "", br#"{"token":"let-me-in"}"#), false),
                false => (reply("401 No", "", b""), false),
            };
        }
        if ways.token && key != Some("Bearer let-me-in") {
            let challenge =
                format!("www-authenticate: Bearer realm=\"{}/token\",service=\"here\"\r\n", self.url);
            return (reply("401 No", &challenge, b""), false);
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        if path.contains("/manifests/") {
            let found = state.manifests.get(name);
            return (
                found.map_or_else(
                    || reply("404 No", "", br#"{"errors":["MANIFEST_UNKNOWN"]}"#),
                    |json| reply("200 OK", "", json),
                ),
                false,
            );
        }
        if let Some(other) = ways.blobs_from.filter(|_| path.starts_with("/v2/")) {
            return (reply("307 There", &format!("location: {other}/elsewhere/{name}\r\n"), b""), false);
        }
        let Some(mut blob) = state.blobs.get(name).cloned() else { return (reply("404 No", "", b""), false) };
        if ways.bends {
            *blob.last_mut().unwrap() ^= 1;
        }
        let cut = ways.breaks > 0 && blob.starts_with(&[0x1f, 0x8b]);
        state.ways.breaks -= usize::from(cut);
        (reply("200 OK", "", &blob), cut)
    }
}

fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

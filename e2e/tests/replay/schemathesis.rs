//! The served description against the server itself: Schemathesis draws calls from the document, good and bad ones, alone and
//! one after the other, and holds the answers against it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::case::Registry;
use crate::legwork::program;
use crate::play::skip_if_absent;
use crate::process::{bounded, run};
use crate::registry;

/// Calls of each operation and phase that are drawn; the fixed ones of the coverage phase come on top.
const EXAMPLES: u32 = 16;
/// Far above the minute and a half that a run takes on a busy machine.
const SECONDS: u32 = 400;

#[test]
fn the_server_keeps_to_its_description() -> Result<()> {
    skip_if_absent("Schemathesis", hold_against_the_description())
}

fn hold_against_the_description() -> Result<()> {
    registry::toolchain(Registry::Pypi)?;
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis");
    let packages = registry::python_packages(&place.join("requirements.txt"))?;
    let world = tempfile::Builder::new().prefix("legwork-schemathesis-").tempdir()?;
    let server = Server::start(world.path())?;
    let examples = number("SCHEMATHESIS_EXAMPLES").unwrap_or(EXAMPLES);
    let seed = number("SCHEMATHESIS_SEED").unwrap_or(1);
    let mut command = bounded(SECONDS, world.path(), "python3");
    command
        .env("PYTHONPATH", std::env::join_paths([&packages, &place])?)
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .args(["-c", "from schemathesis.cli import schemathesis; schemathesis()", "--config-file"])
        .arg(place.join("schemathesis.toml"))
        .args(["run", &format!("{}/openapi.json", server.url), "--checks", "all", "--no-color"])
        .args(["--header", &format!("Authorization: Bearer {}", server.token)])
        .args(["--max-examples", &examples.to_string(), "--seed", &seed.to_string()])
        // Python 3.11 cannot parse in two threads at a time: "AST constructor recursion depth mismatch".
        .args(["--workers", "1", "--request-timeout", "20"]);
    let ran = run(&mut command)?;
    ensure!(ran.passed(), "seed {seed}, exit {:?}\n{}{}", ran.code, ran.stdout, ran.stderr);
    ensure!(ran.stdout.contains("Stateful"), "nothing was done one after the other:\n{}", ran.stdout);
    Ok(())
}

fn number(name: &str) -> Option<u32> {
    std::env::var(name).ok()?.parse().ok()
}

/// Calls without a token are drawn by the hundred, more than a stranger may make.
const CONFIG: &str = "[server.rates]\nstrangers = { burst = 100000, per_second = 10000 }\n";

/// `legwork up` with the token of its owner.
struct Server {
    url: String,
    token: String,
    child: Child,
}

impl Server {
    fn start(home: &Path) -> Result<Self> {
        let (data, config) = (home.join("data"), home.join("config.toml"));
        fs::write(&config, CONFIG)?;
        let mut command = Command::new(program()?);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", home)
            .env("LEGWORK_HOME", &data)
            .env("LEGWORK_CONFIG", &config)
            .args(["up", "--listen", "127.0.0.1:0", "--json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output")?).read_line(&mut line)?;
        let told: Value = serde_json::from_str(&line).with_context(|| format!("it says {line:?}"))?;
        let seat: Value = serde_json::from_slice(&fs::read(data.join("server.json"))?)?;
        let text = |value: &Value, name: &str| value[name].as_str().map(str::to_owned).context("a field");
        Ok(Self { url: text(&told, "url")?, token: text(&seat, "token")?, child })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

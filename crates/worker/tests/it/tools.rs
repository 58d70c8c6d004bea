//! Real tools behind the proxy: each finds its way out and trusts what it must by itself, where connections are passed on as
//! they are and where they are looked into. The registries are files of a server with TLS on loopback.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use legwork_domain::{AllowedHost, AllowedMethods, CustomPolicy, Environment, NetworkPolicy, Passage, Way};
use legwork_egress::{Opened, Roots};
use legwork_worker::{Network, ToolConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::network::{Names, connections, tls};
use crate::world::{Run, World};

/// A server of the files below a directory; a directory is its `index.html`. Its port, and whom to trust.
async fn files(name: &str, below: &Path) -> (u16, Roots) {
    files_for(name, below, None).await
}

/// The same for who says this in an `Authorization`.
async fn files_for(name: &str, below: &Path, login: Option<&'static str>) -> (u16, Roots) {
    let (config, certificate) = tls(name);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (acceptor, below) = (TlsAcceptor::from(Arc::new(config)), below.to_owned());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, below) = (acceptor.clone(), below.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    if !stream.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
                        return;
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let path = head.split(' ').nth(1).unwrap_or("/").split('?').next().unwrap_or("/");
                let mut path = below.join(path.trim_matches('/'));
                if path.is_dir() {
                    path.push("index.html");
                }
                let is_in = login.is_none_or(|login| head.contains(login));
                let (status, body) = match std::fs::read(path) {
                    _ if !is_in => ("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"all\"", Vec::new()),
                    Ok(body) => ("200 OK", body),
                    Err(_) => ("404 Not Found", Vec::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (port, Roots::of(vec![certificate]))
}

fn sh(at: &Path, script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).current_dir(at).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A repository, and a package of each registry that needs nothing else. `url` is where they are served.
fn fill(at: &Path, url: &str) {
    std::fs::create_dir_all(at).unwrap();
    std::fs::write(at.join("index.html"), "welcome").unwrap();
    let git = "git -c user.name=a -c user.email=a@b";
    sh(
        at,
        &format!(
            "{git} init -q -b main made; cd made; echo from-git > file; {git} add .; {git} commit -q -m one; cd ..; {git} clone -q --bare made repo.git; cd repo.git; {git} update-server-info"
        ),
    );
    if has("python3") {
        sh(
            at,
            r#"mkdir -p simple/demo; cd simple/demo; python3 - <<'P'
import zipfile
with zipfile.ZipFile('demo-1.0-py3-none-any.whl', 'w') as wheel:
    wheel.writestr('demo.py', "said = 'from-pip'\n")
    wheel.writestr('demo-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n')
    wheel.writestr('demo-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    wheel.writestr('demo-1.0.dist-info/RECORD', 'demo.py,,\ndemo-1.0.dist-info/METADATA,,\ndemo-1.0.dist-info/WHEEL,,\ndemo-1.0.dist-info/RECORD,,\n')
P
echo '<a href="demo-1.0-py3-none-any.whl">demo-1.0-py3-none-any.whl</a>' > index.html"#,
        );
    }
    sh(
        at,
        r#"mkdir -p package npm; echo '{"name":"demo","version":"1.0.0","bin":"index.js"}' > package/package.json; printf '#!/usr/bin/env node\nmodule.exports = "from-npm"\n' > package/index.js; tar -czf npm/demo.tgz package"#,
    );
    let tarball = format!("{url}/npm/demo.tgz");
    let sum = sh(at, "sha1sum npm/demo.tgz | cut -d' ' -f1");
    let sum = sum.trim();
    let packument = format!(
        r#"{{"name":"demo","dist-tags":{{"latest":"1.0.0"}},"versions":{{"1.0.0":{{"name":"demo","version":"1.0.0","bin":{{"demo":"index.js"}},"dist":{{"tarball":"{tarball}","shasum":"{sum}"}}}}}}}}"#
    );
    std::fs::write(at.join("npm/demo"), packument).unwrap();
    sh(
        at,
        "mkdir -p demo-1.0.0/src index/de/mo dl/demo/1.0.0; printf '[package]\\nname = \"demo\"\\nversion = \"1.0.0\"\\n' > demo-1.0.0/Cargo.toml; echo 'pub const SAID: &str = \"from-cargo\";' > demo-1.0.0/src/lib.rs; tar -czf dl/demo/1.0.0/download demo-1.0.0",
    );
    let sum = sh(at, "sha256sum dl/demo/1.0.0/download | cut -d' ' -f1");
    std::fs::write(at.join("index/config.json"), format!(r#"{{"dl":"{url}/dl"}}"#)).unwrap();
    let entry = format!(
        r#"{{"name":"demo","vers":"1.0.0","deps":[],"cksum":"{}","features":{{}},"yanked":false}}"#,
        sum.trim()
    );
    std::fs::write(at.join("index/de/mo/demo"), entry).unwrap();
}

/// A module of Go as its proxy protocol has it.
fn fill_go(at: &Path) {
    if has("python3") {
        sh(
            at,
            r#"mkdir -p go/good.example/demo/@v; cd go/good.example/demo/@v; python3 - <<'P'
import zipfile
with zipfile.ZipFile('v1.0.0.zip', 'w') as zip:
    zip.writestr('good.example/demo@v1.0.0/go.mod', 'module good.example/demo\n')
    zip.writestr('good.example/demo@v1.0.0/demo.go', 'package demo\n\nconst Said = "from-go"\n')
P
echo 'module good.example/demo' > v1.0.0.mod; echo '{"Version":"v1.0.0","Time":"2026-01-01T00:00:00Z"}' > v1.0.0.info; echo v1.0.0 > list"#,
        );
    }
}

/// A repository of Maven with an artifact, and with the one that Maven gives every plugin.
fn fill_maven(at: &Path) {
    if has("python3") {
        sh(
            at,
            r#"mkdir maven; cd maven; python3 - <<'P'
import hashlib, io, os, zipfile
def lay(group, name, version, said):
    jar = io.BytesIO()
    with zipfile.ZipFile(jar, 'w') as zip:
        zip.writestr('said', said)
    pom = f'<project><modelVersion>4.0.0</modelVersion><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></project>'
    at = f"{group.replace('.', '/')}/{name}/{version}"
    os.makedirs(at)
    for ending, bytes in (('jar', jar.getvalue()), ('pom', pom.encode())):
        with open(f'{at}/{name}-{version}.{ending}', 'wb') as file:
            file.write(bytes)
        with open(f'{at}/{name}-{version}.{ending}.sha1', 'w') as file:
            file.write(hashlib.sha1(bytes).hexdigest())
lay('good.example', 'demo', '1.0', 'from-maven\n')
lay('org.codehaus.plexus', 'plexus-utils', '1.1', '')
P"#,
        );
    }
}

/// What Maven does without a plugin: it fetches an extension of the build, with its checksums. The jar is not compressed.
const MAVEN: &str = "mkdir -p /tmp/mvn && cd /tmp/mvn && echo '<project><modelVersion>4.0.0</modelVersion><groupId>a</groupId><artifactId>x</artifactId><version>1</version><packaging>pom</packaging><build><extensions><extension><groupId>good.example</groupId><artifactId>demo</artifactId><version>1.0</version></extension></extensions></build></project>' > pom.xml && MAVEN_OPTS='-XX:TieredStopAtLevel=1 -XX:+UseSerialGC' mvn -q -B -C validate && grep -ao from-maven ~/.m2/repository/good/example/demo/1.0/demo-1.0.jar";

/// The settings of a mirror of everything.
fn maven_settings(url: &str, servers: &str) -> String {
    format!(
        "<settings>{servers}<mirrors><mirror><id>mirror</id><mirrorOf>*</mirrorOf><url>{url}/maven</url></mirror></mirrors></settings>"
    )
}

fn has(program: &str) -> bool {
    let look = if program == "pip" {
        "python3 -m pip --version".to_owned()
    } else {
        format!("command -v {program}")
    };
    let there = Command::new("sh").args(["-c", &look]).output();
    there.is_ok_and(|output| output.status.success())
}

#[expect(clippy::print_stderr, reason = "a tool that is left out is named")]
fn skipped(program: &str) {
    eprintln!("SKIPPED: {program} is not installed");
}

const GRADLE: &str = "mkdir -p /tmp/gradle && cd /tmp/gradle && printf \"repositories { maven { url '$URL/maven' } }\\nconfigurations { x }\\ndependencies { x 'good.example:demo:1.0' }\\ntask get { doLast { println configurations.x.singleFile.text } }\\n\" > build.gradle && gradle -q --no-daemon get";

/// The operator's mirrors, as `cli` finds them in the configuration of the tools.
fn mirrors(url: &str) -> ToolConfig {
    let cargo = format!(
        "[source.crates-io]\nreplace-with = \"mirror\"\n[source.mirror]\nregistry = \"sparse+{url}/index/\"\n"
    );
    ToolConfig {
        variables: vec![
            ("PIP_INDEX_URL".into(), format!("{url}/simple/")),
            ("UV_DEFAULT_INDEX".into(), format!("{url}/simple/")),
            ("NPM_CONFIG_REGISTRY".into(), format!("{url}/npm/")),
            ("GOPROXY".into(), format!("{url}/go")),
            ("GONOSUMDB".into(), "good.example".into()),
        ],
        files: vec![
            (".cargo/config.toml".into(), cargo),
            (".m2/settings.xml".into(), maven_settings(url, "")),
        ],
    }
}

/// Program, line, what it prints if all went well.
const TOOLS: [(&str, &str, &str); 14] = [
    ("curl", "curl -sS $URL/", "welcome"),
    ("git", "git clone -q $URL/repo.git /tmp/cloned && cat /tmp/cloned/file", "from-git"),
    (
        "python3",
        "python3 -c \"import urllib.request as r; print(r.urlopen('$URL/').read().decode())\"",
        "welcome",
    ),
    (
        "pip",
        "python3 -m pip download -q --disable-pip-version-check -d /tmp/pip demo && PYTHONPATH=/tmp/pip/demo-1.0-py3-none-any.whl python3 -c 'import demo; print(demo.said)'",
        "from-pip",
    ),
    // By a tunnel that it asks for itself: `fetch` knows proxies from Node 22 on.
    (
        "node",
        "node -e \"const u = new URL('$URL'); require('http').request({host: '127.0.0.1', port: process.env.HTTPS_PROXY.split(':')[2], method: 'CONNECT', path: u.host, headers: {host: u.host}}).on('connect', (a, socket) => require('https').get({host: u.hostname, path: '/', headers: {host: u.host}, socket, agent: false}, b => b.pipe(process.stdout))).end()\"",
        "welcome",
    ),
    (
        "java",
        "echo 'import java.net.*; class F { public static void main(String[] a) throws Exception { System.out.println(new String(new URL(a[0]).openStream().readAllBytes())); } }' > /tmp/F.java && java /tmp/F.java $URL/",
        "welcome",
    ),
    ("mvn", MAVEN, "from-maven"),
    ("gradle", GRADLE, "from-maven"),
    (
        "npm",
        "mkdir -p /tmp/npm && cd /tmp/npm && npm install --silent --no-audit --no-fund demo && node -p 'require(\"demo\")' && npm install -g --silent demo && demo",
        "from-npm",
    ),
    (
        "yarn",
        "mkdir -p /tmp/yarn && cd /tmp/yarn && echo '{}' > package.json && yarn add --silent --non-interactive demo && node -p 'require(\"demo\")'",
        "from-npm",
    ),
    (
        "pnpm",
        "mkdir -p /tmp/pnpm && cd /tmp/pnpm && echo '{}' > package.json && pnpm add --silent demo && node -p 'require(\"demo\")'",
        "from-npm",
    ),
    (
        "uv",
        "uv venv -q /tmp/uv && VIRTUAL_ENV=/tmp/uv uv pip install -q demo && /tmp/uv/bin/python -c 'import demo; print(demo.said)'",
        "from-pip",
    ),
    (
        "go",
        "mkdir -p /tmp/go && cd /tmp/go && printf 'module x\\n\\ngo 1.18\\n' > go.mod && go get good.example/demo@v1.0.0 2>&1 && cat $(go env GOMODCACHE)/good.example/demo@v1.0.0/demo.go",
        "from-go",
    ),
    (
        "cargo",
        "cargo init -q --vcs none --name x /tmp/x && cd /tmp/x && echo 'demo = \"1\"' >> Cargo.toml && cargo fetch -q && cat $CARGO_HOME/registry/src/*/demo-1.0.0/src/lib.rs",
        "from-cargo",
    ),
];

async fn battery(methods: AllowedMethods, way: Way) {
    let world = World::without_worker().await;
    let served = world.directory.path().join("served");
    std::fs::create_dir_all(&served).unwrap();
    let (port, roots) = files("good.example", &served).await;
    let url = format!("https://good.example:{port}");
    fill(&served, &url);
    fill_go(&served);
    fill_maven(&served);
    let network = Network {
        resolver: Arc::new(Names(HashMap::from([("good.example".into(), Ipv4Addr::LOCALHOST.into())]))),
        opened: Opened { networks: vec!["127.0.0.0/8".parse().unwrap()], hosts: Vec::new() },
        roots,
        tools: mirrors(&url),
        ..Network::default()
    };
    world.start_worker_with_toolchains(network);
    let repository = world.repository(&[("a", "a\n")]);
    let (there, missing): (Vec<_>, Vec<_>) = TOOLS.iter().partition(|(name, _, _)| has(name));
    missing.iter().for_each(|(name, _, _)| skipped(name));
    let tools = || there.iter();
    let lines: Vec<String> = tools().map(|(_, line, _)| line.replace("$URL", &url)).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let mut task = world.task(&repository, world.model(&lines));
    let host = AllowedHost::With { host: format!("good.example:{port}"), methods };
    task.environment.network =
        NetworkPolicy::Custom(CustomPolicy { allow: vec![host], ..CustomPolicy::default() });
    let run = world.run(&task).await;
    let ran = run.commands();
    for ((name, _, said), line) in tools().zip(&lines) {
        let (_, code, output) = ran.iter().find(|(command, ..)| command.contains(line)).unwrap();
        assert!(*code == Some(0) && output.contains(said), "{name}: {code:?} {output}");
    }
    let passed = connections(&run).into_iter().filter(|one| one.outcome == Passage::Allowed);
    assert!(
        passed.clone().count() > 0 && passed.clone().all(|one| one.way == way),
        "{:?}",
        connections(&run)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_work_where_connections_are_passed_on() {
    battery(AllowedMethods::Any, Way::Tunnel).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_work_where_connections_are_looked_into() {
    battery(AllowedMethods::Read, Way::Https).await;
}

/// `x-access-token:hunter2-hunter2`, as a basic authorization has it.
const LOGIN: &str = "Basic eC1hY2Nlc3MtdG9rZW46aHVudGVyMi1odW50ZXIy";

#[tokio::test(flavor = "multi_thread")]
async fn git_logs_in_by_itself_with_a_secret_that_it_never_has() {
    let world = World::without_worker().await;
    let served = world.directory.path().join("served");
    let (port, roots) = files_for("good.example", &served, Some(LOGIN)).await;
    let url = format!("https://good.example:{port}");
    fill(&served, &url);
    world.start_worker_on(Network {
        resolver: Arc::new(Names(HashMap::from([("good.example".into(), Ipv4Addr::LOCALHOST.into())]))),
        opened: Opened { networks: vec!["127.0.0.0/8".parse().unwrap()], hosts: Vec::new() },
        roots,
        ..Network::default()
    });
    let repository = world.repository(&[("a", "a\n")]);
    let host = AllowedHost::Any(format!("good.example:{port}"));
    let recipe = Environment {
        network: NetworkPolicy::Custom(CustomPolicy { allow: vec![host], ..CustomPolicy::default() }),
        secrets: vec![serde_json::from_str(r#"{"name":"TOKEN","hosts":["good.example"]}"#).unwrap()],
        ..Environment::default()
    };
    let environment = world.keep(&repository, recipe, &[("TOKEN", "hunter2-hunter2")]).await;
    let clone = format!(
        "git clone -q {url}/repo.git /tmp/cloned && cat /tmp/cloned/file; git config --get-all credential.helper; env"
    );
    let without = format!("TOKEN=guess git clone -q {url}/repo.git /tmp/again; echo exit $?");
    let mut task = world.task(&repository, world.model(&[&clone, &without]));
    task.environment_id = Some(environment);
    let run = world.run(&task).await;
    let ran = run.commands();
    assert!(ran[0].2.starts_with("from-git\n"), "{ran:?}");
    assert!(ran[1].2.contains("exit 128"), "{ran:?}");
    assert!(!format!("{:?}", run.events).contains("hunter2-hunter2"));
}

/// A program of Java's that asks for a password only when it is told to, and looks at what comes back.
#[tokio::test(flavor = "multi_thread")]
async fn maven_logs_in_with_a_secret_that_it_never_has() {
    if !has("mvn") || !has("python3") {
        return skipped("mvn or python3");
    }
    let world = World::without_worker().await;
    let served = world.directory.path().join("served");
    std::fs::create_dir_all(&served).unwrap();
    let (port, roots) = files_for("good.example", &served, Some(LOGIN)).await;
    let url = format!("https://good.example:{port}");
    fill_maven(&served);
    let server = "<servers><server><id>mirror</id><username>x-access-token</username><password>${env.TOKEN}</password></server></servers>";
    world.start_worker_with_toolchains(Network {
        resolver: Arc::new(Names(HashMap::from([("good.example".into(), Ipv4Addr::LOCALHOST.into())]))),
        opened: Opened { networks: vec!["127.0.0.0/8".parse().unwrap()], hosts: Vec::new() },
        roots,
        tools: ToolConfig {
            files: vec![(".m2/settings.xml".into(), maven_settings(&url, server))],
            ..ToolConfig::default()
        },
        ..Network::default()
    });
    let repository = world.repository(&[("a", "a\n")]);
    let host = AllowedHost::Any(format!("good.example:{port}"));
    let recipe = Environment {
        network: NetworkPolicy::Custom(CustomPolicy { allow: vec![host], ..CustomPolicy::default() }),
        secrets: vec![serde_json::from_str(r#"{"name":"TOKEN","hosts":["good.example"]}"#).unwrap()],
        ..Environment::default()
    };
    let environment = world.keep(&repository, recipe, &[("TOKEN", "hunter2-hunter2")]).await;
    // On a slow machine a call does not wait long enough for it; the next one does.
    let script = format!(
        "[[turn]]\ncalls = [{{ tool = \"exec_command\", arguments = {{ cmd = {}, yield_time_ms = 30000 }} }}]\n[[turn]]\ncalls = [{{ tool = \"write_stdin\", arguments = {{ session_id = 1, yield_time_ms = 120000 }} }}]\n[[turn]]\ncalls = [{{ tool = \"exec_command\", arguments = {{ cmd = \"env\" }} }}]\n[[turn]]\ntext = \"Done.\"\n",
        serde_json::to_string(MAVEN).unwrap()
    );
    let mut task = world.task(&repository, world.script(&script));
    task.environment_id = Some(environment);
    let run = world.run(&task).await;
    let ran = run.commands();
    let fetched = ran.iter().find(|(line, ..)| line.contains("mvn")).unwrap();
    assert!(fetched.1 == Some(0) && fetched.2.contains("from-maven"), "{ran:?}");
    assert!(
        ran.iter().any(|(line, _, said)| line.contains("env") && said.contains("TOKEN=legwork_")),
        "{ran:?}"
    );
    assert!(!format!("{:?}", run.events).contains("hunter2-hunter2"));
}

/// What asks for a name itself, and what has an address already: neither waits for an answer that never comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_ignores_proxies_fails_at_once() {
    let world = World::without_worker().await;
    world.start_worker_with_toolchains(Network::default());
    let repository = world.repository(&[("a", "a\n")]);
    let lines = [
        "curl -sS --noproxy '*' https://elsewhere.example/; echo exit $?",
        "python3 -c \"import socket; socket.create_connection(('elsewhere.example', 443))\"; echo exit $?",
        "curl -sS --noproxy '*' --connect-timeout 30 https://93.184.216.34/; echo exit $?",
    ];
    let task = world.task(&repository, world.model(&lines));
    let started = Instant::now();
    let run: Run = world.run(&task).await;
    let ran = run.commands();
    let output = |line: &str| ran.iter().find(|(command, ..)| command.contains(line)).unwrap().2.as_str();
    for line in &lines[..2] {
        let output = output(line);
        assert!(output.contains("[network] blocked: elsewhere.example"), "{line}: {output}");
        assert!(!output.contains("exit 0"), "{line}: {output}");
    }
    // No route: the kernel says so itself, and nothing of it reaches the proxy.
    assert!(output(lines[2]).contains("exit 7"), "{}", output(lines[2]));
    let denied = connections(&run).into_iter().filter(|one| one.outcome == Passage::Denied);
    assert!(denied.count() >= 2, "{:?}", connections(&run));
    assert!(started.elapsed() < Duration::from_secs(30), "nothing waits: {:?}", started.elapsed());
}

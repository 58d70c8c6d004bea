use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::world::World;

/// `me:hunter2`, as HTTP's basic authentication writes it.
const LOGIN: &str = "Basic bWU6aHVudGVyMg==";

/// A git host: `git http-backend` behind a web server that asks for a password.
struct GitHost {
    port: u16,
}

impl GitHost {
    fn serve(root: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let root = root.clone();
                std::thread::spawn(move || answer(&stream.unwrap(), &root));
            }
        });
        Self { port }
    }
}

/// One request of a connection, as a CGI server does it (RFC 3875).
fn answer(mut stream: &TcpStream, root: &Path) {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let header = |name: &str| {
        lines.iter().skip(1).find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    if header("authorization").as_deref() != Some(LOGIN) {
        stream
            .write_all(b"HTTP/1.1 401 Who?\r\nWWW-Authenticate: Basic realm=\"git\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
        return;
    }
    let words: Vec<&str> = lines[0].split(' ').collect();
    let (path, query) = words[1].split_once('?').unwrap_or((words[1], ""));
    let mut backend = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", words[0])
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REMOTE_USER", "me")
        .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding").unwrap_or_default())
        .env("GIT_PROTOCOL", header("git-protocol").unwrap_or_default())
        .env("CONTENT_LENGTH", body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    backend.stdin.take().unwrap().write_all(&body).unwrap();
    let answer = backend.wait_with_output().unwrap().stdout;
    stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n").unwrap();
    stream.write_all(&answer).unwrap();
}

/// Every file below `directory` that holds `text`.
fn files_with(directory: &Path, text: &str) -> Vec<PathBuf> {
    let holds = |path: &Path| {
        let contents = std::fs::read(path).unwrap_or_default();
        contents.windows(text.len()).any(|window| window == text.as_bytes())
    };
    let files = walkdir::WalkDir::new(directory).into_iter().filter_map(Result::ok);
    files.map(walkdir::DirEntry::into_path).filter(|path| path.is_file() && holds(path)).collect()
}

/// The password reaches git and nobody else: no record, log, error, list of processes or file.
#[test]
fn a_branch_is_pushed_and_the_password_is_kept_nowhere() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let bare = repo.clone_to(world.path("host/project.git"));
    bare.git(&["config", "core.bare", "true"]);
    bare.git(&["config", "http.receivepack", "true"]);
    let host = GitHost::serve(world.path("host"));
    let url = format!("http://me:hunter2@127.0.0.1:{}/project.git/.git", host.port);

    let mut command = world.legwork();
    command
        .args(["run", "--json", "--repo", &url])
        .args(world.model(&Script::new().patch(FIX).says("Done.")))
        .args(["--branch", "fix/add", "Make add.sh add"]);
    let outcome = world.end(command);

    outcome.exits(0).is_numbered_without_gap();
    assert!(bare.git(&["show", "fix/add:add.sh"]).contains("$1 + $2"));
    assert!(!format!("{}{}", outcome.stdout, outcome.stderr).contains("hunter2"));
    let holders = files_with(&world.path("home"), "hunter2");
    assert!(holders.is_empty(), "{holders:?}");
}

/// Without it the same host says no, and the run ends with that.
#[test]
fn without_its_password_a_host_says_no() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    repo.clone_to(world.path("host/project.git"));
    let host = GitHost::serve(world.path("host"));
    let url = format!("http://127.0.0.1:{}/project.git/.git", host.port);

    let mut command = world.legwork();
    command
        .args(["run", "--json", "--repo", &url])
        .args(world.model(&Script::new().says("Never.")))
        .arg("Make add.sh add");
    let outcome = world.end(command);

    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("cannot be read"), "{}", outcome.stderr);
}

/// What it needs is found without a checkout of it.
#[test]
fn what_it_needs_is_found_from_its_url() {
    let world = World::new();
    let repo = world.repo("project");
    repo.file("Makefile", "all:\n\techo\n\ncheck: all\n\ttrue\n").file("x.c", "int x;\n").commit("a project");
    repo.clone_to(world.path("host/project.git"));
    let host = GitHost::serve(world.path("host"));
    let url = format!("http://me:hunter2@127.0.0.1:{}/project.git/.git", host.port);
    let outcome = world.legwork_says(&["env", "detect", "--json", "--repo", &url]);
    assert_eq!(outcome.exits(0).events[0]["checks"][0]["command"], "make check");
    world.legwork_says(&["env", "detect", "--write", "--repo", &url]).exits(2);
    let outcome = world.legwork_says(&["env", "detect", "--base", "no-such-branch", "--repo", &url]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("no-such-branch") && !outcome.stderr.contains("hunter2"),
        "{}",
        outcome.stderr
    );
}

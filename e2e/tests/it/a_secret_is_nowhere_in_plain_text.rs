use std::io::Write as _;
use std::process::{Command, Stdio};

use walkdir::WalkDir;

use crate::repo::with_a_bug;
use crate::script::Script;
use crate::service::Service;
use crate::world::World;

/// Known wherever it stands.
const CANARY: &str = "canary-7f3a91c2-hunter2";

/// Stores the canary as a secret of the repository's recipe.
fn keep_it(world: &World, repo: &str) {
    world.legwork_says(&["admin", "repository", repo]).exits(0);
    for arguments in [
        ["env", "set", "main", "--repo", repo].as_slice(),
        &["env", "secret", "main", "TOKEN", "--repo", repo],
    ] {
        let mut command: Command = world.legwork();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let text = if arguments[1] == "set" { "" } else { CANARY };
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
}

/// A server that logs all that it can, with a key from a command.
fn everything_is_logged(world: &World) -> Command {
    let config = world.path("home/config.toml");
    let key = "5a".repeat(32);
    std::fs::write(&config, format!("[server]\nkey_command = [\"echo\", \"{key}\"]\n")).unwrap();
    let mut up = world.legwork();
    up.args(["up", "--listen", "127.0.0.1:0", "--json"]);
    up.env("LEGWORK_CONFIG", config).env("LEGWORK_LOG", "trace");
    up
}

/// The files below the data directory that hold it.
fn files_with_it(world: &World) -> Vec<String> {
    let files = WalkDir::new(world.path("home/data")).into_iter().filter_map(Result::ok);
    let holds = |path: &std::path::Path| {
        std::fs::read(path)
            .is_ok_and(|bytes| bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes()))
    };
    let found = files.filter(|file| file.file_type().is_file() && holds(file.path()));
    found.map(|file| file.path().display().to_string()).collect()
}

#[test]
fn a_secret_that_went_everywhere_is_nowhere() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let up = Service::start(everything_is_logged(&world));
    keep_it(&world, repo.path().to_str().unwrap());

    let script = Script::new().exec(&format!("echo {CANARY}")).says(&format!("I found {CANARY}."));
    let prompt = format!("Log in with {CANARY} to https://u:{CANARY}@git.example");
    let id = world.hand_over(&repo, &script, &[&prompt]);
    world.legwork_says(&["task", "wait", &id]);
    let shown = world.legwork_says(&["task", "show", "--json", &id]);
    let logs = world.legwork_says(&["task", "logs", "--json", &id]);
    for told in [&shown, &logs] {
        assert!(told.stdout.contains("[redacted:TOKEN]") && !told.stdout.contains(CANARY), "{}", told.stdout);
    }

    // What opens it is not in the data directory: the key came from a command.
    assert!(!world.path("home/data/secret.key").exists());
    up.terminate();
    let ended = up.end();
    assert!(ended.stderr.contains("DEBUG") && !ended.stderr.contains(CANARY), "{}", ended.stderr);
    assert_eq!(files_with_it(&world), [""; 0]);
}

#[test]
fn a_patch_with_a_secret_is_not_kept_and_the_work_is() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let _up = world.serve(&["up"]);
    keep_it(&world, repo.path().to_str().unwrap());
    let (start, end) = CANARY.split_at(9);
    let script = Script::new()
        .exec(&format!("echo fine > first.txt && printf '%s%s\\n' {start} {end} > login.env"))
        .says("Logged in.")
        .exec("rm login.env")
        .says("Took it out.");
    let id = world.hand_over(&repo, &script, &["Log in"]);

    world.legwork_says(&["task", "wait", &id]).exits(1);
    let shown = world.legwork_says(&["task", "show", &id]).stdout;
    let sentence = "The patch holds the value of the secret TOKEN, in login.env, so it was not stored. The files are kept";
    assert!(shown.split_whitespace().collect::<Vec<_>>().join(" ").contains(sentence), "{shown}");

    world.legwork_says(&["task", "send", &id, "Take it out again"]).exits(0);
    world.legwork_says(&["task", "wait", &id]).exits(0);
    let patch = world.legwork_says(&["task", "diff", &id]).stdout;
    assert!(patch.contains("first.txt") && !patch.contains("login.env"), "{patch}");
    // The agent's own files are kept as it left them; nothing of ours has it.
    let elsewhere = files_with_it(&world).into_iter().filter(|path| !path.contains("/sandboxes/layers/"));
    assert_eq!(elsewhere.collect::<Vec<_>>(), [""; 0]);
}

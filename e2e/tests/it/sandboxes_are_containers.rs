use serde_json::json;

use crate::engine::{Engine, OTHER};
use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::world::World;

#[test]
fn a_task_runs_in_containers_and_nowhere_else_once_the_engine_is_gone() {
    let Some(engine) = Engine::start() else { return };
    let world = World::new();
    let directory = world.path("home/.config/legwork");
    std::fs::create_dir_all(&directory).unwrap();
    let config = format!(
        "[worker]\nbackend = \"docker\"\n[worker.docker]\nsocket = \"{}\"\n",
        engine.socket().display()
    );
    std::fs::write(directory.join("config.toml"), config).unwrap();

    let doctor = world.legwork_says(&["doctor", "--json"]);
    let findings = doctor.events[0]["findings"].as_array().unwrap().clone();
    let standing = |name: &str| {
        let finding = findings.iter().find(|finding| finding["name"] == name);
        finding.map(|finding| (finding["standing"].clone(), finding["detail"].as_str().unwrap().to_owned()))
    };
    let (found, detail) = standing("container engine").unwrap();
    assert_eq!(found, "available", "{detail}");
    assert!(
        detail.contains("API 1.") && detail.ends_with(&engine.socket().display().to_string()),
        "{detail}"
    );
    let (tried, detail) = standing("a sandbox, tried").unwrap();
    assert_eq!(tried, "available", "{detail}");

    let repo = with_a_bug(world.repo("project"));
    let script = Script::new().exec("sh test.sh").patch(FIX).exec("sh test.sh").says("Done.");
    let outcome = world.run(&repo, &script, &["--check", "sh test.sh", "Make add.sh add"]);
    outcome.exits(0).is_numbered_without_gap();
    assert_eq!(outcome.judgements(), ["fixed"]);
    assert_eq!(outcome.end()["patch"]["stat"], json!({"files": 1, "added": 1, "removed": 1}));

    let socket = engine.socket().display().to_string();
    if std::env::var_os(OTHER).is_some() {
        return;
    }
    drop(engine);
    let refused = world.run(&repo, &script, &["Make add.sh add"]);
    refused.exits(1);
    let said = &refused.stderr;
    assert!(said.contains(&socket) && said.contains("podman system service"), "{said}");
}

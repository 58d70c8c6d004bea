use std::process::Stdio;

use crate::repo::Repo;
use crate::world::{Running, World};

const MAKEFILE: &str = "all:\n\techo built > out\n\ncheck: all\n\tgrep -q 42 answer\n";

fn project(world: &World, answer: &str) -> Repo {
    let repo = world.repo("project");
    repo.file("Makefile", MAKEFILE).file("x.c", "int x;\n").file("answer", answer).commit("a project");
    repo
}

#[test]
fn what_a_repository_needs_is_found_and_written_down() {
    let world = World::new();
    let repo = project(&world, "42\n");
    let at = repo.path().to_str().unwrap();
    let outcome = world.legwork_says(&["env", "detect", at]);
    outcome.exits(0);
    for words in ["Makefile: a target \"check\"", "make check"] {
        assert!(outcome.stdout.contains(words), "{}", outcome.stdout);
    }
    let outcome = world.legwork_says(&["env", "detect", "--json", "--write", at]);
    assert_eq!(outcome.exits(0).events[0]["checks"][0]["command"], "make check");
    assert!(repo.read(".legwork/environment.toml").contains("make check"));
    world.legwork_says(&["env", "detect", "--write", at]).exits(1);
    repo.commit("write it down");
    world.legwork_says(&["env", "test", "--repo", at]).exits(0);
}

#[test]
fn a_trial_shows_its_output_and_ends_with_a_verdict() {
    let world = World::new();
    let repo = project(&world, "41\n");
    let at = repo.path().to_str().unwrap();
    let outcome = world.legwork_says(&["env", "test", "--repo", at]);
    outcome.exits(4);
    assert!(outcome.stdout.contains("echo built > out"), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("`make check` does not pass"), "{}", outcome.stdout);
    let setup = "set -e\ntrue\nno-such-tool\n";
    let outcome = world.legwork_says(&["env", "test", "--repo", at, "--setup", setup]);
    outcome.exits(1);
    for words in ["at line 3, `no-such-tool`", "a tool is missing", "legwork env shell"] {
        assert!(outcome.stdout.contains(words), "{words}: {}", outcome.stdout);
    }
}

#[test]
fn a_shell_opens_what_was_prepared_and_what_failed() {
    let world = World::new();
    let repo = project(&world, "42\n");
    let shell = |more: &[&str], typed: &str| {
        let keys = world.path("keys");
        std::fs::write(&keys, typed).unwrap();
        let mut command = world.legwork();
        command.args(["env", "shell", "--repo"]).arg(repo.path()).args(more);
        Running::spawn_reading(command, Stdio::from(std::fs::File::open(keys).unwrap())).end()
    };
    let outcome = shell(&[], "cat out; touch gone; exit 0\n");
    assert!(outcome.exits(0).stdout.contains("built"), "{}", outcome.stdout);
    assert!(shell(&[], "test -e gone\n").exits(1).stdout.contains("earlier run"), "nothing of it is kept");
    let outcome = shell(&[], "curl -s https://elsewhere.example/ || exit 0\n");
    let said = format!("{}{}", outcome.exits(0).stdout, outcome.stderr);
    assert!(said.contains("[network] blocked: elsewhere.example:443"), "its policy holds here too: {said}");
    let failing = ["--setup", "echo left > /home/agent/left; exit 3"];
    assert!(shell(&failing, "cat /home/agent/left\n").exits(0).stdout.contains("left"));
}

#[test]
fn it_is_shown_who_said_what() {
    let world = World::new();
    let repo = project(&world, "42\n");
    let at = repo.path().to_str().unwrap();
    let shown = world.legwork_says(&["env", "show", "--repo", at]);
    assert!(shown.exits(0).stdout.contains("detected from Makefile"), "{}", shown.stdout);
    let up = world.path("recipe.toml");
    std::fs::write(&up, "setup = 'echo of the team'\n").unwrap();
    world.legwork_says(&["admin", "repository", at]).exits(0);
    let recipe = up.to_str().unwrap();
    world.legwork_says(&["env", "set", "default", "--file", recipe, "--repo", at]).exits(0);
    std::fs::write(&up, "setup = 'echo of my own'\n").unwrap();
    world.legwork_says(&["env", "set", "default", "--personal", "--file", recipe, "--repo", at]).exits(0);
    let shown = world.legwork_says(&["env", "show", "--repo", at]);
    assert!(shown.exits(0).stdout.contains("your own recipe"), "{}", shown.stdout);
    assert!(shown.stdout.contains("before the team's recipe"), "{}", shown.stdout);
    let tried = world.legwork_says(&["env", "test", "--repo", at]);
    assert!(tried.exits(0).stdout.contains("of my own"), "{}", tried.stdout);
    let reset = world.legwork_says(&["env", "reset"]);
    assert!(reset.exits(0).stdout.contains("are forgotten"), "{}", reset.stdout);
}

#[test]
fn a_recipe_that_cannot_be_used_is_shown_as_a_task_would_say_it() {
    let world = World::new();
    let repo = project(&world, "42\n");
    let at = repo.path().to_str().unwrap();
    let recipe = repo.path().join(".legwork/environment.toml");
    std::fs::create_dir_all(recipe.parent().unwrap()).unwrap();
    std::fs::write(&recipe, "setup = 'true'\npasckages = ['x']\n").unwrap();
    let shown = world.legwork_says(&["env", "show", "--repo", at]);
    assert!(shown.exits(2).stderr.contains("line 2: unknown field `pasckages`"), "{}", shown.stderr);
    repo.commit("as it is");
    std::fs::remove_file(&recipe).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &recipe).unwrap();
    assert!(world.legwork_says(&["env", "show", "--repo", at]).exits(2).stderr.contains("no link"));
    std::fs::remove_file(&recipe).unwrap();
    std::fs::write(&recipe, "network = 'all'\n").unwrap();
    let tried = world.legwork_says(&["env", "test", "--repo", at]);
    let said = format!("{}{}", tried.exits(1).stdout, tried.stderr);
    assert!(said.contains("line 2: unknown field") && said.contains("--include-changes"), "{said}");
    let tried = world.legwork_says(&["env", "test", "--include-changes", "--repo", at]);
    let said = format!("{}{}", tried.exits(1).stdout, tried.stderr);
    assert!(said.contains("has `network`, which a commit may not say"), "{said}");
}

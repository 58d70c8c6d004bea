use std::fs::File;

use crate::script::Script;
use crate::world::{Running, World};

#[test]
fn a_teams_recipe_lays_another_repository_beside() {
    let world = World::new();
    let (repo, library) = (world.repo("project"), world.repo("library"));
    repo.file("a", "a\n").commit("a project");
    library.file("x", "from the library\n").commit("a library");
    let _up = world.serve(&["up"]);
    let path = repo.path().to_str().unwrap();
    world.legwork_says(&["admin", "repository", path]).exits(0);
    let recipe = format!("[[repositories]]\nurl = \"{}\"\npath = \"lib\"\n", library.path().display());
    std::fs::write(world.path("recipe.toml"), recipe).unwrap();
    let set = |more: &[&str]| {
        let mut set = world.legwork();
        set.args(["env", "set", "default", "--repo", path]).args(more);
        Running::spawn_reading(set, File::open(world.path("recipe.toml")).unwrap()).end()
    };
    set(&["--personal"]).exits(1);
    set(&[]).exits(0);
    let shown = world.legwork_says(&["env", "show", "--repo", path]);
    assert!(shown.exits(0).stdout.contains("the team's recipe"), "{}", shown.stdout);
    let script = Script::new().exec("cat /repositories/lib/x > copied").says("Copied it.");
    let id = world.hand_over(&repo, &script, &["Copy it"]);
    world.legwork_says(&["task", "wait", &id]).exits(0);
    let diff = world.legwork_says(&["task", "diff", &id]);
    assert!(diff.exits(0).stdout.contains("+from the library"), "{}", diff.stdout);
    let log = world.legwork_says(&["task", "logs", &id]);
    assert!(log.exits(0).stdout.contains("library"), "{}", log.stdout);
}

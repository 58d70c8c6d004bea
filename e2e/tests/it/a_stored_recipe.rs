use std::fs::File;

use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::world::{Running, World};

#[test]
fn a_task_uses_a_recipe_that_the_server_keeps() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let _up = world.serve(&["up"]);
    let path = repo.path().to_str().unwrap();
    world.legwork_says(&["admin", "repository", path]).exits(0);
    std::fs::write(world.path("recipe.toml"), "checks = [{ name = \"test\", command = \"sh test.sh\" }]\n")
        .unwrap();
    let mut set = world.legwork();
    set.args(["env", "set", "main", "--repo", path]);
    Running::spawn_reading(set, File::open(world.path("recipe.toml")).unwrap()).end().exits(0);
    assert!(
        world.legwork_says(&["env", "show", "main", "--repo", path]).exits(0).stdout.contains("sh test.sh")
    );

    let script = Script::new().patch(FIX).says("Changed the sign.");
    let id = world.hand_over(&repo, &script, &["--environment", "main", "Make add.sh add"]);
    world.legwork_says(&["task", "wait", &id]).exits(0);
    let shown = world.legwork_says(&["task", "show", "--json", &id]);
    let verdict = &shown.events[0]["attempts"][0]["turns"][0]["state"]["verdicts"][0];
    assert_eq!((&verdict["check"]["name"], &verdict["judgement"]), (&"test".into(), &"fixed".into()));

    world.legwork_says(&["env", "rm", "main", "--repo", path]).exits(0);
    world.legwork_says(&["env", "show", "main", "--repo", path]).exits(2);
}

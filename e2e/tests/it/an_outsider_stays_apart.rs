use crate::script::Script;
use crate::world::World;

/// Never the same twice, so that a run shows on whose set-up it stands.
const RECIPE: &str = "setup = 'head -c 16 /proc/sys/kernel/random/uuid > /home/agent/stamp'\n";

#[test]
fn what_an_outsider_makes_is_used_by_nobody_else() {
    let world = World::new();
    let repo = world.repo("project");
    repo.file(".legwork/environment.toml", RECIPE).commit("a project");
    let _up = world.serve(&["up"]);
    let path = repo.path().to_str().unwrap();
    let stamp = |more: &[&str], words: &str| {
        let script = Script::new().exec("cat /home/agent/stamp; echo x > x").says("Done.");
        let id = world.hand_over(&repo, &script, &[more, &[words]].concat());
        world.legwork_says(&["task", "wait", &id]).exits(0);
        let log = world.legwork_says(&["task", "logs", &id]).exits(0).stdout.clone();
        (id, log.contains("The set-up of an earlier run is used again."))
    };
    let (outsiders, used) = stamp(&["--outsider"], "From a stranger");
    assert!(!used);
    let shown = world.legwork_says(&["task", "show", &outsiders]);
    assert!(shown.exits(0).stdout.contains("an outsider: no secrets"), "{}", shown.stdout);
    assert!(!stamp(&[], "From a member").1, "a member's task stands on an outsider's set-up");
    assert!(stamp(&[], "From another one").1);
    world.legwork_says(&["env", "reset", "--repo", path]).exits(0);
    assert!(!stamp(&[], "After the reset").1);
    let taken = ["task", "new", "--outsider", "--include-changes", "--repo", path, "x"];
    world.legwork_says(&taken).exits(2);
}

use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::world::World;

#[test]
fn what_a_backup_holds_is_there_on_another_machine() {
    let (world, other) = (World::new(), World::new());
    let repo = with_a_bug(world.repo("project"));
    let up = world.serve(&["up"]);
    let id =
        world.hand_over(&repo, &Script::new().patch(FIX).says("Changed the sign."), &["Make add.sh add"]);
    world.legwork_says(&["task", "wait", &id]).exits(0);
    let backup = world.path("backup");
    let backup = backup.to_str().unwrap();

    world.legwork_says(&["admin", "backup", backup]).exits(0);
    let again = world.legwork_says(&["admin", "backup", backup]);
    again.exits(1);
    world.legwork_says(&["admin", "restore", backup]).exits(1);
    world.legwork_says(&["task", "show", &id]).exits(0);

    other.legwork_says(&["admin", "restore", backup]).exits(0);
    let diff = other.legwork_says(&["task", "diff", &id]);
    assert!(diff.exits(0).stdout.contains("+echo $(($1 + $2))"), "{}", diff.stdout);
    up.kill();
    let restored = world.legwork_says(&["admin", "restore", "--json", backup]);
    assert!(restored.exits(0).events[0]["replaced"].is_string(), "the database that was there is kept");
    world.legwork_says(&["doctor", "--deep"]).exits(0);
}

use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::world::World;

#[test]
fn a_follow_up_goes_on_from_the_files_and_the_patch_holds_both() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let _up = world.serve(&["up"]);
    let script = Script::new()
        .patch(FIX)
        .says("Changed the sign.")
        .exec("sh test.sh && echo 'It adds.' >> README.md")
        .says("Said so in the README.");
    let id = world.hand_over(&repo, &script, &["Make add.sh add"]);
    world.legwork_says(&["task", "wait", &id]).exits(0);

    let sent = world.legwork_says(&["task", "send", "--json", &id, "Now say so in the README"]);
    assert_eq!(sent.exits(0).events[0]["number"], 2, "nothing runs, so it is a turn of its own");
    let watched = world.legwork_says(&["task", "watch", "--json", &id]);

    watched.exits(0).is_numbered_without_gap();
    let ends = watched.ends();
    assert_eq!(ends.len(), 2);
    let command = watched.items("command").pop().unwrap();
    assert_eq!(command["exit_code"], 0, "the first turn's change is there: {command}");
    let patch = world.legwork_says(&["task", "diff", &id]).stdout;
    assert!(patch.contains("$1 + $2") && patch.contains("+It adds."), "{patch}");
}

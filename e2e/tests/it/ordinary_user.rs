use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::world::World;

#[test]
fn who_is_not_root_gets_the_same() {
    let world = World::of_an_ordinary_user();
    let repo = with_a_bug(world.repo("project"));
    let script = Script::new().exec("sh test.sh").patch(FIX).exec("sh test.sh; id -u").says("Done.");

    let outcome = world.run(&repo, &script, &["--check", "sh test.sh", "Make add.sh add"]);

    outcome.exits(0).is_numbered_without_gap();
    assert_eq!(outcome.judgements(), ["fixed"]);
}

use std::collections::BTreeSet;

use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::world::World;

#[test]
fn each_of_four_attempts_has_its_own_log_and_patch() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let script = Script::new().exec("sh test.sh").patch(FIX).says("Done.");

    let outcome = world.run(&repo, &script, &["--attempts", "4", "--check", "sh test.sh", "Make add.sh add"]);

    outcome.exits(0).is_numbered_without_gap();
    let attempts: BTreeSet<&str> =
        outcome.events.iter().map(|event| event["attempt"].as_str().unwrap()).collect();
    assert_eq!(attempts.len(), 4);
    let trees: Vec<_> = outcome.ends().into_iter().map(|end| &end["patch"]["tree"]).collect();
    assert_eq!(trees.len(), 4);
    assert!(trees.iter().all(|tree| tree.is_string() && *tree == trees[0]), "{trees:?}");
}

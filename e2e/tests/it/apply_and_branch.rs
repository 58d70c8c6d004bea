use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::world::World;

#[test]
fn apply_puts_the_patch_into_the_working_tree() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    world.run(&repo, &Script::new().patch(FIX).says("Done."), &["--apply", "Make add.sh add"]).exits(0);
    assert_eq!(repo.git(&["status", "--porcelain"]), " M add.sh");
    assert!(repo.read("add.sh").contains("$1 + $2"));
}

#[test]
fn a_conflict_leaves_the_tree_untouched_and_names_the_path() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    repo.file("add.sh", "#!/bin/sh\necho something else\n").file("other.txt", "mine\n");

    let outcome = world.run(&repo, &Script::new().patch(FIX).says("Done."), &["--apply", "Make add.sh add"]);

    assert_ne!(outcome.code, Some(0));
    assert!(outcome.stderr.contains("add.sh"), "{}", outcome.stderr);
    assert_eq!(repo.read("add.sh"), "#!/bin/sh\necho something else\n");
    assert_eq!(repo.read("other.txt"), "mine\n");
}

#[test]
fn branch_makes_a_commit_beside_the_working_tree() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let head = repo.git(&["rev-parse", "HEAD"]);
    world
        .run(&repo, &Script::new().patch(FIX).says("Done."), &["--branch", "fix/add", "Make add.sh add"])
        .exits(0);
    assert_eq!(repo.git(&["rev-parse", "fix/add^"]), head);
    assert!(repo.git(&["show", "fix/add:add.sh"]).contains("$1 + $2"));
    assert_eq!(repo.git(&["rev-parse", "--abbrev-ref", "HEAD"]), "main");
    assert_eq!(repo.git(&["status", "--porcelain"]), "");
}

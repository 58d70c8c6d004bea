use crate::world::{Trapped, run, said};

const PATCH: &str = "diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1 +1 @@\n-a\n+changed\n\
    diff --git a/new b/new\nnew file mode 100644\n--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+new\n";

#[test]
fn the_traps_are_real() {
    let world = Trapped::new();
    world.write("a", "mine\n");
    world.git(&["status"]);
    assert!(world.sprang());
}

#[test]
fn a_patch_is_applied_and_no_trap_springs() {
    let world = Trapped::new();
    let (own, patch) = (world.own(), world.patch(PATCH));
    assert_eq!(own.filters, ["evil"]);
    said(&own.preflight(&patch));
    said(&own.apply(&patch));
    assert_eq!((world.read("a").as_str(), world.read("new").as_str()), ("changed\n", "new\n"));
    assert!(!world.sprang());
}

#[test]
fn a_conflict_leaves_the_tree_untouched_and_is_named() {
    let world = Trapped::new();
    world.write("a", "mine\n");
    let (own, patch) = (world.own(), world.patch(PATCH));
    let refused = run(&own.preflight(&patch));
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("a: patch does not apply"));
    assert!(!run(&own.apply(&patch)).status.success());
    assert_eq!(world.read("a"), "mine\n");
    assert!(!world.path().join("new").exists());
    assert!(!world.sprang());
}

#[test]
fn a_branch_is_made_beside_the_work_tree() {
    let world = Trapped::new();
    world.write("a", "mine\n");
    let (own, patch) = (world.own(), world.patch(PATCH));
    let index = world.directory.path().join("index");
    let base = said(&own.has("main")).is_empty().then_some("main").unwrap();
    said(&own.read_tree(&index, base));
    said(&own.apply_to_index(&index, &patch));
    let tree = said(&own.write_tree(&index));
    let commit = said(&own.commit_tree(&tree, base, "-m is data"));
    said(&own.check_branch_name("fix/$(id)"));
    said(&own.create_branch("fix/$(id)", &commit));
    assert!(
        !run(&own.create_branch("fix/$(id)", &commit)).status.success(),
        "a branch that exists stays as it is"
    );
    assert!(!run(&own.check_branch_name("a..b")).status.success());
    assert_eq!(world.read("a"), "mine\n");
    assert!(world.path().join(".git/refs/heads/fix/$(id)").exists());
    assert!(!world.sprang());
}

#[test]
fn a_filter_of_any_name_is_disarmed() {
    for name in [&b"a=b"[..], b"=", b"\xff\xfe", b"a.b=c.d", b" ", b"\xe3\x80\x80"] {
        let world = Trapped::new();
        world.trap_filter(name);
        let (own, patch) = (world.own(), world.patch(PATCH));
        said(&own.preflight(&patch));
        said(&own.apply(&patch));
        assert_eq!(world.read("a"), "changed\n");
        assert!(!world.sprang(), "{name:?}");
    }
}

#[test]
fn another_work_tree_in_the_configuration_is_not_written_to() {
    for elsewhere in ["..", "../other"] {
        let world = Trapped::new();
        let other = world.directory.path().join("other");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(other.join("a"), "a\n").unwrap();
        std::fs::write(world.directory.path().join("a"), "a\n").unwrap();
        let own = world.own();
        world.git(&["config", "core.worktree", world.path().join(elsewhere).to_str().unwrap()]);
        said(&own.apply(&world.patch(PATCH)));
        assert_eq!(world.read("a"), "changed\n", "{elsewhere}");
        assert_eq!(std::fs::read_to_string(other.join("a")).unwrap(), "a\n");
    }
}

use crate::repo::with_a_bug;
use crate::script::Script;
use crate::world::World;

/// Names that shells, terminals, git's quoting or UTF-8 decoders stumble over.
const NAMES: [&[u8]; 9] = [
    b"with space.txt",
    b"new\nline.txt",
    b"quote\"and\\slash.txt",
    b"$(touch pwned).txt",
    b"; touch pwned;.txt",
    b"--option.txt",
    "wide\u{3000}space.txt".as_bytes(),
    b"not-utf8-\xff\xfe.txt",
    b"escape-\x1b[31m.txt",
];

#[test]
fn any_name_that_git_takes_is_data() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    for name in NAMES {
        repo.bytes(name, b"before\n");
    }
    repo.commit("add: odd names");
    let script = Script::new()
        .exec("for f in ./*.txt; do echo after > \"$f\"; done; mv -- './with space.txt' 'moved\ttab.txt'")
        .says("Done.");
    let patch = world.path("names.patch");

    let outcome =
        world.run(&repo, &script, &["--patch", patch.to_str().unwrap(), "--check", "true", "Rewrite them"]);

    outcome.exits(0);
    let clone = repo.clone_to(world.path("clone"));
    clone.apply(&patch);
    assert_eq!(clone.tree(), outcome.end()["patch"]["tree"]);
    assert!(!world.path("home/pwned").exists() && !repo.path().join("pwned").exists());
    assert!(!outcome.stdout.contains('\u{1b}'), "JSON escapes control characters");
}

#[test]
fn everything_that_a_tree_can_hold_is_in_the_patch() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    repo.file("gone.txt", "gone\n")
        .file("moved.txt", &"a line that is long enough to be found again\n".repeat(20))
        .file("dos.txt", "one\r\ntwo\r\n")
        .file("no-end.txt", "no newline at the end")
        .bytes(b"binary.bin", &[0, 1, 2, 255, 0])
        .file(".gitignore", "build/\n")
        .commit("add: all kinds");
    let script = Script::new()
        .exec(
            "set -e; rm gone.txt; mkdir -p deep/er; mv moved.txt deep/er/moved.txt; printf 'one\\r\\nTWO\\r\\n' > dos.txt; \
             printf 'still none' > no-end.txt; head -c 5000 /dev/zero | tr '\\0' '\\377' > binary.bin; chmod +x README.md; \
             ln -s add.sh link; : > empty.txt; mkdir build; echo built > build/out",
        )
        .says("Done.");
    let patch = world.path("all.patch");

    let outcome = world.run(&repo, &script, &["--patch", patch.to_str().unwrap(), "Change everything"]);

    outcome.exits(0);
    let clone = repo.clone_to(world.path("clone"));
    clone.apply(&patch);
    assert_eq!(clone.tree(), outcome.end()["patch"]["tree"]);
    let status = clone.git(&["status", "--porcelain"]);
    assert!(
        !status.contains("build/") && status.contains("empty.txt") && status.contains("link"),
        "{status}"
    );
}

//! Patches that only an attacker makes, each with the exact verdict: what the refusal says, or what is there afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use legwork_git::patch::has_copies;

use crate::world::{Trapped, run};

/// What comes of a patch.
enum Verdict {
    /// Nothing is changed, and the refusal says this.
    Refused(&'static str),
    /// These paths are new or changed, and hold this. A kind that git does not know leaves an empty directory.
    Applied(&'static [(&'static str, &'static str)]),
}

use Verdict::{Applied, Refused};

/// A patch that makes one file.
fn makes(path: &str) -> String {
    format!(
        "diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+pwned\n"
    )
}

/// A patch that makes a symbolic link.
fn links(path: &str, target: &str) -> String {
    format!(
        "diff --git a/{path} b/{path}\nnew file mode 120000\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+{target}\n\\ No newline at end of file\n"
    )
}

/// A patch that changes `a`, with other words in its place.
fn changes(header: &str, hunk: &str) -> String {
    format!("diff --git a/a b/a\n{header}--- a/a\n+++ b/a\n{hunk}")
}

const CHANGE: &str = "@@ -1 +1 @@\n-a\n+pwned\n";

fn paths() -> Vec<(&'static str, String, Verdict)> {
    let invalid = "invalid path";
    vec![
        ("parent", makes("../pwned"), Refused(invalid)),
        ("parent in the middle", makes("d/../../pwned"), Refused(invalid)),
        ("absolute", makes("/tmp/legwork-pwned"), Refused(invalid)),
        ("own settings", makes(".git/config"), Refused("already exists in working directory")),
        ("new settings", makes(".git/info/attributes"), Refused(invalid)),
        ("hook", makes(".git/hooks/post-checkout"), Refused(invalid)),
        ("settings in capitals", makes(".GIT/config"), Refused(invalid)),
        ("settings by a short name", makes("git~1/config"), Refused(invalid)),
        ("settings with a trailing dot", makes(".git./config"), Refused(invalid)),
        ("settings with a trailing space", makes(".git /config"), Refused(invalid)),
        ("settings of a stream", makes(".git::$INDEX_ALLOCATION/config"), Refused(invalid)),
        ("settings further down", makes("d/.git/config"), Refused(invalid)),
        ("a file that points to settings", makes(".git"), Refused(invalid)),
        ("dot", makes("./pwned"), Refused(invalid)),
        ("empty part", makes("d//pwned"), Refused("inconsistent new filename")),
        ("backslashes", makes("..\\pwned"), Applied(&[("..\\pwned", "pwned\n")])),
        (
            "quoted parent",
            makes("x").replace("a/x", "\"a/\\056\\056/pwned\"").replace("b/x", "\"b/\\056\\056/pwned\""),
            Refused(invalid),
        ),
        (
            "names that differ",
            "diff --git a/a b/b\n--- a/a\n+++ b/../pwned\n@@ -1 +1 @@\n-a\n+pwned\n".to_owned(),
            Refused("invalid path"),
        ),
        (
            "a line end in the name",
            makes("x").replace("b/x", "\"b/x\\n/y\"").replace("a/x", "\"a/x\\n/y\""),
            Applied(&[("x\n/y", "pwned\n")]),
        ),
        ("an escape in the name", makes("\u{1b}[2J"), Applied(&[("\u{1b}[2J", "pwned\n")])),
        ("an option as a name", makes("--output=pwned"), Applied(&[("--output=pwned", "pwned\n")])),
    ]
}

fn links_and_kinds() -> Vec<(&'static str, String, Verdict)> {
    vec![
        ("through a link of its own", links("l", "..") + &makes("l/pwned"), Refused("beyond a symbolic link")),
        ("through a link that is there", makes("out/pwned"), Refused("beyond a symbolic link")),
        ("in place of a link that is there", makes("out"), Refused("already exists in working directory")),
        ("a device", makes("dev").replace("100644", "020666"), Applied(&[])),
        ("a set-user-id file", makes("suid").replace("100644", "104755"), Applied(&[("suid", "pwned\n")])),
        ("a submodule", makes("m").replace("100644", "160000"), Applied(&[])),
        ("twice", makes("new") + &makes("new"), Applied(&[("new", "pwned\n")])),
        ("a rename from outside", "diff --git a/../patch b/y\nsimilarity index 100%\nrename from ../patch\nrename to y\n".to_owned(), Refused("invalid path")),
        ("a rename onto settings", "diff --git a/a b/.git/info/x\nsimilarity index 100%\nrename from a\nrename to .git/info/x\n".to_owned(), Refused("invalid path")),
        ("a deletion of settings", "diff --git a/.git/config b/.git/config\ndeleted file mode 100644\n--- a/.git/config\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n".to_owned(), Refused("invalid path")),
    ]
}

fn shapes() -> Vec<(&'static str, String, Verdict)> {
    vec![
        ("nothing", String::new(), Refused("No valid patches in input")),
        ("no patch", "pwned\n".to_owned(), Refused("No valid patches in input")),
        ("a hunk without an end", changes("", "@@ -1,1000000 +1,1000000 @@\n-a\n+pwned\n"), Refused("corrupt patch")),
        ("sizes without bound", changes("", "@@ -1,99999999999999999999 +1 @@\n-a\n+pwned\n"), Refused("corrupt patch")),
        ("a hunk of nothing", changes("", "@@ -0,0 +0,0 @@\n"), Refused("corrupt patch")),
        ("other content", changes("", "@@ -1 +1 @@\n-other\n+pwned\n"), Refused("patch does not apply")),
        ("one good part and one bad", changes("", CHANGE) + &makes("../pwned"), Refused("invalid path")),
        ("a mode of letters", changes("old mode 1006xx\nnew mode 100755\n", CHANGE), Refused("invalid mode")),
        ("binary without an index", "diff --git a/a b/a\nGIT binary patch\nliteral 5\nMc$`b*O)\n\n".to_owned(), Refused("")),
        (
            "binary that grows without bound",
            "diff --git a/z b/z\nnew file mode 100644\nindex 0000000000000000000000000000000000000000..1111111111111111111111111111111111111111\nGIT binary patch\nliteral 99999999999\nMc$`b*O)\n\nliteral 0\nHcmV?d00001\n\n".to_owned(),
            Refused(""),
        ),
    ]
}

/// All files below a directory, links and modes included.
fn contents(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if kind.is_dir() {
                left.push(path);
            } else if kind.is_symlink() {
                found.insert(name, format!("link to {}", fs::read_link(path).unwrap().display()));
            } else {
                let special = fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7000;
                let text = fs::read(path).unwrap();
                found.insert(name, format!("{special:o} {}", String::from_utf8_lossy(&text)));
            }
        }
    }
    found
}

fn judge(name: &str, patch: &str, verdict: &Verdict) {
    let world = Trapped::new();
    std::os::unix::fs::symlink("..", world.path().join("out")).unwrap();
    let own = world.own();
    let patch = world.patch(patch);
    let (all, git) = (contents(world.directory.path()), contents(&world.path().join(".git")));
    let preflight = run(&own.preflight(&patch));
    assert_eq!(contents(world.directory.path()), all, "{name}: a preflight changes nothing");
    let applied = run(&own.apply(&patch));
    let said = String::from_utf8_lossy(&applied.stderr);
    let fits = preflight.status.success();
    assert_eq!(fits, applied.status.success(), "{name}: preflight and apply agree: {said}");
    let mut expected = all;
    match verdict {
        Refused(why) => {
            assert!(!fits && said.contains(why), "{name}: {said}");
        }
        Applied(files) => {
            assert!(fits, "{name}: {said}");
            for (path, text) in *files {
                expected.insert(format!("repository/{path}"), format!("0 {text}"));
            }
        }
    }
    assert_eq!(contents(world.directory.path()), expected, "{name}");
    assert_eq!(contents(&world.path().join(".git")), git, "{name}: git's own files");
    assert!(!world.sprang(), "{name}");
    assert!(!Path::new("/tmp/legwork-pwned").exists(), "{name}");
}

#[test]
fn paths_lead_nowhere_else() {
    paths().iter().for_each(|(name, patch, verdict)| judge(name, patch, verdict));
}

#[test]
fn links_and_odd_kinds_lead_nowhere_else() {
    links_and_kinds().iter().for_each(|(name, patch, verdict)| judge(name, patch, verdict));
}

#[test]
fn broken_shapes_change_nothing() {
    shapes().iter().for_each(|(name, patch, verdict)| judge(name, patch, verdict));
}

/// Its preflight does not see it, so the way home proves a patch in an index first.
#[test]
fn a_file_and_a_directory_of_one_name_are_refused_by_the_index() {
    for patch in [makes("n") + &makes("n/pwned"), makes("a/pwned")] {
        let world = Trapped::new();
        let (own, patch) = (world.own(), world.patch(&patch));
        let index = world.directory.path().join("index");
        assert!(run(&own.preflight(&patch)).status.success());
        assert!(run(&own.read_tree(&index, "main")).status.success());
        let refused = run(&own.apply_to_index(&index, &patch));
        assert!(!refused.status.success());
    }
}

/// Git takes it, so it is never asked.
#[test]
fn a_copy_from_outside_is_known_before_git_sees_it() {
    let world = Trapped::new();
    let copy = "diff --git a/x b/y\nsimilarity index 100%\ncopy from ../patch\ncopy to y\n";
    assert!(run(&world.own().preflight(&world.patch(copy))).status.success());
    assert!(has_copies(copy.as_bytes()) && !has_copies(makes("copy from x").as_bytes()));
}

#[test]
fn there_are_enough_of_them() {
    assert!(paths().len() + links_and_kinds().len() + shapes().len() >= 40);
}

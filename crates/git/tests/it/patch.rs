//! The script that computes a patch, run as it is, on a work tree that only a sandbox should hold.

use std::fs::File;
use std::process::Command;

use legwork_git::patch::{Changed, Files, compute, diff, tree};

use crate::world::Trapped;

#[test]
fn a_terabyte_of_nothing_is_left_out_and_named() {
    let world = Trapped::new();
    let store = world.path().join(".git");
    std::fs::remove_file(store.join("config")).unwrap();
    std::fs::copy(store.join("index"), store.join("legwork-index")).unwrap();
    let base = String::from_utf8(world.git(&["rev-parse", "HEAD^{tree}"]).stdout).unwrap();
    world.write("a", "changed\n");
    // One that is new, and one in the place of a file of the base.
    for name in ["new", "b"] {
        File::create(world.path().join(name)).unwrap().set_len(1 << 40).unwrap();
    }
    let patch = world.directory.path().join("patch");
    let changed = Changed { base_tree: base.trim(), submodules: 0, files: Files::NoneHuge, made: &[] };
    let script = compute(changed, world.path().to_str().unwrap());
    let output = Command::new("/bin/sh")
        .args(["-c", script.text])
        .env_clear()
        .envs(script.env)
        .env("LW_STORE", &store)
        .env("LW_PATCH", &patch)
        .env("GIT_CONFIG_GLOBAL", world.directory.path().join("gitconfig"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("new is too large and left out") && said.contains("b is too large"), "{said}");
    assert_ne!(tree(&output.stdout).unwrap(), base.trim());
    let patch = std::fs::read(patch).unwrap();
    let text = String::from_utf8_lossy(diff(&patch));
    assert!(text.starts_with("diff --git a/a b/a") && text.matches("diff --git").count() == 1, "{text}");
}

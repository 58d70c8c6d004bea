use std::io::Write as _;
use std::process::Stdio;

use crate::world::World;

const PATCH: &str = "*** Begin Patch\n*** Update File: greeting\n@@\n-hello\n+goodbye\n*** Add File: new/file\n+content\n*** End Patch";

#[test]
fn a_patch_as_the_argument_changes_the_working_directory() {
    let world = World::new();
    let run = world.run(&["apply-patch", PATCH]).ended(0);
    assert_eq!(run.out, "Success. Updated the following files:\nA new/file\nM greeting\n");
    assert_eq!((world.read("greeting"), world.read("new/file")), ("goodbye\n".into(), "content\n".into()));
}

#[test]
fn a_patch_on_standard_input_is_the_same() {
    let world = World::new();
    let mut child = world.legwork(&["apply-patch"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(PATCH.as_bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(world.read("greeting"), "goodbye\n");
}

#[test]
fn a_patch_that_does_not_fit_says_what_was_not_found() {
    let world = World::new();
    let run = world.run(&["apply-patch", &PATCH.replace("-hello", "-hallo")]).ended(1);
    assert!(run.err.contains("greeting") && run.err.contains("hallo"), "{}", run.err);
    assert_eq!(world.read("greeting"), "hello\n");
    world.run(&["apply-patch", "one", "two"]).ended(2);
    world.run(&["apply-patch", ""]).ended(1);
}

use serde_json::json;

use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::world::World;

#[test]
fn a_bug_is_fixed_and_two_clean_machines_show_it() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let head = repo.git(&["rev-parse", "HEAD"]);
    let script = Script::new()
        .exec("sh test.sh")
        .patch(FIX)
        .exec("sh test.sh")
        .says("add.sh took away instead of adding. I changed the sign; the test passes now.");
    let patch = world.path("fix.patch");

    let outcome = world.run(
        &repo,
        &script,
        &["--check", "sh test.sh", "--patch", patch.to_str().unwrap(), "Make add.sh add"],
    );

    outcome.exits(0).is_numbered_without_gap();
    assert_eq!(outcome.end()["outcome"], json!({"outcome": "succeeded"}));
    assert_eq!(outcome.judgements(), ["fixed"]);
    assert_eq!(outcome.end()["patch"]["stat"], json!({"files": 1, "added": 1, "removed": 1}));
    assert_eq!(outcome.kind("base")[0]["commit"], head);

    // The user's tree is as it was; the patch makes a clone of it into what the agent left.
    assert_eq!(repo.git(&["status", "--porcelain"]), "");
    let clone = repo.clone_to(world.path("clone"));
    clone.apply(&patch);
    assert!(clone.read("add.sh").contains("$1 + $2"));
    assert_eq!(clone.tree(), outcome.end()["patch"]["tree"]);
}

#[test]
fn what_happened_is_told_step_by_step() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let script = Script::new().exec("sh test.sh").patch(FIX).exec("sh test.sh").says("Done.");

    let outcome = world.run(&repo, &script, &["--check", "sh test.sh", "Make add.sh add"]);

    outcome.exits(0);
    let commands: Vec<_> = outcome
        .items("command")
        .into_iter()
        .map(|item| {
            (item["phase"].as_str().unwrap(), item["exit_code"].as_i64(), item["output"].as_str().unwrap())
        })
        .collect();
    let agent: Vec<_> = commands.iter().filter(|(phase, ..)| *phase == "agent").collect();
    assert_eq!(agent, [&("agent", Some(1), "2 + 3 = -1\n"), &("agent", Some(0), "")]);
    assert!(commands.iter().any(|(phase, code, _)| *phase == "check_base" && *code == Some(1)));
    assert!(commands.iter().any(|(phase, code, _)| *phase == "check_patched" && *code == Some(0)));
    let changes = outcome.items("file_change");
    assert_eq!(changes[0]["changes"], json!([{"path": "add.sh", "kind": "update"}]));
}

use std::process::Command;

use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::world::World;

/// Where namespaces are forbidden, as many a hardened machine has it, nothing is begun.
#[test]
fn nothing_runs_without_a_sandbox() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let model = world.model(&Script::new().exec("touch /tmp/unisolated").patch(FIX).says("Done."));
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "sh", "-c"])
        .args(["echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"", "sh"])
        .arg(world.legwork().get_program())
        .args(["run", "--repo"])
        .arg(repo.path())
        .args(model)
        .arg("Make add.sh add");

    let refused = world.end(command);

    refused.exits(1);
    assert!(refused.stderr.contains("no safe sandbox can be made here"), "{}", refused.stderr);
    assert!(refused.stderr.contains("sysctl -w user.max_user_namespaces"), "{}", refused.stderr);
    assert!(world.legwork_says(&["task", "ls", "--json"]).exits(0).events.is_empty(), "a task was created");
    assert_eq!(repo.git(&["status", "--porcelain"]), "");
}

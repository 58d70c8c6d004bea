use std::process::Command;

use crate::repo::{FIX, Repo, with_a_bug};
use crate::script::Script;
use crate::world::World;

const HOOKS: [&str; 8] = [
    "post-checkout",
    "pre-commit",
    "post-commit",
    "post-index-change",
    "applypatch-msg",
    "reference-transaction",
    "pre-push",
    "post-merge",
];

/// A repository whose every known way to run code leaves `marker` on the machine that runs it.
fn booby_trapped(repo: Repo, marker: &str) -> Repo {
    let trap = format!("#!/bin/sh\ntouch {marker}\n");
    let repo = with_a_bug(repo);
    repo.program(".hooks/trap", &trap).file(".gitattributes", "*.sh filter=trap diff=trap merge=trap\n");
    repo.commit("add: attributes");
    for hook in HOOKS {
        repo.program(&format!(".git/hooks/{hook}"), &trap);
        repo.program(&format!(".hooks/{hook}"), &trap);
    }
    repo.commit("add: hooks in the tree");
    let run = format!("touch {marker}; cat");
    for (key, value) in [
        ("core.hooksPath", ".hooks"),
        ("core.fsmonitor", ".hooks/trap"),
        ("core.sshCommand", run.as_str()),
        ("core.pager", &run),
        ("core.editor", &run),
        ("filter.trap.clean", &run),
        ("filter.trap.smudge", &run),
        ("filter.trap.required", "true"),
        ("diff.trap.textconv", &run),
        ("diff.external", &run),
        ("merge.trap.driver", &run),
        ("alias.status", &format!("!{run}")),
        ("uploadpack.packObjectsHook", &run),
        ("credential.helper", &format!("!{run}")),
    ] {
        repo.git(&["config", key, value]);
    }
    // Marks left by the making of it do not count.
    let _ = std::fs::remove_file(marker);
    repo
}

#[test]
fn nothing_of_the_repository_runs_on_the_host() {
    let world = World::new();
    let marker = world.path("pwned");
    let repo = booby_trapped(world.repo("project"), marker.to_str().unwrap());
    // The trap is live: whoever runs plain git there falls into it.
    let plain = Command::new("git").arg("status").current_dir(repo.path()).output().unwrap();
    assert!(marker.exists(), "{plain:?}");
    std::fs::remove_file(&marker).unwrap();
    let script =
        Script::new().exec("git status --short; git log --oneline | head -1").patch(FIX).says("Done.");

    let outcome = world.run(&repo, &script, &["--check", "sh test.sh", "--apply", "Make add.sh add"]);

    outcome.exits(0);
    assert!(
        !marker.exists(),
        "a hook, filter or setting of the repository ran on the host\n{}",
        outcome.stderr
    );
    assert!(repo.read("add.sh").contains("$1 + $2"));
}

#[test]
fn nor_do_uncommitted_changes_or_a_branch_wake_it() {
    let world = World::new();
    let marker = world.path("pwned");
    let repo = booby_trapped(world.repo("project"), marker.to_str().unwrap());
    repo.file("notes.txt", "not committed\n");
    let script = Script::new().exec("cat notes.txt").patch(FIX).says("Done.");

    let outcome = world.run(&repo, &script, &["--include-changes", "--apply", "Make add.sh add"]);
    outcome.exits(0);
    assert_eq!(outcome.items("command")[0]["output"], "not committed\n");
    assert!(repo.read("add.sh").contains("$1 + $2"));
    assert!(
        !marker.exists(),
        "a hook, filter or setting of the repository ran on the host\n{}",
        outcome.stderr
    );

    let script = Script::new().patch(FIX).says("Done.");
    let outcome = world.run(&repo, &script, &["--branch", "fix/add", "Make add.sh add"]);
    outcome.exits(0);
    assert!(
        !marker.exists(),
        "a hook, filter or setting of the repository ran on the host\n{}",
        outcome.stderr
    );
    assert!(repo.git(&["show", "fix/add:add.sh"]).contains("$1 + $2"));
}

/// What the agent itself plants in its sandbox's repository is no more alive on the host than what came with it.
#[test]
fn what_the_agent_plants_stays_in_its_sandbox() {
    let world = World::new();
    let marker = world.path("pwned");
    let repo = with_a_bug(world.repo("project"));
    let plant = format!(
        "git config core.fsmonitor 'touch {0}'; git config core.hooksPath .h; mkdir -p .h; \
         printf '#!/bin/sh\\ntouch {0}\\n' > .h/post-index-change; chmod +x .h/*; \
         echo '*.sh filter=x' > .gitattributes; git config filter.x.clean 'touch {0}; cat'; echo planted",
        marker.display()
    );
    let script = Script::new().exec(&plant).patch(FIX).says("Done.");

    let outcome = world.run(&repo, &script, &["--check", "sh test.sh", "--apply", "Make add.sh add"]);

    outcome.exits(0);
    assert!(!marker.exists(), "{}", outcome.stderr);
    assert_eq!(outcome.judgements(), ["fixed"]);
}

#[test]
fn the_sandbox_sees_nothing_of_the_user() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    std::fs::write(world.path("home/secret"), "the users own key\n").unwrap();
    let look =
        format!("cat {}; ls -A {}; env", world.path("home/secret").display(), world.path("home").display());
    let script = Script::new().exec(&look).says("Done.");

    let mut command = world.legwork();
    command.env("OPENAI_API_KEY", "sk-secret-of-the-user").arg("run").args(["--json", "--repo"]);
    let output = command.arg(repo.path()).args(world.model(&script)).arg("Look around").output().unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("LANG") && said.contains("\"exit_code\""), "the command ran\n{said}");
    assert!(!said.contains("the users own key"), "{said}");
    assert!(!said.contains("sk-secret-of-the-user"), "{said}");
}

//! Repositories and agents that mean harm.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use legwork_domain::{Failure, LocalChanges, Outcome};

use crate::world::World;

/// A command that leaves a trace on the host if anything runs it there.
fn trap(trace: &Path) -> String {
    format!("touch {}", trace.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_hostile_repository_runs_on_the_host() {
    let world = World::new().await;
    let trace = world.directory.path().join("trace");
    let trap = trap(&trace);
    let repository = world.repository(&[
        ("a", "a\n"),
        (".gitattributes", "* filter=evil diff=evil merge=evil\n"),
        (".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = ext::sh -c 'touch /tmp/x'\n"),
    ]);
    let base = repository.head();
    for (key, value) in [
        ("core.fsmonitor", trap.as_str()),
        ("core.sshCommand", &trap),
        ("core.pager", &trap),
        ("core.editor", &trap),
        ("filter.evil.clean", &trap),
        ("filter.evil.smudge", &trap),
        ("filter.evil.process", &trap),
        ("diff.evil.textconv", &trap),
        ("diff.evil.command", &trap),
        ("diff.external", &trap),
        ("uploadpack.packObjectsHook", &trap),
        ("credential.helper", &trap),
        ("gpg.program", &trap),
        ("core.alternateRefsCommand", &trap),
        ("receive.procReceiveRefs", "refs"),
        ("core.hooksPath", "hooks"),
        ("protocol.ext.allow", "always"),
        ("remote.origin.url", "ext::sh -c id"),
        ("remote.origin.uploadpack", &trap),
        ("extensions.partialClone", "origin"),
        ("include.path", "/nowhere/evil"),
    ] {
        repository.git(&["config", key, value]);
    }
    for hook in [
        "post-checkout",
        "pre-commit",
        "post-commit",
        "reference-transaction",
        "post-index-change",
        "fsmonitor-watchman",
    ] {
        for directory in ["hooks", ".git/hooks"] {
            let file = repository.path.join(directory).join(hook);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, format!("#!/bin/sh\n{trap}\n")).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    let mut task = world.task(&repository, world.model(&["echo b > a"]));
    task.source.local_changes = LocalChanges::Include;
    let run = world.run(&task).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    assert_ne!(run.base(), base, "the hooks directory is an uncommitted change");
    assert!(!trace.exists(), "something of the repository ran on the host");
    assert!(!String::from_utf8_lossy(&run.patch).contains("hooks/"), "the changes belong to the base");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_does_to_git_and_to_the_system_does_not_reach_its_patch() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n"), ("b", "b\n")]);
    let evil = "echo b >> a; git update-index --assume-unchanged a; \
        git config core.fsmonitor 'touch /workspace/ran'; git config core.worktree /; git config filter.e.clean 'echo evil'; \
        git config diff.external 'echo evil'; echo '* filter=e' > .git/info/attributes; echo a > .git/info/exclude; \
        mkdir -p .git/hooks; \
        printf '#!/bin/sh\\ntouch /workspace/ran\\n' > .git/hooks/post-index-change; chmod +x .git/hooks/*; \
        rm -rf .git/objects /legwork/repository.git/objects 2>/dev/null; echo junk > /legwork/repository.git/legwork-index; \
        echo /workspace/evil.so > /etc/ld.so.preload; mkdir -p /legwork/repository.git/hooks; \
        rm /bin && mkdir /bin && printf '#!/usr/bin/bash\necho the agent was here\n' > /bin/sh && chmod +x /bin/sh && cat /bin/sh";
    let run = world.run(&world.task(&repository, world.model(&[evil]))).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{} {}", run.ended.sentence, run.output());
    assert!(run.output().contains("the agent was here"), "the shell is replaced in the agent's own sandbox");
    let patch = String::from_utf8_lossy(&run.patch);
    assert!(patch.contains("+b") && patch.starts_with("diff --git a/a b/a"), "{patch}");
    assert_eq!(run.ended.patch.unwrap().stat.files, 1, "{patch}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_git_directory_is_never_read() {
    for replace in [
        "rm -rf .git; echo 'gitdir: /etc' > .git",
        "rm -rf .git; ln -s /proc/self .git",
        "rm -rf .git",
        "rm -rf .git; git init -q .; git -c user.name=x -c user.email=x commit -q --allow-empty -m x",
    ] {
        let world = World::new().await;
        let repository = world.repository(&[("a", "a\n")]);
        let run =
            world.run(&world.task(&repository, world.model(&[&format!("echo c > a; {replace}")]))).await;
        assert_eq!(run.ended.outcome, Outcome::Succeeded, "{replace}: {}", run.ended.sentence);
        assert_eq!(run.ended.patch.unwrap().stat.files, 1, "{replace}");
        repository.applied(&repository.head(), &run.patch);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_the_tree_lead_nowhere() {
    let world = World::new().await;
    let secret = world.directory.path().join("secret");
    std::fs::write(&secret, "secret\n").unwrap();
    let repository = world.repository(&[("a", "a\n")]);
    std::os::unix::fs::symlink(&secret, repository.path.join("link")).unwrap();
    std::os::unix::fs::symlink(world.directory.path(), repository.path.join("up")).unwrap();
    let mut task =
        world.task(&repository, world.model(&["cat link; cat up/secret; git show --stat; echo b > a"]));
    task.source.local_changes = LocalChanges::Include;
    let run = world.run(&task).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    assert!(!run.output().lines().any(|line| line == "secret"), "{}", run.output());
}

/// The checkout must not show through where the work tree was, as if nothing had been done.
#[tokio::test(flavor = "multi_thread")]
async fn a_work_tree_that_is_taken_away_is_not_an_unchanged_one() {
    for (command, outcome) in [
        ("cd /; mv /workspace /elsewhere", Outcome::Failed { reason: Failure::Sandbox }),
        ("cd /; rm -rf /workspace; ln -s /tmp /workspace", Outcome::Failed { reason: Failure::Sandbox }),
        ("cd /; rm -rf /workspace; mkdir /workspace", Outcome::Succeeded),
        ("cd /; rm -rf /workspace; mkdir /workspace; git init -q /workspace", Outcome::Succeeded),
    ] {
        let world = World::new().await;
        let repository = world.repository(&[("a", "a\n")]);
        let run = world.run(&world.task(&repository, world.model(&[command]))).await;
        assert_eq!(run.ended.outcome, outcome, "{command}: {}", run.ended.sentence);
        if outcome == Outcome::Succeeded {
            assert!(String::from_utf8_lossy(&run.patch).contains("deleted file mode"), "{command}");
        }
    }
}

/// A work tree from an archive: its `.git` file names a directory of its own, and that one's `commondir` the directory
/// around it, in which a repository of the user lies.
#[tokio::test(flavor = "multi_thread")]
async fn a_commondir_leads_to_no_other_repository() {
    let world = World::new().await;
    let private = world.repository(&[("secret", "the users own\n")]);
    let evil = private.path.join("downloads/evil");
    let fake = evil.join("fake");
    std::fs::create_dir_all(&fake).unwrap();
    std::fs::write(evil.join(".git"), "gitdir: fake\n").unwrap();
    std::fs::write(fake.join("gitdir"), format!("{}\n", evil.join(".git").display())).unwrap();
    std::fs::write(fake.join("HEAD"), format!("{}\n", private.head())).unwrap();
    for common in ["../../..", "../../../.git"] {
        std::fs::write(fake.join("commondir"), format!("{common}\n")).unwrap();
        let mut task = world.task(&private, world.model(&["cat secret"]));
        task.source.repository = evil.to_str().unwrap().into();
        task.prompt = common.into();
        let run = world.run(&task).await;
        assert_eq!(run.ended.outcome, Outcome::Failed { reason: Failure::Checkout }, "{common}");
        assert!(!run.output().contains("the users own"), "{common}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_in_the_place_of_another_sees_nothing_of_it() {
    let world = World::new().await;
    let before = world.repository(&[("a", "of the one before\n")]);
    let blob = before.git(&["rev-parse", "HEAD:a"]);
    let show = format!("git cat-file -p {blob}");
    let run = world.run(&world.task(&before, world.model(&[&show]))).await;
    assert!(run.output().contains("of the one before"), "{}", run.output());
    std::fs::remove_dir_all(&before.path).unwrap();
    let after = world.repository(&[("b", "b\n")]);
    let mut task = world.task(&after, world.model(&[&show]));
    task.prompt = "Again.".into();
    let run = world.run(&task).await;
    assert!(!run.output().contains("of the one before"), "{}", run.output());
}

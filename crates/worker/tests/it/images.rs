//! Tasks on a base image that is not this machine.

use std::path::Path;
use std::process::Command;

use legwork_domain::{Failure, Outcome, Phase};

use crate::world::{World, check};

/// A root file system with a shell and a few programs of this machine, and a mark of its own.
fn distribution(at: &Path) {
    for directory in ["usr/bin", "etc", "opt"] {
        std::fs::create_dir_all(at.join(directory)).unwrap();
    }
    std::os::unix::fs::symlink("usr/bin", at.join("bin")).unwrap();
    for program in ["sh", "cat", "ls", "mkdir", "touch", "rm", "id", "sleep"] {
        let program = Path::new("/usr/bin").join(program);
        std::fs::copy(&program, at.join("usr/bin").join(program.file_name().unwrap())).unwrap();
        let listed = Command::new("ldd").arg(&program).output().unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
            let inside = at.join(library.trim_start_matches('/'));
            std::fs::create_dir_all(inside.parent().unwrap()).unwrap();
            std::fs::copy(library, inside).unwrap();
        }
    }
    std::fs::write(at.join("etc/os-release"), "ID=foreign\n").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn set_up_agent_and_checks_run_in_the_image_and_the_patch_is_made_outside() {
    let world = World::without_worker().await;
    distribution(&world.directory.path().join("roots/mine"));
    world.start_worker();
    let repository = world.repository(&[("a", "a\n")]);
    let model = world
        .model(&["cat /etc/os-release /opt/made; ls /usr/share; echo changed > a; touch /usr/bin/planted"]);
    let mut task = world.task(&repository, model);
    task.environment.image = "mine".into();
    task.environment.setup = Some("cat /etc/os-release; echo by set-up > /opt/made".into());
    task.environment.checks =
        vec![check("cat /opt/made a; ls /usr/bin/planted /usr/bin/git; cat a | cat /dev/stdin")];
    let run = world.run(&task).await;
    let setup = run.outputs(Phase::Setup);
    assert_eq!(setup, [(Some(0), "ID=foreign\n".to_owned())], "{}", run.ended.sentence);
    let agent = run.output();
    assert!(agent.contains("ID=foreign") && agent.contains("by set-up"), "{agent}");
    assert!(agent.contains("/usr/share"), "nothing of the host is seen: {agent}");
    assert!(String::from_utf8_lossy(&run.patch).contains("+changed"));
    let checked = run.outputs(Phase::CheckPatched).into_iter().map(|(_, output)| output).collect::<String>();
    assert!(checked.contains("by set-up\nchanged\n") && checked.contains("No such file"), "{checked}");
    let notices = run.notices();
    assert!(
        notices.contains("The base image is mine (sha256:") && notices.contains("1 of 1 layers unpacked"),
        "{notices}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_cannot_be_had_ends_the_task_with_a_sentence() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    for (image, words) in
        [("evil.example.org/x", "registries"), ("dir:/etc", "is no image"), ("/etc", "is no image")]
    {
        let mut task = world.task(&repository, world.model(&[]));
        task.prompt = format!("Do it with {image}.");
        task.environment.image = image.into();
        let ended = world.run(&task).await.ended;
        assert!(matches!(ended.outcome, Outcome::Failed { reason: Failure::Setup }), "{ended:?}");
        assert!(
            ended.sentence.contains(words) && ended.sentence.contains("was not started"),
            "{}",
            ended.sentence
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_without_a_shell_says_so() {
    let world = World::without_worker().await;
    let root = world.directory.path().join("roots/empty");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    world.start_worker();
    let repository = world.repository(&[("a", "a\n")]);
    let mut task = world.task(&repository, world.model(&["true"]));
    task.environment.image = "empty".into();
    let run = world.run(&task).await;
    assert!(run.notices().contains("has no shell"), "{}", run.notices());
    assert!(!run.output().contains("Done"), "{}", run.ended.sentence);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packages_that_cannot_be_installed_end_the_set_up_with_a_sentence() {
    let world = World::without_worker().await;
    distribution(&world.directory.path().join("roots/mine"));
    world.start_worker();
    let repository = world.repository(&[("a", "a\n")]);
    let mut task = world.task(&repository, world.model(&["true"]));
    task.environment.image = "mine".into();
    task.environment.packages = vec!["zlib1g-dev".into()];
    task.environment.setup = Some("echo never".into());
    let ended = world.run(&task).await.ended;
    assert!(matches!(ended.outcome, Outcome::Failed { reason: Failure::Setup }), "{ended:?}");
    for words in ["The installation of system packages ended with exit code 1", "no package manager"] {
        assert!(ended.sentence.contains(words), "{words}: {}", ended.sentence);
    }
}

/// What installs on one system need not run on the next, so an attempt stays on the one that it began on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_stays_on_the_image_that_it_began_on() {
    let world = World::without_worker().await;
    let place = world.directory.path().join("roots/mine");
    distribution(&place);
    world.start_worker();
    let repository = world.repository(&[("a", "a\n")]);
    let script = "[[turn]]\ncalls = [{ tool = \"exec_command\", arguments = { cmd = \"cat /etc/os-release\" } }]\n[[turn]]\ntext = \"Seen.\"\n";
    let mut task = world.task(&repository, world.script(&script.repeat(3)));
    task.environment.image = "mine".into();
    let view = world.client.create_task(&task, "k").await.unwrap();
    assert_eq!(world.follow(&view).await.output(), "ID=foreign\n");

    std::fs::write(place.join("etc/os-release"), "ID=newer\n").unwrap();
    let run = world.goes_on(&view).await;
    assert_eq!(run.output(), "ID=foreign\n".repeat(2), "{}", run.notices());

    let layers = std::fs::read_dir(world.directory.path().join("images/layers")).unwrap();
    for layer in layers {
        std::fs::remove_dir_all(layer.unwrap().path()).unwrap();
    }
    let run = world.goes_on(&view).await;
    assert_eq!(run.output(), "ID=foreign\nID=foreign\nID=newer\n", "{}", run.ended.sentence);
    assert!(run.notices().contains("which cannot be had any more"), "{}", run.notices());
}

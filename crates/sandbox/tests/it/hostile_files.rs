//! Reading and writing from outside while hostile commands change the tree.

use std::path::Path;
use std::sync::Arc;

use legwork_sandbox::{Bind, Error, Layer, Sandbox, Spec};

use crate::world::{World, command, sh, spec};

/// Enough rounds that a race which is open is hit.
const ROUNDS: usize = 300;

async fn swap(sandbox: &Arc<dyn Sandbox>, script: &str) -> legwork_sandbox::Process {
    let mut process = sandbox
        .exec(command(&["sh", "-c", &format!("echo ready; while :; do {script}; done 2>/dev/null")]))
        .await
        .unwrap();
    process.next().await.unwrap();
    process
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_comes_and_goes_is_never_followed() {
    let world = World::new();
    let sandbox = world.sandbox().await;
    sh(&sandbox, "mkdir dir other; echo right > dir/file; echo wrong > other/file; ln -s other link").await;
    let _swapping = swap(&sandbox, "mv -T dir away; ln -sfn other dir; rm dir; mv -T away dir").await;
    for _ in 0..ROUNDS {
        match sandbox.read(Path::new("/workspace/dir/file"), 100).await {
            Ok(file) => assert_eq!(&file.contents[..], b"right\n"),
            Err(Error::Path { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        match sandbox.write(Path::new("/workspace/dir/new"), b"x", None).await {
            Ok(()) | Err(Error::Path { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    let (said, _) = sh(&sandbox, "ls -A other").await;
    assert_eq!(said, "file\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_becomes_a_fifo_never_blocks() {
    let world = World::new();
    let sandbox = world.sandbox().await;
    let _swapping = swap(&sandbox, "rm -f f; mkfifo f; rm -f f; echo x > f").await;
    for _ in 0..ROUNDS {
        match sandbox.read(Path::new("/workspace/f"), 100).await {
            Ok(_) | Err(Error::Path { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_file_that_grows_is_never_more_than_asked_for() {
    let world = World::new();
    let sandbox = world.sandbox().await;
    let _growing = swap(&sandbox, "head -c 3000000 /dev/zero > f").await;
    for _ in 0..50 {
        match sandbox.read(Path::new("/workspace/f"), 2_000_000).await {
            Ok(file) => assert!(file.contents.len() <= 2_000_000),
            Err(Error::Path { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

/// A layer that hostile commands prepared: links where the next machine's mounts go.
async fn hostile_layer(world: &World, script: &str) -> Layer {
    let sandbox = world.backend.create(spec("hostile")).await.unwrap();
    sh(&sandbox, script).await;
    sandbox.snapshot().await.unwrap()
}

#[tokio::test]
async fn links_in_a_layer_turn_no_mount_elsewhere() {
    let world = World::new();
    let layer = hostile_layer(&world, "mkdir $HOME/x; ln -s /usr $HOME/x/tools; ln -s / $HOME/x/root").await;
    for inside in ["/home/agent/x/tools/deep", "/home/agent/x/root/etc", "/home/agent/x/tools"] {
        let bind = Bind { host: "/usr/bin".into(), inside: inside.into() };
        let result = world
            .backend
            .create(Spec { layers: vec![layer.clone()], binds: vec![bind], ..spec("next") })
            .await;
        assert!(matches!(result, Err(Error::Setup { .. })), "{inside}");
    }
    let kept = world.backend.create(Spec { layers: vec![layer], ..spec("next") }).await.unwrap();
    assert_eq!(sh(&kept, "echo alive").await.0, "alive\n");
}

#[tokio::test]
async fn a_layer_without_the_usual_directories_still_starts_or_says_why() {
    let world = World::new();
    for script in [
        "mv /tmp /t",
        "mv /etc /e; ln -s /proc /etc",
        "rmdir /srv; rm -rf /var",
        "chmod 0 / /home /workspace /etc",
        "rm -rf /workspace; ln -s /tmp /workspace",
    ] {
        let layer = hostile_layer(&world, script).await;
        match world.backend.create(Spec { layers: vec![layer.clone()], ..spec("next") }).await {
            Ok(sandbox) => sandbox.destroy().await.unwrap(),
            Err(Error::Setup { .. }) => {}
            Err(other) => panic!("{script}: {other}"),
        }
        world.backend.discard(layer).await.unwrap();
    }
    world.assert_clean();
}

#[tokio::test]
async fn a_hostile_tree_is_removed_whole() {
    let world = World::new();
    let sandbox = world.sandbox().await;
    let script = "i=0; while [ $i -lt 1500 ]; do mkdir ddddddd && cd ddddddd || exit 1; i=$((i+1)); done; touch deepest
        cd /workspace; mkdir closed; touch closed/x; chmod 0 closed; mkfifo fifo; ln -s / root
        printf x > \"$(printf 'new\\nline\\377')\"; mkdir -p .1/.2/.3";
    sh(&sandbox, script).await;
    sandbox.destroy().await.unwrap();
    world.assert_clean();
}

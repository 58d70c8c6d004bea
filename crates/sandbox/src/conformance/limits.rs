//! Limits: what happens to a command, or a sandbox, that wants more than it may.

use std::sync::Arc;

use super::Outcome;
use super::world::{create, end, ensure, run, same, say, sh, spec};
use crate::{Backend, Error, Exit, Limits, Sandbox, Spec};

async fn limited(
    backend: &Arc<dyn Backend>,
    name: &str,
    change: impl FnOnce(&mut Limits),
) -> Result<Arc<dyn Sandbox>, Error> {
    let mut limits = spec(name).limits;
    change(&mut limits);
    backend.create(Spec { limits, ..spec(name) }).await
}

pub(super) async fn memory_is_limited(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = limited(&backend, "memory", |limits| limits.memory_bytes = 128 << 20).await?;
    // `tail` keeps what has no line end in memory.
    let ended = run(&sandbox, "head -c 2000000000 /dev/zero | tail | wc -c; echo survived").await?;
    ensure(!ended.out.contains("2000000000"), || format!("{ended:?}"))?;
    same(say(&sandbox, "echo alive").await?, "alive".to_owned())
}

pub(super) async fn processes_are_limited(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = limited(&backend, "processes", |limits| limits.processes = 32).await?;
    let script = "i=0; while [ $i -lt 100 ]; do sleep 1000 & i=$((i+1)); done; echo all";
    let ended = run(&sandbox, script).await?;
    ensure(!ended.out.contains("all"), || "100 processes of 32".to_owned())
}

pub(super) async fn open_files_are_limited(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = limited(&backend, "open_files", |limits| limits.open_files = 64).await?;
    same(say(&sandbox, "ulimit -n; ulimit -Hn").await?, "64\n64".to_owned())
}

pub(super) async fn the_writable_layer_is_limited(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = limited(&backend, "disk", |limits| limits.disk_bytes = 32 << 20).await?;
    let ended = run(&sandbox, "head -c 40000000 /dev/zero > one").await?;
    ensure(ended.exit != Exit::Code(0), || "a file larger than the disk".to_owned())?;
    // What is left of that file fills the disk, so that its sandbox may end at any time.
    let sandbox = limited(&backend, "disk_2", |limits| limits.disk_bytes = 32 << 20).await?;
    let mut flood =
        sandbox.exec(sh("i=0; while :; do i=$((i+1)); head -c 8000000 /dev/zero > f$i; done")).await?;
    same(end(&mut flood).await?.exit, Exit::Lost)?;
    ensure(sandbox.exec(sh("true")).await.is_err(), || "a command after the disk was full".to_owned())
}

/// Runs a script that must cost the sandbox its life.
async fn deadly(backend: &Arc<dyn Backend>, name: &str, script: &str) -> Outcome {
    let sandbox = limited(backend, name, |limits| limits.disk_bytes = 32 << 20).await?;
    same(end(&mut sandbox.exec(sh(script)).await?).await?.exit, Exit::Lost)
}

pub(super) async fn what_is_deleted_but_open_counts(backend: Arc<dyn Backend>) -> Outcome {
    let script = "for i in 4 5 6 7 8 9; do eval \"exec $i>f\"; rm f; head -c 20000000 /dev/zero >&$i; done; exec sleep 20";
    deadly(&backend, "deleted", script).await
}

pub(super) async fn what_lies_deep_counts(backend: Arc<dyn Backend>) -> Outcome {
    let script = "i=0; while [ $i -lt 300 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done
        for i in 1 2 3 4 5 6; do head -c 20000000 /dev/zero > f$i; done; exec sleep 60";
    deadly(&backend, "deep", script).await
}

pub(super) async fn files_without_content_count(backend: Arc<dyn Backend>) -> Outcome {
    deadly(&backend, "inodes", "seq 20000 | xargs touch; exec sleep 60").await
}

pub(super) async fn the_temporary_directory_is_limited(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = limited(&backend, "tmp", |limits| limits.memory_bytes = 256 << 20).await?;
    let ended = run(&sandbox, "head -c 200000000 /dev/zero > /tmp/a").await?;
    ensure(ended.exit != Exit::Code(0), || "a /tmp larger than a quarter of memory".to_owned())?;
    let ended = run(&sandbox, "rm /tmp/a; mkdir /tmp/d; i=0; while echo > /tmp/d/$i; do i=$((i+1)); [ $i -lt 100000 ] || exit 0; done; exit 1").await?;
    same(ended.exit, Exit::Code(1))
}

pub(super) async fn life_is_limited(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = limited(&backend, "life", |limits| limits.wall_ms = 500).await?;
    let mut process = sandbox.exec(sh("sleep 1000")).await?;
    same(end(&mut process).await?.exit, Exit::Lost)?;
    let unlimited = create(&backend, "life_2").await?;
    same(say(&unlimited, "echo alive").await?, "alive".to_owned())
}

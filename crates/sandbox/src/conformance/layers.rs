//! Ends and what comes after them: snapshots, forks, lost commands.

use std::path::Path;
use std::sync::Arc;

use super::Outcome;
use super::world::{create, end, ensure, on_layer, read, same, say, sh, spec, until, write};
use crate::{Backend, Error, Exit, Layer, Spec};

pub(super) async fn a_snapshot_is_what_was_there(backend: Arc<dyn Backend>) -> Outcome {
    let first = create(&backend, "snapshot_1").await?;
    say(&first, "mkdir -p a/b; echo one > a/b/file; ln -s b a/link; touch x; chmod 755 x; echo h > $HOME/h; touch /tmp/t").await?;
    let layer = first.snapshot().await?;
    let second = backend.create(on_layer("snapshot_2", &layer)).await?;
    let script = "cat a/link/file; stat -c %a x; cat $HOME/h; test ! -e /tmp/t; echo two >> a/b/file";
    same(say(&second, script).await?, "one\n755\nh".to_owned())?;
    let upper = second.snapshot().await?;
    let third = backend.create(Spec { layers: vec![layer, upper], ..spec("snapshot_3") }).await?;
    same(say(&third, "cat a/b/file").await?, "one\ntwo".to_owned())
}

pub(super) async fn deletions_are_part_of_a_layer(backend: Arc<dyn Backend>) -> Outcome {
    let first = create(&backend, "deletions_1").await?;
    say(&first, "mkdir d; touch d/old file").await?;
    let lower = first.snapshot().await?;
    let second = backend.create(on_layer("deletions_2", &lower)).await?;
    say(&second, "rm file; rm -r d; mkdir d; touch d/new").await?;
    let upper = second.snapshot().await?;
    let third = backend.create(Spec { layers: vec![lower, upper], ..spec("deletions_3") }).await?;
    same(say(&third, "find . | sort").await?, ".\n./d\n./d/new".to_owned())
}

pub(super) async fn forks_do_not_see_each_other(backend: Arc<dyn Backend>) -> Outcome {
    let origin = create(&backend, "forks_0").await?;
    write(&origin, "/workspace/file", "origin").await?;
    let layer = origin.snapshot().await?;
    let left = backend.create(on_layer("forks_1", &layer)).await?;
    let right = backend.create(on_layer("forks_2", &layer)).await?;
    write(&left, "/workspace/file", "left").await?;
    same(&read(&right, "/workspace/file").await?[..], b"origin")?;
    say(&right, "rm file").await?;
    same(&read(&left, "/workspace/file").await?[..], b"left")
}

pub(super) async fn nothing_works_after_the_end(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "after_end_1").await?;
    sandbox.destroy().await?;
    sandbox.destroy().await?;
    ensure(matches!(sandbox.exec(sh("true")).await, Err(Error::Gone)), || "exec".to_owned())?;
    ensure(matches!(sandbox.read(Path::new("/x"), 1).await, Err(Error::Gone)), || "read".to_owned())?;
    ensure(matches!(sandbox.remove(Path::new("/x")).await, Err(Error::Gone)), || "remove".to_owned())?;
    ensure(matches!(write(&sandbox, "/x", "").await, Err(Error::Gone)), || "write".to_owned())?;
    ensure(matches!(sandbox.snapshot().await, Err(Error::Gone)), || "snapshot".to_owned())?;
    let sandbox = create(&backend, "after_end_2").await?;
    sandbox.snapshot().await?;
    ensure(matches!(sandbox.exec(sh("true")).await, Err(Error::Gone)), || "exec".to_owned())?;
    ensure(matches!(sandbox.snapshot().await, Err(Error::Gone)), || "snapshot".to_owned())?;
    Ok(sandbox.destroy().await?)
}

pub(super) async fn a_running_command_is_lost_with_its_sandbox(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "lost").await?;
    let mut process = sandbox.exec(sh("echo started; sleep 1000")).await?;
    until(&mut process, "started").await?;
    let (ended, destroyed) = tokio::join!(end(&mut process), sandbox.destroy());
    destroyed?;
    same(ended?.exit, Exit::Lost)
}

pub(super) async fn a_layer_can_be_discarded(backend: Arc<dyn Backend>) -> Outcome {
    let layer = create(&backend, "discarded_1").await?.snapshot().await?;
    backend.discard(layer.clone()).await?;
    backend.discard(layer.clone()).await?;
    let result = backend.create(on_layer("discarded_2", &layer)).await.err();
    ensure(matches!(result, Some(Error::Invalid(_))), || format!("{result:?}"))
}

pub(super) async fn what_a_lost_sandbox_left_is_salvaged_once(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "salvaged_1").await?;
    let mut process = sandbox.exec(sh("echo one > file; echo started; sleep 1000; echo two > file")).await?;
    until(&mut process, "started").await?;
    let Some(layer) = backend.salvage("salvaged_1").await? else { return Err("nothing was left".into()) };
    same(end(&mut process).await?.exit, Exit::Lost)?;
    same(backend.salvage("salvaged_1").await?, Some(layer.clone()))?;
    same(backend.salvage("salvaged").await?, None)?;
    let next = backend.create(on_layer("salvaged_2", &layer)).await?;
    same(say(&next, "cat file").await?, "one".to_owned())?;
    let frozen = next.snapshot().await?;
    same(backend.salvage("salvaged_2").await?, Some(frozen))
}

pub(super) async fn names_are_checked_and_unique(backend: Arc<dyn Backend>) -> Outcome {
    for name in ["", "a/b", "..", "a b", &"x".repeat(200)] {
        let result = create(&backend, name).await.err();
        ensure(matches!(result, Some(Error::Invalid(_))), || format!("{name:?}: {result:?}"))?;
    }
    let first = create(&backend, "unique").await?;
    let result = create(&backend, "unique").await.err();
    ensure(matches!(result, Some(Error::Invalid(_))), || format!("{result:?}"))?;
    first.destroy().await?;
    create(&backend, "unique").await?.destroy().await?;
    Ok(())
}

pub(super) async fn a_foreign_layer_is_refused(backend: Arc<dyn Backend>) -> Outcome {
    for path in ["/", "/etc", "relative", "/nowhere/../etc"] {
        let layer = Layer { path: path.into() };
        let result = backend.create(on_layer("foreign", &layer)).await.err();
        ensure(matches!(result, Some(Error::Invalid(_))), || format!("{path}: {result:?}"))?;
    }
    Ok(())
}

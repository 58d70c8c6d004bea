//! Files: reading and writing from outside, and what is shown inside.

use std::path::Path;
use std::sync::Arc;

use super::Outcome;
use super::world::{PLENTY, create, ensure, read, run, same, say, spec, write};
use crate::{Access, Backend, Bind, COUNTERS, Error, Exit, Sandbox, Spec};

pub(super) async fn a_file_comes_back_as_it_was_written(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "file_back").await?;
    write(&sandbox, "/workspace/a/b/c.txt", "one\r\ntwo").await?;
    same(&read(&sandbox, "/workspace/a/b/c.txt").await?[..], b"one\r\ntwo")?;
    same(say(&sandbox, "cat a/b/c.txt; ls -A a/b").await?, "one\r\ntwoc.txt".to_owned())?;
    write(&sandbox, "/workspace/a/b/c.txt", "").await?;
    same(read(&sandbox, "/workspace/a/b/c.txt").await?.len(), 0)?;
    say(&sandbox, "echo new > a/b/c.txt").await?;
    same(&read(&sandbox, "/workspace/a/b/c.txt").await?[..], b"new\n")
}

pub(super) async fn a_large_file_comes_back_as_it_was_written(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "large_file").await?;
    let contents: Vec<u8> = (0..5_000_011_u32).map(|byte| (byte % 251) as u8).collect();
    let path = Path::new("/workspace/large");
    sandbox.write(path, &contents, None).await?;
    let back = sandbox.read(path, contents.len() as u64).await?;
    ensure(back.contents == contents, || "another content".to_owned())
}

pub(super) async fn a_mode_is_kept_or_set(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "a_mode").await?;
    let path = Path::new("/workspace/run.sh");
    sandbox.write(path, b"x", Some(0o750)).await?;
    same(sandbox.read(path, PLENTY).await?.mode, 0o750)?;
    sandbox.write(path, b"y", None).await?;
    same(say(&sandbox, "stat -c %a run.sh").await?, "750".to_owned())?;
    sandbox.write(path, b"z", Some(0o4755)).await?;
    same(say(&sandbox, "stat -c %a run.sh").await?, "755".to_owned())?;
    write(&sandbox, "/workspace/plain", "").await?;
    same(say(&sandbox, "stat -c %a plain").await?, "644".to_owned())
}

async fn is_refused(sandbox: &Arc<dyn Sandbox>, path: &str) -> Outcome {
    let result = sandbox.read(Path::new(path), PLENTY).await;
    ensure(matches!(result, Err(Error::Path { .. })), || format!("{path}: {result:?}"))
}

pub(super) async fn links_are_not_followed(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "links").await?;
    say(
        &sandbox,
        "mkdir real; echo secret > real/file; ln -s real dir; ln -s real/file link; ln -s /etc/passwd out",
    )
    .await?;
    for path in ["/workspace/link", "/workspace/dir/file", "/workspace/out", "/proc/self/root/etc/passwd"] {
        is_refused(&sandbox, path).await?;
    }
    ensure(write(&sandbox, "/workspace/dir/new", "x").await.is_err(), || {
        "a write through a link".to_owned()
    })?;
    write(&sandbox, "/workspace/link", "replaced").await?;
    same(
        say(&sandbox, "cat real/file; test ! -L link; cat link; ls real").await?,
        "secret\nreplacedfile".to_owned(),
    )
}

pub(super) async fn only_regular_files_are_read(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "only_regular").await?;
    say(&sandbox, "mkdir directory; mkfifo fifo; touch unreadable; chmod 0 unreadable").await?;
    let paths = [
        "/workspace/directory",
        "/workspace/fifo",
        "/dev/zero",
        "/dev/tty",
        "/proc/self/environ",
        "/proc/1/maps",
    ];
    for path in
        paths.into_iter().chain(["/workspace/unreadable", "/workspace/missing", "/workspace/fifo/below"])
    {
        is_refused(&sandbox, path).await?;
    }
    for path in COUNTERS {
        let text = sandbox.read(Path::new(path), 1 << 16).await?.contents;
        ensure(String::from_utf8_lossy(&text).contains("OutNoRoutes"), || format!("{path}: {text:?}"))?;
    }
    Ok(())
}

pub(super) async fn a_limit_on_a_read_holds(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "limit_on_read").await?;
    write(&sandbox, "/workspace/ten", "0123456789").await?;
    say(&sandbox, "truncate -s 900M huge").await?;
    same(sandbox.read(Path::new("/workspace/ten"), 10).await?.contents.len(), 10)?;
    let result = sandbox.read(Path::new("/workspace/ten"), 9).await;
    ensure(matches!(result, Err(Error::Path { .. })), || format!("{result:?}"))?;
    is_refused(&sandbox, "/workspace/huge").await
}

pub(super) async fn a_file_is_removed_and_a_directory_is_not(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "file_removed").await?;
    say(&sandbox, "mkdir directory; touch directory/file kept; ln -s kept link").await?;
    sandbox.remove(Path::new("/workspace/directory/file")).await?;
    sandbox.remove(Path::new("/workspace/link")).await?;
    ensure(sandbox.remove(Path::new("/workspace/directory")).await.is_err(), || "a directory".to_owned())?;
    ensure(sandbox.remove(Path::new("/workspace/missing")).await.is_err(), || "nothing".to_owned())?;
    same(say(&sandbox, "find . | sort").await?, ".\n./directory\n./kept".to_owned())
}

pub(super) async fn binds_are_shown_read_only(backend: Arc<dyn Backend>) -> Outcome {
    let bind = Bind { host: "/usr/bin".into(), inside: "/tools/deep/bin".into() };
    let file = Bind { host: "/usr/bin/env".into(), inside: "/tools/one-file".into() };
    let sandbox = backend.create(Spec { binds: vec![bind, file], ..spec("binds") }).await?;
    same(
        say(&sandbox, "/tools/deep/bin/env echo works; /tools/one-file echo too").await?,
        "works\ntoo".to_owned(),
    )?;
    let ended = run(&sandbox, "touch /tools/deep/bin/x || touch /tools/one-file").await?;
    ensure(ended.exit != Exit::Code(0), || format!("{ended:?}"))
}

pub(super) async fn a_workspace_can_be_read_only(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "read_only_1").await?;
    write(&sandbox, "/workspace/file", "there").await?;
    let layer = sandbox.snapshot().await?;
    let spec = Spec { workspace: Access::Read, layers: vec![layer], ..spec("read_only_2") };
    let sandbox = backend.create(spec).await?;
    same(say(&sandbox, "cat file; touch /tmp/x $HOME/x").await?, "there".to_owned())?;
    for script in ["touch new", "echo x > file", "rm file", "chmod 700 file", "mv /workspace /elsewhere"] {
        ensure(run(&sandbox, script).await?.exit != Exit::Code(0), || script.to_owned())?;
    }
    ensure(write(&sandbox, "/workspace/new", "x").await.is_err(), || "a write from outside".to_owned())
}

//! Commands: their output, input, end.

use std::sync::Arc;

use bytes::Bytes;

use super::Outcome;
use super::world::{PLENTY, create, end, ensure, run, same, say, sh, sh_open, until};
use crate::{Backend, Command, Error, Exit, Output, Spec, Terminal};

/// SIGTERM and SIGUSR1 on every Linux architecture that we build for.
const SIGTERM: i32 = 15;
const SIGUSR1: i32 = 10;

pub(super) async fn output_comes_as_it_is_written(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "output_comes").await?;
    let mut process = sandbox.exec(sh_open("echo first; read line; echo got $line")).await?;
    until(&mut process, "first").await?;
    process.write(Bytes::from_static(b"it\n")).await?;
    let ended = end(&mut process).await?;
    same((ended.out.as_str(), ended.exit), ("got it\n", Exit::Code(0)))?;
    same(process.next().await, None)
}

pub(super) async fn outputs_are_told_apart(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "outputs_apart").await?;
    let ended = run(&sandbox, "echo out; echo err >&2").await?;
    same((ended.out.as_str(), ended.err.as_str()), ("out\n", "err\n"))
}

pub(super) async fn an_exit_has_a_code_or_a_signal(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "an_exit").await?;
    same(run(&sandbox, "exit 7").await?.exit, Exit::Code(7))?;
    same(run(&sandbox, "kill -9 $$").await?.exit, Exit::Signal(9))
}

pub(super) async fn the_head_and_the_tail_of_a_flood_are_kept(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "head_and_tail").await?;
    let command = Command {
        output_bytes_max: 20,
        ..sh("i=0; while [ $i -lt 20000 ]; do echo line$i; i=$((i+1)); done")
    };
    let mut process = sandbox.exec(command).await?;
    let (mut head, mut tail, mut omitted) = (Vec::new(), Vec::new(), None);
    while let Some(output) = process.next().await {
        match output {
            Output::Stdout(bytes) if omitted.is_none() => head.extend_from_slice(&bytes),
            Output::Stdout(bytes) => tail.extend_from_slice(&bytes),
            Output::Omitted(count) => omitted = Some(count),
            Output::Stderr(_) | Output::Exited(_) => {}
        }
    }
    same((head.as_slice(), tail.as_slice()), (b"line0\nline".as_slice(), b"line19999\n".as_slice()))?;
    // 10 lines of 6 bytes, 90 of 7, 900 of 8, 9,000 of 9, 10,000 of 10.
    same(omitted, Some(60 + 630 + 7_200 + 81_000 + 100_000 - 20))
}

pub(super) async fn a_slow_reader_slows_the_command(backend: Arc<dyn Backend>) -> Outcome {
    const BYTES: u64 = 64 << 20;
    let sandbox = create(&backend, "slow_reader").await?;
    let script = format!("head -c {BYTES} /dev/zero; touch /tmp/finished");
    let mut process = sandbox.exec(Command { output_bytes_max: BYTES, ..sh(&script) }).await?;
    // A sign of life, so that it has begun; then time in which it would have finished if nothing held it.
    let mut bytes = match process.next().await {
        Some(Output::Stdout(piece)) => piece.len(),
        other => return Err(format!("{other:?} first").into()),
    };
    same(run(&sandbox, "sleep 0.5; test -e /tmp/finished").await?.exit, Exit::Code(1))?;
    let mut exit = None;
    while let Some(output) = process.next().await {
        match output {
            Output::Stdout(piece) => bytes += piece.len(),
            Output::Exited(ended) => exit = Some(ended),
            Output::Stderr(_) | Output::Omitted(_) => {}
        }
    }
    same((bytes as u64, exit), (BYTES, Some(Exit::Code(0))))
}

pub(super) async fn time_outs_end_the_whole_group(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "time_outs").await?;
    let command =
        Command { timeout_ms: Some(300), ..sh("sleep 1000 & echo $! > /tmp/child; echo started; wait") };
    let ended = end(&mut sandbox.exec(command).await?).await?;
    same((ended.out.as_str(), ended.exit), ("started\n", Exit::TimedOut))?;
    gone(&sandbox, "$(cat /tmp/child)").await
}

/// Waits inside until a process no longer exists.
async fn gone(sandbox: &Arc<dyn crate::Sandbox>, pid: &str) -> Outcome {
    let script = format!(
        "i=0; while kill -0 {pid} 2>/dev/null; do i=$((i+1)); [ $i -lt 200 ] || exit 1; sleep 0.02; done"
    );
    same(run(sandbox, &script).await?.exit, Exit::Code(0))
}

pub(super) async fn a_command_that_ignores_its_end_is_killed(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "ignores_end").await?;
    let script = "trap '' TERM HUP INT; while :; do sleep 0.1; done";
    let command = Command { timeout_ms: Some(100), ..sh(script) };
    same(end(&mut sandbox.exec(command).await?).await?.exit, Exit::TimedOut)
}

pub(super) async fn dropping_a_process_kills_its_group(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "dropping").await?;
    let mut process = sandbox.exec(sh("sleep 1000 & echo $! > /tmp/child; echo started; wait")).await?;
    until(&mut process, "started").await?;
    drop(process);
    gone(&sandbox, "$(cat /tmp/child)").await
}

pub(super) async fn signals_reach_the_whole_group(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "signals").await?;
    let script = "trap 'echo parent' USR1; (trap 'echo child; exit' USR1; echo ready; while :; do sleep 0.05; done) & \
                  wait; wait; exit 5";
    let mut process = sandbox.exec(sh(script)).await?;
    until(&mut process, "ready").await?;
    process.signal(SIGUSR1).await?;
    let ended = end(&mut process).await?;
    ensure(ended.out.contains("parent") && ended.out.contains("child"), || format!("{ended:?}"))?;
    same(ended.exit, Exit::Code(5))?;
    let mut process = sandbox.exec(sh("sleep 1000")).await?;
    process.signal(SIGTERM).await?;
    same(end(&mut process).await?.exit, Exit::Signal(SIGTERM))
}

pub(super) async fn input_is_empty_unless_asked_for(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "input").await?;
    same(run(&sandbox, "cat").await?.exit, Exit::Code(0))?;
    let mut process = sandbox.exec(sh_open("cat")).await?;
    process.write(Bytes::from_static(b"hello")).await?;
    process.close_stdin().await?;
    process.close_stdin().await?;
    let ended = end(&mut process).await?;
    same((ended.out.as_str(), ended.exit), ("hello", Exit::Code(0)))?;
    ensure(matches!(process.write(Bytes::new()).await, Err(Error::Gone)), || {
        "a write after the end".to_owned()
    })
}

pub(super) async fn large_input_arrives_whole(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "large_input").await?;
    let mut process = sandbox.exec(sh_open("sleep 0.1; wc -c")).await?;
    for _ in 0..40 {
        process.write(Bytes::from(vec![b'x'; 100_000])).await?;
    }
    process.close_stdin().await?;
    same(end(&mut process).await?.out.trim(), "4000000")
}

pub(super) async fn a_terminal_is_a_terminal(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "a_terminal").await?;
    let terminal = Some(Terminal { rows: 33, columns: 99 });
    let command = Command {
        terminal,
        ..sh_open("tty >/dev/null && test -t 0 -a -t 1 -a -t 2 && stty size; read x; echo got $x")
    };
    let mut process = sandbox.exec(command).await?;
    until(&mut process, "33 99").await?;
    process.write(Bytes::from_static(b"typed\n")).await?;
    let ended = end(&mut process).await?;
    ensure(ended.out.ends_with("got typed\r\n"), || format!("{ended:?}"))?;
    let resized = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut process = sandbox.exec(Command { terminal, ..sh_open(resized) }).await?;
    until(&mut process, "ready").await?;
    process.resize(Terminal { rows: 50, columns: 120 }).await?;
    until(&mut process, "50 120").await?;
    let mut process = sandbox.exec(Command { terminal, ..sh_open("echo ready; exec sleep 1000") }).await?;
    until(&mut process, "ready").await?;
    process.write(Bytes::from_static(b"\x03")).await?;
    same(end(&mut process).await?.exit, Exit::Signal(2))
}

pub(super) async fn what_runs_in_the_background_goes_on(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "background").await?;
    // It holds the pipes of its shell open and goes on writing to them.
    let ended =
        run(&sandbox, "(while :; do echo tick; sleep 0.05; done) & echo $! > /tmp/pid; echo started").await?;
    ensure(ended.out.contains("started") && ended.exit == Exit::Code(0), || format!("{ended:?}"))?;
    same(run(&sandbox, "sleep 0.3; kill -0 $(cat /tmp/pid)").await?.exit, Exit::Code(0))
}

pub(super) async fn the_environment_is_only_what_was_given(backend: Arc<dyn Backend>) -> Outcome {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let env = vec![pair("A", "spec"), pair("B", "spec")];
    let sandbox = backend.create(Spec { env, ..super::world::spec("environment") }).await?;
    let argv = ["env", "-0"].map(str::to_owned).to_vec();
    let command = Command { argv, env: vec![pair("B", "command"), pair("C", "a b\nc")], ..sh("") };
    let ended = end(&mut sandbox.exec(command).await?).await?;
    let mut found: Vec<&str> = ended.out.split_terminator('\0').collect();
    found.sort_unstable();
    let names: Vec<&str> = found.iter().filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
    same(names, vec!["A", "B", "C", "HOME", "LANG", "LOGNAME", "PATH", "TMPDIR", "USER"])?;
    same(found.get(..3), Some(&["A=spec", "B=command", "C=a b\nc"][..]))
}

pub(super) async fn what_cannot_start_says_why(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "cannot_start").await?;
    let argv = vec!["no-such-program".to_owned()];
    let missing = sandbox.exec(Command { argv, ..sh("") }).await;
    ensure(matches!(&missing, Err(Error::Start { program, .. }) if program == "no-such-program"), || {
        format!("{missing:?}")
    })?;
    let nowhere = sandbox.exec(Command { workdir: "/nowhere".to_owned(), ..sh("true") }).await;
    ensure(matches!(&nowhere, Err(Error::Start { why, .. }) if why.contains("directory")), || {
        format!("{nowhere:?}")
    })?;
    let nothing = sandbox.exec(Command { argv: Vec::new(), ..sh("") }).await;
    ensure(matches!(nothing, Err(Error::Invalid(_))), || format!("{nothing:?}"))?;
    let long = sandbox.exec(Command { env: vec![("X".to_owned(), "x".repeat(8 << 20))], ..sh("true") }).await;
    ensure(long.is_err(), || "an environment of 8 MiB".to_owned())?;
    same(run(&sandbox, "exit 0").await?.exit, Exit::Code(0))
}

pub(super) async fn many_commands_run_at_the_same_time(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "many_commands").await?;
    let mut waiting = Vec::new();
    for number in 0..32 {
        let process = sandbox.exec(sh_open(&format!("read x; echo {number}"))).await?;
        waiting.push((number, process));
    }
    for (number, mut process) in waiting.into_iter().rev() {
        process.write(Bytes::from_static(b"\n")).await?;
        same(end(&mut process).await?.out, format!("{number}\n"))?;
    }
    let large = Command { output_bytes_max: PLENTY, ..sh("head -c 300000 /dev/zero") };
    same(end(&mut sandbox.exec(large).await?).await?.out.len(), 300_000)
}

pub(super) async fn orphans_are_collected(backend: Arc<dyn Backend>) -> Outcome {
    let sandbox = create(&backend, "orphans").await?;
    say(&sandbox, "for i in 1 2 3 4 5 6 7 8; do (sleep 0.05 &) ; done; sleep 0.2").await?;
    let script = "i=0; while grep -qs '^State:.Z' /proc/[0-9]*/status; do i=$((i+1)); [ $i -lt 100 ] || exit 1; sleep 0.02; done";
    same(run(&sandbox, script).await?.exit, Exit::Code(0))
}

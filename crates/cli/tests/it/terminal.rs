//! On a real pseudo-terminal: the live timeline, the summary, the pager.

use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Stdio;

use nix::pty::{Winsize, openpty};

use crate::world::{GOODBYE, World};

/// What `legwork ARGS` writes to a terminal of so many columns and rows, and its exit code.
fn on_terminal(
    world: &World,
    args: &[&str],
    env: &[(&str, &str)],
    columns: u16,
    rows: u16,
) -> (String, Option<i32>) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&size), None).unwrap();
    let end = |fd: &OwnedFd| Stdio::from(fd.as_fd().try_clone_to_owned().unwrap());
    let mut command = world.legwork(args);
    command.env("TERM", "xterm-256color").envs(env.iter().copied());
    command.stdin(end(&pty.slave)).stdout(end(&pty.slave)).stderr(end(&pty.slave));
    let mut child = command.spawn().unwrap();
    drop(command);
    drop(pty.slave);
    let mut seen = Vec::new();
    // Linux answers EIO when the last writer has gone.
    let _ = std::fs::File::from(pty.master).read_to_end(&mut seen);
    (String::from_utf8_lossy(&seen).into_owned(), child.wait().unwrap().code())
}

/// What stands on the screen in the end: our few cursor movements played on a list of lines.
fn screen(seen: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut at = 0;
    let mut rest = seen;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            '\n' => {
                at += 1;
                if at == lines.len() {
                    lines.push(String::new());
                }
            }
            '\r' => {}
            '\x1b' => {
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                let (number, action) = (&rest[1..end], &rest[end..=end]);
                match action {
                    "A" => at -= number.parse::<usize>().unwrap(),
                    "J" => {
                        lines.truncate(at + 1);
                        lines[at].clear();
                    }
                    other => assert_eq!(other, "m"),
                }
                rest = &rest[end + 1..];
            }
            letter => lines[at].push(letter),
        }
    }
    lines
}

fn run(world: &World) -> Vec<String> {
    let model = world.model(GOODBYE);
    ["run", "Say goodbye", "--check", "sh test.sh", "--model", &model].map(str::to_owned).to_vec()
}

#[test]
fn the_live_part_leaves_nothing_behind() {
    let world = World::new();
    let args = run(&world);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    for columns in [100, 24] {
        let (seen, code) = on_terminal(&world, &args, &[("PAGER", "cat")], columns, 30);
        assert_eq!(code, Some(0), "{seen}");
        assert!(seen.contains("waiting for") && seen.contains('⠙'), "{seen}");
        let left = screen(&seen).join("\n");
        assert!(!left.contains("waiting") && !left.contains('⠙'), "{left}");
        for text in ["edit greeting", "+goodbye", "It says goodbye.", "fixed", "Done"] {
            assert!(left.contains(text), "{text:?} is missing in\n{left}");
        }
    }
}

#[test]
fn no_color_means_none() {
    let world = World::new();
    let args = run(&world);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (seen, _) = on_terminal(&world, &args, &[("NO_COLOR", "1"), ("PAGER", "cat")], 80, 30);
    let colours: Vec<&str> = seen
        .split('\x1b')
        .skip(1)
        .filter(|rest| rest.find(|c: char| c.is_ascii_alphabetic()).is_some_and(|at| &rest[at..=at] == "m"))
        .collect();
    assert_eq!(colours, [""; 0]);
    assert!(seen.contains("waiting for"), "still live: {seen}");
}

#[test]
fn a_long_diff_goes_through_the_pager() {
    let world = World::new();
    let args = run(&world);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (seen, code) = on_terminal(&world, &args, &[("PAGER", "sed 's/^/paged: /'")], 80, 5);
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("paged: "), "{seen}");
    let (seen, _) = on_terminal(&world, &["task", "diff"], &[("PAGER", "no-such-pager")], 80, 5);
    assert!(seen.contains("+goodbye"), "without a pager it is shown as it is: {seen}");
}

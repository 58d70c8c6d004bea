//! Nothing that a model or a command says acts on the terminal.

use crate::world::{Run, World};

const SCRIPT: &str = r#"
[[turn]]
reasoning = "\u001b]0;owned\u0007think"
text = "\u001b[2J\u001b[1;1Hlook \u202eereh\u202c \u009b6n"
calls = [{ tool = "exec_command", arguments = { cmd = "printf '\\033]52;c;ZXZpbA==\\007\\033[31mred\\033[0m\\033[2J\\rx\\n'; exit 3" } }]

[[turn]]
calls = [{ tool = "apply_patch", input = "*** Begin Patch\n*** Add File: \u001b[2Jname\n+a\u001b[2J\u202eb\n*** End Patch\n" }]

[[turn]]
text = "Done \u001b[2J\u001b]8;;http://evil\u001b\\link\u001b]8;;\u001b\\."
"#;

/// The escape sequences in `text` that are not a change of colour.
fn acts(text: &str) -> Vec<String> {
    let mut acts: Vec<String> = text
        .split('\x1b')
        .skip(1)
        .filter(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '[' && c != ';');
            !rest.starts_with('[') || end.map(|at| &rest[at..=at]) != Some("m")
        })
        .map(|rest| rest.chars().take(12).collect())
        .collect();
    acts.extend(text.chars().filter(|c| c.is_control() && !"\n\x1b".contains(*c)).map(|c| format!("{c:?}")));
    acts.extend(text.chars().filter(|c| ('\u{202a}'..='\u{202e}').contains(c)).map(|c| format!("{c:?}")));
    acts
}

#[test]
fn plain_output_and_diff_hold_no_sequence() {
    let world = World::new();
    let run = world.task(SCRIPT, &[]).ended(0);
    assert_eq!(acts(&run.out), [""; 0], "{}", run.out);
    assert!(!run.out.contains('\x1b'));
    for text in ["look <U+202E>ereh", "red x", "+a^[[2J<U+202E>b", "Done link."] {
        assert!(run.out.contains(text), "{text:?} is missing in\n{}", run.out);
    }
    for args in [&["task", "show"][..], &["task", "logs"], &["task", "ls"]] {
        let shown = world.run(args).ended(0);
        assert!(!shown.out.contains('\x1b') && acts(&shown.out).is_empty(), "{args:?}");
    }
}

#[test]
fn with_colours_forced_only_colours_are_written() {
    let world = World::new();
    let model = world.model(SCRIPT);
    let mut command = world.legwork(&["run", "Say goodbye", "--model", &model]);
    let run = Run::of(command.env("CLICOLOR_FORCE", "1").output().unwrap()).ended(0);
    assert!(run.out.contains("\x1b[31mred\x1b[0m"), "{}", run.out);
    assert_eq!(acts(&run.out), [""; 0]);
}

#[test]
fn json_holds_it_escaped() {
    let world = World::new();
    let run = world.task(SCRIPT, &["--json"]).ended(0);
    assert!(!run.out.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'));
    assert!(run.out.contains("\\u001b[2J") && run.out.contains("\\u202e") && run.out.contains("\\u009b"));
}

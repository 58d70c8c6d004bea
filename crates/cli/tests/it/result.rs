//! What comes out: exit codes, the patch's way home, evidence.

use crate::world::{GOODBYE, World};

#[test]
fn the_patch_goes_to_file_files_and_branch() {
    let world = World::new();
    let run = world
        .task(GOODBYE, &["--check", "sh test.sh", "--patch", "../p", "--apply", "--branch", "bye"])
        .ended(0);
    assert!(run.out.contains("fixed"), "{}", run.out);
    assert_eq!(world.read("greeting"), "goodbye\n");
    let patch = std::fs::read_to_string(world.path().join("p")).unwrap();
    assert!(patch.contains("+goodbye"), "{patch}");
    assert_eq!(world.git(&["show", "bye:greeting"]), "goodbye");
    assert_eq!(world.git(&["rev-parse", "bye^"]), world.git(&["rev-parse", "main"]));
    assert_eq!(world.git(&["diff", "--cached", "--name-only"]), "");
}

#[test]
fn a_file_url_is_the_repository_on_this_machine() {
    let world = World::new();
    let url = format!("file://{}", world.repo().display());
    let run = world.task(GOODBYE, &["--repo", &url, "--branch", "bye", "--apply"]).ended(0);
    assert_eq!(world.git(&["show", "bye:greeting"]), "goodbye");
    assert_eq!(world.read("greeting"), "goodbye\n");
    assert!(!run.out.contains("legwork task apply"), "what is being done is no next step:\n{}", run.out);
}

#[test]
fn the_table_of_checks_has_columns() {
    let world = World::new();
    let run = world.task(GOODBYE, &["--check", "sh test.sh", "--check", "true"]).ended(0);
    let (_, table) = run.out.split_once("\nChecks").unwrap();
    let rows: Vec<&str> = table.lines().skip(1).take(2).collect();
    let columns = |row: &&str| ["   base exit", "→"].map(|mark| row.find(mark));
    assert_eq!(columns(&rows[0])[0], columns(&rows[1])[0], "{rows:#?}");
}

#[test]
fn a_tool_that_failed_says_why() {
    let world = World::new();
    let script = r#"
        [[turn]]
        calls = [{ tool = "view_image", arguments = { path = "greeting" } }]
        [[turn]]
        text = "That is no picture."
    "#;
    let run = world.task(script, &[]).ended(0);
    let (_, after) = run.out.split_once("view_image").unwrap();
    let reason = after.lines().nth(1).unwrap();
    assert!(reason.trim().starts_with("│ ") && reason.contains("greeting"), "{}", run.out);
}

#[test]
fn the_patch_is_written_also_when_nobody_reads_the_summary() {
    let world = World::new();
    let model = world.model(GOODBYE);
    let mut command = world.legwork(&["run", "Say goodbye", "--model", &model, "--patch", "../p"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    // The reader sees the patch saved, and goes away.
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    lines.find(|line| line.as_ref().unwrap().contains("patch saved")).unwrap().unwrap();
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(std::fs::read_to_string(world.path().join("p")).unwrap().contains("+goodbye"));
}

#[test]
fn a_conflict_leaves_the_files_alone_and_names_them() {
    let world = World::new();
    world.write("greeting", "my own words\n");
    let run = world.task(GOODBYE, &["--apply"]).ended(1);
    assert!(
        run.err.contains("nothing was changed") && run.err.contains("greeting: patch does not apply"),
        "{}",
        run.err
    );
    assert_eq!(world.read("greeting"), "my own words\n");
    world.git(&["checkout", "--quiet", "greeting"]);
    world.run(&["task", "apply"]).ended(0);
    assert_eq!(world.read("greeting"), "goodbye\n");
}

#[test]
fn a_branch_that_exists_elsewhere_or_is_checked_out_is_refused() {
    let world = World::new();
    world.git(&["branch", "at-base"]);
    world.git(&["commit", "--quiet", "--allow-empty", "--message=More"]);
    let run = world.task(GOODBYE, &["--base", "at-base", "--branch", "at-base"]).ended(0);
    assert!(run.err.contains("is on the branch at-base"), "{}", run.err);
    let taken = world.run(&["task", "apply", "--branch", "at-base"]).ended(1);
    assert!(taken.err.contains("exists and does not point at the task's base"), "{}", taken.err);
    let current = world.run(&["task", "apply", "--branch", "main"]).ended(1);
    assert!(current.err.contains("is checked out"), "{}", current.err);
    world.run(&["task", "apply", "--branch", "no good"]).ended(2);
}

#[test]
fn the_users_hooks_and_filters_stay_asleep() {
    let world = World::new();
    let trap = format!("touch {}", world.path().join("sprung").display());
    world.git(&["config", "filter.trap.smudge", &trap]);
    world.git(&["config", "filter.trap.clean", &trap]);
    world.git(&["config", "filter.trap.required", "true"]);
    world.git(&["config", "core.fsmonitor", &trap]);
    std::fs::write(world.repo().join(".git/info/attributes"), "* filter=trap\n").unwrap();
    let hook = world.repo().join(".git/hooks/reference-transaction");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, format!("#!/bin/sh\n{trap}\n")).unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    world.task(GOODBYE, &["--apply", "--branch", "bye"]).ended(0);
    assert_eq!(world.read("greeting"), "goodbye\n");
    assert!(!world.path().join("sprung").exists(), "something of the repository was run on the host");
}

#[test]
fn the_exit_code_says_how_it_ended() {
    let world = World::new();
    world.task(GOODBYE, &["--check", "false"]).ended(4);
    let unverified = world.task(GOODBYE, &["--check", "false", "--apply"]).ended(4);
    assert!(unverified.err.contains("not applied"), "{}", unverified.err);
    assert_eq!(world.read("greeting"), "hello\n");
    world.task(GOODBYE, &["--limit-tokens", "1"]).ended(3);
    world.task(GOODBYE, &["--base", "nowhere"]).ended(1);
    world.task("turn = [{ text = \"It is a greeting.\" }]", &["--ask"]).ended(0);
}

#[test]
fn a_claim_without_a_run_is_shown_as_unproven() {
    let world = World::new();
    let script = GOODBYE.replace("It says goodbye.", "All tests pass [item_2].");
    let run = world.task(&script, &[]).ended(0);
    assert!(run.out.contains("unproven  All tests pass"), "{}", run.out);
}

#[test]
fn of_several_attempts_one_is_chosen_and_the_others_can_be_had() {
    let world = World::new();
    let run = world.task(GOODBYE, &["--attempts", "2", "--check", "sh test.sh"]).ended(0);
    assert!(run.out.contains("Attempt 1 was chosen: its checks hold"), "{}", run.out);
    assert!(run.out.contains("2│"), "{}", run.out);
    let second = world.run(&["task", "diff", "--attempt", "2"]).ended(0);
    assert!(second.out.contains("+goodbye"), "{}", second.out);
    world.run(&["task", "diff", "--attempt", "3"]).ended(2);
}

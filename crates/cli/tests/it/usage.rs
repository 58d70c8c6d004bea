//! What is wrong is said before anything is done, with exit code 2.

use crate::world::World;

#[test]
fn wrong_arguments_are_usage_errors() {
    let world = World::new();
    for args in [
        &["run"][..],
        &["run", "x", "--attempts", "5"],
        &["run", "x", "--limit-time", "soon"],
        &["run", "x", "--limit-cost", "-1"],
        &["run", "x", "--ask", "--apply"],
        &["run", "x", "--include-changes", "--branch", "b"],
        &["run", "x", "--model", "gpt"],
        &["run", "x", "--model", "nobody/gpt"],
        &["run", "x", "--model", "scripted/x", "--repo", "/nowhere"],
        &["run", "x", "--model", "scripted/x", "--repo", "https://example.org/x", "--apply"],
        &["run", " ", "--model", "scripted/x"],
        &["run", "x", "--model", "scripted/x", "--patch", "/nowhere/x.patch"],
        &["run", "x", "--model", "scripted/x", "--image-input", "greeting"],
        &["fly"],
        &["task", "show", "task_nope"],
    ] {
        let run = world.run(args).ended(2);
        assert!(!run.err.is_empty() && run.out.is_empty(), "{args:?}: {}{}", run.out, run.err);
    }
}

/// What another process would have to keep is not sent to it.
#[test]
fn a_password_goes_with_no_server() {
    let world = World::new();
    let url = "https://me:hunter2@example.org/x";
    let run = world.run(&["task", "new", "x", "--model", "scripted/x", "--repo", url]).ended(2);
    assert!(
        run.err.contains("credential helper") && run.err.contains("https://example.org/x"),
        "{}",
        run.err
    );
    assert!(!run.err.contains("hunter2"), "{}", run.err);
}

#[test]
fn outside_a_repository_the_way_in_is_told() {
    let world = World::new();
    let mut command = world.legwork(&["run", "x", "--model", "scripted/x"]);
    let run = crate::world::Run::of(command.current_dir(world.path()).output().unwrap()).ended(2);
    assert!(run.err.contains("is not inside a git repository") && run.err.contains("--repo"), "{}", run.err);
}

#[test]
fn without_a_model_the_ways_to_one_are_told() {
    let world = World::new();
    let mut command = world.legwork(&["run", "x"]);
    // A port where nobody listens, whatever runs on this machine.
    let run = crate::world::Run::of(command.env("OLLAMA_HOST", "127.0.0.1:9").output().unwrap()).ended(2);
    assert!(run.err.contains("OPENAI_API_KEY") && run.err.contains("legwork demo"), "{}", run.err);
}

#[test]
fn a_wrong_configuration_is_named_by_file_and_line() {
    let world = World::new();
    let path = world.path().join("c.toml");
    std::fs::write(&path, "[limits]\ncosts = 3\n").unwrap();
    let mut command = world.legwork(&["task", "ls"]);
    let run = crate::world::Run::of(command.env("LEGWORK_CONFIG", &path).output().unwrap()).ended(2);
    assert!(run.err.contains("c.toml, line 2, key `limits.costs`: unknown field `costs`"), "{}", run.err);
}

#[test]
fn a_prompt_comes_from_standard_input() {
    let world = World::new();
    let model = world.model(r#"turn = [{ expect = "from a pipe", text = "Heard." }]"#);
    let prompt = world.path().join("prompt");
    std::fs::write(&prompt, "A question from a pipe").unwrap();
    let mut command = world.legwork(&["run", "-", "--ask", "--model", &model]);
    let run =
        crate::world::Run::of(command.stdin(std::fs::File::open(prompt).unwrap()).output().unwrap()).ended(0);
    assert!(run.out.contains("Heard."), "{}", run.out);
}

#[test]
fn the_data_directory_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    world.run(&["task", "ls"]).ended(0);
    let mode = std::fs::metadata(world.path().join(".local/share/legwork")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_server_that_is_not_there_is_not_one_without_a_token() {
    let world = World::new();
    // A port where nobody listens, whatever runs on this machine.
    for (server, code, said) in [
        ("http://127.0.0.1:9", 1, "cannot be reached"),
        ("ftp://127.0.0.1", 2, "is no server's address"),
        ("nonsense", 2, "is no server's address"),
    ] {
        let run = world.run(&["task", "ls", "--server", server]).ended(code);
        assert!(run.err.contains(said) && !run.err.contains("no token"), "{}", run.err);
    }
}

/// Whoever reads JSON on standard output need not read words on the other.
#[test]
fn errors_are_json_where_answers_are() {
    let world = World::new();
    for (args, code, said) in [
        (&["task", "ls", "--json", "--server", "http://127.0.0.1:9"][..], 1, "cannot be reached"),
        (&["task", "ls", "--json", "--nonsense"], 2, "--nonsense"),
        (&["run", "x", "--json", "--model", "scripted/x", "--repo", "/nowhere"], 2, "/nowhere"),
    ] {
        let run = world.run(args).ended(code);
        let error: serde_json::Value = serde_json::from_str(run.err.trim()).unwrap();
        let error = &error["error"];
        assert!(error["message"].as_str().unwrap().contains(said), "{error}");
        assert_eq!(error["exit"], code);
        assert!(error["next"].is_array() && error["causes"].is_array() && run.out.is_empty(), "{error}");
    }
    let words = world.run(&["run", "x", "--repo", "/nowhere", "--", "--json"]).ended(2);
    assert!(words.err.starts_with("error: "), "{}", words.err);
    world.run(&["task", "ls", "--json", "--help"]).ended(0);
}

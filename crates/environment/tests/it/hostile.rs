//! Whatever the files hold, detection ends, without a panic, with bounded answers and nothing of theirs unquoted.

use proptest::prelude::*;

use crate::found;

/// Files whose formats are read.
const READ: [&str; 24] = [
    "Cargo.toml",
    "rust-toolchain.toml",
    "pyproject.toml",
    "setup.cfg",
    "setup.py",
    "tox.ini",
    ".python-version",
    "package.json",
    ".nvmrc",
    "go.mod",
    "pom.xml",
    "Gemfile",
    "Rakefile",
    "composer.json",
    "global.json",
    "a.csproj",
    "CMakeLists.txt",
    "Makefile",
    ".tool-versions",
    "mise.toml",
    ".devcontainer/devcontainer.json",
    ".cursor/environment.json",
    ".github/workflows/copilot-setup-steps.yml",
    ".devcontainer.json",
];

/// Pieces that formats are made of.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("\n".to_owned()),
        Just("[project]\n".to_owned()),
        Just("[testenv]\ndeps =\n  ".to_owned()),
        Just("[tool.hatch.envs.test]\ndependencies = [\"a; rm -rf /\"]\n".to_owned()),
        Just("{\"scripts\":{\"test\":".to_owned()),
        Just("{\"packageManager\":\"yarn@".to_owned()),
        Just("jobs:\n  copilot-setup-steps:\n    steps:\n      - run: ".to_owned()),
        Just("\"postCreateCommand\": ".to_owned()),
        Just("option(".to_owned()),
        Just("extras_require 'test' :".to_owned()),
        Just("&a [*a, *a]".to_owned()),
        Just("/*".to_owned()),
        Just("\"\\".to_owned()),
        Just("'; touch /x; '".to_owned()),
        "[ -~]{0,20}",
        any::<String>(),
        Just("[".repeat(2000)),
        Just("{\"a\":".repeat(2000)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn files_of_any_content_are_survived(texts in prop::collection::vec((0..READ.len(), prop::collection::vec(piece(), 0..12)), 0..6)) {
        let files: Vec<(&str, String)> = texts.iter().map(|(at, pieces)| (READ[*at], pieces.concat())).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        let detected = found(&files);
        prop_assert!(detected.projects.len() <= 9);
        // What is written down for a repository reads back.
        let recipe = legwork_environment::recipe(&detected);
        prop_assert!(toml::from_str::<toml::Table>(&recipe).is_ok(), "{recipe}");
    }

    #[test]
    fn paths_of_any_form_are_survived(paths in prop::collection::vec("(/|\\.\\./|a/|\\$\\(x\\)/|'/|Cargo\\.toml|package\\.json){1,6}", 0..20)) {
        let files: Vec<(&str, &str)> = paths.iter().map(|path| (path.as_str(), "{\"scripts\":{\"test\":\"x\"}}")).collect();
        let detected = found(&files);
        for check in &detected.checks {
            prop_assert!(!check.command.contains("/../") , "{}", check.command);
            let bare = check.command.split("$(").nth(1).is_some() && !check.command.contains("'./");
            prop_assert!(!bare, "{}", check.command);
        }
    }
}

#[test]
fn names_from_files_are_no_options_and_no_commands() {
    let detected = found(&[
        (
            "pyproject.toml",
            "[project]\nname='x'\n[project.optional-dependencies]\n'test; id' = []\n[dependency-groups]\n'--pre' = []\n",
        ),
        (".python-version", "$(id)\n"),
        ("tests/test_a.py", ""),
    ]);
    let setup = detected.setup.unwrap();
    assert!(!setup.contains("id") || !setup.contains("$(id)"), "{setup}");
    assert!(!setup.contains("--pre"), "{setup}");
    let detected = found(&[("rust-toolchain", "`id`"), ("Cargo.toml", "[package]\nname='a'\n")]);
    assert_eq!(detected.toolchains["rust"], "");
}

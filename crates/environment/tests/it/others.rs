//! What others wrote.

use crate::{found, told};

#[test]
fn a_dev_container_is_read_and_what_has_no_meaning_is_named() {
    let text = r#"{
        // a comment
        "name": "x", "image": "mcr.microsoft.com/devcontainers/python:3.12",
        "features": { "ghcr.io/devcontainers/features/node:1": { "version": "20" }, "ghcr.io/x/docker-in-docker:2": {} },
        "initializeCommand": "rm -rf ~",
        "onCreateCommand": ["make", "two words"], "postCreateCommand": { "a": "pip install -e .", "b": ["true"] },
        "postStartCommand": "redis-server --daemonize yes",
        "containerEnv": { "A": "${containerWorkspaceFolder}/x", "B": "${localEnv:HOME}", "N": 1 },
        "runArgs": ["--privileged"], "mounts": ["source=/,target=/host,type=bind"],
    }"#;
    let detected = found(&[(".devcontainer/devcontainer.json", text)]);
    insta::assert_snapshot!(told(&detected));
    assert_eq!(detected.start.as_deref(), Some("set -e\nredis-server --daemonize yes\n"));
    assert_eq!(detected.variables["A"], "/workspace/x");
    assert_eq!((detected.variables.get("B"), detected.variables["N"].as_str()), (None, "1"));
    assert_eq!(detected.toolchains["node"], "20");
    assert!(!detected.setup.unwrap().contains("rm -rf"), "a command for the host is never run");
}

#[test]
fn steps_for_copilot_are_the_set_up() {
    let text = "name: x\non: workflow_dispatch\nenv:\n  CODEX_ENV_RUBY_VERSION: '3.3'\njobs:\n  copilot-setup-steps:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n      - uses: actions/setup-python@v5\n        with:\n          python-version: '3.11'\n      - name: Install\n        working-directory: api\n        run: |\n          pip install -r requirements.txt\n          pip install pytest\n      - run: echo ${{ secrets.X }}\n      - uses: docker/login-action@v3\n  other:\n    steps:\n      - run: rm -rf /\n";
    let detected = found(&[
        (".github/workflows/copilot-setup-steps.yml", text),
        (
            ".cursor/environment.json",
            r#"{"install": "make deps", "terminals": [{"command": "x"}], "odd": 1}"#,
        ),
        ("requirements.txt", "six\n"),
        ("test_x.py", ""),
    ]);
    insta::assert_snapshot!(told(&detected));
    assert_eq!(detected.toolchains["python"], "3.11");
    assert_eq!(detected.toolchains["ruby"], "3.3");
}

#[test]
fn an_agents_script_goes_before_all_others() {
    let detected = found(&[
        (".openhands/setup.sh", "npm ci\n"),
        (".devcontainer.json", r#"{"postCreateCommand": "npm install"}"#),
        ("Dockerfile", "FROM debian\n"),
        ("package.json", r#"{"scripts": {"test": "jest"}, "devDependencies": {"jest": "1"}}"#),
    ]);
    insta::assert_snapshot!(told(&detected));
}

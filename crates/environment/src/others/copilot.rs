//! `copilot-setup-steps.yml`: a job of GitHub Actions of that name. Its `run` steps are the set-up; `actions/setup-*` choose
//! toolchains; other actions cannot be run here and are named.

use serde_json::Value;

use super::{Foreign, shown, yaml};
use crate::shell;
use crate::tree::Tree;

const FILES: [&str; 2] =
    [".github/workflows/copilot-setup-steps.yml", ".github/workflows/copilot-setup-steps.yaml"];

/// The name that the job must have.
const JOB: &str = "copilot-setup-steps";

/// Actions that choose a toolchain: the key of their version, the toolchain.
const TOOLCHAINS: [(&str, &str, &str); 9] = [
    ("actions/setup-python", "python-version", "python"),
    ("actions/setup-node", "node-version", "node"),
    ("actions/setup-go", "go-version", "go"),
    ("actions/setup-java", "java-version", "java"),
    ("actions/setup-dotnet", "dotnet-version", "dotnet"),
    ("ruby/setup-ruby", "ruby-version", "ruby"),
    ("shivammathur/setup-php", "php-version", "php"),
    ("dtolnay/rust-toolchain", "toolchain", "rust"),
    ("actions-rust-lang/setup-rust-toolchain", "toolchain", "rust"),
];

/// Actions that are done here anyway, or save time there only.
const DONE: [&str; 3] = ["actions/checkout", "actions/cache", "Swatinem/rust-cache"];

pub(super) fn read(tree: &Tree) -> Vec<Foreign> {
    FILES.iter().filter_map(|file| Some(of(file, tree.text(file)?))).collect()
}

fn of(file: &str, text: &str) -> Foreign {
    let mut foreign = Foreign::of(file);
    let Some(workflow) = yaml::read(text) else {
        foreign.note("is no YAML that can be used (aliases are refused) and says nothing");
        return foreign;
    };
    let Some(job) = workflow.get("jobs").and_then(|jobs| jobs.get(JOB)) else {
        foreign.note(format!("has no job {JOB:?} and says nothing"));
        return foreign;
    };
    foreign.note("sets up for another agent");
    for level in [&workflow, job] {
        for (name, value) in level.get("env").and_then(Value::as_object).into_iter().flatten() {
            foreign.variable(name, value);
        }
    }
    if job.get("services").is_some() {
        foreign.note("its services are not started; put them into a start script");
    }
    for step in job.get("steps").and_then(Value::as_array).into_iter().flatten() {
        step_of(&mut foreign, step);
    }
    foreign
}

fn step_of(foreign: &mut Foreign, step: &Value) {
    if let Some(script) = step.get("run").and_then(Value::as_str) {
        if script.contains("${{") {
            return foreign
                .note(format!("a step has expressions of GitHub and is left out: {}", shown(script)));
        }
        if let Some(condition) = step.get("if").and_then(Value::as_str) {
            return foreign.note(format!("a step with a condition is left out: if {}", shown(condition)));
        }
        let directory = step.get("working-directory").and_then(Value::as_str);
        let script = script.trim_end();
        // Each step is a process of its own there, and ends at its first failure.
        let cd =
            directory.map(|at| format!("cd {}\n", shell::quoted(&format!("./{at}")))).unwrap_or_default();
        foreign.setup.push(format!("(\n{cd}{script}\n)"));
        return;
    }
    let Some(uses) = step.get("uses").and_then(Value::as_str) else { return };
    let (action, tag) = uses.split_once('@').unwrap_or((uses, ""));
    if let Some((_, key, tool)) = TOOLCHAINS.iter().find(|(known, ..)| *known == action) {
        let stated = step.get("with").and_then(|with| with.get(key)?.as_str());
        // This one's tag is the toolchain.
        let stated = stated.or(Some(tag).filter(|_| action == "dtolnay/rust-toolchain"));
        let version = stated.and_then(shell::version).unwrap_or_default();
        foreign.toolchains.insert((*tool).to_owned(), version.to_owned());
        foreign.note(format!("asks for {tool} {version}").trim_end().to_owned());
    } else if !DONE.contains(&action) {
        foreign.note(format!("the action {} cannot be run here", shown(uses)));
    }
}

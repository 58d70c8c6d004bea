//! `devcontainer.json` (containers.dev): image or build, features, the commands of its life, variables.

use serde_json::Value;

use super::{Foreign, jsonc, shown};
use crate::shell;
use crate::tree::Tree;

const FILES: [&str; 2] = [".devcontainer/devcontainer.json", ".devcontainer.json"];

/// The commands that prepare a container, in the order in which they run there.
const PREPARING: [&str; 3] = ["onCreateCommand", "updateContentCommand", "postCreateCommand"];

/// Features that are a toolchain, by the last part of their name.
const FEATURES: [(&str, &str); 9] = [
    ("python", "python"),
    ("node", "node"),
    ("rust", "rust"),
    ("go", "go"),
    ("java", "java"),
    ("ruby", "ruby"),
    ("php", "php"),
    ("dotnet", "dotnet"),
    ("deno", "deno"),
];

/// Keys that mean nothing outside an editor.
const OF_EDITORS: [&str; 12] = [
    "name",
    "$schema",
    "customizations",
    "extensions",
    "settings",
    "forwardPorts",
    "portsAttributes",
    "otherPortsAttributes",
    "postAttachCommand",
    "waitFor",
    "shutdownAction",
    "hostRequirements",
];

pub(super) fn read(tree: &Tree) -> Vec<Foreign> {
    FILES.iter().filter_map(|file| Some(of(file, tree.text(file)?))).collect()
}

fn of(file: &str, text: &str) -> Foreign {
    let mut foreign = Foreign::of(file);
    let Some(Value::Object(keys)) = jsonc::read(text) else {
        foreign.note("is no JSON and says nothing");
        return foreign;
    };
    for key in PREPARING {
        foreign.setup.extend(keys.get(key).into_iter().flat_map(lines));
    }
    foreign.start.extend(keys.get("postStartCommand").into_iter().flat_map(lines));
    if !foreign.setup.is_empty() {
        foreign.note("has commands that set the container up");
    }
    for (key, value) in &keys {
        key_of(&mut foreign, key, value);
    }
    foreign
}

fn key_of(foreign: &mut Foreign, key: &str, value: &Value) {
    match (key, value) {
        ("image", Value::String(image)) => {
            let image = shown(image);
            foreign.note(format!("wants the image {image}, which needs a container image for now: this machine's tools are used"));
            foreign.image = Some(image);
        }
        ("build" | "dockerFile" | "dockerfile", _) => {
            foreign.note("builds an image from a Dockerfile, which needs a container image for now: this machine's tools are used");
        }
        ("initializeCommand", _) => foreign.note("initializeCommand is refused: it would run on the host"),
        ("features", Value::Object(features)) => {
            for (name, options) in features {
                feature(foreign, name, options);
            }
        }
        ("containerEnv" | "remoteEnv", Value::Object(variables)) => {
            for (name, value) in variables {
                let text = value.as_str().unwrap_or_default();
                let inside = text
                    .replace("${containerWorkspaceFolder}", "/workspace")
                    .replace("${containerEnv:PATH}", "$PATH");
                if inside.contains("${") {
                    foreign.note(format!(
                        "the variable {} refers to something that is not known here and was left out",
                        shown(name)
                    ));
                } else if value.is_string() {
                    foreign.variable(name, &Value::String(inside));
                } else {
                    foreign.variable(name, value);
                }
            }
        }
        (key, _) if PREPARING.contains(&key) || key == "postStartCommand" || OF_EDITORS.contains(&key) => {}
        (key, _) => foreign.note(format!("the key {:?} is not supported", shown(key))),
    }
}

fn feature(foreign: &mut Foreign, name: &str, options: &Value) {
    let short = name.rsplit('/').next().unwrap_or(name).split(':').next().unwrap_or_default();
    let Some((_, tool)) = FEATURES.iter().find(|(known, _)| *known == short) else {
        return foreign.note(format!("the feature {} is not installed", shown(name)));
    };
    let stated = options.as_str().or_else(|| options.get("version")?.as_str());
    let version = stated.filter(|version| !matches!(*version, "latest" | "lts" | "stable" | "os-provided"));
    let version = version.and_then(shell::version).unwrap_or_default();
    foreign.toolchains.insert((*tool).to_owned(), version.to_owned());
    foreign.note(format!("asks for {tool} {version}").trim_end().to_owned());
}

/// A command: a line of shell, a list of words, or several of these by name, which run one after the other here.
fn lines(command: &Value) -> Vec<String> {
    match command {
        Value::String(line) if !line.trim().is_empty() => vec![line.clone()],
        Value::Array(words) => {
            let words: Vec<String> = words.iter().filter_map(Value::as_str).map(shell::quoted).collect();
            if words.is_empty() { Vec::new() } else { vec![words.join(" ")] }
        }
        Value::Object(named) => named.values().filter(|value| !value.is_object()).flat_map(lines).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

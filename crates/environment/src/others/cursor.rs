//! `.cursor/environment.json`: `install`, `start`, `terminals`, a snapshot or a Dockerfile.

use serde_json::Value;

use super::{Foreign, jsonc, shown};
use crate::tree::Tree;

const FILE: &str = ".cursor/environment.json";

pub(super) fn read(tree: &Tree) -> Vec<Foreign> {
    let Some(text) = tree.text(FILE) else { return Vec::new() };
    let mut foreign = Foreign::of(FILE);
    let Some(Value::Object(keys)) = jsonc::read(text) else {
        foreign.note("is no JSON and says nothing");
        return vec![foreign];
    };
    for (key, value) in &keys {
        match (key.as_str(), value) {
            ("install", Value::String(line)) => {
                foreign.note("installs for another agent");
                foreign.setup.push(line.clone());
            }
            ("start", Value::String(line)) => foreign.start.push(line.clone()),
            ("terminals", Value::Array(terminals)) => {
                let commands: Vec<&str> =
                    terminals.iter().filter_map(|terminal| terminal.get("command")?.as_str()).collect();
                foreign.note(format!(
                    "{} terminals are not opened; put what they run into a start script",
                    commands.len()
                ));
            }
            ("build", Value::Object(_)) => {
                foreign.note("builds an image from a Dockerfile, which needs a container image for now");
            }
            ("name" | "user" | "agentCanUpdateSnapshot", _) => {}
            ("snapshot", _) => foreign.note("its snapshot lies elsewhere and is not used"),
            (other, _) => foreign.note(format!("the key {:?} is not supported", shown(other))),
        }
    }
    vec![foreign]
}

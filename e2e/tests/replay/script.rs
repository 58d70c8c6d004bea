//! The script of the model that plays a fix: it plans, searches, reads, sees the tests fail, edits, sees them pass.

use anyhow::Result;
use serde_json::{Value, json};

use crate::case::{Case, EditTool};
use crate::change::{self, Edit};
use crate::legwork::DEPS_INSIDE;
use crate::tree::Tree;

/// How long a call waits for a test run: the most that the tool allows.
const WAIT_MS: u32 = 30_000;

/// Where the requests are written down, beside the script.
pub(crate) const LOG: &str = "requests.jsonl";

/// A script under way.
pub(crate) struct Script(Value);

impl Script {
    pub(crate) fn new(wire: &str, edit_tool: &str) -> Self {
        Self(json!({ "wire": wire, "edit_tool": edit_tool, "log": LOG, "turn": [] }))
    }

    /// One answer: what it thinks, what it says, what it calls. It wants `expect` in the request.
    pub(crate) fn turn(mut self, expect: &str, says: [&str; 2], calls: &[Value]) -> Self {
        let [reasoning, text] = says;
        let turn = json!({ "expect": expect, "reasoning": reasoning, "text": text, "calls": calls });
        if let Some(turns) = self.0["turn"].as_array_mut() {
            turns.push(turn);
        }
        self
    }

    /// The last word: `report`, and `claim` with the item that proves it. A script cannot quote what it was told, so
    /// there is an alternative for each item that the newest output may name; without one nothing is claimed.
    pub(crate) fn last_word(mut self, report: &str, claim: &str) -> Self {
        /// Far more than a replay has.
        const ITEMS_MAX: usize = 100;
        let citing = |item| json!({ "when": format!("Evidence: item_{item}\n"), "text": format!("{report} {claim} [item_{item}].") });
        let silent = json!({ "text": report });
        if let Some(turns) = self.0["turn"].as_array_mut() {
            turns.extend((1..=ITEMS_MAX).map(citing).chain([silent]));
        }
        self
    }

    pub(crate) fn to_toml(&self) -> Result<String> {
        Ok(toml::to_string(&self.0)?)
    }
}

/// The script that leads from `before` to `after`.
pub(crate) fn gold(case: &Case, before: &Tree, after: &Tree) -> Result<String> {
    let changed = before.differences(after);
    let focus = exec(&inside(&case.play.focus));
    let search = exec(&format!("grep -rnF -e '{}' {}", case.play.find, case.gold_paths.join(" ")));
    let read: Vec<Value> =
        changed.iter().filter(|path| before.get(path).is_some()).map(|path| read(case, path)).collect();
    let script = Script::new(&case.play.wire, case.play.edit_tool.name())
        .turn(&case.title, ["Where is it?", "I look for the place."], &[plan("in_progress"), search])
        .turn(
            &case.play.find,
            ["", "I read what may be wrong, and see the tests fail."],
            &[read, vec![focus.clone()]].concat(),
        )
        .turn("Process exited with code", ["So that is it.", ""], &edits(case, before, after)?)
        .turn("", ["", "Now the tests around it."], std::slice::from_ref(&focus))
        .turn(
            "Process exited with code 0",
            ["", "And all of them."],
            &[exec(&inside(&case.check)), plan("completed")],
        )
        .last_word(&format!("I changed {}.", changed.join(", ")), "All tests pass");
    script.to_toml()
}

impl EditTool {
    const fn name(self) -> &'static str {
        match self {
            Self::Freeform => "freeform",
            Self::ApplyPatch => "apply_patch",
            Self::EditFile => "edit_file",
        }
    }
}

/// A case's command as it runs in the sandbox.
pub(crate) fn inside(command: &str) -> String {
    command.replace("{deps}", DEPS_INSIDE)
}

/// A call of `exec_command`.
pub(crate) fn exec(command: &str) -> Value {
    json!({ "tool": "exec_command", "arguments": { "cmd": command, "yield_time_ms": WAIT_MS } })
}

/// A call of `update_plan`, whose second step is as far as `status`.
pub(crate) fn plan(status: &str) -> Value {
    let steps = json!([
        { "step": "Find the cause", "status": "completed" },
        { "step": "Fix it and run the tests", "status": status },
    ]);
    json!({ "tool": "update_plan", "arguments": { "plan": steps } })
}

fn read(case: &Case, path: &str) -> Value {
    match case.play.edit_tool {
        EditTool::EditFile => json!({ "tool": "read_file", "arguments": { "path": path } }),
        EditTool::Freeform | EditTool::ApplyPatch => exec(&format!("sed -n '1,400p' {path}")),
    }
}

fn edits(case: &Case, before: &Tree, after: &Tree) -> Result<Vec<Value>> {
    Ok(match case.play.edit_tool {
        EditTool::EditFile => change::edits(before, after)?.iter().map(call).collect(),
        EditTool::Freeform | EditTool::ApplyPatch => {
            vec![json!({ "tool": "apply_patch", "input": change::patch(before, after)? })]
        }
    })
}

fn call(edit: &Edit) -> Value {
    match edit {
        Edit::Replace { path, old, new } => {
            json!({ "tool": "edit_file", "arguments": { "path": path, "old_string": old, "new_string": new } })
        }
        Edit::Write { path, content } => {
            json!({ "tool": "write_file", "arguments": { "path": path, "content": content } })
        }
        Edit::Delete { path } => exec(&format!("rm -- {path}")),
    }
}

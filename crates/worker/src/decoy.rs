//! The decoy of a task: a text in its sandboxes that looks like a secret and is none. Whoever takes it anywhere has looked for
//! secrets, and the task ends.
//!
//! It is looked for in all that leaves a sandbox: what its proxy is told (egress), what commands print (log), what the model says and
//! is told (message), and the patch. What a tool reads for the model counts too, since that goes to the model's provider and into the
//! log. A file of the sandbox that holds it is nobody's business until it is taken out of there.

use std::path::Path;
use std::sync::Arc;

use legwork_agent::Watch;
use legwork_domain::{Assignment, EventKind, Item, ItemBody};
use legwork_egress::Tripwire;
use legwork_git::patch::path_at;

use crate::network::Salt;

/// Decoys that a task may use up. Each takes an alarm and a person who goes on all the same.
const DECOYS_MAX: u32 = 64;

/// A decoy, and whether it was touched.
pub(crate) struct Decoy {
    text: String,
    tripwire: Arc<Tripwire>,
}

impl Decoy {
    /// The one of a task: the same in all its sandboxes and from turn to turn. One that the model or a person has been told of already
    /// tells nothing any more; the next one takes its place.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn of(data: &Path, assignment: &Assignment) -> Result<Arc<Self>, String> {
        let failed = |error: &dyn std::fmt::Display| format!("The task's decoy could not be made: {error}");
        let salt = Salt::of(data).map_err(|error| failed(&error))?;
        let Assignment { task, turn, history, messages, .. } = assignment;
        let told = serde_json::to_vec(&(history, messages, &turn.input, &task.request.prompt));
        let told = told.map_err(|error| failed(&error))?;
        let mut decoys = (0..DECOYS_MAX).map(|number| Self::new(&salt, &format!("{}\n{number}", task.id)));
        let fresh =
            decoys.find(|decoy| decoy.as_ref().is_ok_and(|decoy| decoy.tripwire.find(&told).is_none()));
        fresh
            .unwrap_or_else(|| Err("all decoys of the task were used up".to_owned()))
            .map_err(|error| failed(&error))
    }

    /// One for a purpose.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn new(salt: &Salt, purpose: &str) -> Result<Arc<Self>, String> {
        let text = salt.text("deploy", &format!("decoy\n{purpose}"));
        let tripwire = Tripwire::new(&text).map_err(|error| error.to_string())?;
        Ok(Arc::new(Self { text, tripwire }))
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) const fn tripwire(&self) -> &Arc<Tripwire> {
        &self.tripwire
    }

    /// Whether it is in a patch: in what it adds, however that is broken into lines, or in the name of a file.
    pub(crate) fn is_in_patch(&self, patch: &[u8]) -> bool {
        let place = |at: u64| {
            path_at(patch, at).map_or_else(|| "the patch".to_owned(), |path| format!("the patch, in {path}"))
        };
        if let Some(at) = self.tripwire.find(patch) {
            return self.tripwire.looks_at(patch, place(at));
        }
        let (mut watch, mut at) = (self.tripwire.watch(), 0);
        for line in patch.split_inclusive(|byte| *byte == b'\n') {
            if line.strip_prefix(b"+").is_some_and(|added| watch.looks_at(added, Lazy(|| place(at)))) {
                return true;
            }
            at += line.len() as u64;
        }
        false
    }
}

/// A text that is made only if it is needed.
struct Lazy<F>(F);

impl<F: Fn() -> String> std::fmt::Display for Lazy<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0())
    }
}

impl Watch for Decoy {
    fn sees(&self, event: &EventKind) {
        // Its own JSON: every text of it as it is, and nothing that is added later is forgotten here.
        if let Ok(json) = serde_json::to_vec(event) {
            self.tripwire.looks_at(&json, Lazy(|| place(event)));
        }
    }
}

/// Where an event stands, for people.
fn place(event: &EventKind) -> String {
    match event {
        EventKind::ItemStarted { item } | EventKind::ItemCompleted { item } => place_of(item),
        EventKind::ItemUpdated { item, .. } => format!("a message, in item {item}"),
        EventKind::Context { .. } => "a message, in what the model said or was told".to_owned(),
        EventKind::Connection { connection, .. } => format!("egress, to {}", connection.place()),
        EventKind::State { .. }
        | EventKind::Base { .. }
        | EventKind::Usage { .. }
        | EventKind::Snapshot { .. }
        | EventKind::Patch { .. }
        | EventKind::Verdict { .. }
        | EventKind::Artifact { .. } => "the log".to_owned(),
    }
}

fn place_of(item: &Item) -> String {
    let id = item.id;
    match &item.body {
        ItemBody::Command(run) if run.output.is_empty() => {
            format!("a message, in the command line of item {id}")
        }
        ItemBody::Command(_) | ItemBody::Notice { .. } => format!("the log, in item {id}"),
        ItemBody::FileChange { .. } => format!("a message, in the change of files of item {id}"),
        ItemBody::ToolCall { name, .. } => format!("a message, in the call of {name} of item {id}"),
        ItemBody::Message { .. }
        | ItemBody::Reasoning { .. }
        | ItemBody::Plan { .. }
        | ItemBody::Instructions { .. }
        | ItemBody::Question { .. }
        | ItemBody::Approval { .. } => format!("a message, in item {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoy() -> Arc<Decoy> {
        let data = tempfile::tempdir().unwrap();
        Decoy::new(&Salt::of(data.path()).unwrap(), "a task").unwrap()
    }

    fn patch(lines: &str) -> String {
        format!(
            "diff --git a/src/x.txt b/src/x.txt\nnew file mode 100644\n--- /dev/null\n+++ b/src/x.txt\n@@ -0,0 +1,2 @@\n{lines}"
        )
    }

    #[test]
    fn a_patch_names_the_file_that_holds_it() {
        let whole = decoy();
        assert!(!whole.is_in_patch(patch("+nothing\n").as_bytes()));
        assert!(whole.is_in_patch(patch(&format!("+key = {}\n", whole.text())).as_bytes()));
        assert_eq!(whole.tripwire().place(), Some("the patch, in src/x.txt"));
        let broken = decoy();
        let (start, end) = broken.text().split_at(20);
        assert!(broken.is_in_patch(patch(&format!("+{start}\n+{end}\n")).as_bytes()));
        assert_eq!(broken.tripwire().place(), Some("the patch, in src/x.txt"));
    }
}

//! The same turn over each wire format: real HTTP on loopback, with a scripted endpoint that checks requests as
//! strictly as the vendors' servers do.

use legwork_agent::Stop;
use legwork_domain::ItemBody;
use legwork_model::{Catalog, Settings};

use crate::world::Scene;

const SCRIPT: &str = r#"
wire = "WIRE"
edit_tool = "EDIT"

[[turn]]
expect = ["Be kind.", "do it"]
reasoning = "Look first."
text = "I look at the file."
calls = [{ tool = "exec_command", arguments = { cmd = "cat n" } }, { tool = "exec_command", arguments = { cmd = "ls" } }]
faults = [{ kind = "status", status = 429, retry_after = "0" }, { kind = "cut", at = "text" }]

[[turn]]
expect = "Process exited with code 0"
reasoning = "Now edit."
calls = [
  { tool = "apply_patch", input = "*** Begin Patch\n*** Update File: n\n@@\n-1\n+2\n*** End Patch" },
  { tool = "exec_command", arguments = { cmd = "test 2 = $(cat n)" } },
]
faults = [{ kind = "cut", at = "arguments" }]

[[turn]]
expect = "Success. Updated the following files:"
calls = [{ tool = "exec_command", arguments = "{\"cmd\": " }, { tool = "made_up", arguments = {} }]

[[turn]]
expect = ["are not valid", "There is no tool"]
text = "Done, the check passes."
"#;

async fn fixed_over(wire: &str, edit_tool: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("script.toml");
    std::fs::write(&file, SCRIPT.replace("WIRE", wire).replace("EDIT", edit_tool)).unwrap();
    let catalog = Catalog::new(Settings::default()).unwrap();
    let mut scene = Scene::new(&[("n", "1\n"), ("AGENTS.md", "Be kind.\n")], Vec::new());
    scene.job.model = catalog.open(&format!("scripted/{}", file.display())).await.unwrap();
    let folder = scene.folder.clone();
    let played = scene.play().await;
    assert!(
        matches!(&played.report.stop, Stop::EndTurn { answer } if answer == "Done, the check passes."),
        "{:?}\n{}",
        played.report.stop,
        played.told()
    );
    assert_eq!(folder.text("n"), "2\n");
    played.assert_items_whole();
    played.assert_calls_answered();
    let edits = played.items().into_iter().filter(|item| matches!(item.body, ItemBody::FileChange { .. }));
    assert_eq!(edits.count(), 1, "{}", played.told());
}

#[tokio::test]
async fn a_bug_is_fixed_over_responses() {
    fixed_over("responses", "freeform").await;
}

#[tokio::test]
async fn a_bug_is_fixed_over_chat() {
    fixed_over("chat", "apply_patch").await;
}

#[tokio::test]
async fn a_bug_is_fixed_over_messages() {
    fixed_over("messages", "apply_patch").await;
}

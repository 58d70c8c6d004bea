use serde_json::Value;

use crate::repo::{FIX, with_a_bug};
use crate::script::{Fault, Script};
use crate::world::World;

/// Every line of standard output keeps to the committed schema: of a whole run with a retry, a plan, an edit and checks,
/// and of the same read back.
#[test]
fn each_line_is_an_event_of_the_schema() {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../schema/events.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let plan = serde_json::json!({"plan": [{"step": "mend it", "status": "in_progress"}]});
    let script = Script::new()
        .fault(Fault::ServerError)
        .calls("update_plan", &plan)
        .exec("sh test.sh")
        .calls("no_such_tool", &Value::Null)
        .patch(FIX)
        .exec("sh test.sh")
        .says("All tests pass.");

    let run = world.run(&repo, &script, &["--check", "sh test.sh", "Make add.sh add"]);
    let logs = world.legwork_says(&["task", "logs", "--json"]);

    run.exits(0);
    assert_eq!(logs.exits(0).stdout, run.stdout, "the log that is kept is what was shown");
    assert!(run.events.len() > 10);
    for line in run.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let errors: Vec<String> = validator.iter_errors(&event).map(|error| error.to_string()).collect();
        assert_eq!(errors, Vec::<String>::new(), "{line}");
    }
}

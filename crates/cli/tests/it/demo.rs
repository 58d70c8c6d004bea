use legwork_domain::{Event, EventKind, Judgement};

use crate::world::World;

#[test]
fn the_demo_shows_a_whole_task() {
    let world = World::new();
    let run = world.run(&["demo"]).ended(0);
    for text in [
        "sh tests/run.sh  ✗ exit 1",
        "edit bin/shelf",
        "proven    All tests pass",
        "+pages=$(((total + size - 1) / size))",
        "fixed   base exit 1",
        "The model was scripted",
        "legwork task apply task_",
    ] {
        assert!(run.out.contains(text), "{text:?} is missing in\n{}", run.out);
    }
    assert!(!run.out.contains('\x1b'), "colour in a pipe");
    let list = world.run(&["task", "ls"]).ended(0);
    assert!(list.out.contains("Done") && list.out.contains("fixed"), "{}", list.out);
    world.run(&["task", "apply"]).ended(0);
    world.run(&["task", "apply"]).ended(1);
}

#[test]
fn as_json_each_line_is_an_event() {
    let world = World::new();
    let run = world.run(&["demo", "--json"]).ended(0);
    let mut seq = 0;
    let mut judged = Vec::new();
    for line in run.out.lines() {
        let event: Event = serde_json::from_str(line).unwrap();
        seq += 1;
        assert_eq!(event.seq, seq);
        // Exactly the domain's JSON: nothing beside it, nothing lost.
        let raw: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(serde_json::to_value(&event).unwrap(), raw);
        if let EventKind::Verdict { verdict, .. } = event.kind {
            judged.push(verdict.judgement);
        }
    }
    assert_eq!(judged, [Judgement::Fixed]);
    assert!(run.err.contains("Done"), "{}", run.err);
}

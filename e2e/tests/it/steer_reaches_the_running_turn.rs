use crate::repo::with_a_bug;
use crate::script::Script;
use crate::world::World;

#[test]
fn a_word_to_a_running_turn_is_in_its_next_request_and_is_heard_once() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let _up = world.serve(&["up"]);
    let script = Script::new().exec("sleep 3").says("Short.").expects("and keep it short");
    let id = world.hand_over(&repo, &script, &["--ask", "Explain add.sh"]);
    let mut watched = world.legwork_starts(&["task", "watch", "--json", &id]);
    watched.wait_for(|event| event["kind"] == "item_started" && event["item"]["type"] == "command");

    let sent = world.legwork_says(&["task", "send", "--json", &id, "and keep it short"]);
    assert_eq!(sent.exits(0).events[0]["message"], "steer", "{}", sent.stdout);
    let seen = watched.end();

    seen.exits(0);
    assert_eq!(seen.ends().len(), 1, "the same turn heard it");
    let heard = seen.items("message").into_iter().filter(|item| item["text"] == "and keep it short").count();
    assert_eq!(heard, 1);
}

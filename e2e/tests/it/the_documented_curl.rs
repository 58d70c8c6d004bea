use std::process::Command;

use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::service::examples;
use crate::world::World;

#[test]
fn the_examples_of_the_api_run_to_the_letter() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let up = world.serve(&["up"]);
    let [_, model] = world.model(&Script::new().exec("sh test.sh").patch(FIX).says("Changed the sign."));

    let mut shell = Command::new("sh");
    shell.arg("-euc").arg(examples().join("\n")).current_dir(world.path("home"));
    let outcome = world.end_with(
        shell,
        &[
            ("LEGWORK_SERVER", up.url.as_ref()),
            ("LEGWORK_TOKEN", world.own_token().as_ref()),
            ("LEGWORK_MODEL", model.as_ref()),
            ("REPOSITORY", repo.path().as_ref()),
        ],
    );

    outcome.exits(0);
    let read = |name: &str| std::fs::read_to_string(world.path("home").join(name)).unwrap();
    let events = read("events.txt");
    assert!(events.starts_with("id: 1\n") && events.trim_end().ends_with("event: end\ndata: {}"), "{events}");
    let (_, after_three) = events.split_once("id: 4\n").unwrap();
    assert!(read("rest.txt").contains(after_three.lines().next().unwrap()), "it goes on where it was cut");
    repo.apply(&world.path("home/change.patch"));
    assert!(repo.read("add.sh").contains("$1 + $2"));
}

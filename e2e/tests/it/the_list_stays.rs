use std::process::{Command, Stdio};

use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::world::{Running, World};

#[test]
fn a_list_for_programs_tells_each_change_across_a_restart_of_the_server() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let port = crate::service::free_port().to_string();
    let listen = ["up", "--json", "--listen", &format!("127.0.0.1:{port}")].map(str::to_owned);
    let start = || {
        let mut up = world.legwork();
        up.args(&listen);
        crate::service::Service::start(up)
    };
    let up = start();
    let script = Script::new().patch(FIX).says("Changed the sign.");
    let first = world.hand_over(&repo, &script, &["The first"]);
    world.legwork_says(&["task", "wait", &first]).exits(0);

    let mut list = world.legwork_starts(&["task", "ls", "--watch", "--json"]);
    list.wait_for(|line| line["change"] == "task" && line["row"]["id"] == first.as_str());
    up.kill();
    let _up = start();
    let second = world.hand_over(&repo, &script, &["The second"]);
    list.wait_for(|line| line["row"]["id"] == second.as_str() && line["row"]["state"] == "succeeded");
    world.legwork_says(&["task", "rm", "--yes", &first]).exits(0);
    list.wait_for(|line| line["change"] == "gone" && line["task"] == first.as_str());
    list.interrupt();
    list.end().exits(0);
}

#[test]
fn a_list_for_a_person_is_drawn_anew() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let _up = world.serve(&["up"]);
    let no_terminal = world.legwork_says(&["task", "ls", "--watch"]);
    assert!(no_terminal.exits(2).stderr.contains("needs a terminal"), "{}", no_terminal.stderr);

    // A terminal by script(1), which writes what is drawn there to its standard output.
    let mut inner = world.legwork();
    let program = inner.get_program().to_str().unwrap().to_owned();
    let mut terminal = Command::new("script");
    terminal.args(["-qefc", &format!("{program} task ls --watch"), "/dev/null"]);
    for (name, value) in inner.env("TERM", "xterm").get_envs() {
        match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    let mut list = Running::spawn_reading(terminal, Stdio::null());
    list.wait_for_text("no tasks yet");
    world.hand_over(&repo, &Script::new().patch(FIX).says("Changed the sign."), &["Of much interest"]);
    // The last drawing: its row has the state before the title.
    list.wait_for_text("Done");
    list.wait_for_text("Of much interest");
    list.terminate();
    list.end();
}

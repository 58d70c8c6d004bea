use crate::world::World;

#[test]
fn sigterm_ends_it_with_success() {
    let world = World::new();
    let up = world.serve(&["up"]);
    up.terminate();
    let outcome = up.end();
    outcome.exits(0);
    assert!(outcome.stderr.contains("Stopping"), "{}", outcome.stderr);
}

#[test]
fn one_server_sits_on_a_data_directory() {
    let world = World::new();
    let first = world.serve(&["up"]);
    for second in ["up", "server"] {
        let refused = world.legwork_says(&[second, "--listen", "127.0.0.1:0"]);
        refused.exits(1);
        assert!(
            refused.stderr.contains(&first.url) && refused.stderr.contains("LEGWORK_HOME"),
            "{}",
            refused.stderr
        );
    }
    first.kill();
    // The dead leave the seat free, whatever their file says.
    world.serve(&["server"]);
}

#[test]
fn it_does_not_listen_in_the_open_unless_told() {
    let world = World::new();
    for verb in ["up", "server"] {
        let refused = world.legwork_says(&[verb, "--listen", "0.0.0.0:0"]);
        refused.exits(2);
        assert!(
            refused.stderr.contains("--behind-proxy") && refused.stderr.contains("plain HTTP"),
            "{}",
            refused.stderr
        );
    }
    assert!(!world.path("home/data/server.json").exists(), "nothing was started");
}

#[test]
fn a_port_that_is_taken_is_told_with_the_way_out() {
    let world = World::new();
    let other = World::new();
    let up = other.serve(&["server"]);
    let taken = up.url.trim_start_matches("http://");
    let refused = world.legwork_says(&["server", "--listen", taken]);
    refused.exits(1);
    assert!(refused.stderr.contains("--listen 127.0.0.1:0"), "{}", refused.stderr);
}

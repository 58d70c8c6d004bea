use crate::postgres::Cluster;
use crate::service::Service;
use crate::world::{Running, World};

#[test]
fn a_server_waits_for_a_postgres_that_is_about_to_start() {
    let world = World::new();
    let mut database = Cluster::new("later");
    database.stop_at_once();
    let mut command = world.legwork();
    command.args(["server", "--listen", "127.0.0.1:0", "--json"]).env("LEGWORK_DATABASE", database.url());
    let starting = std::thread::spawn(|| Service::start(command));
    while !world.path("home/data/server.json").exists() {
        std::thread::yield_now();
    }
    database.start();
    let server = starting.join().unwrap();
    world.legwork_says(&["task", "ls"]).exits(0);
    server.terminate();
    server.end().exits(0);
}

#[test]
fn a_server_says_at_once_what_no_patience_mends() {
    let world = World::new();
    let database = Cluster::new("refused");
    let mut command = world.legwork();
    let url = database.url().replace("/postgres?", "/nothing_here?");
    command.args(["server", "--listen", "127.0.0.1:0"]).env("LEGWORK_DATABASE", url);
    let refused = Running::spawn(command).end();
    refused.exits(1);
    assert!(refused.stderr.contains("nothing_here"), "{}", refused.stderr);
}

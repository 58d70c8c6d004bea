use crate::postgres::Cluster;
use crate::service::Service;
use crate::world::{Outcome, World};

fn says_where(outcome: &Outcome, user: &str) {
    outcome.exits(2);
    let named = outcome.stderr.contains("postgres") && outcome.stderr.contains("LEGWORK_DATABASE=");
    assert!(named && outcome.stderr.contains(user), "{}", outcome.stderr);
}

/// A command that looked into the data directory's own file would find no task there, and back up and approve nothing.
#[test]
fn a_command_does_not_take_another_database_for_the_servers() {
    let world = World::new();
    let database = Cluster::new("elsewhere");
    let mut command = world.legwork();
    command.args(["server", "--listen", "127.0.0.1:0", "--json"]).env("LEGWORK_DATABASE", database.url());
    let server = Service::start(command);
    let kept = std::fs::read_to_string(world.path("home/data/server.json")).unwrap();
    assert!(kept.contains("\"database\":\"postgres"), "{kept}");
    let backup = world.path("backup");

    let refused = ["task ls", "doctor --deep", &format!("admin backup {}", backup.display())]
        .map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    world.legwork_says(&["task", "ls"]).exits(0);
    for line in &refused[1..] {
        says_where(&world.legwork_says(&line.iter().map(String::as_str).collect::<Vec<_>>()), "postgres");
    }
    server.terminate();
    server.end().exits(0);
    for line in &refused {
        says_where(&world.legwork_says(&line.iter().map(String::as_str).collect::<Vec<_>>()), "postgres");
    }
    assert!(!world.path("home/data/legwork.db").exists() && !backup.exists());

    for line in [["task", "ls"], ["doctor", "--deep"]] {
        let mut named = world.legwork();
        named.args(line);
        world.end_with(named, &[("LEGWORK_DATABASE", database.url().as_ref())]).exits(0);
    }
    assert!(!world.path("home/data/legwork.db").exists());
}

/// Neither a file nor a schema: what is read must be there.
#[test]
fn nothing_is_made_to_be_backed_up_or_looked_at() {
    let world = World::new();
    let database = Cluster::new("empty");
    let backup = world.path("backup");
    std::fs::create_dir_all(world.path("home/data")).unwrap();
    let absent = world.legwork_says(&["admin", "backup", backup.to_str().unwrap()]);
    absent.exits(1);
    assert!(absent.stderr.contains("no database"), "{}", absent.stderr);
    world.legwork_says(&["doctor", "--deep"]).exits(1);
    assert!(!world.path("home/data/legwork.db").exists() && !backup.exists());

    for _ in 0..2 {
        let mut deep = world.legwork();
        deep.args(["doctor", "--deep"]);
        let absent = world.end_with(deep, &[("LEGWORK_DATABASE", database.url().as_ref())]);
        absent.exits(1);
        assert!(absent.stderr.contains("no database"), "{}", absent.stderr);
    }
}

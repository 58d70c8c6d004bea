use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;

use crate::world::{Running, World};

#[test]
fn a_login_is_used_by_every_command_until_it_is_forgotten() {
    let (machine, laptop) = (World::new(), World::new());
    let server = machine.serve(&["server"]);
    let file = laptop.path("token");
    std::fs::write(&file, machine.own_token()).unwrap();

    let mut login = laptop.legwork();
    login.args(["login", &server.url]);
    Running::spawn_reading(login, File::open(&file).unwrap()).end().exits(0);
    let kept = laptop.path("home/.config/legwork/servers.json");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);

    laptop.legwork_says(&["task", "ls", "--json"]).exits(0);
    assert!(
        !laptop.path("home/data").exists(),
        "the command used the server, not a data directory of its own"
    );

    laptop.legwork_says(&["logout"]).exits(0);
    laptop.legwork_says(&["logout"]).exits(2);
    let refused = laptop.legwork_says(&["task", "ls", "--server", &server.url]);
    refused.exits(2);
    assert!(refused.stderr.contains(&format!("legwork login {}", server.url)), "{}", refused.stderr);
}

#[test]
fn a_wrong_token_is_not_kept() {
    let (machine, laptop) = (World::new(), World::new());
    let server = machine.serve(&["server"]);
    let file = laptop.path("token");
    std::fs::write(&file, "wrong\n").unwrap();
    let mut login = laptop.legwork();
    login.args(["login", &server.url]);
    let refused = Running::spawn_reading(login, File::open(&file).unwrap()).end();
    refused.exits(1);
    assert!(refused.stderr.contains("does not take this token"), "{}", refused.stderr);
    assert!(!laptop.path("home/.config/legwork/servers.json").exists());
}

#[test]
fn a_token_does_not_cross_the_network_in_the_open() {
    let laptop = World::new();
    let refused = laptop.legwork_says(&["login", "http://legwork.example"]);
    refused.exits(2);
    assert!(refused.stderr.contains("https"), "{}", refused.stderr);
}

#[test]
fn a_path_of_this_machine_means_nothing_to_a_server_elsewhere() {
    let laptop = World::new();
    let repo = crate::repo::with_a_bug(laptop.repo("project"));
    repo.git(&["remote", "add", "origin", "https://git.example/me/project"]);
    let mut command = laptop.legwork();
    command.env("LEGWORK_TOKEN", "t").current_dir(repo.path());
    command.args(["run", "--server", "https://legwork.example", "--model", "openai/gpt-5", "Fix it"]);
    let refused = Running::spawn(command).end();
    refused.exits(2);
    assert!(
        refused.stderr.contains("--repo https://git.example/me/project")
            && refused.stderr.contains("--server none"),
        "{}",
        refused.stderr
    );
}

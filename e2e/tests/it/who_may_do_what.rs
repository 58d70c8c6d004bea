use crate::repo::{FIX, with_a_bug};
use crate::script::Script;
use crate::world::{Outcome, Running, World};

#[test]
fn a_server_and_a_worker_apart_do_a_task() {
    let (machine, rack) = (World::new(), World::new());
    let repo = with_a_bug(machine.repo("project"));
    let server = machine.serve(&["server"]);
    let token = machine.legwork_says(&["token", "new", "rack", "--worker"]);
    std::fs::write(rack.path("token"), &token.exits(0).stdout).unwrap();
    let id =
        machine.hand_over(&repo, &Script::new().patch(FIX).says("Changed the sign."), &["Make add.sh add"]);

    let mut command = rack.legwork();
    command.args(["worker", "--server", &server.url, "--slots", "1", "--token-file"]).arg(rack.path("token"));
    rack.allows_local_repositories(&machine);
    let worker = Running::spawn(command);
    machine.legwork_says(&["task", "wait", &id]).exits(0);
    worker.terminate();
    worker.end().exits(0);
    assert!(machine.legwork_says(&["task", "diff", &id]).stdout.contains("+echo $(($1 + $2))"));
}

/// What a worker apart says to a task that names something of its machine.
fn refusal(settings: impl FnOnce(&World)) -> String {
    let machine = World::new();
    let repo = with_a_bug(machine.repo("project"));
    let server = machine.serve(&["server"]);
    let token = machine.legwork_says(&["token", "new", "rack", "--worker"]);
    std::fs::write(machine.path("token"), &token.exits(0).stdout).unwrap();
    let id = machine.hand_over(&repo, &Script::new().says("Never said."), &["--ask", "Explain add.sh"]);

    settings(&machine);
    let mut command = machine.legwork();
    command.args(["worker", "--server", &server.url, "--token-file"]).arg(machine.path("token"));
    let worker = Running::spawn(command);
    let refused = machine.legwork_says(&["task", "wait", &id]);
    worker.terminate();
    worker.end().exits(0);
    refused.exits(1).stdout.clone()
}

#[test]
fn a_worker_apart_plays_no_file_of_its_machine_unless_it_is_allowed() {
    let said = refusal(|_| ());
    assert!(said.contains("`scripts` under [worker]"), "{said}");
}

#[test]
fn a_worker_apart_takes_no_path_of_its_machine_unless_it_is_allowed() {
    let said = refusal(|machine| {
        let settings = machine.path("home/.config/legwork");
        std::fs::create_dir_all(&settings).unwrap();
        let scripts = format!("[worker]\nscripts = [{:?}]\n", machine.path(""));
        std::fs::write(settings.join("config.toml"), scripts).unwrap();
    });
    assert!(said.contains("local_repositories"), "{said}");
}

#[test]
fn a_worker_with_a_wrong_token_ends_and_says_why() {
    let machine = World::new();
    let server = machine.serve(&["server"]);
    let mut command = machine.legwork();
    command.args(["worker", "--server", &server.url]).env("LEGWORK_WORKER_TOKEN", "wrong");
    let refused = Running::spawn(command).end();
    refused.exits(1);
    assert!(refused.stderr.contains("refuses this worker"), "{}", refused.stderr);
    assert!(refused.stderr.contains("legwork token new NAME --worker"), "{}", refused.stderr);
}

#[test]
fn a_viewer_sees_and_cannot_act_and_a_revoked_token_opens_nothing() {
    let machine = World::new();
    let repo = with_a_bug(machine.repo("project"));
    let server = machine.serve(&["server"]);
    let id = machine.hand_over(&repo, &Script::new().says("Never asked."), &["Look"]);
    machine.legwork_says(&["user", "new", "ada", "--role", "runner"]).exits(0);
    let token = machine.legwork_says(&["token", "new", "read", "--user", "ada", "--role", "viewer"]).stdout;
    let as_ada = |arguments: &[&str]| -> Outcome {
        let mut command = machine.legwork();
        command.args(arguments).args(["--server", &server.url]).env("LEGWORK_TOKEN", token.trim());
        Running::spawn(command).end()
    };

    assert!(as_ada(&["user", "me"]).exits(0).stdout.contains("runner on everything"));
    as_ada(&["task", "show", &id]).exits(0);
    let refused = as_ada(&["task", "cancel", &id]);
    refused.exits(1);
    assert!(refused.stderr.contains("runner"), "it says what one would have to be: {}", refused.stderr);

    let list = machine.legwork_says(&["token", "ls", "--user", "ada", "--json"]);
    let made = list.exits(0).events[0]["id"].as_str().unwrap();
    machine.legwork_says(&["token", "revoke", made]).exits(0);
    as_ada(&["task", "show", &id]).exits(1);
    machine.legwork_says(&["admin", "audit", "verify"]).exits(0);
    assert!(machine.legwork_says(&["admin", "audit", "ls"]).stdout.contains("token.revoke"));
}

#[test]
fn a_program_with_an_outsiders_token_hands_over_outsiders_tasks_alone() {
    let machine = World::new();
    let repo = with_a_bug(machine.repo("project"));
    let server = machine.serve(&["server"]);
    let path = repo.path().to_str().unwrap();
    let token = ["token", "new", "bot", "--outsider"];
    machine.legwork_says(&[&token[..], &["--role", "maintainer"]].concat()).exits(1);
    let token = machine.legwork_says(&token).exits(0).stdout.clone();
    let as_bot = |arguments: &[&str]| -> Outcome {
        let mut command = machine.legwork();
        command.args(arguments).args(["--server", &server.url]).env("LEGWORK_TOKEN", token.trim());
        // The program asks for one before it hands a task over; no worker runs this one.
        command.env("OPENAI_API_KEY", "none");
        Running::spawn(command).end()
    };
    let is_an_outsiders = |id: &str| {
        machine.legwork_says(&["task", "show", id]).exits(0).stdout.contains("an outsider: no secrets")
    };

    let made =
        as_bot(&["task", "new", "--json", "--repo", path, "--model", "openai/none", "Do as the issue says"]);
    assert!(is_an_outsiders(made.exits(0).events[0]["task"]["id"].as_str().unwrap()));
    let members = machine.hand_over(&repo, &Script::new().says("Never asked."), &["Look"]);
    assert!(!is_an_outsiders(&members));
    as_bot(&["task", "send", "--queue", &members, "A stranger says more"]).exits(0);
    assert!(is_an_outsiders(&members));

    as_bot(&["token", "new", "more"]).exits(1);
    std::fs::write(machine.path("recipe.toml"), "setup = 'true'\n").unwrap();
    let recipe = machine.path("recipe.toml");
    let kept = ["env", "set", "own", "--personal", "--repo", path, "--file", recipe.to_str().unwrap()];
    as_bot(&kept).exits(1);
    machine.legwork_says(&kept).exits(0);
    let listed = machine.legwork_says(&["token", "ls"]).exits(0).stdout.clone();
    assert!(listed.contains("runner, for outsiders"), "{listed}");
}

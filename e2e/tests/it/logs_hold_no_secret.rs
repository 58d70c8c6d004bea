use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use crate::repo::with_a_bug;
use crate::service::Service;
use crate::world::{Running, World};

/// What is secret here. Small letters, since all of them stand in hosts, which logs of HTTP tell.
const RECIPE: &str = "canary-recipe-71c2";
const SERVER_TOKEN: &str = "canary-server-token-90ab12";
const MODEL_KEY: &str = "canary-model-key-33fe";

/// A host that nobody has, with a secret in it. Whoever calls it writes it to the log first.
fn host(secret: &str) -> String {
    format!("http://{secret}.invalid:1")
}

/// `legwork server` that logs all that it can, opened by the canary.
fn server(world: &World) -> Service {
    let token = world.path("home/token");
    std::fs::write(&token, SERVER_TOKEN).unwrap();
    let mut command = world.legwork();
    command.args(["server", "--listen", "127.0.0.1:0", "--json", "--token-file"]).arg(token);
    command.env("LEGWORK_LOG", "trace");
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", host(&format!("{RECIPE}.{SERVER_TOKEN}")))
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    Service::start(command)
}

/// `legwork worker` that logs all that it can, with a model whose address has its key.
fn worker(rack: &World, url: &str, token: &str) -> Running {
    let config = rack.path("home/worker.toml");
    let provider = format!(
        "[providers.mine]\nwire = \"chat\"\nbase_url = \"{}/v1\"\napi_key_env = \"MINE_KEY\"\n",
        host(MODEL_KEY)
    );
    let local = format!("[worker]\nlocal_repositories = [{0:?}]\nscripts = [{0:?}]\n", rack.path(""));
    std::fs::write(&config, provider + &local).unwrap();
    let mut command = rack.legwork();
    command.args(["worker", "--server", url, "--slots", "1"]).env("LEGWORK_WORKER_TOKEN", token);
    command.env("LEGWORK_HOME", rack.path("home/rack"));
    command.env("LEGWORK_CONFIG", config).env("LEGWORK_LOG", "trace").env("MINE_KEY", MODEL_KEY);
    Running::spawn(command)
}

/// Stores the canary as a secret of the repository's recipe.
fn keep_it(world: &World, repo: &str) {
    world.legwork_says(&["admin", "repository", repo]).exits(0);
    for (arguments, text) in [
        (["env", "set", "main", "--repo", repo].as_slice(), ""),
        (&["env", "secret", "main", "TOKEN", "--repo", repo], RECIPE),
    ] {
        let mut command = world.legwork();
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }
}

/// Commands know that there is such a provider, and no more of it.
fn names_the_provider(world: &World) {
    let settings = world.path("home/.config/legwork");
    std::fs::create_dir_all(&settings).unwrap();
    let provider = "[providers.mine]\nwire = \"chat\"\nbase_url = \"http://127.0.0.1:1/v1\"\n";
    std::fs::write(settings.join("config.toml"), provider).unwrap();
}

/// Waits until a command's JSON says so.
fn until(world: &World, arguments: &[&str], so: impl Fn(&Value) -> bool) {
    while !world.legwork_says(arguments).exits(0).events.iter().any(&so) {}
}

#[test]
fn what_the_server_and_the_worker_log_of_their_calls_has_no_secret() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    names_the_provider(&world);
    let first = world.serve(&["server"]);
    keep_it(&world, repo.path().to_str().unwrap());
    first.terminate();
    first.end().exits(0);
    let server = server(&world);
    let hook =
        world.legwork_says(&["admin", "webhook", "add", "http://127.0.0.1:1/", "--json"]).exits(0).events[0]
            .clone();
    let made = world.legwork_says(&["token", "new", "rack", "--worker"]).exits(0).stdout.clone();
    let token = made.trim();

    let worker = worker(&world, &server.url, token);
    let arguments =
        ["task", "new", "--json", "--model", "mine/m", "--repo", repo.path().to_str().unwrap(), "Look"];
    let task = world.legwork_says(&arguments).exits(0).events[0]["task"]["id"].as_str().unwrap().to_owned();
    // Both have called where the canaries are.
    until(&world, &["task", "logs", "--json", &task], |event| event["item"]["type"] == "notice");
    let id = hook["id"].as_str().unwrap();
    until(&world, &["admin", "webhook", "deliveries", "--json", id], |told| told["last_error"].is_string());
    let logs = world.legwork_says(&["task", "logs", "--json", &task]).stdout;
    worker.terminate();
    let worker = worker.end().stderr;
    server.terminate();
    let server = server.end().stderr;

    // The marks stand where values would stand: without them this story would show nothing.
    for (log, mark) in [
        (&server, "[redacted:TOKEN]"),
        (&server, "[redacted:SERVER_TOKEN]"),
        (&worker, "[redacted:MINE_KEY]"),
    ] {
        assert!(log.contains(mark), "no {mark} in\n{log}");
    }
    let secret = hook["secret"].as_str().unwrap();
    for canary in [RECIPE, SERVER_TOKEN, MODEL_KEY, token, secret, secret.trim_start_matches("whsec_")] {
        for (name, text) in [("server", &server), ("worker", &worker), ("task", &logs)] {
            assert!(!text.contains(canary), "the log of the {name} has {canary}");
        }
    }
}

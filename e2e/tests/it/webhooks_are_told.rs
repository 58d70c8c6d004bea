use serde_json::Value;

use crate::receiver::Receiver;
use crate::repo::with_a_bug;
use crate::script::Script;
use crate::service::Service;
use crate::world::World;

/// The only line of JSON that a command says.
fn told(world: &World, arguments: &[&str]) -> Value {
    let arguments = [&["admin", "webhook"], arguments, &["--json"]].concat();
    world.legwork_says(&arguments).exits(0).events[0].clone()
}

/// What the webhook was told, once nothing is on its way.
fn settled(world: &World, webhook: &str) -> Vec<Value> {
    loop {
        let list = world.legwork_says(&["admin", "webhook", "deliveries", webhook, "--json"]);
        if list.exits(0).events.iter().all(|delivery| delivery["state"] == "delivered") {
            return list.events;
        }
    }
}

#[test]
fn a_receiver_takes_both_signatures_while_its_secret_is_changed() {
    let (world, receiver) = (World::new(), Receiver::start());
    let repo = with_a_bug(world.repo("project"));
    let config = world.path("home/config.toml");
    std::fs::write(&config, "[server]\nprivate_hosts = [\"127.0.0.1\"]\n").unwrap();
    let mut server = world.legwork();
    server.args(["server", "--listen", "127.0.0.1:0", "--json"]).env("LEGWORK_CONFIG", config);
    let _server = Service::start(server);

    let made = told(&world, &["add", &receiver.url, "--topic", "task.created"]);
    let (id, old) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let rotated = told(&world, &["rotate", id, "--overlap", "1h"]);
    let new = rotated["secret"].as_str().unwrap();
    let task = world.hand_over(&repo, &Script::new().says("Never asked."), &["Look"]);

    let call = receiver.next();
    assert_eq!(call.json()["data"]["task"], task.as_str());
    assert_eq!(call.signatures(), 2);
    assert!(call.is_signed_by(old) && call.is_signed_by(new));

    told(&world, &["rotate", id, "--overlap", "0"]);
    let delivery = settled(&world, id)[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(delivery, call.id);
    told(&world, &["replay", &delivery]);
    let again = receiver.next();
    assert_eq!((again.id.as_str(), again.signatures()), (delivery.as_str(), 1));
    assert!(!again.is_signed_by(old) && !again.is_signed_by(new));

    let shown = world.legwork_says(&["admin", "webhook", "ls"]);
    assert!(shown.exits(0).stdout.contains(&receiver.url) && !shown.stdout.contains("whsec_"));
    told(&world, &["rm", id]);
    assert!(world.legwork_says(&["admin", "webhook", "ls", "--json"]).exits(0).events.is_empty());
}

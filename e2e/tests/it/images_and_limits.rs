use serde_json::json;

use crate::repo::with_a_bug;
use crate::script::Script;
use crate::world::World;

/// A picture of one pixel.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc\0\x01\0\0\x05\0\x01\r\n-\xb4\0\0\0\0IEND\xaeB`\x82";

#[test]
fn an_image_reaches_the_model_as_it_is() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let image = world.path("screen.png");
    std::fs::write(&image, PNG).unwrap();
    let script = Script::new().head("log = \"requests.jsonl\"").says("It shows one pixel.");

    let outcome =
        world.run(&repo, &script, &["--ask", "--image-input", image.to_str().unwrap(), "What is this?"]);

    outcome.exits(0);
    let log = std::fs::read_to_string(world.path("requests.jsonl")).unwrap();
    assert!(log.contains("data:image/png;base64,iVBORw0KGgo"), "{log}");
}

#[test]
fn a_file_that_is_no_image_is_refused_before_the_start() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let outcome = world.run(&repo, &Script::new().says("No."), &["--image-input", "/etc/passwd", "What?"]);
    outcome.exits(2);
    assert!(outcome.events.is_empty());
}

#[test]
fn the_price_runs_out() {
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let script = Script::new()
        .head("price = { input = 10.0, cached = 1.0, output = 10.0 }\noutput_max = 1000")
        .exec("echo first >> README.md")
        .costs(90_000, 1_000)
        .exec("echo second >> README.md")
        .costs(90_000, 1_000)
        .says("Never said.");

    let outcome = world.run(&repo, &script, &["--limit-cost", "1.00", "Write and write"]);

    outcome.exits(3).is_numbered_without_gap();
    assert_eq!(outcome.end()["outcome"], json!({"outcome": "limit_reached", "limit": "cost"}));
    let spent = outcome.end()["usage"]["cost_microusd"].as_u64().unwrap();
    assert!((900_000..=1_000_000).contains(&spent), "{spent}");
}

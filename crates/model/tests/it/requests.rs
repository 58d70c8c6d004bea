//! Whole request bodies, as they go over the wire.

use std::collections::BTreeMap;

use legwork_model::{CallInput, Entry, ModelFacts, Part, Reasoning, Request, Wire};
use serde_json::{Value, json};

use crate::world::{World, request, settings};

/// Everything that a context can hold, from several wires.
fn everything() -> Request {
    let text = |text: &str| Part::Text(text.to_owned());
    let image = Part::Image("data:image/png;base64,iVBORw0KGgo=".to_owned());
    let call = |id: &str, name: &str, input| Entry::Call { id: id.into(), name: name.into(), input };
    let output = |id: &str, parts| Entry::Output { id: id.into(), parts };
    let thought = |wire: &str, raw: Value| Entry::Reasoning { wire: wire.into(), raw };
    let mut request = request("Fix it");
    request.entries.extend([
        Entry::User { parts: vec![text("see"), image.clone()] },
        thought(
            "responses",
            json!({ "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e" }),
        ),
        thought("messages", json!({ "type": "thinking", "thinking": "t", "signature": "s" })),
        thought("chat", json!({ "reasoning_content": "r" })),
        Entry::Assistant { text: "I look.".into() },
        call("c1", "exec_command", CallInput::Json(r#"{"cmd":"ls"}"#.into())),
        call("c2", "apply_patch", CallInput::Text("*** Begin Patch".into())),
        call("c3", "bad name!", CallInput::Json("{broken".into())),
        output("c1", vec![text("a"), image]),
        output("c2", vec![text("Done")]),
        output("c3", vec![]),
        Entry::Assistant { text: "Next.".into() },
        Entry::User { parts: vec![text("Go on")] },
    ]);
    request
}

async fn body(wire: Wire) -> Value {
    let script = "[[turn]]\ntext = \"never played: the thoughts carry no seal\"\n";
    let world = World::with(wire, script, |settings| {
        let facts = settings.models.get_mut("test/model").unwrap();
        facts.reasoning = Some(Reasoning::Adaptive);
        facts.output_max = Some(32_000);
    })
    .await;
    world.ask(&everything()).await;
    world.endpoint.requests().remove(0).body
}

#[tokio::test]
async fn responses() {
    insta::assert_json_snapshot!(body(Wire::Responses).await);
}

#[tokio::test]
async fn chat() {
    insta::assert_json_snapshot!(body(Wire::Chat).await);
}

#[tokio::test]
async fn messages() {
    insta::assert_json_snapshot!(body(Wire::Messages).await);
}

/// What a caller can pay for is asked for, whether or not the model's own limit is known.
#[tokio::test]
async fn an_answer_is_asked_to_end_where_its_money_does() {
    for (wire, field) in [
        (Wire::Responses, "max_output_tokens"),
        (Wire::Chat, "max_completion_tokens"),
        (Wire::Messages, "max_tokens"),
    ] {
        for (known, most, expected) in
            [(Some(32_000), 900, 900), (Some(32_000), 64_000, 32_000), (None, 900, 900)]
        {
            let world = World::with(wire, "[[turn]]\ntext = \"x\"\n", |settings| {
                settings.models.get_mut("test/model").unwrap().output_max = known;
            })
            .await;
            world.ask(&Request { output_max: Some(most), ..request("Hi") }).await;
            assert_eq!(world.endpoint.requests()[0].body[field], json!(expected), "{wire:?} {known:?}");
        }
    }
}

/// Caches hold only if what was sent stays as it was.
#[tokio::test]
async fn a_longer_context_begins_with_the_shorter_one() {
    for (wire, list) in [(Wire::Responses, "input"), (Wire::Chat, "messages"), (Wire::Messages, "messages")] {
        let script = "[[turn]]\ntext = \"x\"\n";
        let world = World::new(wire, script).await;
        let whole = everything();
        for count in 1..=whole.entries.len() {
            let entries = whole.entries[..count].to_vec();
            world.ask(&Request { entries, ..whole.clone() }).await;
        }
        let lists: Vec<Vec<Value>> = world
            .endpoint
            .requests()
            .iter()
            .map(|request| request.body[list].as_array().unwrap().iter().map(unmarked).collect())
            .collect();
        for pair in lists.windows(2) {
            // The last message may still grow.
            let closed = pair[0].len() - 1;
            assert_eq!(pair[0][..closed], pair[1][..closed], "{wire:?}");
        }
    }
}

/// Without the cache marks, which move along.
fn unmarked(message: &Value) -> Value {
    let mut message = message.clone();
    for block in message["content"].as_array_mut().into_iter().flatten() {
        block.as_object_mut().unwrap().remove("cache_control");
    }
    message
}

#[tokio::test]
async fn keys_go_into_the_header_of_the_wire_and_configured_headers_along() {
    let mut seen = BTreeMap::new();
    for wire in [Wire::Responses, Wire::Chat, Wire::Messages] {
        let world = World::with(wire, "[[turn]]\ntext = \"x\"\n", |settings| {
            let provider = settings.providers.get_mut("test").unwrap();
            provider.headers.insert("x-team".to_owned(), "blue".to_owned());
        })
        .await;
        world.ask(&request("Hi")).await;
        let headers = world.endpoint.requests().remove(0).headers;
        let interesting = ["authorization", "x-api-key", "anthropic-version", "x-team"];
        let headers: Vec<String> = interesting
            .iter()
            .filter_map(|name| headers.get(*name).map(|value| format!("{name}: {value}")))
            .collect();
        seen.insert(wire.name(), headers);
    }
    insta::assert_debug_snapshot!(seen, @r#"
    {
        "chat": [
            "authorization: ***",
            "x-team: blue",
        ],
        "messages": [
            "x-api-key: ***",
            "anthropic-version: 2023-06-01",
            "x-team: blue",
        ],
        "responses": [
            "authorization: ***",
            "x-team: blue",
        ],
    }
    "#);
}

#[tokio::test]
async fn a_model_without_images_gets_none() {
    for wire in [Wire::Responses, Wire::Chat, Wire::Messages] {
        let world = World::with(wire, "[[turn]]\ntext = \"x\"\n", |settings| {
            settings.models.insert("test/model".to_owned(), ModelFacts::default());
        })
        .await;
        assert!(!world.model.info().images);
        world.ask(&everything()).await;
        let body = world.endpoint.requests().remove(0).body.to_string();
        assert!(!body.contains("iVBOR") && body.matches("an image was left out").count() == 2, "{body}");
    }
}

#[test]
fn base_urls_work_with_and_without_the_version() {
    // Checked where it is seen: a wrong path would be a 404 of the endpoint.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (wire, tails) in
            [(Wire::Messages, ["", "/", "/v1", "/v1/"]), (Wire::Chat, ["/v1", "/v1/", "/v1", "/v1/"])]
        {
            for tail in tails {
                let world = World::new(wire, "[[turn]]\ntext = \"x\"\n").await;
                let root = world.endpoint.base_url().trim_end_matches("/v1");
                let catalog = legwork_model::Catalog::new(settings(wire, &format!("{root}{tail}"))).unwrap();
                let model = catalog.open("test/model").await.unwrap();
                assert_eq!(crate::world::read(&*model, &request("Hi")).await.text, "x", "{wire:?} {tail}");
            }
        }
    });
}

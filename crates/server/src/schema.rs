//! The API's description and the schema of the log's lines, both generated from the code.

use legwork_domain::Event;
use serde_json::{Map, Value, json};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, OpenApi};
use utoipa::{Modify, OpenApi as _, PartialSchema, ToSchema};

use crate::routes;

/// What the description says beside the routes.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Legwork",
        description = "Hand off a task on a repository; come back to an evidenced patch. Errors are problem documents \
                       (RFC 9457) with a stable `code`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    modifiers(&BearerToken),
    security(("bearer" = [])),
)]
struct Description;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, openapi: &mut OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        openapi
            .components
            .get_or_insert_with(Components::new)
            .add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The API in OpenAPI 3.1, as `schema/openapi.json` holds it and the server serves it.
#[must_use]
pub fn openapi() -> Value {
    let mut document = json!(Description::openapi().merge_from(routes::Described::openapi()));
    each_object(&mut document, &bound);
    each_object(&mut document, &describe_messages);
    document
}

/// Gives an integer's format the name that OpenAPI's registry has for it, and says to those who do not know it what it
/// means.
fn bound(schema: &mut Map<String, Value>) {
    let (name, greatest) = match schema.get("format").and_then(Value::as_str) {
        Some("u-int8") => ("uint8", u8::MAX.into()),
        Some("u-int16") => ("uint16", u16::MAX.into()),
        Some("u-int32") => ("uint32", u32::MAX.into()),
        Some("u-int64") => ("uint64", u64::MAX),
        _ => return,
    };
    schema.insert("format".to_owned(), json!(name));
    schema.entry("maximum").or_insert(json!(greatest));
}

/// OpenAPI 3.1 has no words for a stream: the schema is that of one message, whose data is the JSON of a type.
fn describe_messages(content: &mut Map<String, Value>) {
    if let Some(Value::Object(stream)) = content.get_mut("text/event-stream")
        && let Some(schema) = stream.get_mut("schema")
    {
        let data = schema.take();
        *schema = json!({ "oneOf": [
            {
                "type": "object",
                "description": "A message of the stream. Its data is JSON.",
                "required": ["id", "data"],
                "properties": {
                    "event": { "type": "string", "enum": ["message"] },
                    "id": { "type": "string", "pattern": "^[0-9]+$" },
                    "data": { "type": "string", "contentMediaType": "application/json", "contentSchema": data },
                },
            },
            {
                "type": "object",
                "description": "The last: there is no more to come.",
                "required": ["event", "data"],
                "properties": {
                    "event": { "type": "string", "enum": ["end"] },
                    "data": { "type": "string", "enum": ["{}"] },
                },
            },
        ] });
    }
}

fn each_object(value: &mut Value, change: &impl Fn(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            object.values_mut().for_each(|value| each_object(value, change));
        }
        Value::Array(array) => array.iter_mut().for_each(|value| each_object(value, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The JSON Schema (2020-12) of one line of the event log, as `schema/events.json` holds it.
#[must_use]
pub fn events_schema() -> Value {
    let mut parts = Vec::new();
    Event::schemas(&mut parts);
    let definitions: Map<String, Value> =
        parts.into_iter().map(|(name, schema)| (name, json!(schema))).collect();
    let mut document = json!(Event::schema());
    if let Some(document) = document.as_object_mut() {
        document.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        document.insert("title".to_owned(), json!("Event"));
        document.insert("$defs".to_owned(), Value::Object(definitions));
    }
    each_object(&mut document, &bound);
    each_object(&mut document, &point_to_definitions);
    document
}

/// OpenAPI keeps shared schemas elsewhere than JSON Schema does.
fn point_to_definitions(schema: &mut Map<String, Value>) {
    if let Some(Value::String(target)) = schema.get_mut("$ref") {
        *target = target.replace("#/components/schemas/", "#/$defs/");
    }
}

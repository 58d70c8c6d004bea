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
pub fn openapi() -> OpenApi {
    Description::openapi().merge_from(routes::Described::openapi())
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
    point_to_definitions(&mut document);
    document
}

/// OpenAPI keeps shared schemas elsewhere than JSON Schema does.
fn point_to_definitions(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(target)) = object.get_mut("$ref") {
                *target = target.replace("#/components/schemas/", "#/$defs/");
            }
            object.values_mut().for_each(point_to_definitions);
        }
        Value::Array(array) => array.iter_mut().for_each(point_to_definitions),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

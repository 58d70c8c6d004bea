//! The description of the API as a page for people. It has no script and asks for nothing from elsewhere.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::{Html, IntoResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, HtmlEscape};
use serde::Serialize;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use crate::problem::Failure;

const TEMPLATE: &str = include_str!("docs.html");
const STYLE: &str = include_str!("docs.css");

/// What the template shows.
#[derive(Serialize)]
struct Page<'a> {
    doc: &'a Json,
    groups: Vec<Group<'a>>,
    style: &'static str,
}

/// What stands below one tag.
#[derive(Serialize)]
struct Group<'a> {
    name: &'a str,
    operations: Vec<Operation<'a>>,
}

#[derive(Serialize)]
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    about: &'a Json,
}

/// Shows the description of this API to a person.
#[utoipa::path(
    get, path = "/docs", tag = "meta", operation_id = "docs",
    responses(
        (status = 200, description = "A page", body = String, content_type = "text/html"),
        (status = "default", description = "Any failure", body = legwork_domain::Problem, content_type = crate::problem::MEDIA_TYPE),
    ),
)]
pub(super) async fn page() -> Result<impl IntoResponse, Failure> {
    // To build it takes longer than to start; it is the same as long as the process lives.
    static PAGE: OnceLock<Option<String>> = OnceLock::new();
    let made = PAGE.get_or_init(|| {
        let page = serde_json::to_value(crate::openapi()).map_err(|error| error.to_string());
        page.and_then(|description| render(&description).map_err(|error| format!("{error:#}")))
            .inspect_err(|error| tracing::error!(%error, "the page of the API cannot be made"))
            .ok()
    });
    let page = made.as_deref().ok_or_else(Failure::internal)?;
    let digest = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    Ok(([(CONTENT_SECURITY_POLICY, policy)], Html(page)))
}

fn render(description: &Json) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_filter("last_part", |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned());
    environment.add_filter("first_line", |text: &str| text.lines().next().unwrap_or_default().to_owned());
    environment.add_filter("prose", |text: &str| minijinja::Value::from_safe_string(prose(text)));
    environment.add_template("docs", TEMPLATE)?;
    let page = Page { doc: description, groups: groups(description), style: STYLE };
    environment.get_template("docs")?.render(Serde(page))
}

/// A description's text: what it sets in backticks is code, and a link to a name of the source is that name.
fn prose(text: &str) -> String {
    let parts = text.split('`').map(|part| HtmlEscape(part).to_string());
    let mut marked = String::new();
    for (index, part) in parts.enumerate() {
        if index % 2 == 0 {
            marked.push_str(part.trim_start_matches(']').trim_end_matches('['));
        } else {
            marked.push_str(&format!("<code>{part}</code>"));
        }
    }
    marked
}

/// The operations by their first tag, tags and paths in the order of the alphabet.
fn groups(description: &Json) -> Vec<Group<'_>> {
    let mut groups = BTreeMap::<&str, Vec<Operation<'_>>>::new();
    let paths = description["paths"].as_object().into_iter().flatten();
    for (path, methods) in paths {
        for (method, about) in methods.as_object().into_iter().flatten() {
            let tag = about["tags"][0].as_str().unwrap_or("other");
            groups.entry(tag).or_default().push(Operation { method, path, about });
        }
    }
    groups.into_iter().map(|(name, operations)| Group { name, operations }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_and_type_is_on_the_page_and_every_link_leads_somewhere() {
        let description = serde_json::to_value(crate::openapi()).unwrap();
        let page = render(&description).unwrap();
        let ids: Vec<_> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let targets = page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next());
        for target in targets {
            assert!(ids.contains(&target), "{target}");
        }
        let schemas = description["components"]["schemas"].as_object().unwrap();
        assert!(schemas.keys().all(|name| ids.contains(&name.as_str())));
        let operations: usize = groups(&description).iter().map(|group| group.operations.len()).sum();
        assert_eq!(page.matches("class=\"method\"").count(), operations);
        assert!(operations > 50 && page.contains("Hands a task over."), "{operations}");
    }

    #[test]
    fn prose_is_text_and_code() {
        assert_eq!(prose("At most [`A<B>`], or `x`."), "At most <code>A&lt;B&gt;</code>, or <code>x</code>.");
    }

    #[test]
    fn what_a_description_says_is_text() {
        let about = serde_json::json!({ "summary": "<script>x</script>", "tags": ["a"], "responses": {} });
        let description = serde_json::json!({
            "info": { "title": "T", "version": "1", "description": "D" },
            "paths": { "/<b>": { "get": about } },
            "components": { "schemas": {} },
        });
        let page = render(&description).unwrap();
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
    }
}

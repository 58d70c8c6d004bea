//! Every refusal is a problem document, and says nothing to those without a token.

use legwork_domain::Problem;
use reqwest::{RequestBuilder, Response};

use crate::world::{World, request};

async fn problem(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{status}");
    let problem: Problem = response.json().await.unwrap();
    assert_eq!(problem.status, status);
    assert_eq!(problem.kind, format!("urn:problem-type:legwork:{}", problem.code));
    assert!(problem.detail.ends_with('.') && problem.detail.len() > 20, "{problem:?}");
    (status, problem.code)
}

async fn refused(request: RequestBuilder) -> (u16, String) {
    problem(request.send().await.unwrap()).await
}

#[tokio::test]
async fn without_the_token_there_is_nothing_but_health() {
    let world = World::start().await;
    let anonymous = |path: &str| world.http("GET", path).header("authorization", "");
    let answer = anonymous("/v1/health").send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.text().await.unwrap().as_str()),
        (200, r#"{"status":"ok"}"#)
    );
    for path in ["/v1/tasks", "/openapi.json", "/v1/nothing", "/v1/blobs/x", "/"] {
        for header in
            ["", "Bearer", "Bearer ", "Bearer wrong", "Basic a-token-for-tests", "bearer a-token-for-tests "]
        {
            let mut asked = world.http("GET", path).build().unwrap();
            asked.headers_mut().insert("authorization", header.parse().unwrap());
            let answer = reqwest_client().execute(asked).await.unwrap();
            if header == "bearer a-token-for-tests " {
                // HTTP strips the space at a header's end.
                assert_ne!(answer.status(), 401);
                continue;
            }
            assert_eq!(answer.headers()["www-authenticate"], "Bearer realm=\"legwork\"");
            assert_eq!(problem(answer).await, (401, "unauthorized".to_owned()), "{path} {header:?}");
        }
    }
}

fn reqwest_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn every_refusal_is_a_problem() {
    let world = World::start().await;
    let post = |path: &str, body: &str| {
        world.http("POST", path).header("content-type", "application/json").body(body.to_owned())
    };
    let mut unknown = serde_json::to_value(request("x")).unwrap();
    unknown["surprise"] = true.into();
    let large = serde_json::to_string(&request(&"x".repeat(1024 * 1024))).unwrap();
    let long = serde_json::to_string(&request(&"x".repeat(300 * 1024))).unwrap();
    let turn = legwork_domain::TurnId::from_u128(1);
    let table = [
        (world.http("GET", "/v1/nothing"), 404, "not_found"),
        (world.http("GET", "/v1/tasks/nonsense"), 404, "not_found"),
        (world.http("GET", "/v1/tasks/task_00000000000000000000000001"), 404, "not_found"),
        (world.http("GET", "/v1/tasks/%FF"), 404, "not_found"),
        (world.http("DELETE", "/v1/tasks"), 405, "method_not_allowed"),
        (world.http("GET", "/v1/tasks?cursor=nonsense"), 400, "malformed"),
        (post("/v1/tasks", "{"), 400, "malformed"),
        (post("/v1/tasks", "{}"), 422, "invalid"),
        (post("/v1/tasks", &unknown.to_string()), 422, "invalid"),
        (post("/v1/tasks", &serde_json::to_string(&request(" ")).unwrap()), 422, "invalid"),
        (post("/v1/tasks", &long), 422, "invalid"),
        (post("/v1/tasks", &large), 413, "body_too_large"),
        (world.http("POST", "/v1/tasks").body("{}"), 415, "not_json"),
        (post(&format!("/v1/turns/{turn}/events"), r#"{"epoch":1,"first":0,"events":[]}"#), 404, "not_found"),
        (post("/v1/leases", r#"{"worker":"task_00000000000000000000000001","wait_ms":0}"#), 422, "invalid"),
    ];
    for (n, (request, status, code)) in table.into_iter().enumerate() {
        assert_eq!(refused(request).await, (status, code.to_owned()), "row {n}");
    }
}

#[tokio::test]
async fn a_refused_method_names_the_ones_that_are_taken() {
    let world = World::start().await;
    let answer = world.http("DELETE", "/v1/tasks").send().await.unwrap();
    let allow = answer.headers()["allow"].to_str().unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
}

#[tokio::test]
async fn every_described_route_is_served() {
    let world = World::start().await;
    let description = legwork_server::openapi();
    let mut served = 0;
    for (path, operations) in description["paths"].as_object().unwrap() {
        // No id is of this form, so nothing happens.
        let address: Vec<_> =
            path.split('/').map(|part| if part.starts_with('{') { "nonsense" } else { part }).collect();
        for method in operations.as_object().unwrap().keys() {
            let answer = world.http(&method.to_uppercase(), &address.join("/")).send().await.unwrap();
            let status = answer.status();
            // A stream has no end to wait for.
            let streams =
                answer.headers().get("content-type").is_some_and(|kind| kind == "text/event-stream");
            let body = if streams { String::new() } else { answer.text().await.unwrap() };
            assert!(status != 405 && !body.contains("There is no route"), "{method} {path}: {status} {body}");
            served += 1;
        }
    }
    assert!(served >= 18, "{served}");
}

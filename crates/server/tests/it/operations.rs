//! What an operator asks: metrics and readiness.

use legwork_domain::Outcome;

use crate::world::{World, delta, end};

pub(crate) async fn page(world: &World) -> String {
    let answer = world.http("GET", "/metrics").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    answer.text().await.unwrap()
}

pub(crate) fn value(page: &str, sample: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in {page}")).parse().unwrap()
}

#[tokio::test]
async fn metrics_count_what_was_done() {
    let world = World::start().await;
    let job = world.job("a").await;
    world.create("x", "b").await;
    world.append(&job, 0, vec![delta("one"), delta("two")]).await;
    let events = format!("/v1/attempts/{}/events", job.attempt.id);
    let mut stream = world.http("GET", &events).send().await.unwrap();
    stream.chunk().await.unwrap();
    let before = page(&world).await;
    assert!((value(&before, "legwork_open_streams") - 1.0).abs() < f64::EPSILON, "{before}");
    drop(stream);
    world.client.finish(job.turn.id, &end(&job, 2, Outcome::NoChange)).await.unwrap();
    let after = page(&world).await;
    for (sample, expected) in [
        ("legwork_events_taken_total", 2.0),
        ("legwork_leases_given_total", 1.0),
        ("legwork_leases_lapsed_total", 0.0),
        ("legwork_turns_finished_total{outcome=\"no_change\"}", 1.0),
        ("legwork_turns{state=\"queued\"}", 1.0),
        ("legwork_turns{state=\"leased\"}", 0.0),
        ("legwork_http_requests_total{method=\"POST\",route=\"/v1/tasks\",status=\"201\"}", 2.0),
        ("legwork_http_request_duration_seconds_count{method=\"POST\",route=\"/v1/leases\"}", 1.0),
    ] {
        assert!((value(&after, sample) - expected).abs() < f64::EPSILON, "{sample}: {after}");
    }
    assert!(after.contains("legwork_build_info{version=\""), "{after}");
    assert!(value(&after, "legwork_queue_oldest_age_seconds") > 0.0, "{after}");
}

#[tokio::test]
async fn callers_cannot_make_labels() {
    let world = World::start().await;
    let job = world.job("a").await;
    let task = format!("/v1/tasks/{}", job.task.id);
    for (method, path) in [("GET", task.as_str()), ("GET", "/v1/an-invented-path"), ("BREW", "/v1/tasks")] {
        world.http(method, path).send().await.unwrap();
    }
    let page = page(&world).await;
    assert!(page.contains("{method=\"GET\",route=\"/v1/tasks/{task}\",status=\"200\"} 1"), "{page}");
    assert!(page.contains("{method=\"GET\",route=\"none\",status=\"404\"} 1"), "{page}");
    assert!(page.contains("{method=\"other\",route=\"/v1/tasks\",status=\"405\"} 1"), "{page}");
    for word in ["invented", "BREW", &job.task.id.to_string()] {
        assert!(!page.contains(word), "{word} in {page}");
    }
}

#[tokio::test]
async fn strangers_see_no_metrics() {
    let world = World::start().await;
    let answer = world.as_one("GET", "/metrics", "").send().await.unwrap();
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn a_server_is_ready_when_it_can_write() {
    let world = World::start().await;
    let ask = async || world.http("GET", "/v1/ready").send().await.unwrap();
    assert_eq!(ask().await.status(), 200);
    // Where blobs are written is gone: a write would fail, though every read still works.
    std::fs::remove_dir_all(world.data().join("blobs")).unwrap();
    let refused = loop {
        let answer = ask().await;
        if answer.status() != 200 {
            break answer;
        }
    };
    assert_eq!(refused.status(), 503);
    let problem: serde_json::Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "not_ready");
    assert!(problem["detail"].as_str().unwrap().contains("blobs"), "{problem}");
    assert_eq!(world.http("GET", "/v1/health").send().await.unwrap().status(), 200);
}

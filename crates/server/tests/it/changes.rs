//! What changes in the list, as a view of it hears.

use futures::StreamExt;
use legwork_domain::{ListChange, Outcome, TaskQuery, TaskState};
use reqwest::Response;

use crate::world::{World, end};

/// A stream of changes, read message by message.
struct Watch {
    answer: Response,
    text: String,
}

impl Watch {
    async fn open(world: &World, after: Option<u64>) -> Self {
        let mut request = world.http("GET", "/v1/changes");
        if let Some(after) = after {
            request = request.header("last-event-id", after.to_string());
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        Self { answer, text: String::new() }
    }

    async fn next(&mut self) -> (u64, ListChange) {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let field =
                    |name| message.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let (id, data) = (field("id: "), field("data: "));
                self.text = rest.to_owned();
                if let (Some(id), Some(data)) = (id, data) {
                    return (id.parse().unwrap(), serde_json::from_str(&data).unwrap());
                }
                continue;
            }
            let chunk = self.answer.chunk().await.unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn state(&mut self) -> (u64, TaskState) {
        match self.next().await {
            (place, ListChange::Task { row }) => (place, row.state),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_view_that_was_cut_off_goes_on_where_it_was() {
    let world = World::start().await;
    let mut watch = Watch::open(&world, None).await;
    let job = world.job("a").await;
    let mut seen = vec![watch.state().await];
    while seen.last().unwrap().1 != TaskState::Running {
        seen.push(watch.state().await);
    }
    drop(watch);
    let after = seen.last().unwrap().0;
    world.client.finish(job.turn.id, &end(&job, 0, Outcome::NoChange)).await.unwrap();
    let mut resumed = Watch::open(&world, Some(after)).await;
    assert_eq!(resumed.state().await, (after + 1, TaskState::NoChange));
    // A list that is read now begins there.
    let list = world.client.tasks(&TaskQuery::default()).await.unwrap();
    assert_eq!(
        (list.as_of, list.tasks[0].state, list.tasks[0].unread),
        (after + 1, TaskState::NoChange, true)
    );
    world.client.see(job.task.id).await.unwrap();
    assert!(matches!(resumed.next().await.1, ListChange::Task { row } if !row.unread));
}

#[tokio::test]
async fn a_view_that_knows_too_much_is_told_to_begin_anew() {
    let world = World::start().await;
    world.create("x", "a").await;
    let mut watch = Watch::open(&world, Some(1_000_000)).await;
    assert_eq!(watch.next().await, (1, ListChange::Reset));
    let wrong = world.http("GET", "/v1/changes").header("last-event-id", "x").send().await.unwrap();
    assert_eq!(wrong.status(), 422);
}

#[tokio::test]
async fn many_views_hear_the_same() {
    let world = World::start().await;
    let watches = futures::future::join_all((0..20).map(|_| Watch::open(&world, Some(0)))).await;
    world.create("x", "a").await;
    let heard: Vec<_> = futures::stream::iter(watches)
        .map(|mut watch| async move { watch.state().await })
        .buffer_unordered(20)
        .collect()
        .await;
    assert!(heard.iter().all(|change| *change == (1, TaskState::Queued)), "{heard:?}");
}

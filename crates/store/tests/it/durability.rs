//! Killed at any moment, the store keeps what it accepted.
//!
//! The test runs this binary again as a child that writes as fast as it can and tells each accepted write; the parent
//! kills it with SIGKILL and looks.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use legwork_domain::{AttemptId, TaskId};

use crate::world::{Place, World, batch, completed, request, started};

const URL: &str = "LEGWORK_TEST_STORE_URL";

/// Not a test by itself: does nothing unless the parent test started it.
#[tokio::test]
async fn child() {
    let Ok(url) = std::env::var(URL) else { return };
    let world = World::new(Place::Elsewhere(url)).await;
    let mut out = std::io::stdout();
    for n in 0..u32::MAX {
        let view = world.create(&format!("task {n}"), Some(&format!("key {n}"))).await.unwrap();
        let job = world.lease().await.unwrap();
        writeln!(out, "task {} {} {n}", view.task.id, job.attempt.id).unwrap();
        for k in 0..3 {
            let turn = job.turn.id;
            world
                .append(
                    turn,
                    batch(1, 2 * k, vec![started(turn, k as u32 + 1), completed(turn, k as u32 + 1)]),
                )
                .await
                .unwrap();
            writeln!(out, "events {} {} {}", view.task.id, job.attempt.id, 2 + 2 * (k + 1)).unwrap();
        }
    }
}

/// Kills a child after it told `lines` lines and gives back what it had told.
fn write_and_kill(url: &str, lines: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["durability::child", "--exact", "--nocapture"])
        .env(URL, url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let is_word = |line: &String| line.starts_with("task ") || line.starts_with("events ");
    let mut told: Vec<String> = out.by_ref().filter(is_word).take(lines).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    told.extend(out.filter(is_word).filter(|line| line.split(' ').count() == 4));
    told
}

pub(crate) async fn what_was_accepted_survives_a_kill(world: World) {
    for lines in [1, 6, 15, 30] {
        let place = world.place.another();
        let told = write_and_kill(&place.url(), lines);
        assert!(told.len() >= lines, "the child stopped early: {told:?}");
        let world = World::new(place).await;
        for line in &told {
            survived(&world, line).await;
        }
    }
}

async fn survived(world: &World, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let (task, attempt): (TaskId, AttemptId) = (words[1].parse().unwrap(), words[2].parse().unwrap());
    let log = world.check(attempt).await;
    if words[0] == "events" {
        assert!(log.len() >= words[3].parse().unwrap(), "{line}: {} events are left", log.len());
        return;
    }
    let n = words[3];
    let ids = legwork_store::TaskIds::draw(1, || u128::MAX - world.number());
    let again = world
        .store
        .create_task(request(&format!("task {n}"), 1), world.sent(Some(&format!("key {n}"))), &ids)
        .await
        .unwrap();
    assert_eq!(again.task.id, task, "the key still names its task");
}

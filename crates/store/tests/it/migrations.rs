//! A database of an older program is taken over with what it holds.

use std::fs;
use std::path::{Path, PathBuf};

use legwork_domain::{State, TaskQuery, TaskState};
use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, Connection};

use crate::world::World;

/// What a program of the first schema wrote, and what one of any later schema must still take from it.
const ROWS: [&str; 5] = [
    "INSERT INTO tasks (id, created_at, body) VALUES ('{task}', 1, '{body}')",
    "INSERT INTO idempotency (key, digest, task, created_at) VALUES ('key', 'digest', '{task}', 1)",
    "INSERT INTO attempts (id, task, number, last_seq) VALUES ('{attempt}', '{task}', 1, 1)",
    "INSERT INTO turns (id, task, attempt, number, created_at, input, images, epoch, tries, cancel_requested_at, \
     state_name, state, lease_until, received, revision) VALUES ('{turn}', '{task}', '{attempt}', 1, 1, '\"x\"', '[]', \
     0, 0, NULL, 'queued', '{state}', NULL, 0, 0)",
    "INSERT INTO events (attempt, seq, kind, item, line) VALUES ('{attempt}', 1, 'state', NULL, '{line}')",
];

fn migrations() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

pub(crate) async fn every_older_schema_is_taken_over(world: World) {
    let files = migrations();
    let made = world.create("x", None).await.unwrap();
    let (attempt, turn) = (made.attempts[0].attempt.id, made.attempts[0].turns[0].clone());
    let line = world.store.events(attempt, 0, 1).await.unwrap().remove(0).json;
    for count in 1..=files.len() {
        let place = world.place.another();
        let folder = tempfile::tempdir().unwrap();
        for file in &files[..count] {
            fs::copy(file, folder.path().join(file.file_name().unwrap())).unwrap();
        }
        let url = place.url().replacen("sqlite:", "sqlite://", 1);
        let url = if url.starts_with("sqlite") { format!("{url}?mode=rwc") } else { url };
        let mut old = AnyConnection::connect(&url).await.unwrap();
        Migrator::new(folder.path()).await.unwrap().run(&mut old).await.unwrap();
        for row in ROWS {
            let row = row
                .replace("{task}", &made.task.id.to_string())
                .replace("{attempt}", &attempt.to_string())
                .replace("{turn}", &turn.id.to_string())
                .replace("{body}", &serde_json::to_string(&made.task).unwrap())
                .replace("{state}", &serde_json::to_string(&State::Queued).unwrap())
                .replace("{line}", &line);
            sqlx::raw_sql(sqlx::AssertSqlSafe(row)).execute(&mut old).await.unwrap();
        }
        old.close().await.unwrap();
        let now = World::new(place).await;
        let view = now.store.task(made.task.id).await.unwrap();
        assert_eq!(view.task, made.task, "after {count} migrations");
        assert_eq!(view.attempts[0].turns[0].state, State::Queued);
        now.check(attempt).await;
        assert!(
            now.store.backfill_list().await.unwrap() || !now.list(&TaskQuery::default()).await.is_empty()
        );
        assert_eq!(now.lease().await.unwrap().task.id, made.task.id);
        assert_eq!(now.list(&TaskQuery::default()).await[0].state, TaskState::Running);
        assert_eq!(now.store.violations(now.now(), 9).await.unwrap(), []);
    }
}

//! Backups of a database that is in use, and what a restore refuses.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use legwork_domain::{Assignment, EventBatch, Finish, TaskQuery, UserId, Visible};
use legwork_store::{Error, Restored, Store};

use crate::postgres::{Database, client};
use crate::world::{Place, World, batch, completed, end, started};

/// A folder with a database at `legwork.db`.
fn file(world: &World) -> PathBuf {
    world.place.url().replacen("sqlite:", "", 1).into()
}

/// Changes a file of SQLite's as no program of ours would.
fn python(path: &Path, statements: &str) {
    let script =
        format!("import sqlite3, sys\nc = sqlite3.connect(sys.argv[1])\nc.executescript({statements:?})\n");
    assert!(Command::new("python3").args(["-c", &script]).arg(path).status().unwrap().success());
}

/// A world with one task, its backup, and what was in the database then.
async fn backed_up() -> (World, PathBuf) {
    let world = World::new(Place::sqlite()).await;
    world.create("kept", Some("key")).await.unwrap();
    let backup = file(&world).with_file_name("backup.db");
    world.store.backup(&backup).await.unwrap();
    (world, backup)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_busy_database_is_whole() {
    let world = World::new(Place::sqlite()).await;
    let folder = file(&world).parent().unwrap().to_owned();
    let writing = async {
        for n in 0..60 {
            let view = world.create(&format!("task {n}"), None).await.unwrap();
            let job = world.lease_of(Some(view.task.id)).await.unwrap();
            let turn = job.turn.id;
            world.append(turn, batch(1, 0, vec![started(turn, 1), completed(turn, 1)])).await.unwrap();
        }
    };
    let backups = async {
        for n in 0..5 {
            world.store.backup(&folder.join(format!("backup-{n}"))).await.unwrap();
        }
    };
    futures::join!(writing, backups);
    for n in 0..5 {
        let (backup, database) = (folder.join(format!("backup-{n}")), folder.join(format!("restored-{n}")));
        assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Store::restore(&backup, &database).await.unwrap(), Restored { replaced: None });
        let restored = Store::open(&database).await.unwrap();
        assert_eq!(restored.violations(world.now(), 10).await.unwrap(), []);
    }
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names.into_iter().any(|name| name.ends_with(".partial") || name.ends_with(".restoring")));
}

#[tokio::test]
async fn a_backup_replaces_nothing() {
    let (world, backup) = backed_up().await;
    let refused = world.store.backup(&backup).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    let refused = world.store.backup(Path::new("/nowhere/at/all")).await;
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
}

#[tokio::test]
async fn postgres_has_its_own_tools() {
    let world = World::new(Place::postgres()).await;
    let refused = world.store.backup(Path::new("/tmp/never")).await.unwrap_err();
    assert!(refused.to_string().contains("pg_dump"), "{refused}");
    // As docs/backup.md says it.
    let view = world.create("kept", Some("key")).await.unwrap();
    let (folder, other) = (tempfile::tempdir().unwrap(), Database::new());
    let dump = folder.path().join("legwork.dump");
    let run = |program: &mut Command| assert!(program.status().unwrap().success(), "{program:?}");
    run(client("pg_dump").args(["--format=custom", "--file"]).arg(&dump).arg(world.place.url()));
    run(client("pg_restore").args(["--no-owner", "--exit-on-error", "--dbname"]).arg(other.url()).arg(&dump));
    let restored = Store::connect(&other.url()).await.unwrap();
    assert_eq!(restored.task(view.task.id).await.unwrap(), view);
    assert_eq!(restored.violations(world.now(), 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_restore_keeps_what_was_there() {
    let (world, backup) = backed_up().await;
    world.create("later", None).await.unwrap();
    world.store.close().await;
    let Restored { replaced } = Store::restore(&backup, &file(&world)).await.unwrap();
    assert_eq!(
        world
            .place
            .open()
            .await
            .tasks(Visible::All, UserId::LOCAL, &TaskQuery::default())
            .await
            .unwrap()
            .tasks
            .len(),
        1
    );
    let replaced = Store::open(&replaced.unwrap()).await.unwrap();
    assert_eq!(
        replaced.tasks(Visible::All, UserId::LOCAL, &TaskQuery::default()).await.unwrap().tasks.len(),
        2
    );
    // The backup is as it was, and serves again.
    let again = Store::restore(&backup, &file(&world)).await;
    assert!(matches!(again, Ok(Restored { replaced: Some(_) })), "{again:?}");
}

#[tokio::test]
async fn a_worker_of_the_time_before_a_restore_writes_nothing() {
    let (mut world, backup) = backed_up().await;
    let before = world.lease().await.unwrap();
    world.store.close().await;
    Store::restore(&backup, &file(&world)).await.unwrap();
    world.store = world.place.open().await;
    let after = world.lease().await.unwrap();
    assert_eq!((after.turn.id, after.lease.epoch), (before.turn.id, before.lease.epoch));
    let turn = after.turn.id;
    let of = |job: &Assignment| EventBatch {
        lease: Some(job.lease.id),
        ..batch(job.lease.epoch, 0, vec![started(turn, 1)])
    };
    let late = world.append(turn, of(&before)).await.unwrap_err();
    assert!(matches!(late, Error::StaleEpoch { .. }), "{late}");
    let ended = Finish { lease: Some(before.lease.id), ..end(before.lease.epoch, 0, Vec::new()) };
    let late = world.store.finish(turn, ended, world.now()).await.unwrap_err();
    assert!(matches!(late, Error::StaleEpoch { .. }), "{late}");
    world.append(turn, of(&after)).await.unwrap();
    assert_eq!(world.store.violations(world.now(), 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_database_in_use_is_not_replaced() {
    let (world, backup) = backed_up().await;
    world.create("later", None).await.unwrap();
    let before = fs::metadata(file(&world)).unwrap().ino();
    let refused = Store::restore(&backup, &file(&world)).await;
    assert!(matches!(refused, Err(Error::Busy(_))), "{refused:?}");
    assert_eq!(fs::metadata(file(&world)).unwrap().ino(), before);
    world.create("still there", None).await.unwrap();
    assert_eq!(
        world
            .beside()
            .await
            .store
            .tasks(Visible::All, UserId::LOCAL, &TaskQuery::default())
            .await
            .unwrap()
            .tasks
            .len(),
        3
    );
}

#[tokio::test]
async fn what_is_no_sound_backup_is_refused_and_changes_nothing() {
    let (world, backup) = backed_up().await;
    world.create("later", None).await.unwrap();
    world.store.close().await;
    let spoil = |name: &str, how: &dyn Fn(&Path)| {
        let path = backup.with_file_name(name);
        fs::copy(&backup, &path).unwrap();
        how(&path);
        path
    };
    let damaged = spoil("damaged", &|path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 20_000].fill(0x5a);
        fs::write(path, bytes).unwrap();
    });
    let cut = spoil("cut", &|path| {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    });
    let text = spoil("text", &|path| fs::write(path, "a text ".repeat(1000)).unwrap());
    for path in [damaged, cut, text] {
        let refused = Store::restore(&path, &file(&world)).await;
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    }
    let newer = spoil("newer", &|path| {
        python(
            path,
            "INSERT INTO _sqlx_migrations SELECT 9999, description, installed_on, success, checksum, execution_time FROM _sqlx_migrations WHERE version = 1",
        );
    });
    let refused = Store::restore(&newer, &file(&world)).await;
    assert!(matches!(refused, Err(Error::Migrate(_))), "{refused:?}");
    let orphans = spoil("orphans", &|path| python(path, "PRAGMA foreign_keys = OFF; DELETE FROM tasks"));
    let refused = Store::restore(&orphans, &file(&world)).await;
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    let foreign = backup.with_file_name("foreign");
    python(&foreign, "CREATE TABLE a (b)");
    for path in [foreign, backup.with_file_name("missing")] {
        let refused = Store::restore(&path, &file(&world)).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
    assert_eq!(
        world
            .place
            .open()
            .await
            .tasks(Visible::All, UserId::LOCAL, &TaskQuery::default())
            .await
            .unwrap()
            .tasks
            .len(),
        2
    );
}

#[tokio::test]
async fn a_damaged_database_is_set_aside() {
    let (world, backup) = backed_up().await;
    let database = file(&world);
    world.store.close().await;
    fs::write(&database, "damage ".repeat(10_000)).unwrap();
    let Restored { replaced } = Store::restore(&backup, &database).await.unwrap();
    assert!(fs::read_to_string(replaced.unwrap()).unwrap().starts_with("damage"));
    assert_eq!(
        world
            .place
            .open()
            .await
            .tasks(Visible::All, UserId::LOCAL, &TaskQuery::default())
            .await
            .unwrap()
            .tasks
            .len(),
        1
    );
}

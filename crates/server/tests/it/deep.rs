//! What `legwork doctor --deep` sees.

use legwork_domain::{DiffStat, Finish, Outcome, Patch};
use legwork_server::{Deep, Findings, deep_look};

use crate::world::{World, delta, end};

impl World {
    async fn look(&self, secrets: &[&str]) -> Findings {
        let secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        deep_look(Deep { data: self.data(), database: None, secrets, key: None }).await.unwrap()
    }

    /// A task that ended with a patch; gives the turn and the file of the patch.
    async fn finished(&self) -> (legwork_domain::TurnId, std::path::PathBuf) {
        let job = self.job("a").await;
        let blob = self.client.put_blob("diff".into()).await.unwrap();
        let path = self.data().join("blobs").join(&blob.as_str()[..2]).join(blob.as_str());
        let stat = DiffStat::default();
        let patch = Patch { blob, base_commit: "0".repeat(40), tree: "0".repeat(40), stat };
        let finish = end(&job, 0, Outcome::Succeeded);
        let ended = legwork_domain::Ended { patch: Some(patch), ..finish.ended };
        self.client.finish(job.turn.id, &Finish { ended, ..finish }).await.unwrap();
        (job.turn.id, path)
    }
}

fn told(findings: &Findings) -> Vec<String> {
    findings.violations.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn nothing_is_wrong_beside_a_live_server() {
    let world = World::start().await;
    world.finished().await;
    world.create("queued", "b").await;
    world.client.put_blob("never named".into()).await.unwrap();
    let findings = world.look(&["a secret"]).await;
    assert_eq!(told(&findings), [""; 0]);
    let counted = (findings.attempts, findings.events, findings.blobs);
    assert_eq!(counted, (2, 4, 2));
    assert_eq!((findings.orphaned_blobs, findings.orphaned_bytes), (1, 11));
}

#[tokio::test]
async fn a_patch_that_is_lost_or_bent_is_seen() {
    let world = World::start().await;
    let (turn, patch) = world.finished().await;
    std::fs::write(&patch, "bent").unwrap();
    let bent = told(&world.look(&[]).await);
    assert!(bent[0].starts_with(&format!("I1 {turn}: the bytes of blob")), "{bent:?}");
    std::fs::remove_file(&patch).unwrap();
    let lost = told(&world.look(&[]).await);
    assert_eq!(lost.len(), 1);
    assert!(lost[0].starts_with(&format!("I1 {turn}: it names blob")), "{lost:?}");
}

#[tokio::test]
async fn a_secret_in_a_log_is_seen_and_not_told() {
    let world = World::start().await;
    let job = world.job("a").await;
    world.append(&job, 0, vec![delta("the key is sk-\"canary\" here")]).await;
    assert_eq!(told(&world.look(&["other-key"]).await), [""; 0]);
    let found = told(&world.look(&["sk-\"canary\""]).await);
    assert_eq!(found, [format!("I12 {}: event 3 holds a secret", job.attempt.id)]);
}

#[tokio::test]
async fn a_database_that_is_not_there_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_owned();
    let error = deep_look(Deep { data, database: None, secrets: Vec::new(), key: None }).await.unwrap_err();
    assert!(matches!(error, legwork_server::Error::Absent(_)), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

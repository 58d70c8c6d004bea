//! Which commit, and what of it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use legwork_domain::{Failure, LocalChanges, Outcome};
use legwork_worker::LocalRepositories;

use crate::world::{Repository, Run, World, git_in};

const LOOK: &str = "git rev-parse HEAD; git symbolic-ref -q HEAD || echo detached; git log --oneline | wc -l; git status --short; cat a";

async fn look(world: &World, repository: &Repository, base: Option<&str>) -> Run {
    let mut task = world.task(repository, world.model(&[LOOK]));
    task.source.base = base.map(str::to_owned);
    task.prompt = format!("look at {base:?} {}", repository.path.display());
    world.run(&task).await
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_tags_and_commits_are_checked_out() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "1\n")]);
    let first = repository.head();
    repository.git(&["tag", "-a", "v1", "-m", "v1"]);
    repository.git(&["branch", "old\u{3000};$(id)"]);
    repository.write("a", "2\n");
    repository.commit("two");
    repository.git(&["checkout", "-q", "-b", "feature/x"]);
    repository.write("a", "3\n");
    repository.commit("three");
    for (base, commit, head, content) in [
        (None, repository.head(), "refs/heads/feature/x", "3"),
        (Some("main"), repository.git(&["rev-parse", "main"]), "refs/heads/main", "2"),
        (Some("v1"), first.clone(), "detached", "1"),
        (Some("old\u{3000};$(id)"), first.clone(), "refs/heads/old\u{3000};$(id)", "1"),
        (Some(first.as_str()), first.clone(), "detached", "1"),
        (Some(&first[..9]), first.clone(), "detached", "1"),
        (Some("main~1"), first.clone(), "detached", "1"),
    ] {
        let run = look(&world, &repository, base).await;
        assert_eq!(run.ended.outcome, Outcome::NoChange, "{base:?}: {}", run.ended.sentence);
        let output = run.output();
        for text in [commit.as_str(), head] {
            assert!(output.contains(text), "{base:?}: {text} in {output}");
        }
        assert!(output.trim_end().ends_with(content), "{base:?}: {output}");
        assert_eq!(run.base(), commit);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_base_gets_a_sentence_that_helps() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "1\n")]);
    for (base, words) in [
        ("mian", "there is main"),
        ("--upload-pack=id", "no branch"),
        ("0000000000000000000000000000000000000001", "cannot be fetched"),
        ("00000", "no commit"),
    ] {
        let run = look(&world, &repository, Some(base)).await;
        assert_eq!(run.ended.outcome, Outcome::Failed { reason: Failure::Checkout }, "{base}");
        assert!(run.ended.sentence.contains(words), "{base}: {}", run.ended.sentence);
    }
    // Not below the build directory, which mostly lies in a repository itself.
    let empty = tempfile::tempdir().unwrap();
    let repository = Repository { path: empty.path().to_path_buf() };
    let run = look(&world, &repository, Some("gone")).await;
    assert!(run.ended.sentence.contains("not in a git repository"), "{}", run.ended.sentence);
    repository.git(&["init", "-q"]);
    let run = look(&world, &repository, None).await;
    assert!(run.ended.sentence.contains("no commit yet"), "{}", run.ended.sentence);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_local_repository_is_read() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "1\n")]);
    repository.commit("two");
    let at = world.directory.path();
    git_in(at, &["clone", "-q", "--bare", "repository", "bare.git"]);
    repository.git(&["worktree", "add", "-q", "-b", "side", "../linked"]);
    let shallow_source = format!("file://{}", repository.path.display());
    git_in(at, &["clone", "-q", "--depth", "1", &shallow_source, "shallow"]);
    git_in(at, &["init", "-q", "--object-format=sha256", "-b", "main", "sha256"]);
    let sha256 = Repository { path: at.join("sha256") };
    sha256.write("a", "256\n");
    sha256.commit("one");
    repository.git(&["pack-refs", "--all"]);
    repository.git(&["gc", "-q"]);
    let abbreviated = look(&world, &sha256, Some(&sha256.head()[..10])).await;
    assert_eq!(abbreviated.ended.outcome, Outcome::NoChange, "{}", abbreviated.ended.sentence);
    for (path, head, commits) in [
        ("repository", "refs/heads/main", "2"),
        ("bare.git", "refs/heads/main", "2"),
        ("linked", "refs/heads/side", "2"),
        ("shallow", "refs/heads/main", "1"),
        ("sha256", "refs/heads/main", "1"),
    ] {
        let run = look(&world, &Repository { path: at.join(path) }, None).await;
        assert_eq!(run.ended.outcome, Outcome::NoChange, "{path}: {}", run.ended.sentence);
        assert!(run.output().contains(head), "{path}: {}", run.output());
        assert!(run.output().contains(&format!("\n{commits}\n")), "{path}: {}", run.output());
        assert_eq!(run.notices().contains("history is cut off"), path == "shallow", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_branch_is_seen_at_once_and_costs_one_more_layer() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "1\n"), ("gone", "x\n")]);
    assert!(look(&world, &repository, None).await.output().ends_with("1\n"));
    for n in 2..5 {
        repository.write("a", &format!("{n}\n"));
        let _ = std::fs::remove_file(repository.path.join("gone"));
        repository.commit("more");
        let mut task = world.task(&repository, world.model(&[LOOK, "ls; echo x > new"]));
        task.prompt = format!("round {n}");
        let run = world.run(&task).await;
        assert!(run.output().contains(&format!("\n{n}\n")), "{}", run.output());
        assert!(!run.output().contains("gone"), "{}", run.output());
        assert_eq!(
            run.ended.patch.as_ref().unwrap().stat.files,
            1,
            "{}",
            String::from_utf8_lossy(&run.patch)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_that_start_together_share_one_checkout() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "1\n")]);
    let mut task = world.task(&repository, world.model(&["echo x > new"]));
    task.attempts = 2;
    let mut view = world.client.create_task(&task, "k").await.unwrap();
    for _ in 0..2 {
        let run = world.follow(&view).await;
        assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
        view.attempts.rotate_left(1);
    }
    let layers = std::fs::read_dir(world.directory.path().join("sandboxes/layers")).unwrap();
    let checkouts =
        layers.filter(|layer| layer.as_ref().unwrap().path().join("legwork/repository.git/HEAD").exists());
    assert_eq!(checkouts.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn uncommitted_changes_are_the_base_on_request() {
    let world = World::new().await;
    let repository =
        world.repository(&[("a", "1\n"), ("gone", "x\n"), ("mode", "x\n"), (".gitignore", "*.log\n")]);
    repository.write("a", "dirty\n");
    repository.write("new", "new\n");
    repository.write("b.log", "ignored\n");
    repository.write("kept.log", "ignored but tracked\n");
    repository.git(&["add", "-f", "kept.log"]);
    std::fs::remove_file(repository.path.join("gone")).unwrap();
    std::os::unix::fs::symlink("a", repository.path.join("link")).unwrap();
    let head = repository.head();
    let mut task = world.task(
        &repository,
        world.model(&["ls; cat a; git log --format=%s%n%H; git status --short; echo done >> a"]),
    );
    task.source.local_changes = LocalChanges::Include;
    let run = world.run(&task).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    let output = run.output();
    for text in ["Uncommitted changes", head.as_str(), "new\n", "dirty\n", "kept.log\n", "link\n"] {
        assert!(output.contains(text), "{text:?} in {output}");
    }
    assert!(!output.contains("gone") && !output.contains("b.log"), "{output}");
    assert_eq!(run.ended.patch.as_ref().unwrap().stat.files, 1);
    assert_eq!(repository.head(), head, "the user's repository is only read");
    assert!(repository.git(&["status", "--short"]).contains("?? new"));
    task.prompt = "again".into();
    let again = world.run(&task).await;
    assert_eq!(again.base(), run.base(), "the same changes are the same commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_in_the_checkout_is_said() {
    let world = World::new().await;
    let repository =
        world.repository(&[("a", "1\n"), (".gitattributes", "*.big filter=lfs diff=lfs merge=lfs -text\n")]);
    repository.write("x.big", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    let head = repository.head();
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},module")]);
    std::fs::create_dir(repository.path.join("module")).unwrap();
    repository.commit("two");
    let run = look(&world, &repository, None).await;
    assert!(run.notices().contains("submodules that are empty directories: 1"), "{}", run.notices());
    assert!(run.notices().contains("pointers without their content: 1"), "{}", run.notices());
    assert_eq!(run.ended.outcome, Outcome::NoChange);
}

/// `git daemon` on a free loopback port.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) port: u16,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    pub(crate) fn serve(base: &PathBuf) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // The program itself: the wrapper `git` would leave it behind when it is killed.
        let programs = git_in(base, &["--exec-path"]);
        let child = Command::new(PathBuf::from(programs).join("git-daemon"))
            .args(["--listen=127.0.0.1", "--export-all", "--reuseaddr"])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", base.display()))
            .arg(base)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Self { child, port }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_repository_is_mirrored_and_followed() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "1\n")]);
    let daemon = Daemon::serve(&world.directory.path().to_path_buf());
    let url = format!("git://127.0.0.1:{}/repository", daemon.port);
    let remote = Repository { path: PathBuf::from(&url) };
    let run = look(&world, &remote, None).await;
    assert_eq!(run.ended.outcome, Outcome::NoChange, "{}", run.ended.sentence);
    assert!(run.output().contains("refs/heads/main"), "{}", run.output());
    repository.write("a", "2\n");
    repository.commit("two");
    let run = look(&world, &remote, Some("main")).await;
    assert!(run.output().ends_with("2\n"), "{}", run.output());
    let head = repository.head();
    drop(daemon);
    let run = look(&world, &remote, Some(&head)).await;
    assert_eq!(
        run.ended.outcome,
        Outcome::Failed { reason: Failure::Checkout },
        "detached is another checkout"
    );
    assert!(run.ended.sentence.contains("cannot be fetched"), "{}", run.ended.sentence);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sparse_checkout_left_out_is_not_deleted() {
    let world = World::new().await;
    let repository = world.repository(&[("in/a", "a\n"), ("out/b", "b\n")]);
    repository.git(&["sparse-checkout", "set", "in"]);
    repository.write("in/a", "changed\n");
    let mut task = world.task(&repository, world.model(&["cat in/a out/b"]));
    task.source.local_changes = LocalChanges::Include;
    let run = world.run(&task).await;
    assert_eq!(run.output(), "changed\nb\n", "{}", run.ended.sentence);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_the_operator_does_not_allow_is_not_looked_at() {
    let world = World::without_worker().await;
    let repository = world.repository(&[("allowed/a", "a\n")]);
    let root = repository.path.canonicalize().unwrap();
    let place = |name: &str| world.directory.path().join(name);
    std::fs::create_dir(place("allowed")).unwrap();
    git_in(&place("allowed"), &["clone", "-q", root.to_str().unwrap(), "inside"]);
    std::os::unix::fs::symlink(&root, place("allowed/link")).unwrap();
    world.start_worker_of(LocalRepositories::Below(vec![place("allowed"), root.join("allowed")]));
    let of = |path: PathBuf| {
        let mut task = world.task(&Repository { path: path.clone() }, world.model(&["cat allowed/a"]));
        task.prompt = format!("look at {}", path.display());
        task
    };
    let taken = world.run(&of(place("allowed/inside"))).await;
    assert_eq!(taken.ended.outcome, Outcome::NoChange, "{}", taken.ended.sentence);
    // Itself, by a link, from a directory below, and by a name that is not there.
    for path in [root.clone(), place("allowed/link"), root.join("allowed"), place("allowed/../nowhere")] {
        let run = world.run(&of(path)).await;
        assert_eq!(run.ended.outcome, Outcome::Failed { reason: Failure::Checkout });
        assert!(run.ended.sentence.contains("local_repositories"), "{}", run.ended.sentence);
    }
}

//! The patch reproduces the agent's tree, whatever is in it.

use legwork_domain::{EventKind, FollowUp, Outcome, Phase, State};

use crate::world::{Repository, Run, World};

/// Runs one command as the agent and gives the run and a clone with its patch applied.
async fn changed(world: &World, repository: &Repository, command: &str) -> (Run, Repository) {
    let run = world.run(&world.task(repository, world.model(&[command]))).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{} {}", run.ended.sentence, run.output());
    let applied = repository.applied(&run.base(), &run.patch);
    assert_eq!(applied.git(&["write-tree"]), run.ended.patch.as_ref().unwrap().tree);
    (run, applied)
}

/// `path mode-and-type content-hash` of all files, as the agent's own shell and the applied clone see them.
const LISTING: &str = "find . -path ./.git -prune -o \\( -type f -o -type l \\) -print0 | LC_ALL=C sort -z | while IFS= read -r -d '' f; do \
    if [ -L \"$f\" ]; then printf 'LIST l %q %s\\n' \"$f\" \"$(readlink \"$f\" | sha256sum)\"; \
    elif [ -x \"$f\" ]; then printf 'LIST x %q %s\\n' \"$f\" \"$(sha256sum < \"$f\")\"; \
    else printf 'LIST f %q %s\\n' \"$f\" \"$(sha256sum < \"$f\")\"; fi; done";

fn listing_of(repository: &Repository) -> Vec<String> {
    let output = std::process::Command::new("bash")
        .args(["-c", LISTING])
        .current_dir(&repository.path)
        .output()
        .unwrap();
    listed(&String::from_utf8_lossy(&output.stdout))
}

fn listed(output: &str) -> Vec<String> {
    output.lines().filter(|line| line.starts_with("LIST ")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_change_comes_back_byte_for_byte() {
    let world = World::new().await;
    let long = (0..200).map(|n| format!("line {n}\n")).collect::<String>();
    let repository = world.repository(&[
        ("moved", &long),
        ("gone", "x\n"),
        ("mode", "#!/bin/sh\n"),
        ("crlf", "a\r\nb\r\n"),
        ("cut", "no end"),
        ("ends", "end\n"),
        ("to-link", "x\n"),
        ("dir/file", "x\n"),
        ("same-a", "aaaa"),
        ("same-b", "bbbb"),
        (".gitignore", "target/\n*.o\n"),
    ]);
    std::os::unix::fs::symlink("gone", repository.path.join("link")).unwrap();
    repository.write("tracked.o", "tracked though ignored\n");
    repository.git(&["add", "-f", "tracked.o"]);
    repository.commit("two");
    let command = format!(
        "set -e; mv moved 'moved to here'; sed -i 's/line 7$/LINE 7/' 'moved to here'; rm gone; chmod +x mode; \
         printf 'a\\r\\nc\\r\\n' > crlf; printf 'no end still' > cut; printf end > ends; ln -sf mode link; \
         rm to-link; ln -s /etc/passwd to-link; rm -r dir; echo file > dir; \
         mv same-a t; mv same-b same-a; mv t same-b; \
         head -c 70000 /dev/urandom > binary; printf '\\0\\1' > small.bin; mkdir -p deep/er; touch deep/er/empty; \
         echo 'tracked, changed' > tracked.o; mkdir target; echo built > target/out; echo built > new.o; {LISTING}"
    );
    let (run, applied) = changed(&world, &repository, &command).await;
    std::fs::create_dir_all(applied.path.join("target")).unwrap();
    std::fs::write(applied.path.join("target/out"), "built\n").unwrap();
    std::fs::write(applied.path.join("new.o"), "built\n").unwrap();
    let listing = listed(&run.output());
    assert!(listing.len() > 15, "{}", run.output());
    assert_eq!(listing_of(&applied), listing);
    let patch = String::from_utf8_lossy(&run.patch);
    assert!(patch.contains("rename to moved to here"), "a rename is shown as one");
    assert!(!patch.contains("target/out") && !patch.contains("new.o"));
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_are_data() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n"), ("-rf", "x\n"), ("$(id)", "x\n")]);
    let command = format!(
        "set -e; echo 1 > $'new\\nline'; echo 2 > $'\\xff\\xfe'; echo 3 > $'\\u3000'; echo 4 > ' lead'; echo 5 > $'tab\\t\"quote\\\\'; \
         echo 6 > './--help'; echo 7 >> ./-rf; rm '$(id)'; echo 8 > ':(glob)*'; echo 9 > 'a b => c'; {LISTING}"
    );
    let (run, applied) = changed(&world, &repository, &command).await;
    assert_eq!(listing_of(&applied), listed(&run.output()));
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_of_the_repository_do_not_corrupt_bytes() {
    let world = World::new().await;
    let repository = world.repository(&[
        (".gitattributes", "*.bat text eol=crlf\n*.txt text\n*.id ident\n*.raw -text\n*.u16 text working-tree-encoding=UTF-16LE\n*.bin binary\n*.d diff=evil\n*.f filter=evil\n"),
        ("a.bat", "one\ntwo\n"),
        ("k.id", "$Id$\nx\n"),
        ("r.raw", "a\r\n"),
        ("d.d", "d\n"),
        ("f.f", "f\n"),
    ]);
    std::fs::write(
        repository.path.join("t.u16"),
        "hi\n".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(),
    )
    .unwrap();
    repository.commit("two");
    let command = format!(
        "set -e; printf 'one\\r\\nthree\\r\\n' > a.bat; echo y >> k.id; printf 'b\\r\\nc\\n' > r.raw; printf 'h\\0o\\0\\n\\0' > t.u16; \
         printf '\\0\\r\\n\\n' > new.bin; echo e > d.d; echo g > f.f; {LISTING}"
    );
    let (run, applied) = changed(&world, &repository, &command).await;
    // Git expands `$Id$` to the name of the very blob, so that line alone is another in every version.
    let but_ident =
        |listing: Vec<String>| listing.into_iter().filter(|line| !line.contains("k.id")).collect::<Vec<_>>();
    assert_eq!(but_ident(listing_of(&applied)), but_ident(listed(&run.output())));
    assert!(std::fs::read_to_string(applied.path.join("k.id")).unwrap().ends_with("$\nx\ny\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_do_not_fit_their_attributes_are_taken_as_bytes() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let command = "echo '* working-tree-encoding=UTF-16' > .gitattributes; printf 'odd' > odd; echo b > a";
    let run = world.run(&world.task(&repository, world.model(&[command]))).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    assert_eq!(run.ended.patch.unwrap().stat.files, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_the_same_size_in_the_same_second_is_seen() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "41\n"), ("b", "bb\n")]);
    // In place, with the old time put back.
    let command = "touch -r a /tmp/t; printf 42 | dd of=a conv=notrunc status=none; touch -r /tmp/t a; cat a";
    let (run, applied) = changed(&world, &repository, command).await;
    assert_eq!(run.ended.patch.unwrap().stat.files, 1);
    assert_eq!(std::fs::read_to_string(applied.path.join("a")).unwrap(), "42\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_inside_and_unreadable_files_are_taken_as_files() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let command = "git init -q inner; echo x > inner/file; git -C inner add -A; git -C inner -c user.name=x -c user.email=x commit -qm x; \
        git init -q unborn; echo y > unborn/file; echo z > locked; chmod 000 locked; mkfifo pipe; mkdir empty";
    let (run, applied) = changed(&world, &repository, command).await;
    assert_eq!(run.ended.patch.unwrap().stat.files, 3, "{}", String::from_utf8_lossy(&run.patch));
    assert_eq!(std::fs::read_to_string(applied.path.join("inner/file")).unwrap(), "x\n");
    assert_eq!(std::fs::read_to_string(applied.path.join("locked")).unwrap(), "z\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_into_a_submodule_is_left_out_and_named() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n")]);
    let head = repository.head();
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},-sub module")]);
    repository.git(&["commit", "-q", "-m", "two"]);
    for make in [
        "",
        "git -C './-sub module' init -q; git -C './-sub module' -c user.name=x -c user.email=x commit -q --allow-empty -m x; ",
    ] {
        let command = format!("{make}echo lost > './-sub module/new'; echo b > a");
        let mut task = world.task(&repository, world.model(&[&command]));
        task.prompt = format!("Do it. {make}");
        let run = world.run(&task).await;
        assert_eq!(run.ended.outcome, Outcome::Succeeded, "{} {}", run.ended.sentence, run.output());
        assert_eq!(
            run.ended.patch.as_ref().unwrap().stat.files,
            1,
            "{}",
            String::from_utf8_lossy(&run.patch)
        );
        assert!(run.notices().contains("-sub module is a submodule"), "{}", run.notices());
    }
}

/// Turns of one attempt: more than its layers have room for on top of each other.
const TURNS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_goes_on_and_on_and_its_files_stay_what_they_are() {
    let world = World::new().await;
    let repository = world.repository(&[("a", "a\n"), ("gone/b", "b\n")]);
    let commands: Vec<_> = (1..=TURNS)
        .map(|n| format!("echo {n} >> log; echo {n} >> $HOME/log; rm -rf gone step*; mkdir step{n}; echo {n} > step{n}/n; wc -l < $HOME/log"))
        .collect();
    let script: String = commands
        .iter()
        .map(|command| {
            format!(
                "[[turn]]\ncalls = [{{ tool = \"exec_command\", arguments = {{ cmd = \"{command}\" }} }}]\n[[turn]]\ntext = \"Done.\"\n"
            )
        })
        .collect();
    let task = world.task(&repository, world.script(&script));
    let view = world.client.create_task(&task, "k").await.unwrap();
    // No more than sixteen may wait.
    let turns: Vec<_> = (2..=TURNS).collect();
    for some in turns.chunks(13) {
        for n in some {
            let next = FollowUp::new(format!("Again, for the time {n}."), Vec::new());
            world.client.follow_up(view.attempts[0].attempt.id, &next, &n.to_string()).await.unwrap();
        }
        world.follow(&view).await;
    }
    let run = world.follow(&view).await;
    assert_eq!(run.ended.outcome, Outcome::Succeeded, "{}", run.ended.sentence);
    let ends = run
        .events
        .iter()
        .filter(|event| matches!(&event.kind, EventKind::State { state: State::Finished(_), .. }));
    assert_eq!(ends.count(), TURNS);
    let depths = run.events.iter().filter_map(|event| match &event.kind {
        EventKind::Snapshot { layers, .. } => Some(layers.len()),
        _ => None,
    });
    let deepest = depths.max().unwrap();
    assert!((20..30).contains(&deepest), "{deepest}");
    let log: String = (1..=TURNS).map(|n| format!("{n}\n")).collect();
    let applied = repository.applied(&run.base(), &run.patch);
    let read = |name: &str| std::fs::read_to_string(applied.path.join(name)).unwrap();
    assert_eq!((read("log"), read(&format!("step{TURNS}/n"))), (log, format!("{TURNS}\n")));
    let mut names: Vec<_> =
        std::fs::read_dir(&applied.path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, [".git", "a", "log", &format!("step{TURNS}")]);
    let (_, said) = run.outputs(Phase::Agent).pop().unwrap();
    assert_eq!(said.trim(), TURNS.to_string(), "what is outside the work tree is kept too");
}

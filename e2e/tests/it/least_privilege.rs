use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use crate::repo::{FIX, Repo, with_a_bug};
use crate::script::Script;
use crate::world::{Outcome, World};

/// What root needs (docs/privileges.md).
const FIVE: [&str; 5] = ["chown", "dac_override", "fowner", "setgid", "setuid"];

/// Nothing can be written but what the first argument names, as `ProtectSystem=strict` of the service's unit has it.
const READ_ONLY: &str = r#"mount --make-rprivate / && mount --bind "$1" "$1" && mount -o remount,bind,ro / && shift && ! touch /legwork-was-here 2>&- && exec "$@""#;

fn is_root() -> bool {
    if !rustix::process::geteuid().is_root() {
        skipped("only root can take privileges away from root");
        return false;
    }
    true
}

fn skipped(why: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "SKIPPED: {why}").unwrap();
}

/// A task, begun by `launcher`, which takes the program and its arguments as its last ones.
fn runs(world: &World, repo: &Repo, launcher: &[&str]) -> Outcome {
    let script = Script::new().exec("sh test.sh").patch(FIX).exec("sh test.sh").says("Done.");
    let mut command = Command::new(launcher[0]);
    command.args(&launcher[1..]).arg(world.legwork().get_program());
    command.args(["run", "--json", "--repo"]).arg(repo.path()).args(world.model(&script));
    command.args(["--check", "sh test.sh", "Make add.sh add"]);
    world.end(command)
}

fn root_with(capabilities: &[&str]) -> Vec<String> {
    let set = capabilities.iter().map(|name| format!(",+{name}")).collect::<String>();
    ["setpriv", "--no-new-privs", "--inh-caps=-all"]
        .map(str::to_owned)
        .into_iter()
        .chain([format!("--bounding-set=-all{set}")])
        .collect()
}

#[test]
fn an_ordinary_user_needs_no_capability_and_no_place_to_write_but_its_own() {
    if !is_root() {
        return;
    }
    let world = World::of_an_ordinary_user();
    let repo = with_a_bug(world.repo("project"));
    world.give(repo.path());
    let home = world.path("home");
    let home = home.to_str().unwrap();
    let mut launcher = vec!["unshare", "--mount", "sh", "-c", READ_ONLY, "sh", home];
    launcher.extend(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
    launcher.extend(["--bounding-set=-all", "--inh-caps=-all", "env"]);
    let temporary = format!("TMPDIR={home}");
    launcher.push(&temporary);

    let outcome = runs(&world, &repo, &launcher);

    assert_eq!(outcome.exits(0).judgements(), ["fixed"]);
}

/// The units are what systemd understands, wholly: a misspelt line would be skipped with a warning.
#[test]
fn systemd_understands_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        skipped("there is no systemd-analyze here");
        return;
    }
    let world = World::new();
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/systemd");
    for unit in std::fs::read_dir(units).unwrap() {
        let unit = unit.unwrap();
        let text = std::fs::read_to_string(unit.path()).unwrap();
        // It looks whether the program is there.
        let copy = world.path(unit.file_name().to_str().unwrap());
        std::fs::write(&copy, text.replace("/usr/local/bin/legwork", "/bin/true")).unwrap();
        let verified =
            Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output().unwrap();
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        // What is wrong with units of the machine is not ours.
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("legwork")).collect();
        assert_eq!(ours, [""; 0], "{}", copy.display());
    }
}

#[test]
fn root_needs_five_capabilities() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    let launcher = root_with(&FIVE);
    let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
    assert_eq!(runs(&world, &repo, &launcher).exits(0).judgements(), ["fixed"]);
}

#[test]
fn root_without_one_of_them_is_told_which() {
    if !is_root() {
        return;
    }
    let world = World::new();
    let repo = with_a_bug(world.repo("project"));
    for missing in FIVE {
        let rest: Vec<&str> = FIVE.into_iter().filter(|name| *name != missing).collect();
        let launcher = root_with(&rest);
        let launcher: Vec<&str> = launcher.iter().map(String::as_str).collect();
        let refused = runs(&world, &repo, &launcher);
        refused.exits(1);
        let name = format!("root without CAP_{}", missing.to_uppercase());
        assert!(refused.stderr.contains(&name), "{missing}: {}", refused.stderr);
        assert!(refused.stderr.contains("an ordinary user, who needs no capability"), "{}", refused.stderr);
    }
    assert!(world.legwork_says(&["task", "ls", "--json"]).exits(0).events.is_empty(), "a task was created");
}

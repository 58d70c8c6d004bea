//! One case from the registry to the verdict.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::case::{self, Case};
use crate::legwork::{self, DEPS_INSIDE, Order};
use crate::outcome::Outcome;
use crate::process::{bounded, run};
use crate::registry::{self, Absent};
use crate::script;
use crate::tree::{Tree, git};

/// The slowest suite takes seven seconds on an idle machine, a first build of a crate as long.
const TESTS_SECONDS: u32 = 300;

/// What a build leaves; a published package often names none of it.
const IGNORED: &str = "/target/\n/node_modules/\n__pycache__/\n";

/// Plays the case of that id; says loudly if it cannot be tried here.
pub(crate) fn replay(id: &str) -> Result<()> {
    let case = case::named(id)?;
    skip_if_absent(id, attempt(&case))
}

/// Turns what is absent into a loud skip; `CI=true` allows only a toolchain to be absent.
pub(crate) fn skip_if_absent(name: &str, result: Result<()>) -> Result<()> {
    let Err(error) = result else { return Ok(()) };
    let ci = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    match error.downcast_ref::<Absent>() {
        Some(absent) if !(ci && matches!(absent, Absent::Registry(_))) => {
            writeln!(std::io::stderr(), "\n######## SKIPPED {name}: {absent}\n")?;
            Ok(())
        }
        _ => Err(error),
    }
}

fn attempt(case: &Case) -> Result<()> {
    registry::toolchain(case.registry)?;
    let world = tempfile::Builder::new().prefix("legwork-replay-").tempdir()?;
    let place = |name: &str| world.path().join(name);
    let base = registry::sources(case, &case.base_version, &case.sha256.base)?;
    let fix = registry::sources(case, &case.fix_version, &case.sha256.fix)?;
    let deps = registry::dependencies(case, &base)?;
    let before = base.laid_over(&fix, &case.test_paths).with(".gitignore", IGNORED.as_bytes());
    let after = before.laid_over(&fix, &case.gold_paths);

    before.commit_to(&place("base"))?;
    fails_as_declared(case, &place("base"), &deps)?;

    before.commit_to(&place("repo"))?;
    let check = case.check.replace("{deps}", DEPS_INSIDE);
    fs::write(place("script.toml"), script::gold(case, &before, &after)?)?;
    let told = legwork::run_on(&Order {
        repo: &place("repo"),
        script: &place("script.toml"),
        deps: &deps,
        check: &check,
        patch: &place("out.patch"),
        prompt: &case.title,
        home: &place("home"),
    })?;
    told.succeeded()?;
    told.is_fixed()?;
    told.claims_are_proven()?;
    let tests = told.exit_codes(&script::inside(&case.play.focus));
    ensure!(matches!(tests[..], [Some(1..), Some(0)]), "the tests around the defect exited with {tests:?}");

    spoke(&case.play.wire, &fs::read_to_string(place(script::LOG))?)?;

    before.commit_to(&place("patched"))?;
    git(
        &place("patched"),
        &["apply", "--whitespace=nowarn", place("out.patch").to_str().context("a path")?],
    )?;
    let patched = Tree::read(&place("patched"))?;
    ensure!(patched == after, "the patch leaves {:?} other than the fix", patched.differences(&after));
    ensure!(
        patched.within(&case.gold_paths) == fix.within(&case.gold_paths),
        "the sources are not the fix's"
    );
    for _ in 0..2 {
        passes_as_declared(case, &place("patched"), &deps)?;
    }
    Ok(())
}

/// Every request in the log went over that wire.
fn spoke(wire: &str, log: &str) -> Result<()> {
    let end = match wire {
        "chat" => "/chat/completions",
        other => &format!("/{other}"),
    };
    let paths = log.lines().map(|line| Ok(serde_json::from_str::<Value>(line)?["path"].to_string()));
    let paths = paths.collect::<Result<Vec<_>>>()?;
    let as_wanted = paths.iter().all(|path| path.trim_matches('"').ends_with(end));
    ensure!(!paths.is_empty() && as_wanted, "{wire} was to be spoken, and requests went to {paths:?}");
    Ok(())
}

/// Exactly the declared tests fail, and as many as declared pass.
fn fails_as_declared(case: &Case, root: &Path, deps: &Path) -> Result<()> {
    let declared =
        Outcome { failed: case.fail_to_pass.iter().cloned().collect(), passed: case.pass_to_pass_count };
    let found = tests(case, root, deps)?;
    ensure!(found == declared, "the base version shows {found:?}, declared is {declared:?}");
    Ok(())
}

/// All that failed and all that passed before now passes.
fn passes_as_declared(case: &Case, root: &Path, deps: &Path) -> Result<()> {
    let declared = case.pass_to_pass_count + case.fail_to_pass.len();
    let found = tests(case, root, deps)?;
    ensure!(found.failed.is_empty() && found.passed == declared, "not {declared} pass: {found:?}");
    Ok(())
}

/// Runs the tests on this machine, outside any sandbox. What they build stays in `root` and is thrown away with it.
fn tests(case: &Case, root: &Path, deps: &Path) -> Result<Outcome> {
    let command = case.check.replace("{deps}", deps.to_str().context("a path")?);
    let mut shell = bounded(TESTS_SECONDS, root, "sh");
    shell.args(["-c", &command]).env("CARGO_TARGET_DIR", root.with_extension("target"));
    let ran = run(&mut shell)?;
    Ok(Outcome::read(case.runner, &ran.stdout))
}

//! The real program, run as a user would.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use legwork_domain::{
    Author, CommandRun, Ended, Event, EventKind, Item, ItemBody, Judgement, Outcome, Phase, Proof, TestClaim,
};
use serde_json::json;

use crate::process::{Ran, bounded, run};

/// Two clean checks and the agent's three test runs, on a busy machine.
const RUN_SECONDS: u32 = 600;

/// Where the dependencies are shown inside.
pub(crate) const DEPS_INSIDE: &str = "/deps";

/// What a run is given.
pub(crate) struct Order<'a> {
    pub(crate) repo: &'a Path,
    pub(crate) script: &'a Path,
    pub(crate) deps: &'a Path,
    pub(crate) check: &'a str,
    pub(crate) patch: &'a Path,
    pub(crate) prompt: &'a str,
    /// Its data directory.
    pub(crate) home: &'a Path,
}

/// What a run said.
pub(crate) struct Told {
    ran: Ran,
    events: Vec<Event>,
}

/// Runs it to its end; toolchains come from the home directory of whoever runs the tests, all else is the run's own.
pub(crate) fn run_on(order: &Order<'_>) -> Result<Told> {
    let program = program()?;
    let mounts = json!({ "mounts": [{ "host": order.deps, "inside": DEPS_INSIDE }] });
    let config = order.home.with_extension("toml");
    fs::write(&config, toml::to_string(&mounts)?)?;
    let mut command =
        bounded(RUN_SECONDS, order.repo, program.to_str().context("the target directory's name")?);
    command.env_clear().env("LEGWORK_HOME", order.home).env("LEGWORK_CONFIG", config);
    for name in ["PATH", "HOME"] {
        command.env(name, std::env::var_os(name).unwrap_or_default());
    }
    command.args(["run", "--json", "--repo"]).arg(order.repo);
    command.arg("--model").arg(format!("scripted/{}", order.script.display()));
    command.args(["--check", order.check, "--patch"]).arg(order.patch).arg(order.prompt);
    let ran = run(&mut command)?;
    let events = ran.stdout.lines().map(serde_json::from_str).collect::<Result<Vec<Event>, _>>();
    let events = events.with_context(|| format!("an event is no JSON:\n{}", ran.tail()))?;
    Ok(Told { ran, events })
}

impl Told {
    /// Exit code 0, and the turn succeeded.
    pub(crate) fn succeeded(&self) -> Result<()> {
        ensure!(
            self.ran.passed(),
            "it exited with {:?}:\n{}\n{}",
            self.ran.code,
            self.steps(),
            self.ran.stderr
        );
        let ended = self.ended()?;
        ensure!(ended.outcome == Outcome::Succeeded, "{}\n{}", ended.sentence, self.steps());
        Ok(())
    }

    /// The one check failed before and passes now.
    pub(crate) fn is_fixed(&self) -> Result<()> {
        let judgements: Vec<_> = self.ended()?.verdicts.iter().map(|verdict| verdict.judgement).collect();
        ensure!(judgements == [Judgement::Fixed], "the check is judged {judgements:?}:\n{}", self.steps());
        Ok(())
    }

    /// The final message claims success and cites an item for it, and the log proves the claim by this very item.
    pub(crate) fn claims_are_proven(&self) -> Result<()> {
        let items: Vec<Item> = self.items().cloned().collect();
        let answer = items.iter().rev().find_map(|item| {
            let ItemBody::Message { role: Author::Assistant, text, .. } = &item.body else { return None };
            Some(text)
        });
        let answer = answer.context("no final message")?;
        let claims = TestClaim::find(answer, &items);
        let [TestClaim { proof: Proof::Proven { items: proofs }, sentence }] = &claims[..] else {
            bail!("{answer:?} claims {claims:?}\n{}", self.steps());
        };
        let cited = proofs.iter().all(|item| sentence.contains(&item.to_string()));
        ensure!(cited, "{sentence:?} is proven by {proofs:?}, which it does not cite");
        Ok(())
    }

    /// Exit codes of the agent's own runs of `command`, in order.
    pub(crate) fn exit_codes(&self, command: &str) -> Vec<Option<i32>> {
        let runs = self.commands().filter(|run| run.phase == Phase::Agent && run.command.contains(command));
        runs.map(|run| run.exit_code).collect()
    }

    fn ended(&self) -> Result<&Ended> {
        let mut ends = self.events.iter().rev().filter_map(|event| {
            let EventKind::State { state, .. } = &event.kind else { return None };
            state.ended()
        });
        ends.next().with_context(|| format!("the turn did not end:\n{}", self.ran.tail()))
    }

    fn items(&self) -> impl Iterator<Item = &Item> {
        self.events.iter().filter_map(|event| {
            let EventKind::ItemCompleted { item } = &event.kind else { return None };
            Some(item)
        })
    }

    fn commands(&self) -> impl Iterator<Item = &CommandRun> {
        self.items().filter_map(|item| {
            let ItemBody::Command(run) = &item.body else { return None };
            Some(run)
        })
    }

    /// The completed items, for a message.
    fn steps(&self) -> String {
        const ITEM_CHARS: usize = 3000;
        let lines =
            self.items().map(|item| format!("{:?}", item.body).chars().take(ITEM_CHARS).collect::<String>());
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// The `legwork` that cargo built beside this test.
pub(crate) fn program() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let program = test.parent().and_then(Path::parent).context("the test's place")?.join("legwork");
    if !program.exists() {
        bail!("{} is not there; build it first: cargo build -p legwork-cli", program.display());
    }
    Ok(program)
}

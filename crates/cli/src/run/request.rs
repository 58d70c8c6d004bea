//! The task that the arguments ask for.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::Context as _;
use legwork_domain::{
    Allowance, Check, Environment, Kind, Limits, LocalChanges, NetworkPolicy, NewTask, PROMPT_BYTES_MAX,
    Source, Trust,
};

use super::{LimitArgs, OrderArgs, TakeArgs};
use crate::config::Config;
use crate::exit::Trouble;
use crate::reach::{Place, Served};
use crate::repository::{self, Located};

/// The largest image that is sent. Providers take between 5 and 20 MB a picture.
const IMAGE_BYTES_MAX: u64 = 20 * 1024 * 1024;
/// Characters of a check's command that make its name.
const NAME_CHARS_MAX: usize = 60;

/// The body of the request.
pub(super) fn of(
    args: &OrderArgs,
    config: &Config,
    model: String,
    located: Located,
) -> anyhow::Result<NewTask> {
    if args.include_changes && located.is_remote() {
        let what = "--include-changes takes the uncommitted changes of a local repository; this is a URL.";
        return Err(Trouble::usage(what, "Clone it and name the clone's path with --repo.").into());
    }
    let source = Source {
        repository: located.name,
        base: args.base.clone(),
        local_changes: if args.include_changes { LocalChanges::Include } else { LocalChanges::Leave },
    };
    let new = NewTask {
        kind: if args.ask { Kind::Ask } else { Kind::Code },
        attempts: args.attempts,
        environment: Environment {
            image: args.ground.image.clone().unwrap_or_else(|| Environment::default().image),
            setup: args.ground.setup.clone(),
            network: args.ground.network.clone().unwrap_or_default(),
            setup_network: args.ground.setup_network.clone().unwrap_or(NetworkPolicy::PackageManagers),
            checks: checks(&args.checks),
            resources: config.resources,
            ..Environment::default()
        },
        limits: args.limits.over(config.limits),
        labels: args.queue.labels.clone(),
        budget: args.budget.map(|cost| Allowance { cost_microusd: Some(cost), ..Allowance::default() }),
        priority: args.queue.priority,
        trust: if args.outsider { Trust::Outsider } else { Trust::Member },
        ..NewTask::new(words(&args.prompt)?, source, model)
    };
    let usage = |what: String| Trouble::usage(what, "See legwork run --help.");
    // A request that leaves the model to the server is checked there, once it has one.
    if !new.model.is_empty() {
        new.validate().map_err(usage)?;
    }
    Ok(new)
}

/// Refuses a password in the URL for workers that are not of this command: it would have to be in the task's record.
pub(super) fn without_login(located: &Located) -> anyhow::Result<()> {
    if located.login.is_none() {
        return Ok(());
    }
    let what = "A server keeps what a task names, so a password in the URL is not sent to one.";
    let mend = format!(
        "Give the workers' git a credential helper and name the repository without it: --repo {}\nOr run it in this command: legwork run --server none",
        located.name
    );
    Err(Trouble::usage(what, mend).into())
}

/// Refuses what a server elsewhere cannot have: a path of this machine.
pub(super) fn reachable(new: &NewTask, served: &Served, config: &Config) -> anyhow::Result<()> {
    if served.place == Place::Here {
        return Ok(());
    }
    let Some(path) = Some(&new.source.repository).filter(|text| text.starts_with('/')) else { return Ok(()) };
    let what = format!("The server {} cannot see {path}, which is on this machine.", served.url);
    let origin =
        repository::origin(std::path::Path::new(path), &config.git).unwrap_or_else(|| "URL".to_owned());
    let mend = format!(
        "Push what it needs and name the repository by its URL: --repo {origin}\nOr run it on this machine: --server none"
    );
    Err(Trouble::usage(what, mend).into())
}

impl LimitArgs {
    fn over(self, limits: Limits) -> Limits {
        Limits {
            tokens: self.limit_tokens.or(limits.tokens),
            cost_microusd: self.limit_cost.or(limits.cost_microusd),
            wall_ms: self.limit_time.unwrap_or(limits.wall_ms),
            ..limits
        }
    }
}

impl TakeArgs {
    /// Finds out early what could not work in the end.
    pub(super) fn check(&self, repository: &Located) -> anyhow::Result<()> {
        if self.apply && repository.is_remote() {
            let what = "--apply changes the files of a local repository; this is a URL.";
            return Err(Trouble::usage(what, "Use --branch NAME or --patch FILE.").into());
        }
        let parent = self.patch.as_deref().and_then(std::path::Path::parent);
        match parent.filter(|parent| !parent.as_os_str().is_empty() && !parent.is_dir()) {
            Some(parent) => {
                let what = format!("The directory {} for --patch does not exist.", parent.display());
                Err(Trouble::usage(what, "Make it, or name another.").into())
            }
            None => Ok(()),
        }
    }
}

/// What a person says; `-` reads standard input, no further than a prompt may go.
pub(crate) fn words(argument: &str) -> anyhow::Result<String> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut text = Vec::new();
    let most = PROMPT_BYTES_MAX as u64 + 1;
    std::io::stdin().take(most).read_to_end(&mut text).context("Standard input could not be read.")?;
    String::from_utf8(text).map_err(|_| {
        Trouble::usage("The prompt on standard input is not valid UTF-8.", "Send it as UTF-8 text.").into()
    })
}

/// The checks, each named by its command; the same command twice is one check.
fn checks(commands: &[String]) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    for command in commands {
        if checks.iter().any(|check| check.command == *command) {
            continue;
        }
        let short: String = command.trim().chars().take(NAME_CHARS_MAX).collect();
        let taken = |name: &str| checks.iter().any(|check| check.name == name);
        let numbered = (2..).map(|n| format!("{short} ({n})"));
        let name =
            std::iter::once(short.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or_default();
        checks.push(Check::new(name, command));
    }
    checks
}

/// The contents of the image files.
pub(crate) fn images(files: &[PathBuf]) -> anyhow::Result<Vec<Vec<u8>>> {
    files.iter().map(image).collect()
}

fn image(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    let refused = |why: String| {
        Trouble::usage(
            format!("The image {} {why}.", path.display()),
            "Give a PNG, JPEG, GIF or WebP file below 20 MB.",
        )
    };
    let file = std::fs::File::open(path).map_err(|error| refused(format!("cannot be opened: {error}")))?;
    let mut bytes = Vec::new();
    file.take(IMAGE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refused(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > IMAGE_BYTES_MAX {
        return Err(refused("is too large".to_owned()).into());
    }
    let magic: [&[u8]; 4] = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"RIFF"];
    if !magic.iter().any(|magic| bytes.starts_with(magic)) {
        return Err(refused("is of no kind that models read".to_owned()).into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_get_names_of_their_own() {
        let long = "x".repeat(70);
        let commands = [format!("{long}a"), format!("{long}b"), "make".into(), "make".into()];
        let names: Vec<String> = checks(&commands).into_iter().map(|check| check.name).collect();
        assert_eq!(names, ["x".repeat(60), format!("{} (2)", "x".repeat(60)), "make".to_owned()]);
    }
}

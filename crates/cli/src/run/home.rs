//! After the end: the summary, the patch's way home, and the exit code.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bytes::Bytes;
use legwork_client::Client;
use legwork_domain::{Patch, Task, Trust};
use legwork_git::{Repository, Url};

use super::{Ends, Shown, TakeArgs, say};
use crate::choice::{self, Choice};
use crate::config::Config;
use crate::exit::{Exit, Trouble};
use crate::record::Record;
use crate::repository::Mine;
use crate::summary::Wanted;
use crate::text::{DIM, GOOD, Line, Paint};
use crate::{diff, repository, summary};

/// Shows what came out and brings the patch where the user wants it.
pub(crate) async fn bring(
    client: &Client,
    task: &Task,
    ends: &Ends,
    shown: &Shown,
    config: &Config,
) -> anyhow::Result<Exit> {
    let Some(choice) = choice::best(&ends.records) else {
        return Ok(if ends.interrupted { Exit::Interrupted } else { Exit::Failed });
    };
    let record = &ends.records[&choice.number];
    let patch = fetch(client, record).await?;
    let told = if shown.json {
        let next = summary::next_steps(record, task, shown.take.wants());
        let needs = summary::needs(record, task);
        summary::outcome(record)
            .iter()
            .chain(&needs)
            .chain(&next)
            .filter(|line| !line.is_empty())
            .for_each(say);
        Ok(())
    } else {
        show(task, &ends.records, (&choice, shown.take.wants()), patch.as_deref())
    };
    let exit = match &record.ended {
        Some(_) if ends.interrupted => Exit::Interrupted,
        Some(ended) => Exit::of(ended),
        None if record.parked.is_some() => Exit::NeedsYou,
        None => Exit::Failed,
    };
    let (Some(patch), Some(contents)) = (&record.patch, patch) else {
        if shown.take.wanted() {
            say(&Line::default()
                .with(DIM, "There is no patch, so nothing was written, applied or put on a branch."));
        }
        return told.map(|()| exit);
    };
    // The patch goes where the user wants it also when nobody reads the summary any more.
    Product { task, patch, contents: &contents }.take(&shown.take, exit, config)?;
    told.map(|()| exit)
}

/// The bytes of an attempt's patch.
pub(crate) async fn fetch(client: &Client, record: &Record) -> anyhow::Result<Option<Bytes>> {
    match &record.patch {
        Some(patch) => Ok(Some(client.blob(&patch.blob).await.context("The patch could not be read back.")?)),
        None => Ok(None),
    }
}

fn show(
    task: &Task,
    records: &BTreeMap<u8, Record>,
    (choice, wanted): (&Choice, Wanted),
    patch: Option<&[u8]>,
) -> anyhow::Result<()> {
    let record = &records[&choice.number];
    write(&choice::table(records, choice))?;
    write(&summary::answer(record))?;
    if let Some(patch) = patch {
        write(&[Line::default()])?;
        diff::show(patch, &format!("legwork task diff {}", task.id))?;
    }
    write(&summary::verdicts(record))?;
    write(&summary::outcome(record))?;
    write(&summary::needs(record, task))?;
    write(&summary::next_steps(record, task, wanted))?;
    Ok(())
}

/// Writes lines to standard output.
pub(crate) fn write(lines: &[Line]) -> std::io::Result<()> {
    let stdout = std::io::stdout();
    let paint = if stdout.is_terminal() { Paint::of(&stdout) } else { Paint::Plain };
    let mut out = stdout.lock();
    for line in lines {
        writeln!(out, "{}", line.render(paint))?;
    }
    out.flush()
}

impl TakeArgs {
    fn wants(&self) -> Wanted {
        if self.apply || self.branch.is_some() { Wanted::Now } else { Wanted::Later }
    }

    fn wanted(&self) -> bool {
        self.patch.is_some() || self.apply || self.branch.is_some()
    }
}

/// What a task made.
pub(crate) struct Product<'a> {
    /// Of which task.
    pub(crate) task: &'a Task,
    /// The patch.
    pub(crate) patch: &'a Patch,
    /// Its bytes.
    pub(crate) contents: &'a [u8],
}

impl Product<'_> {
    /// Brings the patch where the user wants it. A file takes any patch; files and branches of a repository only one
    /// whose task is done.
    fn take(&self, take: &TakeArgs, exit: Exit, config: &Config) -> anyhow::Result<()> {
        if let Some(file) = &take.patch {
            std::fs::write(file, self.contents).with_context(|| {
                let id = self.task.id;
                format!(
                    "The patch could not be written to {}; it is kept: legwork task diff {id}",
                    file.display()
                )
            })?;
            told("The patch was written to ", &file.display().to_string());
        }
        if exit != Exit::Done {
            if take.apply || take.branch.is_some() {
                let what =
                    "The task is not done, so its patch was not applied. It is kept: legwork task apply";
                say(&Line::default().with(DIM, &format!("{what} {}", self.task.id)));
            }
            return Ok(());
        }
        if take.apply {
            self.apply(config)?;
        }
        take.branch.as_ref().map_or(Ok(()), |name| self.branch(name, config))
    }

    /// Applies the patch to the files of the task's repository.
    pub(crate) fn apply(&self, config: &Config) -> anyhow::Result<()> {
        let Some(root) = self.local() else {
            let what = "The task's repository is a URL; there are no files here to change.";
            return Err(Trouble::usage(what, "Use --branch NAME, or legwork task diff.").into());
        };
        self.apply_to(root, config)
    }

    /// Applies the patch to the files of the repository at `root`, wholly or not at all.
    pub(crate) fn apply_to(&self, root: &Path, config: &Config) -> anyhow::Result<()> {
        let mine = Mine::open(root, &config.git)?;
        mine.apply(self.patch, self.contents, &format!("legwork task apply {}", self.task.id))?;
        told("The patch was applied to ", &root.display().to_string());
        Ok(())
    }

    /// Puts the patch on a branch of the repository at `root`.
    pub(crate) fn branch_of(&self, root: &Path, name: &str, config: &Config) -> anyhow::Result<()> {
        let mine = Mine::open(root, &config.git)?;
        let commit = mine.branch(name, self.patch, self.contents, &self.message())?;
        on_branch(&commit, name, &root.display().to_string());
        Ok(())
    }

    fn message(&self) -> String {
        format!("{}\n\nMade by Legwork, {}.\n", self.task.title, self.task.id)
    }

    /// Puts the patch on a branch: of the local repository, or of the remote one.
    pub(crate) fn branch(&self, name: &str, config: &Config) -> anyhow::Result<()> {
        let Self { task, patch, contents } = self;
        if let Some(root) = self.local() {
            return self.branch_of(root, name, config);
        }
        let Repository::Url(url) = Repository::parse(&task.request.source.repository)? else {
            return Ok(());
        };
        let objects = Mine::open(&objects_of(&url, self.task.request.trust, config)?, &config.git)?;
        let commit = objects.commit(patch, contents, &self.message())?;
        objects.push(&url, &commit, name)?;
        on_branch(&commit, name, url.public());
        Ok(())
    }

    fn local(&self) -> Option<&Path> {
        let path = Path::new(&self.task.request.source.repository);
        path.is_absolute().then_some(path)
    }
}

/// A repository on this machine that has the commits of `url`: the mirror of a worker here, else a clone of the user's.
fn objects_of(url: &Url, trust: Trust, config: &Config) -> anyhow::Result<PathBuf> {
    let mirror = legwork_worker::mirror_of(&config.home, url, trust);
    if mirror.is_dir() {
        return Ok(mirror);
    }
    repository::locate(None).map(|clone| PathBuf::from(clone.name)).map_err(|_| {
        let what = format!("The commits of {} are not on this machine.", url.public());
        Trouble::usage(what, "Run the command inside a clone of it, or take the patch: legwork task diff")
            .into()
    })
}

fn on_branch(commit: &str, name: &str, place: &str) {
    let short: String = commit.chars().take(12).collect();
    told(&format!("Commit {short} is on the branch {name} of "), place);
}

/// Tells of something that was done.
fn told(what: &str, place: &str) {
    say(&Line::default().with(GOOD, what).with(DIM, place));
}

use std::path::{Path, PathBuf};

use crate::call::Form;
use crate::config::{Config, Database, Vars};
use crate::exit::{Exit, Trouble};
use crate::run::home;
use crate::serve::Seat;
use crate::text::{ACCENT, DIM, GOOD, Line};

/// Of which server.
#[derive(Debug, clap::Args)]
pub(super) struct Of {
    /// The database, as of legwork server. Default: the one that a server here would use.
    #[arg(long, value_name = "URL")]
    database: Option<Database>,
}

/// A backup to be made.
#[derive(Debug, clap::Args)]
pub(super) struct BackupArgs {
    /// A directory that is made.
    to: PathBuf,
    #[command(flatten)]
    of: Of,
}

/// A backup to be used.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// The directory of the backup.
    from: PathBuf,
    #[command(flatten)]
    of: Of,
}

impl Of {
    /// The file of SQLite that is meant; `None`: the data directory's.
    fn file(self, config: &Config, vars: Vars<'_>) -> Result<Option<PathBuf>, Trouble> {
        match Database::here(self.database, config, vars)? {
            None => Ok(None),
            Some(Database::Sqlite(path)) => Ok(Some(path)),
            Some(Database::Postgres(_)) => Err(Trouble::usage(
                "The database is one of Postgres, which has tools of its own for this.",
                "Use pg_dump --format=custom and pg_restore, and copy the directory `blobs` of the data directory.",
            )),
        }
    }
}

pub(super) async fn backup(
    args: BackupArgs,
    form: Form,
    config: &Config,
    vars: Vars<'_>,
) -> anyhow::Result<Exit> {
    let file = args.of.file(config, vars)?;
    let url = file.map(|path| Database::Sqlite(path).url());
    legwork_server::backup(&config.home, url.as_deref(), &args.to).await?;
    let to = args.to.display().to_string();
    let key = config.home.join("secret.key").display().to_string();
    answer(
        form,
        &serde_json::json!({ "backup": args.to }),
        &[
            Line::default().with(GOOD, "All is in ").with(ACCENT, &to),
            Line::default().with(DIM, "but the key of the secrets. Keep it apart: ").with(DIM, &key),
        ],
    )
}

pub(super) async fn restore(
    args: RestoreArgs,
    form: Form,
    config: &Config,
    vars: Vars<'_>,
) -> anyhow::Result<Exit> {
    let file = args.of.file(config, vars)?;
    config.make_home()?;
    // No server may start meanwhile either.
    let _seat = Seat::take(&config.home).await?;
    let restored = legwork_server::restore(&args.from, &config.home, file.as_deref()).await?;
    let aside = restored.replaced.as_deref().map_or_else(
        || Line::default().with(DIM, "There was no database before."),
        |old| Line::default().with(DIM, &format!("The database that was there before is {}.", shown(old))),
    );
    let done = serde_json::json!({ "restored": args.from, "replaced": restored.replaced });
    answer(form, &done, &[Line::default().with(GOOD, "Restored ").with(ACCENT, &shown(&args.from)), aside])
}

fn answer(form: Form, value: &serde_json::Value, lines: &[Line]) -> anyhow::Result<Exit> {
    match form {
        Form::Json => crate::json::line(&mut std::io::stdout(), value)?,
        Form::Words => home::write(lines)?,
    }
    Ok(Exit::Done)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

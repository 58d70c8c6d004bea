//! What every command that talks to a server has in common: which one, and how it answers.

use legwork_client::Client;
use serde::Serialize;

use crate::config::{Config, Vars};
use crate::exit::Exit;
use crate::local::Host;
use crate::reach::{Reach, Served, ServerArg};
use crate::run::home;
use crate::text::Line;

/// What every such command takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct CallArgs {
    /// Which server.
    #[command(flatten)]
    server: ServerArg,
    /// Answer with JSON on standard output.
    #[arg(long, global = true)]
    json: bool,
}

/// How a command answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// For a person.
    Words,
    /// One JSON value a line.
    Json,
}

/// What a command works with.
pub(crate) struct Call<'a> {
    pub(crate) client: &'a Client,
    pub(crate) form: Form,
    pub(crate) config: &'a Config,
    pub(crate) vars: Vars<'a>,
    /// Where the client leads, if that is not this process.
    pub(crate) served: Option<&'a Served>,
    /// Where it leads, if that is this process.
    pub(crate) host: Option<&'a Host>,
}

impl CallArgs {
    /// How the command is to answer.
    pub(crate) const fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Words }
    }

    /// Does `work` with a server, and ends what was started for it.
    pub(crate) async fn with(
        self,
        config: &Config,
        vars: Vars<'_>,
        work: impl AsyncFnOnce(&Call<'_>) -> anyhow::Result<Exit>,
    ) -> anyhow::Result<Exit> {
        let served = self.server.served(config, vars).await?;
        let reach = Reach::to(served.as_ref(), config).await?;
        let form = self.form();
        let call =
            Call { client: &reach.client, form, config, vars, served: served.as_ref(), host: reach.host() };
        let done = work(&call).await;
        reach.end(done).await
    }
}

impl Call<'_> {
    /// Answers with `value`, or for a person with `lines`.
    pub(crate) fn answer(&self, value: &impl Serialize, lines: &[Line]) -> anyhow::Result<Exit> {
        match self.form {
            Form::Json => crate::json::line(&mut std::io::stdout().lock(), value)?,
            Form::Words => home::write(lines)?,
        }
        Ok(Exit::Done)
    }

    /// Answers with each of `values`, or for a person with `lines`.
    pub(crate) fn list(&self, values: &[impl Serialize], lines: &[Line]) -> anyhow::Result<Exit> {
        match self.form {
            Form::Json => {
                let mut out = std::io::stdout().lock();
                values.iter().try_for_each(|value| crate::json::line(&mut out, value))?;
            }
            Form::Words => home::write(lines)?,
        }
        Ok(Exit::Done)
    }
}

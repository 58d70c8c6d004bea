//! The configuration: a file, the environment, and defaults, read once at start.
//!
//! The file is `$XDG_CONFIG_HOME/legwork/config.toml` (`LEGWORK_CONFIG` names another). An unknown key is an error, since
//! a misspelt limit that is silently ignored costs real money. Keys of providers are never in the file: it names the
//! environment variable that holds them, so that the file can be shared. `docs/cli.md` is its reference.

mod backend;
mod complaint;
mod egress;
mod file;
mod oidc;
mod serving;
mod units;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use legwork_domain::{Limits, Resources};
use legwork_model::ModelFacts;
use legwork_server::Redactor;

use crate::exit::Trouble;
use crate::{logins, private};

pub use backend::{BackendFile, DockerFile};
pub use egress::{EgressFile, GitFile};
pub use file::{MountFile, ProviderFile};
pub use oidc::providers;
pub use serving::{Database, ServerFile, WorkerFile};
pub use units::{lifetime, money, time, tokens};

/// A reader of environment variables. A function, so that tests need not change the process's own.
pub type Vars<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's own environment; an empty variable is one that is not set.
#[must_use]
pub fn process(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Everything the program was told before its arguments.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file that was read, or would be.
    pub file: PathBuf,
    /// Where tokens of servers are kept.
    pub logins: PathBuf,
    /// The data directory: tasks, patches, sandboxes.
    pub home: PathBuf,
    /// The user's home directory, where toolchains are looked for.
    pub user_home: PathBuf,
    /// The `PATH`.
    pub path: String,
    /// What git needs to reach the user's own configuration and hosts.
    pub git: Vec<(OsString, OsString)>,
    /// `provider/model`, used where a command names none.
    pub model: Option<String>,
    /// Providers as the file gives them; the environment's part is in [`crate::models`].
    pub providers: BTreeMap<String, ProviderFile>,
    /// Facts on models as the file gives them.
    pub models: BTreeMap<String, ModelFacts>,
    /// What a turn may spend, where a command does not say.
    pub limits: Limits,
    /// What a sandbox may take.
    pub resources: Resources,
    /// Host directories that every sandbox shows.
    pub mounts: Vec<MountFile>,
    /// How a server of this machine serves.
    pub server: ServerFile,
    /// How a worker of this machine works.
    pub worker: WorkerFile,
    /// Knows the secrets of this process, and those of recipes once a server runs in it; the log passes through it.
    pub redactor: Redactor,
}

impl Config {
    /// Reads the process's environment and the file.
    ///
    /// # Errors
    /// [`Trouble`] that names file, line and key.
    pub fn read() -> anyhow::Result<Self> {
        Self::from_vars(&process)
    }

    /// Reads the file that `vars` lead to.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn from_vars(vars: Vars<'_>) -> anyhow::Result<Self> {
        let user_home = PathBuf::from(vars("HOME").unwrap_or_else(|| "/".to_owned()));
        let (path, wanted) = file_path(vars, &user_home);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !wanted => String::new(),
            Err(error) => {
                let trouble = Trouble::usage(
                    format!("The configuration file {} cannot be read: {error}.", path.display()),
                    "Make it readable, or unset LEGWORK_CONFIG to go without one.",
                );
                return Err(trouble.into());
            }
        };
        let read = file::parse(&path, &text)?;
        Ok(Self {
            home: data_dir(vars, &user_home)?,
            logins: config_dir(vars, &user_home).join(logins::FILE),
            path: vars("PATH").unwrap_or_default(),
            git: legwork_git::mirror::OPERATOR_ENV
                .iter()
                .filter_map(|name| Some((name.into(), vars(name)?.into())))
                .collect(),
            file: path,
            user_home,
            model: vars("LEGWORK_MODEL").or(read.model),
            providers: read.providers,
            models: read.models,
            limits: read.limits.into_limits(),
            resources: read.resources,
            mounts: read.mounts,
            server: read.server,
            worker: read.worker,
            redactor: Redactor::default(),
        })
    }

    /// Makes the data directory if it is missing, for this user alone. Takes the rights of others away from one that is
    /// there, and says so in the log.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn make_home(&self) -> anyhow::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.home).with_context(|| {
            format!("The data directory {} cannot be made; LEGWORK_HOME names another.", self.home.display())
        })?;
        match private::close(&self.home) {
            Ok(closed) => closed.iter().for_each(|path| {
                tracing::warn!(path = %path.display(), "other users could read this; it is its owner's alone now");
            }),
            // What cannot be closed still serves.
            Err(error) => tracing::warn!(%error, home = %self.home.display(), "other users may read the data directory"),
        }
        Ok(())
    }
}

/// The file, and whether somebody named it.
fn file_path(vars: Vars<'_>, user_home: &Path) -> (PathBuf, bool) {
    if let Some(path) = vars("LEGWORK_CONFIG") {
        return (path.into(), true);
    }
    (config_dir(vars, user_home).join("config.toml"), false)
}

fn config_dir(vars: Vars<'_>, user_home: &Path) -> PathBuf {
    let base = vars("XDG_CONFIG_HOME").map_or_else(|| user_home.join(".config"), PathBuf::from);
    base.join("legwork")
}

/// `LEGWORK_HOME`, else the place of the XDG base directory specification.
fn data_dir(vars: Vars<'_>, user_home: &Path) -> anyhow::Result<PathBuf> {
    let dir = vars("LEGWORK_HOME")
        .map(PathBuf::from)
        .or_else(|| vars("XDG_DATA_HOME").map(|base| PathBuf::from(base).join("legwork")))
        .unwrap_or_else(|| user_home.join(".local/share/legwork"));
    std::path::absolute(&dir).with_context(|| format!("{} is no usable data directory", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        let named = path.to_str().unwrap().to_owned();
        let error = Config::from_vars(&|name| (name == "LEGWORK_CONFIG").then(|| named.clone())).unwrap_err();
        let lines: Vec<String> =
            crate::exit::lines_of(&error).iter().map(|l| l.render(crate::text::Paint::Plain)).collect();
        lines.join("\n").replace(&named, "c.toml")
    }

    #[test]
    fn a_misspelt_key_is_named_with_its_line() {
        insta::assert_snapshot!(complaint("model = \"a/b\"\n\n[providers.mine]\nwier = \"chat\"\nbase_url = \"x\"\n"), @r#"
        error: c.toml, line 4, key `providers.mine.wier`: unknown field `wier`, expected one of `wire`, `base_url`, `api_key_env`, `headers`.
            4 | wier = "chat"
          → Correct the name to one of those listed, or remove the line. All keys are in docs/cli.md.
        "#);
    }

    #[test]
    fn a_setting_of_the_server_that_is_wrong_is_named_with_its_line() {
        let said = complaint("[server]\n\nkey_fill = \"x\"\n");
        assert!(said.contains("line 3, key `server.key_fill`") && said.contains("`key_file`"), "{said}");
        let said = complaint("[server]\n\nkey_command = 3\n");
        assert!(said.contains("line 3, key `server.key_command`: invalid type"), "{said}");
    }

    #[test]
    fn a_key_in_the_file_is_refused_with_the_way_out() {
        insta::assert_snapshot!(complaint("[providers.mine]\nwire = \"chat\"\nbase_url = \"x\"\napi_key = \"sk-123\"\n"), @r#"
        error: c.toml, line 4, key `providers.mine.api_key`: unknown field `api_key`, expected one of `wire`, `base_url`, `api_key_env`, `headers`.
            4 | api_key = (not shown)
          → Put the key into an environment variable and name it: api_key_env = "MY_PROVIDER_KEY".
        "#);
    }

    #[test]
    fn a_value_of_the_wrong_form_is_shown_in_place() {
        insta::assert_snapshot!(complaint("[limits]\ntime = \"soon\"\n"), @r#"
        error: c.toml, line 2, key `limits.time`: "soon" is no length of time; write it as 90s, 30m or 2h.
            2 | time = "soon"
          → Correct this line. The form of every key is in docs/cli.md.
        "#);
        insta::assert_snapshot!(complaint("model = \"gpt\"\n"), @r#"
        error: c.toml, line 1, key `model`: "gpt" is not of the form provider/model.
            1 | model = "gpt"
          → Name the provider too, for example model = "ollama/qwen3-coder".
        "#);
        insta::assert_snapshot!(complaint("[limits\n"), @r#"
        error: c.toml, line 1: unclosed table, expected `]`.
            1 | [limits
          → Correct this line. The form of every key is in docs/cli.md.
        "#);
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let error =
            Config::from_vars(&|name| (name == "LEGWORK_CONFIG").then(|| "/nowhere/c.toml".to_owned()))
                .unwrap_err();
        assert_eq!(crate::exit::code_of(&error), crate::exit::Exit::Usage);
        assert!(error.to_string().contains("/nowhere/c.toml"));
    }

    #[test]
    fn the_environment_chooses_the_places() {
        let config = |pairs: &'static [(&str, &str)]| {
            Config::from_vars(&move |name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
            .unwrap()
        };
        let home = |pairs| config(pairs).home.to_str().unwrap().to_owned();
        assert_eq!(home(&[("HOME", "/h")]), "/h/.local/share/legwork");
        assert_eq!(home(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d")]), "/d/legwork");
        assert_eq!(home(&[("XDG_DATA_HOME", "/d"), ("LEGWORK_HOME", "/l")]), "/l");
        assert_eq!(config(&[("HOME", "/h")]).file.to_str(), Some("/h/.config/legwork/config.toml"));
        assert_eq!(config(&[("LEGWORK_MODEL", "a/b")]).model.as_deref(), Some("a/b"));
    }
}

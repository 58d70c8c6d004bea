//! `legwork login` and `legwork logout`.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};

use anyhow::Context as _;
use legwork_client::Client;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::config::{Config, Vars};
use crate::exit::{Exit, Trouble};
use crate::logins::{Logins, trimmed};
use crate::reach;
use crate::run::{home, say};
use crate::text::{ACCENT, DIM, GOOD, Line};

/// The longest token that is read, far above ours.
const TOKEN_BYTES_MAX: u64 = 4096;

/// Logs in to a server, which commands then use if none is named.
///
/// The token is asked for on a terminal, or read from standard input. It is kept in servers.json beside the configuration,
/// for you alone.
#[derive(Debug, clap::Args)]
pub struct LoginArgs {
    /// The server's URL. Default: the server that was used last, or LEGWORK_SERVER.
    url: Option<String>,
    /// Send the token without TLS to another machine, where everyone on the way can read it.
    #[arg(long)]
    plain_http: bool,
    /// Write the result as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Forgets a server's token on this machine. The token stays good until it is revoked: legwork token revoke.
#[derive(Debug, clap::Args)]
pub struct LogoutArgs {
    /// The server's URL. Default: the one that commands use.
    url: Option<String>,
    /// Write the result as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs `login`.
///
/// # Errors
/// If the server does not take the token.
pub async fn login(args: LoginArgs, config: &Config, vars: Vars<'_>) -> anyhow::Result<Exit> {
    let mut logins = Logins::read(&config.logins)?;
    let url = args.url.or_else(|| vars("LEGWORK_SERVER")).or_else(|| logins.current.clone());
    let url = trimmed(&url.ok_or_else(|| {
        Trouble::usage("Which server?", "Name its URL: legwork login https://legwork.example")
    })?);
    if url.starts_with("http://") && reach::place(&url) == reach::Place::Elsewhere && !args.plain_http {
        let what =
            format!("{url} is another machine without TLS: everyone on the way could read your token.");
        return Err(Trouble::usage(
            what,
            "Use its https address or a tunnel to it (ssh -L), or say --plain-http.",
        )
        .into());
    }
    let token = token(&url)?;
    let client = Client::new(&url, &token)?;
    let me = client.me().await.map_err(|error| refused(&url, error))?;
    logins.add(&url, &token);
    logins.write(&config.logins)?;
    if args.json {
        crate::json::line(&mut std::io::stdout(), &serde_json::json!({ "url": url, "me": me }))?;
    } else {
        let kept = format!(" as {}; the token is in {}", me.user.name, config.logins.display());
        home::write(&[Line::default().with(GOOD, "Logged in to ").with(ACCENT, &url).with(DIM, &kept)])?;
    }
    Ok(Exit::Done)
}

/// Runs `logout`.
///
/// # Errors
/// If there is no such login.
pub fn logout(args: LogoutArgs, config: &Config) -> anyhow::Result<Exit> {
    let mut logins = Logins::read(&config.logins)?;
    let known = args.url.or_else(|| logins.current.clone()).map(|url| trimmed(&url));
    let Some(url) = known.filter(|url| logins.remove(url).is_some()) else {
        let what = "There is no login to forget.";
        return Err(Trouble::usage(what, format!("What is kept is in {}.", config.logins.display())).into());
    };
    logins.write(&config.logins)?;
    if args.json {
        crate::json::line(&mut std::io::stdout(), &serde_json::json!({ "url": url }))?;
    } else {
        home::write(&[Line::default().with(GOOD, "Logged out of ").with(ACCENT, &url)])?;
    }
    Ok(Exit::Done)
}

fn refused(url: &str, error: legwork_client::Error) -> anyhow::Error {
    if error.code() == Some("unauthorized") {
        let what = format!("{url} does not take this token; nothing was kept.");
        return Trouble::failed(
            what,
            "Check that it is whole and not revoked; an owner makes new ones: legwork token new",
        )
        .into();
    }
    anyhow::Error::from(error).context(format!("{url} could not be asked; nothing was kept."))
}

/// The token: from a terminal without showing it, else all of standard input.
fn token(url: &str) -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    let mut text = String::new();
    if stdin.is_terminal() {
        let mut stderr = std::io::stderr();
        write!(stderr, "Token for {url}: ")?;
        stderr.flush()?;
        let hidden = Hidden::start()?;
        stdin.lock().take(TOKEN_BYTES_MAX).read_line(&mut text).context("The token could not be read.")?;
        drop(hidden);
        say(&Line::default());
    } else {
        stdin
            .lock()
            .take(TOKEN_BYTES_MAX)
            .read_to_string(&mut text)
            .context("The token could not be read.")?;
    }
    let token = text.trim().to_owned();
    if token.is_empty() {
        let what = "No token was given; nothing was kept.";
        return Err(
            Trouble::usage(what, format!("Type it, or send it: legwork login {url} < token-file")).into()
        );
    }
    Ok(token)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Hidden(rustix::termios::Termios);

impl Hidden {
    fn start() -> anyhow::Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).context("The terminal cannot be asked.")?;
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO;
        tcsetattr(&stdin, OptionalActions::Now, &hidden)
            .context("The terminal cannot be told to hide the token.")?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // Without a terminal there is nothing to show again.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}

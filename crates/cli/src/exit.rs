//! Exit codes and errors for a person.

use std::process::ExitCode;

use legwork_domain::{Ended, Failure, Outcome};

use crate::text::{ACCENT, BAD, DIM, Line, PLAIN};

/// What the exit code of `legwork` says. Documented in `docs/cli.md`; scripts rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Patch or answer, checks as declared.
    Done,
    /// The turn failed, or the command did.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// A limit was reached.
    Limit,
    /// A declared check does not hold on a clean sandbox with the patch.
    Unverified,
    /// It waits for a person: an answer, an approval, a larger budget.
    NeedsYou,
    /// Ctrl-C, SIGTERM, a cancel from elsewhere, or a reader of the output that went away.
    Interrupted,
}

impl Exit {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Limit => 3,
            Self::Unverified => 4,
            Self::NeedsYou => 5,
            // 128 + SIGINT, as shells have it.
            Self::Interrupted => 130,
        }
    }

    /// The exit code for a turn that ended so.
    #[must_use]
    pub const fn of(ended: &Ended) -> Self {
        match ended.outcome {
            Outcome::Succeeded | Outcome::NoChange => Self::Done,
            Outcome::Failed { reason: Failure::Verification } => Self::Unverified,
            Outcome::Failed { .. } => Self::Failed,
            Outcome::Cancelled => Self::Interrupted,
            Outcome::LimitReached { .. } => Self::Limit,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Something that went wrong, with what the user can do about it.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Trouble {
    /// What happened and what was kept.
    what: String,
    /// What to do.
    mend: String,
    exit: Exit,
}

impl Trouble {
    /// The command line or the configuration is wrong.
    pub fn usage(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into(), exit: Exit::Usage }
    }

    /// It could not be done.
    pub fn failed(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what: what.into(), mend: mend.into(), exit: Exit::Failed }
    }
}

/// Whether it is only that nobody reads the output any more.
#[must_use]
pub fn reader_gone(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// The exit code for an error that reached `main`.
#[must_use]
pub fn code_of(error: &anyhow::Error) -> Exit {
    if reader_gone(error) {
        return Exit::Interrupted;
    }
    error.downcast_ref::<Trouble>().map_or(Exit::Failed, |trouble| trouble.exit)
}

/// An error for programs, as one JSON object: what [`lines_of`] says, the exit code, and the server's word for it.
#[must_use]
pub fn json_of(error: &anyhow::Error) -> serde_json::Value {
    let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
    let code = error.chain().find_map(|cause| cause.downcast_ref::<legwork_client::Error>()?.code());
    serde_json::json!({ "error": {
        "message": error.to_string(),
        "causes": causes,
        "next": mend_of(error).lines().collect::<Vec<_>>(),
        "code": code,
        "exit": code_of(error).code(),
    } })
}

/// What to do about it; empty if nobody knows.
fn mend_of(error: &anyhow::Error) -> &str {
    match error.downcast_ref::<Trouble>() {
        Some(trouble) => trouble.mend.as_str(),
        None => error.chain().find_map(|cause| cause.downcast_ref()).map_or("", of_a_server),
    }
}

/// An error as lines: what happened, why, what to do.
#[must_use]
pub fn lines_of(error: &anyhow::Error) -> Vec<Line> {
    let mut lines = Vec::new();
    for (at, part) in error.to_string().lines().enumerate() {
        let head = if at == 0 { Line::default().with(BAD, "error: ") } else { Line::of("  ") };
        lines.push(head.with(PLAIN, part));
    }
    for cause in error.chain().skip(1) {
        lines.push(Line::default().with(DIM, "  because ").with(PLAIN, &cause.to_string()));
    }
    lines.extend(mend_of(error).lines().map(|line| Line::default().with(ACCENT, "  → ").with(PLAIN, line)));
    lines
}

/// What to do about a call to a server that failed.
fn of_a_server(error: &legwork_client::Error) -> &'static str {
    match error.code() {
        Some("unauthorized") => {
            "The token is wrong, has expired or was revoked. Log in again: legwork login URL\nA worker's is made by: legwork token new NAME --worker"
        }
        Some("forbidden") => "Ask an owner for that role (legwork user grant), or use a token that has it.",
        Some("not_found") => "List what there is for you: legwork task ls",
        Some(_) => "",
        None if error.is_retryable() => {
            "Is it running? legwork up starts one on this machine; --server none does without one."
        }
        None => "Check the server's address and that it is of this version.",
    }
}

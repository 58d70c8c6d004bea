//! What a hostile command tries from inside, for every backend: each probe expects to fail in a known way, and the sandbox
//! to go on.
//!
//! A probe is data: a small program, and the exact words that it says behind a wall that holds. It says something in
//! either case, so that a probe that could not be run is not taken for a wall. What needs a partner outside, or more than
//! one sandbox, is a case of [`super::CASES`].
//!
//! Probes are written in `sh`, or in Perl where they need the kernel's calls: of the images that people use most, Debian's
//! and what is made from it, even the smallest has it.

mod calls;
mod devices;
mod files;
mod guest;
mod kernel;
mod network;
mod processes;
mod resources;
mod rights;

use std::sync::Arc;

use super::Outcome;
use super::world::{end, run, same, spec};
use crate::{Backend, Command, Spec, WORKSPACE};

/// One attempt to get at something outside.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Its name, unique.
    pub name: String,
    language: Language,
    program: String,
    /// What it says behind a wall that holds.
    says: String,
}

#[derive(Clone, Copy, Debug)]
enum Language {
    Shell,
    Perl,
}

/// Probes of one subject.
#[derive(Clone, Copy, Debug)]
pub struct Wall {
    /// What it keeps from the sandbox, as an identifier.
    pub name: &'static str,
    /// All that is tried against it.
    pub probes: fn() -> Vec<Probe>,
}

/// All walls.
pub const WALLS: &[Wall] = &[
    Wall { name: "calls", probes: calls::probes },
    Wall { name: "devices", probes: devices::probes },
    Wall { name: "files", probes: files::probes },
    Wall { name: "guest", probes: guest::probes },
    Wall { name: "kernel", probes: kernel::probes },
    Wall { name: "network", probes: network::probes },
    Wall { name: "processes", probes: processes::probes },
    Wall { name: "resources", probes: resources::probes },
    Wall { name: "rights", probes: rights::probes },
];

fn sh(name: &str, program: &str, says: &str) -> Probe {
    probe(name, Language::Shell, program.to_owned(), says)
}

fn perl(name: &str, program: &str, says: &str) -> Probe {
    probe(name, Language::Perl, program.to_owned(), says)
}

fn probe(name: &str, language: Language, program: String, says: &str) -> Probe {
    Probe { name: name.to_owned(), language, program, says: says.to_owned() }
}

/// A shell command that must fail.
fn refused(name: &str, attempt: &str) -> Probe {
    sh(name, &format!("if {attempt}; then echo done; else echo refused; fi 2>/dev/null"), "refused")
}

impl Probe {
    /// Whether the wall holds, and the sandbox behind it goes on.
    ///
    /// # Errors
    /// What the probe said instead, or that no sandbox can be had.
    pub async fn holds(&self, backend: &Arc<dyn Backend>) -> Outcome {
        let mut limits = spec("probe").limits;
        (limits.memory_bytes, limits.processes, limits.disk_bytes) = (256 << 20, 64, 64 << 20);
        let sandbox = backend.create(Spec { limits, ..spec(&self.name) }).await?;
        let ended = end(&mut sandbox.exec(self.command()).await?).await?;
        let said = format!("{}{}", ended.out, ended.err);
        if said.trim_end() != self.says {
            return Err(format!("it said {said:?} ({:?}), expected {:?}", ended.exit, self.says).into());
        }
        // What it left running counts against the limits of its sandbox until the last of it is gone.
        run(&sandbox, "kill -9 -1").await?;
        same(run(&sandbox, "echo alive").await?.out, "alive\n".to_owned())?;
        Ok(sandbox.destroy().await?)
    }

    fn command(&self) -> Command {
        let program = self.program.clone();
        let argv = match self.language {
            Language::Shell => vec!["sh".to_owned(), "-c".to_owned(), program],
            Language::Perl => vec!["perl".to_owned(), "-e".to_owned(), program],
        };
        Command {
            argv,
            workdir: WORKSPACE.to_owned(),
            output_bytes_max: 1 << 20,
            timeout_ms: Some(30_000),
            ..Command::default()
        }
    }
}

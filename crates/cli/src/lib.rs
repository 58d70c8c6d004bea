//! The one program `legwork`: the composition root, and the only reader of the environment and the configuration.
//!
//! `run` and `demo` start server and worker inside this process and speak HTTP over loopback with them ([`local`]), so
//! there is one path of a task, whoever asks. Each verb is a file: help text on the arguments, then the function.

pub mod admin;
pub mod apply_patch;
pub mod call;
pub mod choice;
pub mod clean;
pub mod completions;
pub mod config;
pub mod demo;
pub mod descriptors;
pub mod diff;
pub mod doctor;
pub mod env;
pub mod exit;
pub mod json;
mod keys;
pub mod local;
pub mod log;
pub mod login;
pub mod logins;
pub mod man;
pub mod models;
mod network;
mod packages;
mod people;
mod private;
pub mod reach;
mod ready;
pub mod record;
pub mod repository;
pub mod run;
pub mod screen;
pub mod serve;
pub mod signals;
pub mod steps;
pub mod summary;
pub mod table;
pub mod task;
pub mod text;
pub mod token;
pub mod traces;
pub mod user;

use anyhow::Context as _;

/// Threads of a command's runtime: one for the task, one for its server. More only cost memory and start-up time.
const THREADS: usize = 2;
/// A command's threads for file access at a time.
const BLOCKING_THREADS: usize = 8;
/// The same of a process that serves many tasks and watchers: as many as disks have use for.
const BLOCKING_THREADS_SERVING: usize = 64;

/// How long a process of this program lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Until its task or its answer is done.
    Command,
    /// Until it is told to stop.
    Service,
}

/// The runtime of the verbs that need one.
///
/// # Errors
/// If the system gives no threads.
pub fn runtime(life: Life) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    match life {
        Life::Command => threads.worker_threads(THREADS).max_blocking_threads(BLOCKING_THREADS),
        // As many workers as processors.
        Life::Service => threads.max_blocking_threads(BLOCKING_THREADS_SERVING),
    };
    threads.enable_all().build().context("No threads could be started.")
}

/// How errors are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// For a person.
    Words,
    /// As one JSON object a line: the command was to answer so.
    Json,
}

impl Told {
    /// What the command's arguments ask for, whichever command it is and whether or not they can be read.
    #[must_use]
    pub fn by(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> Self {
        let asked =
            arguments.by_ref().take_while(|argument| argument != "--").any(|argument| argument == "--json");
        if asked { Self::Json } else { Self::Words }
    }
}

/// Tells the user of an error on standard error. A reader that went away needs no telling.
pub fn report(error: &anyhow::Error, told: Told) {
    if exit::reader_gone(error) {
        return;
    }
    match told {
        Told::Words => exit::lines_of(error).iter().for_each(run::say),
        Told::Json => {
            // Whoever closed standard error does not want to hear of it.
            let _ = json::line(&mut std::io::stderr().lock(), &exit::json_of(error));
        }
    }
}

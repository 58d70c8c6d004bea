//! The patch format that models are trained on: parsed, matched against files and turned into effects.
//!
//! Everything here is pure but [`run_in`]: [`parse`] reads the envelope, [`Hunk::effects`] computes new contents from
//! old ones, and the caller reads and writes files in between. So the same code serves the tool, whose files are in a
//! sandbox behind an async handle, and the command, whose files are on the disk. Contents are bytes, never strings: a
//! file that is not UTF-8 is patched like any other.
//!
//! The final tree is the same, byte for byte, as what Codex CLI 0.169 leaves, with four deviations, all where that one
//! refuses or loses something: several `@@` lines in a row narrow down, a file that is moved keeps its mode, a move onto
//! itself keeps the file, and contents need not be UTF-8.

mod apply;
mod parse;
mod seek;
mod text;

use std::path::Path;

pub use apply::{Applied, Effect};
pub use parse::{Chunk, Hunk, Line, parse};

/// The format's grammar for models that are constrained by one (Lark syntax).
pub const GRAMMAR: &str = r#"start: begin hunk+ end
begin: "*** Begin Patch" LF
end: "*** End Patch" LF?

hunk: add | delete | update
add: "*** Add File: " path LF added+
delete: "*** Delete File: " path LF
update: "*** Update File: " path LF move? chunks?
move: "*** Move to: " path LF
chunks: (context | change)+ at_end?
context: ("@@" | "@@ " /(.+)/) LF
change: ("+" | "-" | " ") /(.*)/ LF
added: "+" /(.*)/ LF
at_end: "*** End of File" LF
path: /(.+)/

%import common.LF
"#;

/// Why a patch was not applied, or not further. What was applied before stays.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The envelope is wrong.
    #[error("Invalid patch: {0}")]
    Envelope(&'static str),
    /// A line is not what may stand there.
    #[error("Invalid patch hunk on line {line}: {message}")]
    Hunk {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// There is no hunk.
    #[error("No files were modified.")]
    Empty,
    /// The line of an `@@` is not in the file, or not after what came before.
    #[error("Failed to find context '{context}' in {path}")]
    Context {
        /// The line.
        context: String,
        /// Of which file.
        path: String,
    },
    /// The old lines of a chunk are not in the file, or not after what came before.
    #[error("Failed to find expected lines in {path}:\n{lines}")]
    Lines {
        /// The lines.
        lines: String,
        /// Of which file.
        path: String,
    },
    /// A file could not be read, written or removed.
    #[error("Failed to {action} {path}: {why}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// Why it did not work.
        why: String,
    },
    /// A path leaves the checkout.
    #[error("{path} is outside {root}; only files of the checkout can be patched")]
    Outside {
        /// As the patch has it.
        path: String,
        /// The checkout.
        root: String,
    },
}

/// Applies `patch` to the files below `dir` (and wherever else its paths point) and gives the text of success.
///
/// # Errors
/// Any [`Error`] but [`Error::Outside`]; hunks before the one that failed have been applied.
pub fn run_in(dir: &Path, patch: &str) -> Result<String, Error> {
    let mut applied = Applied::default();
    for hunk in parse(patch)? {
        let before = hunk.source().map(|path| read(dir, path)).transpose()?;
        for effect in hunk.effects(before.as_deref())? {
            perform(dir, &effect)?;
        }
        applied.note(&hunk);
    }
    Ok(applied.to_string())
}

fn read(dir: &Path, path: &str) -> Result<Vec<u8>, Error> {
    std::fs::read(dir.join(path)).map_err(|error| file_error("read file to update", dir, path, &error))
}

fn perform(dir: &Path, effect: &Effect) -> Result<(), Error> {
    match effect {
        Effect::Write { path, contents, mode_of } => {
            let target = dir.join(path);
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent)
                    .map_err(|error| file_error("create parent directories for", dir, path, &error))?;
            }
            std::fs::write(&target, contents).map_err(|error| file_error("write file", dir, path, &error))?;
            mode_of.as_ref().map_or(Ok(()), |source| {
                std::fs::metadata(dir.join(source))
                    .and_then(|found| std::fs::set_permissions(&target, found.permissions()))
                    .map_err(|error| file_error("set the mode of", dir, path, &error))
            })
        }
        Effect::Remove { path } => {
            std::fs::remove_file(dir.join(path)).map_err(|error| file_error("delete file", dir, path, &error))
        }
    }
}

fn file_error(action: &'static str, dir: &Path, path: &str, error: &std::io::Error) -> Error {
    Error::File { action, path: dir.join(path).display().to_string(), why: error.to_string() }
}

#[cfg(test)]
mod tests;

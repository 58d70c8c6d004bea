//! From old contents to new ones: pure, so that both the sandbox and the disk can be on the other side.

use std::fmt;

use super::seek::{Place, seek};
use super::text::{Replacement, Text};
use super::{Chunk, Error, Hunk, Line};

/// What a hunk asks of the files, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A whole file; parents are made.
    Write {
        /// Where.
        path: String,
        /// What.
        contents: Vec<u8>,
        /// The file whose mode it gets; `None`: the mode that it has, or the default for a new file.
        mode_of: Option<String>,
    },
    /// A file goes.
    Remove {
        /// Which.
        path: String,
    },
}

impl Hunk {
    /// The file whose contents [`Hunk::effects`] needs.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        match self {
            Self::Update { path, .. } => Some(path),
            Self::Add { .. } | Self::Delete { .. } => None,
        }
    }

    /// Every path that it names.
    #[must_use]
    pub fn paths(&self) -> Vec<&str> {
        match self {
            Self::Add { path, .. } | Self::Delete { path } => vec![path],
            Self::Update { path, move_to, .. } => {
                std::iter::once(path.as_str()).chain(move_to.as_deref()).collect()
            }
        }
    }

    /// What to do, given the contents of [`Hunk::source`].
    ///
    /// # Errors
    /// [`Error::Context`] or [`Error::Lines`] if a chunk does not fit.
    pub fn effects(&self, before: Option<&[u8]>) -> Result<Vec<Effect>, Error> {
        match self {
            Self::Add { path, contents } => Ok(vec![write(path, contents.clone().into_bytes(), None)]),
            Self::Delete { path } => Ok(vec![Effect::Remove { path: path.clone() }]),
            Self::Update { path, move_to, chunks } => {
                let contents = updated(path, before.unwrap_or_default(), chunks)?;
                match move_to.as_ref().filter(|to| *to != path) {
                    None => Ok(vec![write(path, contents, None)]),
                    Some(to) => {
                        Ok(vec![write(to, contents, Some(path)), Effect::Remove { path: path.clone() }])
                    }
                }
            }
        }
    }
}

fn write(path: &str, contents: Vec<u8>, mode_of: Option<&String>) -> Effect {
    Effect::Write { path: path.to_owned(), contents, mode_of: mode_of.cloned() }
}

/// The contents after `chunks`.
fn updated(path: &str, before: &[u8], chunks: &[Chunk]) -> Result<Vec<u8>, Error> {
    let text = Text::read(before);
    let mut replacements = Vec::new();
    let mut next = 0;
    for chunk in chunks {
        for context in &chunk.contexts {
            next = 1 + seek(&text.lines, &[context], Place::From(next))
                .ok_or_else(|| Error::Context { context: context.clone(), path: path.to_owned() })?;
        }
        next = place(&text, chunk, next, &mut replacements).ok_or_else(|| Error::Lines {
            lines: chunk.old_lines().collect::<Vec<_>>().join("\n"),
            path: path.to_owned(),
        })?;
    }
    replacements.sort_by_key(|replacement: &Replacement<'_>| replacement.start);
    Ok(text.replaced(&replacements))
}

/// Finds a chunk at or after line `next`, adds what it replaces, and gives the line after it.
fn place<'a>(
    text: &Text<'_>,
    chunk: &'a Chunk,
    next: usize,
    found: &mut Vec<Replacement<'a>>,
) -> Option<usize> {
    let sides: Vec<Side<'a>> = chunk.lines.iter().map(Side::of).collect();
    if sides.iter().all(|side| side.old.is_none()) {
        found.push(Replacement { start: text.lines.len(), count: 0, new: new_lines(&sides) });
        return Some(next);
    }
    let (start, sides) = match find(text, &sides, chunk, next) {
        Some(start) => (start, sides),
        // An empty last line often stands for the file's final newline, which is no line of its own.
        None => {
            let sides = without_last_blank(sides)?;
            (find(text, &sides, chunk, next)?, sides)
        }
    };
    Some(replace(&sides, start, found))
}

fn find(text: &Text<'_>, sides: &[Side<'_>], chunk: &Chunk, next: usize) -> Option<usize> {
    let old: Vec<&str> = sides.iter().filter_map(|side| side.old).collect();
    match (old.is_empty(), chunk.at_end) {
        (true, _) => Some(next),
        (false, true) => seek(&text.lines, &old, Place::End).filter(|start| *start >= next),
        (false, false) => seek(&text.lines, &old, Place::From(next)),
    }
}

/// A line of a chunk as it stands in the old and in the new file.
#[derive(Clone, Copy)]
struct Side<'a> {
    old: Option<&'a str>,
    new: Option<&'a str>,
}

impl<'a> Side<'a> {
    fn of(line: &'a Line) -> Self {
        match line {
            Line::Keep(text) => Self { old: Some(text), new: Some(text) },
            Line::Old(text) => Self { old: Some(text), new: None },
            Line::New(text) => Self { old: None, new: Some(text) },
        }
    }

    const fn kept(&self) -> bool {
        self.old.is_some() && self.new.is_some()
    }
}

fn new_lines<'a>(sides: &[Side<'a>]) -> Vec<&'a str> {
    sides.iter().filter_map(|side| side.new).collect()
}

/// The chunk without an empty last line, on each side that has one; `None` if the old side has none.
fn without_last_blank(mut sides: Vec<Side<'_>>) -> Option<Vec<Side<'_>>> {
    let old = sides.iter_mut().rev().find(|side| side.old.is_some())?;
    old.old.take_if(|text| text.is_empty())?;
    if let Some(new) = sides.iter_mut().rev().find(|side| side.new.is_some()) {
        new.new.take_if(|text| text.is_empty());
    }
    Some(sides)
}

/// Adds one replacement for each run of changed lines; kept lines stay as the file has them.
fn replace<'a>(sides: &[Side<'a>], start: usize, found: &mut Vec<Replacement<'a>>) -> usize {
    let mut next = start;
    for run in sides.split(Side::kept) {
        let count = run.iter().filter(|side| side.old.is_some()).count();
        if !run.is_empty() {
            found.push(Replacement { start: next, count, new: new_lines(run) });
        }
        next += count + 1;
    }
    next - 1
}

impl Chunk {
    /// The lines that must stand in the file.
    fn old_lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(|line| match line {
            Line::Keep(text) | Line::Old(text) => Some(text.as_str()),
            Line::New(_) => None,
        })
    }
}

/// What was done; its text is what models expect to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    added: Vec<String>,
    modified: Vec<String>,
    deleted: Vec<String>,
}

impl Applied {
    /// Notes a hunk whose effects were performed.
    pub fn note(&mut self, hunk: &Hunk) {
        match hunk {
            Hunk::Add { path, .. } => self.added.push(path.clone()),
            Hunk::Delete { path } => self.deleted.push(path.clone()),
            Hunk::Update { path, move_to, .. } => {
                self.modified.push(move_to.as_ref().unwrap_or(path).clone());
            }
        }
    }
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Success. Updated the following files:")?;
        for (letter, paths) in [('A', &self.added), ('M', &self.modified), ('D', &self.deleted)] {
            paths.iter().try_for_each(|path| writeln!(f, "{letter} {path}"))?;
        }
        Ok(())
    }
}

//! The envelope and its hunks: a small state machine over lines, as forgiving as the models' own habits need.

use super::Error;

const BEGIN: &str = "*** Begin Patch";
const END: &str = "*** End Patch";
const ADD: &str = "*** Add File: ";
const DELETE: &str = "*** Delete File: ";
const UPDATE: &str = "*** Update File: ";
const MOVE: &str = "*** Move to: ";
const END_OF_FILE: &str = "*** End of File";
const NO_END: &str = "The last line of the patch must be '*** End Patch'";
/// Some patches name the environment that they are for; there is only one here.
const ENVIRONMENT: &str = "*** Environment ID:";

/// What a patch does to one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hunk {
    /// Writes a file, over one that exists.
    Add {
        /// Where.
        path: String,
        /// What.
        contents: String,
    },
    /// Removes a file.
    Delete {
        /// Which.
        path: String,
    },
    /// Changes a file, and may move it.
    Update {
        /// Which.
        path: String,
        /// Its new path.
        move_to: Option<String>,
        /// In the order of the file.
        chunks: Vec<Chunk>,
    },
}

/// A contiguous change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Lines that stand somewhere before it, outermost first.
    pub contexts: Vec<String>,
    /// Its lines.
    pub lines: Vec<Line>,
    /// Whether it stands at the end of the file.
    pub at_end: bool,
}

/// A line of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// Stands in the file and stays.
    Keep(String),
    /// Stands in the file and goes.
    Old(String),
    /// Comes in.
    New(String),
}

/// Reads a patch.
///
/// # Errors
/// [`Error::Envelope`], [`Error::Hunk`] or [`Error::Empty`].
pub fn parse(patch: &str) -> Result<Vec<Hunk>, Error> {
    let lines: Vec<&str> = patch.trim().lines().collect();
    let lines = within_heredoc(&lines)?;
    let mut parser = Parser::default();
    for (index, line) in lines[1..lines.len() - 1].iter().enumerate() {
        parser.number = index + 2;
        // Models that see CRLF files double the carriage return.
        parser.line(line.strip_suffix('\r').unwrap_or(line))?;
    }
    parser.number = lines.len();
    parser.finish()
}

/// Drops the shell's heredoc around a patch, if it is there.
fn within_heredoc<'a>(lines: &'a [&'a str]) -> Result<&'a [&'a str], Error> {
    let Err(error) = enveloped(lines) else { return Ok(lines) };
    match lines {
        ["<<EOF" | "<<'EOF'" | "<<\"EOF\"", inner @ .., last]
            if last.ends_with("EOF") && inner.len() >= 2 =>
        {
            enveloped(inner).map(|()| inner)
        }
        _ => Err(error),
    }
}

fn enveloped(lines: &[&str]) -> Result<(), Error> {
    let is = |line: Option<&&str>, marker| line.is_some_and(|line| line.trim() == marker);
    if !is(lines.first(), BEGIN) {
        return Err(Error::Envelope("The first line of the patch must be '*** Begin Patch'"));
    }
    if !is(lines.last(), END) {
        return Err(Error::Envelope(NO_END));
    }
    Ok(())
}

#[derive(Default)]
struct Parser {
    hunks: Vec<Hunk>,
    /// Of the line under way, from 1.
    number: usize,
    /// Of the header of the last hunk.
    header: usize,
    environment_seen: bool,
    ended: bool,
}

impl Parser {
    fn line(&mut self, line: &str) -> Result<(), Error> {
        if self.ended {
            return Err(Error::Envelope(NO_END));
        }
        // Inside an update a marker that is indented is a context line.
        let updating = matches!(self.hunks.last(), Some(Hunk::Update { .. }));
        let marker = if updating { line.trim_end() } else { line.trim() };
        if self.header(marker)? {
            return Ok(());
        }
        if self.hunks.is_empty() && self.environment(marker) {
            return Ok(());
        }
        match self.hunks.last_mut() {
            Some(Hunk::Add { contents, .. }) if line.starts_with('+') => {
                contents.push_str(&line[1..]);
                contents.push('\n');
                Ok(())
            }
            Some(Hunk::Update { .. }) => self.update_line(line),
            Some(Hunk::Add { .. } | Hunk::Delete { .. }) | None => Err(self.wrong(format!(
                "'{marker}' is not a valid hunk header. Valid hunk headers: '*** Add File: {{path}}', '*** Delete File: {{path}}', '*** Update File: {{path}}'"
            ))),
        }
    }

    fn environment(&mut self, marker: &str) -> bool {
        let first = !std::mem::replace(&mut self.environment_seen, true);
        first && marker.strip_prefix(ENVIRONMENT).is_some_and(|id| !id.trim().is_empty())
    }

    /// Takes a header or the end; says whether the line was one.
    fn header(&mut self, marker: &str) -> Result<bool, Error> {
        let hunk = if let Some(path) = marker.strip_prefix(ADD) {
            Some(Hunk::Add { path: path.to_owned(), contents: String::new() })
        } else if let Some(path) = marker.strip_prefix(DELETE) {
            Some(Hunk::Delete { path: path.to_owned() })
        } else if let Some(path) = marker.strip_prefix(UPDATE) {
            Some(Hunk::Update { path: path.to_owned(), move_to: None, chunks: Vec::new() })
        } else if marker == END {
            None
        } else {
            return Ok(false);
        };
        self.close(marker)?;
        self.ended = hunk.is_none();
        self.header = self.number;
        self.hunks.extend(hunk);
        Ok(true)
    }

    /// Checks that an update that ends here says something.
    fn close(&self, marker: &str) -> Result<(), Error> {
        let Some(Hunk::Update { path, chunks, .. }) = self.hunks.last() else { return Ok(()) };
        match chunks.last() {
            None => Err(Error::Hunk {
                line: self.header,
                message: format!("Update file hunk for path '{path}' is empty"),
            }),
            Some(chunk) if !chunk.lines.is_empty() => Ok(()),
            Some(_) if marker == END => Err(self.wrong("Update hunk does not contain any lines".to_owned())),
            Some(_) => Err(self.unexpected(marker)),
        }
    }

    fn update_line(&mut self, line: &str) -> Result<(), Error> {
        let (number, marker) = (self.number, line.trim_end());
        let Some(Hunk::Update { move_to, chunks, .. }) = self.hunks.last_mut() else { return Ok(()) };
        if let Some(to) = marker.strip_prefix(MOVE)
            && chunks.is_empty()
            && move_to.is_none()
        {
            *move_to = Some(to.to_owned());
            return Ok(());
        }
        let context = marker.strip_prefix("@@ ");
        if context.is_some() || marker == "@@" {
            return self.chunk(line, context);
        }
        if marker == END_OF_FILE {
            return match chunks.last_mut() {
                Some(chunk) if chunk.lines.is_empty() => Err(Error::Hunk {
                    line: number,
                    message: "Update hunk does not contain any lines".to_owned(),
                }),
                Some(Chunk { at_end: true, .. }) => self.change(line),
                Some(chunk) => {
                    chunk.at_end = true;
                    Ok(())
                }
                None => Ok(()),
            };
        }
        self.change(line)
    }

    /// Starts a chunk. Several contexts in a row narrow down, so one that has no lines yet goes on.
    fn chunk(&mut self, line: &str, context: Option<&str>) -> Result<(), Error> {
        let unexpected = self.unexpected(line);
        let Some(Hunk::Update { chunks, .. }) = self.hunks.last_mut() else { return Ok(()) };
        match (chunks.last_mut().filter(|chunk| chunk.lines.is_empty()), context) {
            (None, context) => {
                let contexts = context.map(str::to_owned).into_iter().collect();
                chunks.push(Chunk { contexts, ..Chunk::default() });
            }
            (Some(chunk), Some(context)) if !chunk.contexts.is_empty() => {
                chunk.contexts.push(context.to_owned());
            }
            (Some(_), _) => return Err(unexpected),
        }
        Ok(())
    }

    fn change(&mut self, line: &str) -> Result<(), Error> {
        let Some(Hunk::Update { chunks, .. }) = self.hunks.last_mut() else { return Ok(()) };
        let change = match line.as_bytes().first() {
            None => Some(Line::Keep(String::new())),
            Some(b' ') => Some(Line::Keep(line[1..].to_owned())),
            Some(b'-') => Some(Line::Old(line[1..].to_owned())),
            Some(b'+') => Some(Line::New(line[1..].to_owned())),
            Some(_) => None,
        };
        let begun = chunks.last().is_some_and(|chunk| !chunk.lines.is_empty());
        let ended = chunks.last().is_some_and(|chunk| chunk.at_end);
        match change {
            Some(change) if !ended => {
                if chunks.is_empty() {
                    chunks.push(Chunk::default());
                }
                if let Some(chunk) = chunks.last_mut() {
                    chunk.lines.push(change);
                }
                Ok(())
            }
            Some(Line::Keep(text)) if text.is_empty() => Ok(()),
            _ if begun => {
                Err(self
                    .wrong(format!("Expected update hunk to start with a @@ context marker, got: '{line}'")))
            }
            _ => Err(self.unexpected(line)),
        }
    }

    fn finish(mut self) -> Result<Vec<Hunk>, Error> {
        if !self.ended {
            self.close(END)?;
        }
        if self.hunks.is_empty() { Err(Error::Empty) } else { Ok(std::mem::take(&mut self.hunks)) }
    }

    fn wrong(&self, message: String) -> Error {
        Error::Hunk { line: self.number, message }
    }

    fn unexpected(&self, line: &str) -> Error {
        self.wrong(format!(
            "Unexpected line found in update hunk: '{line}'. Every line should start with ' ' (context line), '+' (added line), or '-' (removed line)"
        ))
    }
}

//! A patch for a reader: coloured, with nothing invisible in it.

use std::io::{IsTerminal as _, Write as _};
use std::process::{Command, Stdio};

use crate::clean;
use crate::text::{ACCENT, BAD, BOLD, DIM, GOOD, Line, PLAIN, Paint};

/// Lines of a patch that are shown where nobody can page; the rest is named with the command that shows it.
const LINES_MAX: usize = 2000;

/// The lines of a git diff.
#[must_use]
pub fn lines(patch: &[u8]) -> Vec<Line> {
    let mut in_hunk = Hunk::default();
    String::from_utf8_lossy(patch).split_terminator('\n').map(|line| in_hunk.line(line)).collect()
}

/// Lines that a hunk still has, on either side. A line is only coloured as added if the hunk's header announced it: a
/// file's content that looks like a header stays content.
#[derive(Default)]
struct Hunk {
    old: u64,
    new: u64,
}

impl Hunk {
    fn line(&mut self, line: &str) -> Line {
        let shown = clean::source(line);
        if self.old == 0 && self.new == 0 {
            if let Some(hunk) = Self::from_header(line) {
                *self = hunk;
                return Line::default().with(ACCENT, &shown);
            }
            let style = if line.starts_with("diff --git ") { BOLD } else { DIM };
            return Line::default().with(style, &shown);
        }
        let style = match line.as_bytes().first() {
            Some(b'+') => {
                self.new = self.new.saturating_sub(1);
                GOOD
            }
            Some(b'-') => {
                self.old = self.old.saturating_sub(1);
                BAD
            }
            Some(b'\\') => DIM,
            _ => {
                self.old = self.old.saturating_sub(1);
                self.new = self.new.saturating_sub(1);
                PLAIN
            }
        };
        Line::default().with(style, &shown)
    }

    /// `@@ -1,2 +3,4 @@`; a missing count is 1.
    fn from_header(line: &str) -> Option<Self> {
        let (old, rest) = line.strip_prefix("@@ -")?.split_once(" +")?;
        let (new, _) = rest.split_once(" @@")?;
        let lines = |range: &str| range.split_once(',').map_or(Some(1), |(_, count)| count.parse().ok());
        Some(Self { old: lines(old)?, new: lines(new)? })
    }
}

/// Writes a patch to standard output: through the pager if it is longer than the screen, else as it is.
///
/// # Errors
/// If standard output cannot be written.
pub fn show(patch: &[u8], more: &str) -> std::io::Result<()> {
    let lines = lines(patch);
    let stdout = std::io::stdout();
    let paint = Paint::of(&stdout);
    let rows = terminal_size::terminal_size().map_or(usize::MAX, |(_, rows)| usize::from(rows.0));
    if stdout.is_terminal() && lines.len() + 1 > rows && page(&lines, paint).is_ok() {
        return Ok(());
    }
    let mut out = stdout.lock();
    for line in lines.iter().take(LINES_MAX) {
        writeln!(out, "{}", line.render(paint))?;
    }
    if lines.len() > LINES_MAX {
        let rest = Line::default().with(DIM, &format!("… {} more lines: {more}", lines.len() - LINES_MAX));
        writeln!(out, "{}", rest.render(paint))?;
    }
    out.flush()
}

/// Through `$PAGER`, by default `less`, which quits at once if all fits, keeps colours and leaves the screen as it is.
fn page(lines: &[Line], paint: Paint) -> std::io::Result<()> {
    let pager = std::env::var("PAGER").ok().filter(|pager| !pager.is_empty());
    let mut child = Command::new("sh")
        .args(["-c", pager.as_deref().unwrap_or("less")])
        .env("LESS", std::env::var("LESS").unwrap_or_else(|_| "FRX".to_owned()))
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        for line in lines {
            // A pager that was left early closes its input, which is no error.
            if writeln!(stdin, "{}", line.render(paint)).is_err() {
                break;
            }
        }
    }
    match child.wait()?.code() {
        Some(126 | 127) => Err(std::io::Error::other("there is no such pager")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_that_looks_like_a_header_stays_content() {
        let patch = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n--- old\n+++ new\x1b[2J\n same\n\\ No newline at end of file\n";
        let painted: Vec<String> = lines(patch).iter().map(|line| line.render(Paint::Colour)).collect();
        assert_eq!(painted[4], "\x1b[31m--- old\x1b[0m");
        assert_eq!(painted[5], "\x1b[32m+++ new^[[2J\x1b[0m");
        assert_eq!(painted[6], " same");
        assert_eq!(painted[1], "\x1b[2m--- a/x\x1b[0m");
    }
}

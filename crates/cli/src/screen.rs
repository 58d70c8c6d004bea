//! The three ways to watch a task: a live terminal, plain lines, and one JSON event a line.
//!
//! The live one writes finished steps for good and redraws only the few lines below them, in the normal screen, so that
//! scrolling back works and nothing is lost when it ends. It asks for the size of the terminal at each redraw, which
//! needs no signal, and counts how many rows the last drawing takes at the present width, so that a resize leaves no
//! rubbish behind.

use std::collections::BTreeMap;
use std::io::{self, Write};

use legwork_domain::{AttemptId, Event, Timestamp};

use crate::json;
use crate::steps::{Detail, Steps};
use crate::text::{ACCENT, Line, Paint};

/// Columns where the terminal does not say.
const COLUMNS: usize = 80;
/// Fewest columns that are drawn for; below, the terminal wraps.
const COLUMNS_MIN: usize = 10;
/// The spinner's pictures.
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A terminal that can redraw.
    Live,
    /// Lines as they are final.
    Plain,
    /// Events as JSON.
    Json,
}

/// Where the events of a task's attempts are shown.
pub struct Screen<W: Write> {
    out: W,
    mode: Mode,
    paint: Paint,
    attempts: BTreeMap<AttemptId, Steps>,
    /// What stands below the timeline.
    pending: Redrawn,
    frame: usize,
}

impl<W: Write> Screen<W> {
    /// A screen for attempts with these numbers.
    pub fn new(out: W, mode: Mode, paint: Paint, attempts: &[(AttemptId, u8)]) -> Self {
        let label = |number: u8| (attempts.len() > 1).then_some(number);
        let attempts =
            attempts.iter().map(|(id, number)| (*id, Steps::new(label(*number), Detail::Tail))).collect();
        Self { out, mode, paint, attempts, pending: Redrawn::default(), frame: 0 }
    }

    /// Shows an event.
    ///
    /// # Errors
    /// If the output is gone.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        if self.mode == Mode::Json {
            json::line(&mut self.out, event)?;
            return self.out.flush();
        }
        let Some(steps) = self.attempts.get_mut(&event.attempt) else { return Ok(()) };
        let lines = steps.take(event);
        self.lines(&lines)
    }

    /// Whether an attempt is shown that waits for a worker, where that is shown at all.
    pub fn shows_a_queue(&self) -> bool {
        self.mode == Mode::Live && self.attempts.values().any(Steps::is_queued)
    }

    /// Says what the attempt's queued turn waits for.
    pub fn wait_for(&mut self, attempt: AttemptId, reason: &str) {
        if let Some(steps) = self.attempts.get_mut(&attempt) {
            steps.wait_for(reason);
        }
    }

    /// Adds lines for good, in the modes for people.
    ///
    /// # Errors
    /// If the output is gone.
    pub fn lines(&mut self, lines: &[Line]) -> io::Result<()> {
        if lines.is_empty() || self.mode == Mode::Json {
            return Ok(());
        }
        self.pending.erase(&mut self.out)?;
        for line in lines {
            writeln!(self.out, "{}", line.render(self.paint))?;
        }
        self.out.flush()
    }

    /// Redraws what is under way. To be called several times a second; does nothing but in the live mode.
    ///
    /// # Errors
    /// If the output is gone.
    pub fn tick(&mut self, now: Timestamp) -> io::Result<()> {
        if self.mode != Mode::Live {
            return Ok(());
        }
        self.frame = (self.frame + 1) % SPINNER.len();
        let (_, rows) = size();
        let mut lines: Vec<Line> = self.attempts.values().flat_map(|steps| steps.pending(now)).collect();
        lines.drain(..lines.len().saturating_sub(rows / 2));
        if let Some(last) = lines.pop() {
            let spinner = Line::default().with(ACCENT, &format!("  {} ", SPINNER[self.frame]));
            lines.push(spinner.then(last));
        }
        self.pending.draw(&mut self.out, self.paint, lines)
    }

    /// Ends the live part; the next bytes come after the timeline.
    ///
    /// # Errors
    /// If the output is gone.
    pub fn end(&mut self) -> io::Result<()> {
        self.pending.erase(&mut self.out)?;
        self.out.flush()
    }
}

/// Lines at the end of a terminal's normal screen that are drawn again and again.
#[derive(Default)]
pub(crate) struct Redrawn {
    /// Their widths.
    drawn: Vec<usize>,
}

impl Redrawn {
    /// Draws them in place of those before, each cut to a row. The cursor stays at the end of the last.
    pub(crate) fn draw(&mut self, out: &mut impl Write, paint: Paint, lines: Vec<Line>) -> io::Result<()> {
        let (columns, _) = size();
        let cut: Vec<Line> = lines.into_iter().map(|line| line.cut(columns - 1)).collect();
        let text: Vec<String> = cut.iter().map(|line| line.render(paint)).collect();
        self.erase(out)?;
        write!(out, "{}", text.join("\n"))?;
        self.drawn = cut.iter().map(Line::width).collect();
        out.flush()
    }

    /// Takes them away.
    pub(crate) fn erase(&mut self, out: &mut impl Write) -> io::Result<()> {
        let drawn = std::mem::take(&mut self.drawn);
        if drawn.is_empty() {
            return Ok(());
        }
        let (columns, _) = size();
        let rows: usize = drawn.iter().map(|width| width.div_ceil(columns).max(1)).sum();
        if rows > 1 {
            write!(out, "\x1b[{}A", rows - 1)?;
        }
        write!(out, "\r\x1b[J")
    }
}

/// Columns and rows of the terminal.
#[must_use]
pub fn size() -> (usize, usize) {
    terminal_size::terminal_size().map_or((COLUMNS, 24), |(columns, rows)| {
        (usize::from(columns.0).max(COLUMNS_MIN), usize::from(rows.0).max(2))
    })
}

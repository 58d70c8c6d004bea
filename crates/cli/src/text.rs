//! Text for a terminal: lines of styled spans, and the one place that turns them into bytes.
//!
//! Everything the program shows goes through [`Line`], and a line cleans whatever is put into it. So there is no way
//! to print remote text (of a repository, a model, a command) that skips the sanitizer, and colour is data until the
//! last moment, where [`Paint`] decides whether it is written.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::clean;

/// As the terminal is.
pub const PLAIN: Style = Style::new();
/// For headings.
pub const BOLD: Style = Style::new().bold();
/// For what is there if looked for.
pub const DIM: Style = Style::new().dimmed();
/// For what went well.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// For what failed.
pub const BAD: Style = AnsiColor::Red.on_default();
/// For what deserves a look.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// For names and commands to copy.
pub const ACCENT: Style = AnsiColor::Cyan.on_default();

/// Whether colour is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// With SGR sequences of our own.
    Colour,
    /// None at all.
    Plain,
}

impl Paint {
    /// What fits `stream`: colour on a terminal unless `NO_COLOR` or `TERM=dumb` say no.
    #[must_use]
    pub fn of(stream: &impl anstream::stream::RawStream) -> Self {
        match anstream::AutoStream::choice(stream) {
            anstream::ColorChoice::Never => Self::Plain,
            anstream::ColorChoice::Auto
            | anstream::ColorChoice::AlwaysAnsi
            | anstream::ColorChoice::Always => Self::Colour,
        }
    }
}

/// Part of a line in one style.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    style: Style,
    text: String,
}

/// One line on the screen. Holds no control character, whatever was put in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    spans: Vec<Span>,
}

impl Line {
    /// A line of unstyled text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self::default().with(PLAIN, text)
    }

    /// The line with `text` at its end; line breaks in it become blanks.
    #[must_use]
    pub fn with(mut self, style: Style, text: &str) -> Self {
        self.push(style, text);
        self
    }

    /// Puts `text` at the end; line breaks in it become blanks.
    pub fn push(&mut self, style: Style, text: &str) {
        let text = clean::one_line(text);
        match self.spans.last_mut() {
            Some(last) if last.style == style => last.text.push_str(&text),
            _ if text.is_empty() => {}
            _ => self.spans.push(Span { style, text }),
        }
    }

    /// The line with all of `other` at its end.
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        self.spans.extend(other.spans);
        self
    }

    /// Whether nothing is on it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.iter().all(|span| span.text.is_empty())
    }

    /// Columns that it takes.
    #[must_use]
    pub fn width(&self) -> usize {
        self.spans.iter().map(|span| span.text.width()).sum()
    }

    /// The line in at most `columns` columns; `…` stands for what was cut.
    #[must_use]
    pub fn cut(mut self, columns: usize) -> Self {
        if self.width() <= columns {
            return self;
        }
        let mut room = columns.saturating_sub(1);
        for at in 0..self.spans.len() {
            let end = fitting(&self.spans[at].text, room);
            if end < self.spans[at].text.len() {
                self.spans.truncate(at + 1);
                self.spans[at].text.truncate(end);
                break;
            }
            room -= self.spans[at].text.width();
        }
        if columns > 0 {
            self.push(DIM, "…");
        }
        self
    }

    /// The bytes for the terminal, without a line end.
    #[must_use]
    pub fn render(&self, paint: Paint) -> String {
        let mut out = String::new();
        for Span { style, text } in &self.spans {
            if paint == Paint::Plain || style.is_plain() {
                out.push_str(text);
            } else {
                // Writing to a string does not fail.
                let _ = write!(out, "{}{text}{}", style.render(), style.render_reset());
            }
        }
        out
    }
}

/// Bytes of `text` that fit into `columns`.
fn fitting(text: &str, columns: usize) -> usize {
    let mut used = 0;
    for (at, letter) in text.char_indices() {
        used += letter.width().unwrap_or(0);
        if used > columns {
            return at;
        }
    }
    text.len()
}

/// `text` padded with blanks to `columns`, or cut.
#[must_use]
pub fn pad(text: &str, columns: usize) -> String {
    let line = Line::of(text).cut(columns);
    let blanks = columns - line.width().min(columns);
    format!("{}{}", line.render(Paint::Plain), " ".repeat(blanks))
}

/// `1 file`, `2 files`.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A length of time as a person says it: `340 ms`, `4.2 s`, `3 min 5 s`, `2 h 4 min`.
#[must_use]
pub fn duration(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

/// A number in threes: `12,345`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Millionths of a dollar as dollars, with as many digits as say something.
#[must_use]
pub fn dollars(microusd: u64) -> String {
    match microusd {
        0 => "$0".to_owned(),
        1..10_000 => format!("${}.{:06}", microusd / 1_000_000, microusd).trim_end_matches('0').to_owned(),
        _ => format!("${}.{:02}", microusd / 1_000_000, microusd % 1_000_000 / 10_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_by_columns_not_by_bytes() {
        let line = Line::default().with(BOLD, "日本").with(PLAIN, "abcdef");
        assert_eq!(line.width(), 10);
        assert_eq!(line.clone().cut(6).render(Paint::Plain), "日本a…");
        assert_eq!(line.clone().cut(4).render(Paint::Plain), "日…");
        assert_eq!(line.clone().cut(10), line);
        assert_eq!(line.cut(0).render(Paint::Plain), "");
    }

    #[test]
    fn colour_is_written_only_on_request() {
        let line = Line::of("a ").with(GOOD, "b\nc\x1b[31m");
        assert_eq!(line.render(Paint::Plain), "a b c");
        assert_eq!(line.render(Paint::Colour), "a \x1b[32mb c\x1b[0m");
    }

    #[test]
    fn figures_read_as_people_write_them() {
        assert_eq!([duration(7), duration(4230), duration(185_000)], ["7 ms", "4.2 s", "3 min 5 s"]);
        assert_eq!([thousands(7), thousands(1234), thousands(1_234_567)], ["7", "1,234", "1,234,567"]);
        assert_eq!([dollars(0), dollars(420), dollars(1_239_999)], ["$0", "$0.00042", "$1.23"]);
        assert_eq!(pad("ab", 4), "ab  ");
    }
}

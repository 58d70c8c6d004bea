//! The sanitizer: what remote text may do to the user's terminal, which is nothing but be read.
//!
//! A terminal executes its input: it can be told to move the cursor over what was shown before, to rename the window, to
//! write the clipboard, to answer with bytes that the shell then reads as typed. Repositories, models and commands are
//! hostile, so their text is *parsed* as a terminal would (crate `vte`) and only printed characters come out. Colours are
//! kept as data ([`Line`]) and written anew by us. Characters that reorder a line (bidirectional controls; "Trojan
//! Source", CVE-2021-42574) are spelled out, since a reviewer has to see them.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Color, Effects, RgbColor, Style};
use vte::{Params, Parser, Perform};

use crate::text::Line;

/// The text without escape sequences and control characters but line ends.
#[must_use]
pub fn text(remote: &str) -> String {
    if remote.bytes().all(|b| b == b'\n' || (b' '..=b'~').contains(&b)) {
        return remote.to_owned();
    }
    let mut out = String::with_capacity(remote.len());
    for (at, row) in parse(remote).into_iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        out.extend(row.into_iter().map(|(_, span)| span));
    }
    out
}

/// The same on one line: line ends become blanks.
#[must_use]
pub fn one_line(remote: &str) -> String {
    text(remote).replace('\n', " ")
}

/// The text as lines, with its colours. An empty last line is left out.
#[must_use]
pub fn lines(remote: &str) -> Vec<Line> {
    let mut rows = parse(remote);
    if rows.last().is_some_and(|row| row.iter().all(|(_, span)| span.is_empty())) {
        rows.pop();
    }
    let line = |row: Row| row.iter().fold(Line::default(), |line, (style, span)| line.with(*style, span));
    rows.into_iter().map(line).collect()
}

/// The spans of one line.
type Row = Vec<(Style, String)>;

fn parse(remote: &str) -> Vec<Row> {
    let mut page = Page::default();
    Parser::new().advance(&mut page, remote.as_bytes());
    page.end_row();
    page.rows
}

/// A line of source or of a diff for a reviewer: nothing is dropped, control characters are shown as `^[`.
#[must_use]
pub fn source(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    for letter in line.chars() {
        match letter {
            '\t' => out.push_str(TAB),
            '\0'..='\x1f' => out.extend(['^', char::from(letter as u8 + b'@')]),
            '\x7f' => out.push_str("^?"),
            _ => put(&mut out, letter),
        }
    }
    out
}

/// A tab takes four columns wherever it stands, so that widths can be known without the cursor's position.
const TAB: &str = "    ";

/// Adds `letter`, spelled out if it would be invisible and change how its neighbours look.
fn put(out: &mut String, letter: char) {
    if spelled(letter) {
        // Writing to a string does not fail.
        let _ = write!(out, "<U+{:04X}>", u32::from(letter));
    } else {
        out.push(letter);
    }
}

/// C1 controls, bidirectional controls, line separators, interlinear marks, tag characters (Unicode 16, UAX #9 and UTS #39).
pub(crate) const fn spelled(letter: char) -> bool {
    matches!(letter,
        '\u{80}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{206f}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// What a terminal would have printed: characters and colours, nothing else.
#[derive(Default)]
struct Page {
    rows: Vec<Row>,
    row: Row,
    style: Style,
    span: String,
    /// A carriage return came last. Alone it would write over what stands there; before a line feed it is nothing.
    returned: bool,
}

impl Page {
    fn end_span(&mut self) {
        self.row.push((self.style, std::mem::take(&mut self.span)));
    }

    fn end_row(&mut self) {
        self.end_span();
        self.rows.push(std::mem::take(&mut self.row));
        self.returned = false;
    }
}

impl Perform for Page {
    fn print(&mut self, letter: char) {
        if std::mem::take(&mut self.returned) {
            self.span.push(' ');
        }
        if letter != '\x7f' {
            put(&mut self.span, letter);
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' => self.end_row(),
            b'\t' => self.span.push_str(TAB),
            b'\r' => self.returned = true,
            // The C1 controls, which `vte` gives here although they came as UTF-8.
            0x80..=0x9f => put(&mut self.span, char::from(byte)),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: char) {
        if action == 'm' && intermediates.is_empty() && !ignore {
            self.end_span();
            self.style = styled(self.style, params);
        }
    }
}

/// The style after a "select graphic rendition" sequence (ECMA-48 8.3.117, and the 16/256/RGB colours of xterm).
/// Blinking and hidden text are left out on purpose.
fn styled(mut style: Style, params: &Params) -> Style {
    let mut codes = params.iter().flatten().copied();
    while let Some(code) = codes.next() {
        style = match code {
            0 => Style::new(),
            1 => style.effects(style.get_effects() | Effects::BOLD),
            2 => style.effects(style.get_effects() | Effects::DIMMED),
            3 => style.effects(style.get_effects() | Effects::ITALIC),
            4 => style.effects(style.get_effects() | Effects::UNDERLINE),
            22 => style.effects(style.get_effects().remove(Effects::BOLD | Effects::DIMMED)),
            23 => style.effects(style.get_effects().remove(Effects::ITALIC)),
            24 => style.effects(style.get_effects().remove(Effects::UNDERLINE)),
            30..=37 => style.fg_color(named(code - 30)),
            38 => style.fg_color(extended(&mut codes)),
            39 => style.fg_color(None),
            40..=47 => style.bg_color(named(code - 40)),
            48 => style.bg_color(extended(&mut codes)),
            49 => style.bg_color(None),
            90..=97 => style.fg_color(named(code - 90 + 8)),
            100..=107 => style.bg_color(named(code - 100 + 8)),
            _ => style,
        };
    }
    style
}

fn named(number: u16) -> Option<Color> {
    use AnsiColor::{
        Black, Blue, BrightBlack, BrightBlue, BrightCyan, BrightGreen, BrightMagenta, BrightRed, BrightWhite,
        BrightYellow, Cyan, Green, Magenta, Red, White, Yellow,
    };
    const COLOURS: [AnsiColor; 16] = [
        Black,
        Red,
        Green,
        Yellow,
        Blue,
        Magenta,
        Cyan,
        White,
        BrightBlack,
        BrightRed,
        BrightGreen,
        BrightYellow,
        BrightBlue,
        BrightMagenta,
        BrightCyan,
        BrightWhite,
    ];
    COLOURS.get(usize::from(number)).map(|colour| Color::Ansi(*colour))
}

fn extended(codes: &mut impl Iterator<Item = u16>) -> Option<Color> {
    let mut byte = || codes.next().and_then(|code| u8::try_from(code).ok());
    match byte()? {
        5 => Some(Color::Ansi256(byte()?.into())),
        2 => Some(Color::Rgb(RgbColor(byte()?, byte()?, byte()?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::Paint;

    #[test]
    fn sequences_that_act_on_the_terminal_are_dropped() {
        let hostile = "a\x1b]0;title\x07b\x1b[2J\x1b[1;1Hc\x1b]52;c;ZXZpbA==\x1b\\d\x1bP+q544e\x1b\\e\x08\x07\rf\u{9b}6ng";
        assert_eq!(text(hostile), "abcde f<U+009B>6ng");
        assert_eq!(text("one\r\ntwo\tthree"), "one\ntwo    three");
    }

    #[test]
    fn text_that_reorders_a_line_is_spelled_out() {
        assert_eq!(text("if (\u{202e}admin)"), "if (<U+202E>admin)");
        assert_eq!(source("+\x1b[31m\u{2066}x\x7f\r"), "+^[[31m<U+2066>x^?^M");
    }

    #[test]
    fn colours_survive_as_ours() {
        let lines = lines("\x1b[1;31mFAILED\x1b[0m ok\n\x1b[5;8mhidden\x1b[38;5;208mx");
        assert_eq!(lines[0].render(Paint::Colour), "\x1b[1m\x1b[31mFAILED\x1b[0m ok");
        assert_eq!(lines[0].render(Paint::Plain), "FAILED ok");
        assert_eq!(lines[1].render(Paint::Colour), "hidden\x1b[38;5;208mx\x1b[0m");
    }

    fn harmless(shown: &str) -> bool {
        !shown.chars().any(|letter| letter.is_control() && letter != '\n' || spelled(letter))
    }

    proptest! {
        #[test]
        fn nothing_but_text_comes_out(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let remote = String::from_utf8_lossy(&bytes);
            prop_assert!(harmless(&text(&remote)));
            prop_assert!(harmless(&source(&remote)));
            prop_assert!(lines(&remote).iter().all(|line| harmless(&line.render(Paint::Plain))));
        }

        #[test]
        fn made_of_the_letters_of_sequences(remote in "[\\x1b\\]\\[;0-9mHJPX^_\\\\\\x07\\x9b\\x90\\r\\n a\u{202e}\u{2067}]{0,60}") {
            prop_assert!(harmless(&text(&remote)));
            let painted: String = lines(&remote).iter().map(|line| line.render(Paint::Colour)).collect();
            // What is left of our own colours is `ESC [ digits ; m` alone.
            for rest in painted.split('\x1b').skip(1) {
                let end = rest.find(|c: char| !c.is_ascii_digit() && c != '[' && c != ';');
                prop_assert_eq!(end.map(|at| &rest[at..=at]), Some("m"));
            }
        }

        #[test]
        fn ordinary_text_is_untouched(remote in "[ -~äöü日本€\n]{0,80}") {
            prop_assert_eq!(text(&remote), remote);
        }
    }
}

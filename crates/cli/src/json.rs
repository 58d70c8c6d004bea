//! JSON on standard output: exactly the domain's events, one a line.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// Writes `value` as one line.
///
/// # Errors
/// If `out` is gone.
pub fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut *out, Escaping))?;
    out.write_all(b"\n")
}

/// Compact JSON in which characters that could act on a terminal are `\u` escapes. Any reader gets the same value;
/// `serde_json` alone escapes those below U+0020, but not DEL, C1 and bidirectional controls.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(acts) {
            CompactFormatter.write_string_fragment(out, &rest[..at])?;
            let letter = rest[at..].chars().next().unwrap_or_default();
            for unit in letter.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + letter.len_utf8()..];
        }
        CompactFormatter.write_string_fragment(out, rest)
    }
}

fn acts(letter: char) -> bool {
    letter.is_control() || crate::clean::spelled(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_escaped_and_reads_back() {
        let text = "a\x1b[2J\u{9b}6n\u{202e}b\x7f\"\\ü\u{e0041}";
        let mut out = Vec::new();
        line(&mut out, &text).unwrap();
        let written = String::from_utf8(out).unwrap();
        assert_eq!(written, "\"a\\u001b[2J\\u009b6n\\u202eb\\u007f\\\"\\\\ü\\udb40\\udc41\"\n");
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
    }
}

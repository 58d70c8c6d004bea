//! Finding lines in a file, strictest first.

use std::borrow::Cow;

/// A line in the form in which it is compared.
type Form = fn(&[u8]) -> Cow<'_, [u8]>;

/// How two lines are compared, in the order in which it is tried.
const STRICTNESS: [Form; 4] = [
    |line| Cow::Borrowed(line),
    |line| Cow::Borrowed(trim_end(line)),
    |line| Cow::Borrowed(trim(line)),
    fold,
];

/// Where a pattern may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At or after this line.
    From(usize),
    /// At the end of the file only.
    End,
}

/// The index of the first place where `pattern` stands in `lines`; the strictest comparison that finds one decides.
pub(super) fn seek(lines: &[&[u8]], pattern: &[&str], place: Place) -> Option<usize> {
    let last = lines.len().checked_sub(pattern.len())?;
    let first = match place {
        Place::From(line) => line,
        Place::End => last,
    };
    STRICTNESS.iter().find_map(|form| {
        let pattern: Vec<Cow<'_, [u8]>> = pattern.iter().map(|line| form(line.as_bytes())).collect();
        (first..=last).find(|start| {
            lines[*start..*start + pattern.len()].iter().zip(&pattern).all(|(line, want)| form(line) == *want)
        })
    })
}

fn trim_end(line: &[u8]) -> &[u8] {
    std::str::from_utf8(line).map_or_else(|_| line.trim_ascii_end(), |text| text.trim_end().as_bytes())
}

fn trim(line: &[u8]) -> &[u8] {
    std::str::from_utf8(line).map_or_else(|_| line.trim_ascii(), |text| text.trim().as_bytes())
}

/// Folds typographic dashes, quotes and spaces to ASCII: models write the plain ones.
fn fold(line: &[u8]) -> Cow<'_, [u8]> {
    let trimmed = trim(line);
    match std::str::from_utf8(trimmed) {
        Ok(text) if !text.is_ascii() => Cow::Owned(text.chars().map(folded).collect::<String>().into_bytes()),
        _ => Cow::Borrowed(trimmed),
    }
}

fn folded(char: char) -> char {
    match char {
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{2018}'..='\u{201B}' => '\'',
        '\u{201C}'..='\u{201F}' => '"',
        '\u{A0}' | '\u{2002}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => ' ',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(lines: &[&str], pattern: &[&str], place: Place) -> Option<usize> {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        seek(&lines, pattern, place)
    }

    #[test]
    fn the_strictest_comparison_wins_over_the_nearest_place() {
        let lines = ["a  ", " a", "a"];
        assert_eq!(find(&lines, &["a"], Place::From(0)), Some(2));
        assert_eq!(find(&lines[..2], &["a"], Place::From(0)), Some(0));
        assert_eq!(find(&lines[1..2], &["a"], Place::From(0)), Some(0));
    }

    #[test]
    fn typography_is_folded_last() {
        assert_eq!(find(&["say “hi” – ok\u{A0}!"], &["say \"hi\" - ok !"], Place::From(0)), Some(0));
    }

    #[test]
    fn the_end_is_the_end() {
        assert_eq!(find(&["a", "b", "a"], &["a"], Place::End), Some(2));
        assert_eq!(find(&["a", "b"], &["a"], Place::End), None);
        assert_eq!(find(&["a"], &["a", "b"], Place::From(0)), None);
        assert_eq!(find(&["a"], &["a"], Place::From(1)), None);
    }
}

//! In which forms a secret's value may come: as it is, and as common programs encode it.
//!
//! Whoever keeps values out of a record and whoever keeps them inside a sandbox look for the same forms, so that what one of
//! them overlooks is not overlooked by the other either, and what is added is added once.

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The shortest form that is looked for, in bytes: a shorter one would be found in ordinary text.
pub const FORM_BYTES_MIN: usize = 8;

/// Programs break base 64 into lines of 64 or 76 characters (RFC 7468, RFC 2045). A piece of so many, taken at its multiples,
/// stands whole in any part of 47: so in one line at least of what 71 bytes or more become.
const PIECE_CHARS: usize = 24;

/// The longest value whose pieces are looked for: longer ones are keys and certificates, which have lines of their own.
const IN_PIECES_BYTES_MAX: usize = 4096;

/// All forms of a value, each once, none shorter than [`FORM_BYTES_MIN`]. Shells and people take the white space from its
/// ends, so it is looked for without that too.
#[must_use]
pub fn of(value: &str) -> Vec<String> {
    let mut forms = as_it_is(value);
    if value.trim() != value {
        forms.extend(as_it_is(value.trim()));
    }
    forms.retain(|form| form.len() >= FORM_BYTES_MIN);
    forms.sort_unstable();
    forms.dedup();
    forms
}

fn as_it_is(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned(), hex::encode(value), hex::encode_upper(value)];
    forms.extend(in_json_strings(value));
    forms.extend(in_urls(value));
    for place in 0..3 {
        if value.len() <= IN_PIECES_BYTES_MAX {
            forms.extend(own_lines(value).flat_map(|line| pieces(&in_base64(&STANDARD_NO_PAD, line, place))));
        }
        forms.push(in_base64(&STANDARD_NO_PAD, value, place));
        forms.push(in_base64(&URL_SAFE_NO_PAD, value, place));
    }
    forms
}

/// Inside a JSON string (RFC 8259, section 7), as writers write it that escape no more than they must.
#[must_use]
pub fn in_json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// The same by the standard libraries of Rust and JavaScript, Python, PHP, Go and .NET, which escape more than they must.
fn in_json_strings(value: &str) -> [String; 5] {
    let python = escaped(value, |letter| !letter.is_ascii(), |unit| format!("\\u{unit:04x}"));
    let php = python.replace('/', "\\/");
    let in_pages = |letter| matches!(letter, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
    let go = escaped(value, in_pages, |unit| format!("\\u{unit:04x}"));
    let in_any_page = |letter: char| !letter.is_ascii() || "\"&'+<>`".contains(letter);
    let dotnet = escaped(value, in_any_page, |unit| format!("\\u{unit:04X}"));
    [in_json(value), python, php, go, dotnet]
}

/// With `\u` and four digits for some letters too (two times for those beyond the first plane).
fn escaped(value: &str, which: impl Fn(char) -> bool, write: impl Fn(u16) -> String) -> String {
    let mut out = String::new();
    for letter in value.chars() {
        if which(letter) {
            out.extend(letter.encode_utf16(&mut [0; 2]).iter().map(|unit| write(*unit)));
        } else {
            out.push_str(&in_json(letter.encode_utf8(&mut [0; 4])));
        }
    }
    out
}

/// Percent-encoded: all but unreserved characters (RFC 3986, section 2.3).
#[must_use]
pub fn in_url(value: &str) -> String {
    kept(value, "-._~", |byte| format!("%{byte:02X}"))
}

/// The same, as Python and JavaScript keep some more letters and as forms of pages are sent, in digits of both cases.
fn in_urls(value: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for letters in ["-._~", "-._~/", "-._~!'()*", "-._*"] {
        forms.push(kept(value, letters, |byte| format!("%{byte:02X}")));
        forms.push(kept(value, letters, |byte| format!("%{byte:02x}")));
    }
    let spaced: Vec<String> = forms.iter().map(|form| form.replace("%20", "+")).collect();
    forms.extend(spaced);
    forms
}

fn kept(value: &str, letters: &str, write: impl Fn(u8) -> String) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || letters.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&write(byte));
        }
    }
    out
}

/// What of a long text in base 64 is found however it is broken into lines; the rest at its end is short.
fn pieces(encoded: &str) -> Vec<String> {
    let all = encoded.as_bytes().chunks_exact(PIECE_CHARS);
    let all = all.filter(|piece| piece.len() < encoded.len());
    all.map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
}

/// The lines of a value without the white space at their ends, and without those that any key or certificate begins and ends
/// with (RFC 7468): what these say is no secret, and stands in many a program.
pub fn own_lines(value: &str) -> impl Iterator<Item = &str> {
    let is_boundary = |line: &&str| line.starts_with("-----") && line.ends_with("-----");
    value.lines().map(str::trim).filter(move |line| !is_boundary(line))
}

/// In base 64, where `place` bytes stand before the value in its group of three. The characters at the ends that depend on
/// neighbours are left out, so that what is left is found wherever the value stands in what was encoded.
fn in_base64(engine: &impl base64::Engine, value: &str, place: usize) -> String {
    let bytes = [&[0; 3][..place], value.as_bytes()].concat();
    let text = engine.encode(&bytes);
    let start = [0, 2, 3][place];
    let end = if bytes.len() % 3 == 0 { text.len() } else { text.len() - 1 };
    text.get(start..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    #[test]
    fn a_value_is_found_wherever_it_stands_in_base_64() {
        let value = "hunter2-hunter2?";
        let forms = of(value);
        for before in ["", "a", "ab", "abc", "user:"] {
            for after in ["", "z", "zz", "\n"] {
                let encoded = STANDARD.encode(format!("{before}{value}{after}"));
                assert!(forms.iter().any(|form| encoded.contains(form)), "{before:?} {after:?}: {encoded}");
            }
        }
    }

    #[test]
    fn a_long_value_is_found_in_base_64_that_is_broken_into_lines() {
        let value = "github_pat_11ABCDEFG0aBcDeFgHiJkL_mNoPqRsTuVwXyZ0123456789abcdefghijklmnopqrstuvwxyz";
        let forms = of(value);
        for width in [64, 76] {
            for before in 0..width {
                let encoded = STANDARD.encode(format!("{}{value}\n", "x".repeat(before)));
                let lines: Vec<&str> =
                    encoded.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
                let text = lines.join("\n");
                assert!(forms.iter().any(|form| text.contains(form)), "{width} {before}: {text}");
            }
        }
        let key = |line: &str| format!("-----BEGIN CERTIFICATE-----\n{line}\n-----END CERTIFICATE-----\n");
        let forms = of(&key("MIIBszCCAVmgAwIBAgIUQ0Fe0x1lY2hvIHRoaXMgaXMgYSB0ZXN0IGtleSBvbmx5"));
        let other = STANDARD.encode(key("MIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ"));
        assert!(forms.iter().all(|form| !other.contains(form)), "all certificates begin alike");
        let most = of(&"x".repeat(IN_PIECES_BYTES_MAX)).len();
        assert!(most < 1500, "{most}");
    }

    #[test]
    fn a_value_is_found_as_programs_write_it() {
        let value = "pass \"word\"\n\u{1}é";
        let forms = of(value);
        for form in [
            value,
            "pass \\\"word\\\"\\n\\u0001é",
            "pass%20%22word%22%0A%01%C3%A9",
            "706173732022776f7264220a01c3a9",
            "706173732022776F7264220A01C3A9",
            "pass%20%22word%22%0a%01%c3%a9",
            "pass+%22word%22%0A%01%C3%A9",
            "pass \\\"word\\\"\\n\\u0001\\u00e9",
        ] {
            assert!(forms.iter().any(|known| known == form), "{form}: {forms:?}");
        }
        assert!(of("long enough\n").iter().any(|form| form == "long enough"), "as a shell gives it");
        let forms = of("ab/c<d+e'f😀");
        for form in [
            "ab/c%3Cd%2Be%27f%F0%9F%98%80",
            "ab%2Fc%3Cd%2Be'f%F0%9F%98%80",
            "ab%2fc%3cd%2be%27f%f0%9f%98%80",
            "ab/c<d+e'f\\ud83d\\ude00",
            "ab\\/c<d+e'f\\ud83d\\ude00",
            "ab/c\\u003cd+e'f😀",
            "ab/c\\u003Cd\\u002Be\\u0027f\\uD83D\\uDE00",
        ] {
            assert!(forms.iter().any(|known| known == form), "{form}: {forms:?}");
        }
        assert_eq!(of("short"), ["73686F7274", "73686f7274"], "nothing below 8 bytes");
    }
}

//! In which forms a secret's value may come: as it is, line by line, and as common programs encode it.

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The shortest piece that is looked for: a shorter one would be found in ordinary text.
pub(crate) const PIECE_BYTES_MIN: usize = 8;

/// The shortest line of a value of several lines that is looked for by itself. Such values are keys and certificates, whose
/// lines are long.
const LINE_BYTES_MIN: usize = 16;

/// All forms of a value, each once.
pub(crate) fn of(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned()];
    if value.contains('\n') {
        forms.push(value.trim_end().to_owned());
        forms.extend(value.lines().filter(|line| line.len() >= LINE_BYTES_MIN).map(str::to_owned));
    }
    forms.push(in_json(value));
    forms.push(in_url(value));
    forms.push(hex::encode(value));
    forms.push(hex::encode_upper(value));
    for place in 0..3 {
        forms.push(in_base64(&STANDARD_NO_PAD, value, place));
        forms.push(in_base64(&URL_SAFE_NO_PAD, value, place));
    }
    forms.retain(|form| form.len() >= PIECE_BYTES_MIN);
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// Inside a JSON string.
fn in_json(value: &str) -> String {
    serde_json::to_string(value).map(|text| text[1..text.len() - 1].to_owned()).unwrap_or_default()
}

/// Percent-encoded: all but unreserved characters (RFC 3986, section 2.3).
fn in_url(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
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
    fn short_pieces_are_not_looked_for() {
        let forms = of("line one is long enough\nshort\n");
        assert!(forms.iter().any(|form| form == "line one is long enough"));
        assert!(forms.iter().all(|form| form.len() >= PIECE_BYTES_MIN && form != "short"));
    }
}

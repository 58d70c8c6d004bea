//! In which forms a secret's value may come: as it is, and as common programs encode it.
//!
//! Whoever keeps values out of a record and whoever keeps them inside a sandbox look for the same forms, so that what one of
//! them overlooks is not overlooked by the other either, and what is added is added once.

use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The shortest form that is looked for, in bytes: a shorter one would be found in ordinary text.
pub const FORM_BYTES_MIN: usize = 8;

/// All forms of a value, each once, none shorter than [`FORM_BYTES_MIN`].
#[must_use]
pub fn of(value: &str) -> Vec<String> {
    let mut forms =
        vec![value.to_owned(), in_json(value), in_url(value), hex::encode(value), hex::encode_upper(value)];
    for place in 0..3 {
        forms.push(in_base64(&STANDARD_NO_PAD, value, place));
        forms.push(in_base64(&URL_SAFE_NO_PAD, value, place));
    }
    forms.retain(|form| form.len() >= FORM_BYTES_MIN);
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// Inside a JSON string (RFC 8259, section 7), as writers write it that escape no more than they must.
fn in_json(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// Percent-encoded: all but unreserved characters (RFC 3986, section 2.3).
#[must_use]
pub fn in_url(value: &str) -> String {
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
    fn a_value_is_found_as_programs_write_it() {
        let value = "pass \"word\"\n\u{1}é";
        let forms = of(value);
        for form in [
            value,
            "pass \\\"word\\\"\\n\\u0001é",
            "pass%20%22word%22%0A%01%C3%A9",
            "706173732022776f7264220a01c3a9",
            "706173732022776F7264220A01C3A9",
        ] {
            assert!(forms.iter().any(|known| known == form), "{form}: {forms:?}");
        }
        assert_eq!(of("short"), ["73686F7274", "73686f7274"], "nothing below 8 bytes");
    }
}

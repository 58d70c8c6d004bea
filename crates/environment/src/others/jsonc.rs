//! JSON with comments and trailing commas, as editors write it (the format of `devcontainer.json`, containers.dev).

use serde_json::Value;

/// Reads a text; `None` if it is none, or nests deeper than serde_json goes (128).
pub(super) fn read(text: &str) -> Option<Value> {
    serde_json::from_str(&plain(text.trim_start_matches('\u{feff}'))).ok()
}

/// The same without comments and trailing commas.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('"', _) => {
                out.push('"');
                while let Some(c) = chars.next() {
                    out.push(c);
                    match c {
                        '\\' => out.extend(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            ('/', Some('/')) => while chars.next_if(|c| *c != '\n').is_some() {},
            ('/', Some('*')) => {
                chars.next();
                let mut before = ' ';
                for c in chars.by_ref() {
                    if before == '*' && c == '/' {
                        break;
                    }
                    before = c;
                }
            }
            ('}' | ']', _) => {
                let end = out.trim_end().len();
                if out[..end].ends_with(',') {
                    out.truncate(end - 1);
                }
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_trailing_commas_go() {
        let text = "// a\n{ /* b, */ \"x\": \"// no, /* */ \\\" ,}\", \"y\": [1, 2, ], }";
        let value = read(text).unwrap();
        assert_eq!(value["x"], "// no, /* */ \" ,}");
        assert_eq!(value["y"][1], 2);
        assert_eq!(read("{ /* "), None);
        assert_eq!(read("\"\\"), None);
    }
}

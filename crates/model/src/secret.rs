use std::fmt;

/// A key. It shows itself to nobody: `Debug` is redacted, there is no `Display` and no serde.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the key; blanks at the ends (a pasted newline) are dropped.
    #[must_use]
    pub fn new(key: &str) -> Self {
        Self(key.trim().to_owned())
    }

    /// The key itself, for the one header that carries it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(key: String) -> Self {
        Self::new(&key)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Longest text of a provider that is shown.
const SHOWN_CHARS_MAX: usize = 400;

/// A provider's words as they may be shown: `***` in place of every secret, since providers repeat keys and headers in
/// their errors; then one line without control characters, cut. Cutting first could leave a part of a key.
pub(crate) fn shown(text: &str, secrets: &[Secret]) -> String {
    /// Shorter values are no keys, and replacing them would garble the message.
    const KEY_BYTES_MIN: usize = 4;
    let redacted = secrets
        .iter()
        .filter(|secret| secret.0.len() >= KEY_BYTES_MIN)
        .fold(text.to_owned(), |text, secret| text.replace(secret.reveal(), "***"));
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut shown: String = redacted.chars().take(SHOWN_CHARS_MAX).map(clean).collect();
    if shown.len() < redacted.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_has_no_secret_no_control_characters_and_an_end() {
        let secrets = [Secret::new(" sk-0123456789\n"), Secret::new("abc"), Secret::new("")];
        assert_eq!(shown("key sk-0123456789,\nabc \u{1b}[31m", &secrets), "key ***, abc  [31m");
        assert_eq!(format!("{:?}", secrets[0]), "Secret(***)");
        // The key lies across the cut.
        let long = format!("{}sk-0123456789", "x".repeat(SHOWN_CHARS_MAX - 5));
        let shown = shown(&long, &secrets);
        assert!(shown.ends_with("x***") && !shown.contains("sk-"), "{shown}");
        assert_eq!(super::shown(&"ü".repeat(1000), &[]).chars().count(), SHOWN_CHARS_MAX + 1);
    }
}

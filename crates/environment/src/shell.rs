//! Text that becomes part of a script.

/// A word for the shell, whatever is in it.
pub(crate) fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:@%+,".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Lines that run in a directory from the root, so that the ones after them are back at the root.
pub(crate) fn inside(directory: &str, lines: &[String]) -> Vec<String> {
    if directory.is_empty() || lines.is_empty() {
        return lines.to_vec();
    }
    let mut all = vec![format!("cd {}", quoted(&format!("./{directory}")))];
    all.extend_from_slice(lines);
    all.push("cd \"$OLDPWD\"".to_owned());
    all
}

/// A version as a file states it, if it is one: nothing that a shell, a path or an option could take for something else.
pub(crate) fn version(text: &str) -> Option<&str> {
    const BYTES_MAX: usize = 40;
    let text = text.trim();
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte);
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    (starts && text.len() <= BYTES_MAX && text.bytes().all(is_part)).then_some(text)
}

/// A name (an extra, a group, a script's target) that can be an argument.
pub(crate) fn is_name(text: &str) -> bool {
    version(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_plain_is_quoted() {
        assert_eq!(quoted("a-b/c.d"), "a-b/c.d");
        assert_eq!(quoted("a b'c;$(d)"), r"'a b'\''c;$(d)'");
        assert_eq!(quoted(""), "''");
        assert_eq!(version(" 3.11\n"), Some("3.11"));
        assert!(version("--x").is_none() && version("$(x)").is_none() && version("").is_none());
    }
}

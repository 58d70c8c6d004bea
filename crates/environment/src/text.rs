//! Small readers of texts that have a format of their own.

/// The lines that say something: no comments, no blanks.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The values of an INI file's section, key by key. A line that is indented continues the value before it.
pub(crate) fn ini(text: &str, section: &str) -> Vec<(String, String)> {
    let mut values: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            inside = name.0.trim() == section;
        } else if !inside {
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = values.last_mut() {
                value.push('\n');
                value.push_str(trimmed);
            }
        } else if let Some((key, value)) = trimmed.split_once(['=', ':']) {
            values.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    values
}

/// Whether an INI file has that section.
pub(crate) fn has_section(text: &str, section: &str) -> bool {
    let head = format!("[{section}]");
    text.lines().any(|line| line.trim() == head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_with_its_continued_lines() {
        let text = "[a]\nx = 1\n[testenv]\ndeps =\n    pytest\n    # no\n    -r dev.txt\ncommands: pytest {posargs}\n[b]\ny=2\n";
        let values = ini(text, "testenv");
        assert_eq!(values[0], ("deps".to_owned(), "\npytest\n-r dev.txt".to_owned()));
        assert_eq!(values[1], ("commands".to_owned(), "pytest {posargs}".to_owned()));
        assert!(has_section(text, "b") && !has_section(text, "c"));
    }
}

//! Which Python.

use super::Sources;
use crate::{Finding, shell, text};

/// The newest minor version that a range is looked through for: a range without an upper end takes what is there.
const NEWEST: u32 = 14;

/// The Python that a project wants.
pub(super) struct Interpreter {
    /// As the file states it; empty: any.
    pub(super) version: String,
    /// The versions to look for, best first; none: what `python3` is.
    wanted: Vec<String>,
}

pub(super) fn find(sources: &Sources<'_>, findings: &mut Vec<Finding>) -> Interpreter {
    let place = sources.place;
    let stated =
        place.text(".python-version").and_then(|text| text::lines(text).next()).and_then(shell::version);
    if let Some(version) = stated {
        findings.push(Finding::new(place.path_of(".python-version"), format!("asks for Python {version}")));
        return Interpreter { version: version.to_owned(), wanted: vec![minor_of(version)] };
    }
    let range = sources
        .get(&["project", "requires-python"])
        .or_else(|| sources.get(&["tool", "poetry", "dependencies", "python"]));
    let Some(range) = range.and_then(toml::Value::as_str) else {
        return Interpreter { version: String::new(), wanted: Vec::new() };
    };
    let range: String = range.chars().filter(|c| !c.is_control()).take(80).collect();
    findings.push(Finding::new(place.path_of("pyproject.toml"), format!("needs Python {range}")));
    Interpreter { wanted: below(&range), version: range }
}

fn minor_of(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// The minor versions that a range with an upper end allows, newest first.
fn below(range: &str) -> Vec<String> {
    let bound = |operator: &str| -> Option<u32> {
        let mut parts = range.split(',').map(str::trim).filter_map(|part| part.strip_prefix(operator));
        parts.find_map(|part| minor(part.trim_start_matches('=')))
    };
    let Some(end) = bound("<").filter(|end| *end <= NEWEST) else { return Vec::new() };
    let is_included = range.contains("<=");
    let start = bound(">").unwrap_or(6);
    (start..end + u32::from(is_included)).rev().map(|minor| format!("3.{minor}")).collect()
}

fn minor(version: &str) -> Option<u32> {
    let rest = version.trim().strip_prefix("3.")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

impl Interpreter {
    /// A line that sets `$python`.
    pub(super) fn script(&self) -> String {
        if self.wanted.is_empty() {
            return "python=$(command -v python3 || command -v python)".to_owned();
        }
        // A range is met by the default where that is in it, which is the usual case and keeps what the machine prefers.
        let default = "python=$(command -v python3 || command -v python)";
        let wanted = self.wanted.join(" ");
        format!(
            "{default}; wanted='{wanted}'; have=$(\"$python\" -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])' || true)\n\
             case \" $wanted \" in *\" $have \"*) ;; *) for v in $wanted; do for p in \"${{PYENV_ROOT:-/none}}/versions/$v\".*/bin/python3 \"${{PYENV_ROOT:-/none}}/versions/$v\"/bin/python3 \"/usr/bin/python$v\" \"/usr/local/bin/python$v\"; do if [ -x \"$p\" ]; then python=$p; break 2; fi; done; done ;; esac"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_with_an_end_names_its_versions() {
        assert_eq!(below(">=3.8,<3.11"), ["3.10", "3.9", "3.8"]);
        assert_eq!(below(">=3.9, <=3.10"), ["3.10", "3.9"]);
        assert!(below(">=3.8").is_empty() && below(">=3.8,<4").is_empty() && below("^3.8").is_empty());
    }
}

//! `tidy.toml` as types.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::Finding;

const FILE: &str = "tidy.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    pub(crate) limits: Limits,
    /// Room → the rooms that it may depend on.
    pub(crate) arrows: BTreeMap<String, Vec<String>>,
    pub(crate) borders: Borders,
    pub(crate) names: Names,
    #[serde(default)]
    exceptions: Vec<Exception>,
}

/// The budgets; `tidy.toml` says what each counts.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) function_lines: usize,
    pub(crate) file_lines: usize,
    pub(crate) parameters: usize,
    pub(crate) enum_variants: usize,
    pub(crate) error_variants: usize,
    pub(crate) struct_fields: usize,
    pub(crate) trait_methods: usize,
    pub(crate) arrows_per_room: f64,
    pub(crate) arrow_depth: usize,
    pub(crate) agents_lines: usize,
    pub(crate) architecture_lines: usize,
}

/// The rooms that may do what no other room may.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Borders {
    #[serde(rename = "unsafe")]
    pub(crate) unsafe_code: Vec<String>,
    pub(crate) environment: Vec<String>,
    pub(crate) processes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Names {
    /// Words that no type's name holds, in the form of a type's name.
    pub(crate) forbidden: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    rule: String,
    at: String,
    reason: String,
}

impl Rules {
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let text = fs::read_to_string(root.join(FILE)).context("could not read tidy.toml")?;
        Self::parse(&text)
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).context("tidy.toml is malformed")
    }

    /// Takes out the findings that have an exception and adds one for each exception that is wrong or unused.
    pub(crate) fn excuse(&self, findings: Vec<Finding>) -> Vec<Finding> {
        let mut used = vec![false; self.exceptions.len()];
        let mut left = Vec::new();
        for finding in findings {
            let at = finding.at();
            match self.exceptions.iter().position(|known| known.rule == finding.rule && known.at == at) {
                Some(index) => used[index] = true,
                None => left.push(finding),
            }
        }
        for (exception, used) in self.exceptions.iter().zip(used) {
            if !used {
                left.push(complaint(exception, "is not needed", "remove it: the list only shrinks"));
            } else if exception.reason.trim().is_empty() {
                left.push(complaint(exception, "has no reason", "say why the rule does not fit here"));
            }
        }
        left
    }
}

fn complaint(exception: &Exception, what: &str, mend: &'static str) -> Finding {
    let Exception { rule, at, .. } = exception;
    Finding {
        rule: "exception",
        file: FILE.to_owned(),
        line: 0,
        item: String::new(),
        what: format!("the exception to {rule} at {at} {what}"),
        mend,
    }
}

#[cfg(test)]
pub(crate) fn sample(extra: &str) -> Rules {
    let text = r#"
        [limits]
        function_lines = 4
        file_lines = 12
        parameters = 2
        enum_variants = 2
        error_variants = 1
        struct_fields = 2
        trait_methods = 1
        arrows_per_room = 1.0
        arrow_depth = 2
        agents_lines = 3
        architecture_lines = 3
        [arrows]
        domain = []
        git = ["domain"]
        [borders]
        unsafe = ["sandbox"]
        environment = ["cli"]
        processes = ["sandbox"]
        [names]
        forbidden = ["Manager", "Util", "V2"]
    "#;
    Rules::parse(&format!("{text}\n{extra}")).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> Finding {
        Finding {
            rule: "function",
            file: "a.rs".into(),
            line: 3,
            item: "f".into(),
            what: String::new(),
            mend: "",
        }
    }

    #[test]
    fn an_exception_takes_out_its_finding_and_no_other() {
        let rules = sample("[[exceptions]]\nrule = 'function'\nat = 'a.rs::f'\nreason = 'a table'");
        let other = Finding { item: "g".into(), ..finding() };
        assert_eq!(rules.excuse(vec![finding(), other.clone()]), [other]);
    }

    #[test]
    fn an_exception_that_is_not_needed_or_has_no_reason_is_a_finding() {
        let unused = sample("[[exceptions]]\nrule = 'function'\nat = 'b.rs::f'\nreason = 'gone'");
        let left = unused.excuse(vec![finding()]);
        assert_eq!(left.iter().map(|left| left.rule).collect::<Vec<_>>(), ["function", "exception"]);
        let bare = sample("[[exceptions]]\nrule = 'function'\nat = 'a.rs::f'\nreason = ' '");
        assert_eq!(bare.excuse(vec![finding()])[0].rule, "exception");
    }
}

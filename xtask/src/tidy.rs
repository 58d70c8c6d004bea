//! The rules of the house, checked: arrows between rooms, budgets, borders, names, snapshots, links.
//!
//! Every rule yields [`Finding`]s; `tidy.toml` holds the limits, the allowed arrows and the exceptions. The same check
//! is a test of this crate, so that the ordinary test command keeps the house tidy from the first commit on.

mod arrows;
mod budget;
mod finding;
mod item;
mod layout;
mod libraries;
mod links;
mod rules;
mod source;

use std::path::Path;

use anyhow::{Result, bail};

pub(crate) use finding::Finding;
use rules::Rules;

use crate::house;
use crate::shell::say;

/// Prints the findings and the figures; fails if there is a finding.
pub(crate) fn run() -> Result<()> {
    let report = inspect(&house::root())?;
    for finding in &report.findings {
        say(&finding.to_string());
    }
    say(&report.figures);
    match report.findings.len() {
        0 => Ok(()),
        1 => bail!("the house is not tidy: 1 finding"),
        many => bail!("the house is not tidy: {many} findings"),
    }
}

/// What an inspection gives.
struct Report {
    /// In the order of files and lines.
    findings: Vec<Finding>,
    /// Figures that have an aim but no limit, in one or two lines.
    figures: String,
}

/// Applies every rule to the house at `root`.
fn inspect(root: &Path) -> Result<Report> {
    let rules = Rules::load(root)?;
    let metadata = house::metadata()?;
    let rooms = arrows::rooms(&metadata);
    let texts = house::sources(root)?;
    let sources = source::parse(&texts)?;
    let mut findings = arrows::check(&rooms, &rules);
    findings.extend(links::check(root, &texts)?);
    findings.extend(libraries::check(&metadata, root)?);
    findings.extend(layout::check(root, &rules.limits)?);
    for source in &sources {
        findings.extend(item::check(source, &rules));
    }
    findings.extend(budget::files(&sources, &rules.limits));
    let mut findings = rules.excuse(findings);
    findings.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    let figures = format!("{}\n{}", arrows::figures(&rooms), budget::figures(&sources));
    Ok(Report { findings, figures })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_house_is_tidy() {
        let report = inspect(&house::root()).unwrap();
        let findings: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
    }
}

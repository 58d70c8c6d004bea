//! Pages that are named must be there: a pointer into the void costs every reader who follows it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::Finding;
use crate::house::Source;

/// Looks at the pages that sources name as `docs/….md`, and at the relative links of all pages.
pub(crate) fn check(root: &Path, sources: &[Source]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for source in sources {
        let named = named_pages(&source.text);
        findings.extend(dangling(&source.path, &source.text, &named, root));
    }
    for path in pages(root)? {
        let text = fs::read_to_string(root.join(&path)).with_context(|| format!("could not read {path}"))?;
        let folder = Path::new(&path).parent().unwrap_or(Path::new(""));
        findings.extend(dangling(&path, &text, &links(&text), &root.join(folder)));
        findings.extend(dangling(&path, &text, &named_pages(&text), root));
    }
    Ok(findings)
}

/// The Markdown pages at the root and under `docs/`, from the root.
fn pages(root: &Path) -> Result<Vec<String>> {
    let all = walkdir::WalkDir::new(root).max_depth(1).into_iter();
    let mut pages = BTreeSet::new();
    for entry in all.chain(walkdir::WalkDir::new(root.join("docs"))) {
        let entry = entry.context("could not walk the pages")?;
        let relative = entry.path().strip_prefix(root).unwrap_or(entry.path());
        if relative.extension().is_some_and(|extension| extension == "md") {
            pages.insert(relative.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(pages.into_iter().collect())
}

/// What looks like a page of ours in running text. A pattern (`docs/adr/NNNN-*.md`) is not one.
fn named_pages(text: &str) -> Vec<&str> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || "/-_.".contains(character);
    let words = text.split(|character: char| !is_part(character) && character != '*');
    words.filter(|word| word.starts_with("docs/") && word.ends_with(".md") && !word.contains('*')).collect()
}

/// The targets of `[text](target)` that are files.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.filter(|target| !target.contains("://") && !target.starts_with(['#', '<']));
    files.filter_map(|target| target.split('#').next()).filter(|target| !target.is_empty()).collect()
}

fn dangling(file: &str, text: &str, targets: &[&str], base: &Path) -> Vec<Finding> {
    let gone = targets.iter().filter(|target| !base.join(target).exists());
    gone.map(|target| Finding {
        rule: "link",
        file: file.to_owned(),
        line: text.lines().position(|line| line.contains(target)).map_or(0, |index| index + 1),
        item: (*target).to_owned(),
        what: format!("{target} is not there"),
        mend: "write the page, or do not name it",
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_not_there_rings() {
        let gone = ["docs", "gone.md"].join("/");
        let text = format!("//! See\n//! `{gone}` and `docs/testing.md`.");
        let source = Source { path: "crates/git/src/lib.rs".into(), room: "git".into(), text };
        let root = crate::house::root();
        let findings = check(&root, &[source]).unwrap();
        let ours: Vec<_> = findings.iter().filter(|finding| finding.item == gone).collect();
        assert_eq!((ours.len(), ours[0].line), (1, 2));
    }

    #[test]
    fn what_a_link_names() {
        let text = "[a](A.md) [b](https://x.example/) [c](#part) [d](docs/testing.md#part)";
        assert_eq!(links(text), ["A.md", "docs/testing.md"]);
        assert!(named_pages("see docs/adr/NNNN-*.md").is_empty());
    }
}

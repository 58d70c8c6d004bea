//! A source file, parsed, with its test code marked: budgets hold for the product's code.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use proc_macro2::Span;
use syn::spanned::Spanned as _;
use syn::visit::Visit;

use crate::house::Source;

/// A file of product code.
pub(crate) struct Parsed {
    pub(crate) path: String,
    pub(crate) room: String,
    pub(crate) text: String,
    pub(crate) file: syn::File,
    /// Numbers of the lines that belong to `#[cfg(test)]` items.
    pub(crate) test_lines: BTreeSet<usize>,
}

impl Parsed {
    pub(crate) fn new(source: &Source) -> Result<Self> {
        let file =
            syn::parse_file(&source.text).with_context(|| format!("could not parse {}", source.path))?;
        let mut tests = Tests::default();
        tests.visit_file(&file);
        let Source { path, room, text } = source.clone();
        Ok(Self { path, room, text, file, test_lines: tests.lines })
    }

    /// The lines that are not test code, with their numbers from 1.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        numbered.filter(|(number, _)| !self.test_lines.contains(number))
    }
}

/// Parses the files and leaves out those that are modules of tests.
pub(crate) fn parse(sources: &[Source]) -> Result<Vec<Parsed>> {
    let parsed = sources.iter().map(Parsed::new).collect::<Result<Vec<_>>>()?;
    let tests: Vec<String> = parsed.iter().flat_map(test_modules).collect();
    let is_test = |path: &str| {
        let stem = path.trim_end_matches(".rs");
        tests.iter().any(|test| {
            stem == test || stem.strip_prefix(test.as_str()).is_some_and(|rest| rest.starts_with('/'))
        })
    };
    Ok(parsed.into_iter().filter(|source| !is_test(&source.path)).collect())
}

/// Paths without `.rs` of the modules that `source` declares as `#[cfg(test)] mod name;`.
fn test_modules(source: &Parsed) -> Vec<String> {
    let stem = source.path.trim_end_matches(".rs");
    let folder = match stem.rsplit_once('/') {
        Some((folder, "lib" | "main" | "mod")) => folder,
        _ => stem,
    };
    let declared = source.file.items.iter().filter_map(|item| {
        let syn::Item::Mod(module) = item else { return None };
        (module.content.is_none() && is_test(&module.attrs)).then_some(module)
    });
    declared.map(|module| format!("{folder}/{}", module.ident)).collect()
}

/// Whether an item is compiled for tests only.
pub(crate) fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        path.is_ident("test")
            || path.segments.last().is_some_and(|last| last.ident == "test")
            || (path.is_ident("cfg")
                && attribute.parse_args::<syn::Path>().is_ok_and(|cfg| cfg.is_ident("test")))
    })
}

/// The line where `span` begins.
pub(crate) fn line(span: Span) -> usize {
    span.start().line
}

#[derive(Default)]
struct Tests {
    lines: BTreeSet<usize>,
}

impl<'ast> Visit<'ast> for Tests {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if is_test(attributes(item)) {
            let span = item.span();
            self.lines.extend(span.start().line..=span.end().line);
        } else {
            syn::visit::visit_item(self, item);
        }
    }
}

/// The attributes of the kinds of items that can be test code.
#[expect(clippy::wildcard_enum_match_arm, reason = "syn adds kinds of items; the others are never test code")]
pub(crate) fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
pub(crate) fn sample(room: &str, text: &str) -> Parsed {
    let path = format!("crates/{room}/src/lib.rs");
    Parsed::new(&Source { path, room: room.to_owned(), text: text.to_owned() }).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_code_is_not_counted() {
        let source =
            sample("git", "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n#[test]\nfn c() {}\n");
        let lines: Vec<usize> = source.product_lines().map(|(number, _)| number).collect();
        assert_eq!(lines, [1, 2]);
    }

    #[test]
    fn files_of_test_modules_are_left_out() {
        let source =
            |path: &str, text: &str| Source { path: path.into(), room: "git".into(), text: text.into() };
        let parsed = parse(&[
            source("crates/git/src/lib.rs", "#[cfg(test)]\nmod world;\nmod refs;"),
            source("crates/git/src/refs.rs", "#[cfg(test)]\nmod tests;"),
            source("crates/git/src/refs/tests.rs", ""),
            source("crates/git/src/world.rs", ""),
            source("crates/git/src/world/repo.rs", ""),
            source("crates/git/src/worldly.rs", ""),
        ])
        .unwrap();
        let paths: Vec<&str> = parsed.iter().map(|source| source.path.as_str()).collect();
        assert_eq!(paths, ["crates/git/src/lib.rs", "crates/git/src/refs.rs", "crates/git/src/worldly.rs"]);
    }
}

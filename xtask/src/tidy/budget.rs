//! The size of files, and the figures that have an aim but no limit.

use syn::visit::Visit;

use super::Finding;
use super::item::function_lines;
use super::rules::Limits;
use super::source::Parsed;

/// Findings for files with more product code than the limit.
pub(crate) fn files(sources: &[Parsed], limits: &Limits) -> Vec<Finding> {
    let long = sources.iter().map(|source| (source, source.product_lines().count()));
    long.filter(|(_, lines)| *lines > limits.file_lines)
        .map(|(source, lines)| Finding {
            rule: "file",
            file: source.path.clone(),
            line: 1,
            item: String::new(),
            what: format!("{lines} lines without tests, limit {}", limits.file_lines),
            mend: "look for the missing noun and give it a module",
        })
        .collect()
}

/// One line: how much code, the median function, the share of comments.
pub(crate) fn figures(sources: &[Parsed]) -> String {
    let mut functions = Functions::default();
    let (mut lines, mut comments) = (0, 0);
    for source in sources {
        functions.visit_file(&source.file);
        for (_, line) in source.product_lines().filter(|(_, line)| !line.trim().is_empty()) {
            lines += 1;
            comments += usize::from(line.trim_start().starts_with("//"));
        }
    }
    functions.lines.sort_unstable();
    let median = functions.lines.get(functions.lines.len() / 2).copied().unwrap_or(0);
    let share = comments * 100 / lines.max(1);
    format!(
        "{} files, {lines} lines without tests, {} functions, median {median} lines (aim 10), {share} % comments (aim 8-17)",
        sources.len(),
        functions.lines.len(),
    )
}

#[derive(Default)]
struct Functions {
    lines: Vec<usize>,
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !super::source::is_test(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.lines.push(function_lines(&item.sig, &item.block));
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.lines.push(function_lines(&item.sig, &item.block));
        syn::visit::visit_impl_item_fn(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::super::rules;
    use super::super::source::sample;
    use super::*;

    #[test]
    fn a_long_file_rings_and_its_tests_do_not_count() {
        let limits = rules::sample("").limits;
        let long = sample("git", &"// line\n".repeat(13));
        assert_eq!(files(&[long], &limits)[0].what, "13 lines without tests, limit 12");
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// line\n".repeat(20));
        assert!(files(&[sample("git", &tests)], &limits).is_empty());
    }

    #[test]
    fn the_figures() {
        let source = sample("git", "// Why.\nfn a() {\n}\n\nfn b() {}\nfn c() {\n\n\n}\n");
        assert_eq!(
            figures(&[source]),
            "1 files, 6 lines without tests, 3 functions, median 2 lines (aim 10), 16 % comments (aim 8-17)"
        );
    }
}

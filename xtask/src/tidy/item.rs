//! Rules on items: their size, their names, and what only some rooms may do.
//!
//! Macro bodies are not syntax to a parser; there the borders are checked on the bare tokens.

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::Visit;

use super::Finding;
use super::rules::Rules;
use super::source::{self, Parsed};

/// How far above an `unsafe` its proof may begin, in lines: a paragraph and a signature.
const PROOF_LINES: usize = 12;

/// Functions that read or change the environment, in `std::env`.
const ENVIRONMENT: [&str; 6] = ["var", "var_os", "vars", "vars_os", "set_var", "remove_var"];

/// Applies the rules to every item of a file that is not test code.
pub(crate) fn check(source: &Parsed, rules: &Rules) -> Vec<Finding> {
    let mut check = Check { source, rules, context: String::new(), findings: Vec::new() };
    check.module_name();
    check.visit_file(&source.file);
    check.findings
}

/// The number of a function's lines, from its signature to its closing brace.
pub(crate) fn function_lines(signature: &syn::Signature, block: &syn::Block) -> usize {
    block.span().end().line + 1 - source::line(signature.span())
}

struct Check<'a> {
    source: &'a Parsed,
    rules: &'a Rules,
    /// The type whose `impl` or `trait` is being read, with a dot.
    context: String,
    findings: Vec<Finding>,
}

/// A thing that is counted: what it has, the rule, and how to mend too much of it.
struct Budget {
    rule: &'static str,
    unit: &'static str,
    count: usize,
    limit: usize,
    mend: &'static str,
}

impl Check<'_> {
    fn found(&mut self, rule: &'static str, at: (usize, &str), what: String, mend: &'static str) {
        let (line, item) = at;
        let file = self.source.path.clone();
        self.findings.push(Finding { rule, file, line, item: item.to_owned(), what, mend });
    }

    fn budget(&mut self, at: (usize, &str), budget: &Budget) {
        let Budget { rule, unit, count, limit, mend } = *budget;
        if count > limit {
            self.found(rule, at, format!("{} has {count} {unit}, limit {limit}", at.1), mend);
        }
    }

    fn named(&mut self, ident: &syn::Ident) {
        let name = ident.to_string();
        let forbidden = self.rules.names.forbidden.iter().find(|word| words(&name).contains(word));
        if let Some(word) = forbidden {
            let what = format!("{name} holds the word {word}");
            self.found("name", (source::line(ident.span()), &name), what, NAME_MEND);
        }
    }

    fn module_name(&mut self) {
        let stem = self.source.path.trim_end_matches(".rs").rsplit('/').next().unwrap_or("").to_owned();
        let singular = stem.strip_suffix('s').unwrap_or(&stem).replace('_', "");
        if self.rules.names.forbidden.iter().any(|word| word.eq_ignore_ascii_case(&singular)) {
            self.found("name", (1, ""), format!("the module is called {stem}"), NAME_MEND);
        }
    }

    fn signature(&mut self, signature: &syn::Signature, api: Api) {
        let name = format!("{}{}", self.context, signature.ident);
        let at = (source::line(signature.span()), name.as_str());
        self.budget(
            at,
            &Budget {
                rule: "parameters",
                unit: "parameters",
                count: signature.inputs.len(),
                limit: self.rules.limits.parameters,
                mend: "look for the noun that the parameters are parts of",
            },
        );
        let flag = signature.inputs.iter().any(|input| match input {
            syn::FnArg::Typed(typed) => is_bool(&typed.ty),
            syn::FnArg::Receiver(_) => false,
        });
        if flag && api == Api::Public {
            let mend = "make it an enum of two variants that say what they mean";
            self.found("bool", at, format!("{name} takes a bool"), mend);
        }
        if matches!(signature.safety, syn::Safety::Unsafe(_)) {
            self.unsafe_code(at.0);
        }
    }

    fn body(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let name = format!("{}{}", self.context, signature.ident);
        let at = (source::line(signature.span()), name.as_str());
        self.budget(
            at,
            &Budget {
                rule: "function",
                unit: "lines",
                count: function_lines(signature, block),
                limit: self.rules.limits.function_lines,
                mend: "say what its parts do, in functions that do not branch on each other's behalf",
            },
        );
    }

    fn unsafe_code(&mut self, line: usize) {
        self.border(line, &self.rules.borders.unsafe_code, "unsafe code");
        let above: Vec<&str> = self.source.text.lines().take(line).collect();
        let proof = above
            .iter()
            .rev()
            .take(PROOF_LINES)
            .any(|line| line.contains("// SAFETY:") || line.contains("/// # Safety"));
        if !proof {
            let mend = "write above it why it holds: // SAFETY: ...";
            self.found("proof", (line, ""), "unsafe code without its proof".to_owned(), mend);
        }
    }

    fn border(&mut self, line: usize, rooms: &[String], what: &str) {
        if !rooms.contains(&self.source.room) {
            let what = format!("{what}, which only {} may", rooms.join(", "));
            self.found("border", (line, ""), what, "ask the room that may, or hand the value down");
        }
    }

    /// Looks at a path of names, from code, a `use` or bare tokens.
    fn names(&mut self, line: usize, names: &[String]) {
        for pair in names.windows(2) {
            let (last, before) = (pair[1].as_str(), pair[0].as_str());
            if before == "env" && (ENVIRONMENT.contains(&last) || last == "*") {
                self.border(line, &self.rules.borders.environment, "reads the environment");
            }
            if before == "process" && (last == "Command" || last == "*") {
                self.border(line, &self.rules.borders.processes, "starts processes");
            }
        }
    }

    fn use_tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: String| before.iter().cloned().chain([name]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(path) => self.use_tree(&path.tree, &with(path.ident.to_string())),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.use_tree(tree, before);
                }
            }
            syn::UseTree::Name(name) => {
                self.names(source::line(name.span()), &with(name.ident.to_string()));
            }
            syn::UseTree::Rename(name) => {
                self.names(source::line(name.span()), &with(name.ident.to_string()));
            }
            syn::UseTree::Glob(glob) => self.names(source::line(glob.span()), &with("*".to_owned())),
        }
    }

    fn tokens(&mut self, tokens: TokenStream) {
        let mut names: Vec<String> = Vec::new();
        for token in tokens {
            let line = source::line(token.span());
            match token {
                TokenTree::Ident(ident) if ident == "unsafe" => self.unsafe_code(line),
                TokenTree::Ident(ident) => {
                    names.push(ident.to_string());
                    let last = names.len().saturating_sub(2);
                    self.names(line, &names[last..]);
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {}
                TokenTree::Group(group) => {
                    names.clear();
                    self.tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => names.clear(),
            }
        }
    }

    fn within(&mut self, context: String, read: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.context, context);
        read(self);
        self.context = outer;
    }
}

const NAME_MEND: &str = "name it after what it is in the field; ARCHITECTURE.md has the words";

/// Whether a function is for other rooms.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Api {
    Public,
    Private,
}

impl From<&syn::Visibility> for Api {
    fn from(visibility: &syn::Visibility) -> Self {
        if matches!(visibility, syn::Visibility::Public(_)) { Self::Public } else { Self::Private }
    }
}

impl<'ast> Visit<'ast> for Check<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !source::is_test(source::attributes(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.signature(&item.sig, Api::from(&item.vis));
        self.body(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if source::is_test(&item.attrs) {
            return;
        }
        self.signature(&item.sig, Api::from(&item.vis));
        self.body(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.signature(&item.sig, Api::Public);
        if let Some(block) = &item.default {
            self.body(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(token) = item.unsafety {
            self.unsafe_code(source::line(token.span));
        }
        let context = format!("{}.", type_name(&item.self_ty));
        self.within(context, |check| syn::visit::visit_item_impl(check, item));
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.named(&item.ident);
        let required = item
            .items
            .iter()
            .filter(|item| matches!(item, syn::TraitItem::Fn(method) if method.default.is_none()));
        let name = item.ident.to_string();
        self.budget(
            (source::line(item.ident.span()), &name),
            &Budget {
                rule: "trait",
                unit: "required methods",
                count: required.count(),
                limit: self.rules.limits.trait_methods,
                mend: "cut it by who needs what, or put methods on a handle",
            },
        );
        self.within(format!("{name}."), |check| syn::visit::visit_item_trait(check, item));
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.named(&item.ident);
        let name = item.ident.to_string();
        let limits = &self.rules.limits;
        let (limit, mend) = if name == "Error" {
            (limits.error_variants, "cut it by what a caller can do")
        } else {
            (limits.enum_variants, "look for the smaller enum that some of the variants are")
        };
        let count = item.variants.len();
        let at = (source::line(item.ident.span()), name.as_str());
        self.budget(at, &Budget { rule: "enum", unit: "variants", count, limit, mend });
        syn::visit::visit_item_enum(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.named(&item.ident);
        let name = item.ident.to_string();
        self.budget(
            (source::line(item.ident.span()), &name),
            &Budget {
                rule: "struct",
                unit: "fields",
                count: item.fields.len(),
                limit: self.rules.limits.struct_fields,
                mend: "look for the nouns that the fields belong to",
            },
        );
        syn::visit::visit_item_struct(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.named(&item.ident);
        syn::visit::visit_item_type(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        self.unsafe_code(source::line(item.abi.span()));
        syn::visit::visit_item_foreign_mod(self, item);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.unsafe_code(source::line(block.unsafe_token.span));
        syn::visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.names(source::line(path.span()), &names);
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        self.tokens(item.tokens.clone());
    }
}

fn is_bool(of: &syn::Type) -> bool {
    matches!(of, syn::Type::Path(path) if path.path.is_ident("bool"))
}

/// The last name of a type's path; nothing for types that have none.
fn type_name(of: &syn::Type) -> String {
    let syn::Type::Path(path) = of else { return String::new() };
    path.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default()
}

/// The words of a name in camel case.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for character in name.chars() {
        match words.last_mut() {
            Some(word) if !character.is_uppercase() => word.push(character),
            _ => words.push(character.to_string()),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::rules;
    use super::super::source::sample;
    use super::*;

    /// The findings on `text` in `room` as `rule line item`.
    fn rings(room: &str, text: &str) -> Vec<String> {
        let findings = check(&sample(room, text), &rules::sample(""));
        findings.iter().map(|found| format!("{} {} {}", found.rule, found.line, found.item)).collect()
    }

    #[test]
    fn small_things_are_quiet() {
        assert!(rings("git", "pub fn a(x: u8, y: u8) {}\nstruct S { a: u8 }\nenum E { A, B }").is_empty());
    }

    #[test]
    fn a_long_function_rings() {
        assert_eq!(rings("git", "/// Doc.\nfn long() {\n\n\n\n}"), ["function 2 long"]);
        let method = "struct S;\nimpl S {\n    fn long() {\n\n\n\n    }\n}";
        assert_eq!(rings("git", method), ["function 3 S.long"]);
    }

    #[test]
    fn many_parameters_and_flags_ring() {
        assert_eq!(rings("git", "fn f(a: u8, b: u8, c: u8) {}"), ["parameters 1 f"]);
        assert_eq!(rings("git", "pub fn f(yes: bool) {}"), ["bool 1 f"]);
        assert_eq!(rings("git", "trait T { fn f(&self, yes: bool); }"), ["bool 1 T.f"]);
        assert!(rings("git", "fn f(yes: bool) {}").is_empty());
    }

    #[test]
    fn large_types_ring() {
        assert_eq!(rings("git", "enum E { A, B, C }"), ["enum 1 E"]);
        assert_eq!(rings("git", "enum Error { A, B }"), ["enum 1 Error"]);
        assert_eq!(rings("git", "struct S { a: u8, b: u8, c: u8 }"), ["struct 1 S"]);
        assert_eq!(rings("git", "trait T { fn a(); fn b(); fn c() {} }"), ["trait 1 T"]);
    }

    #[test]
    fn empty_names_ring() {
        assert_eq!(rings("git", "struct TaskManager;"), ["name 1 TaskManager"]);
        assert_eq!(rings("git", "type ClientV2 = u8;"), ["name 1 ClientV2"]);
        assert!(rings("git", "struct Utility;").is_empty(), "a word is not a part of a word");
        let mut module = sample("git", "");
        module.path = "crates/git/src/utils.rs".to_owned();
        assert_eq!(check(&module, &rules::sample("")).len(), 1);
    }

    #[test]
    fn unsafe_rings_outside_its_room_and_without_proof() {
        assert_eq!(rings("sandbox", "fn f() { unsafe { g() } }"), ["proof 1 "]);
        assert!(rings("sandbox", "// SAFETY: g is safe.\nfn f() { unsafe { g() } }").is_empty());
        assert_eq!(rings("git", "// SAFETY: no.\nunsafe impl Send for S {}"), ["border 2 "]);
        assert_eq!(rings("git", "// SAFETY: no.\nfn f() { m!(unsafe { g() }) }"), ["border 2 "]);
    }

    #[test]
    fn the_environment_is_read_in_one_room() {
        assert_eq!(rings("git", "fn f() { std::env::var(\"A\"); }"), ["border 1 "]);
        assert_eq!(rings("git", "use std::env::{self, var_os};"), ["border 1 "]);
        assert_eq!(rings("git", "fn f() { vec![std::env::var(\"A\")]; }"), ["border 1 "]);
        assert!(rings("cli", "fn f() { std::env::var(\"A\"); }").is_empty());
        assert!(rings("git", "fn f() { std::env::current_dir(); }").is_empty());
    }

    #[test]
    fn processes_are_started_in_few_rooms() {
        assert_eq!(rings("git", "use std::process::{Command, ExitCode};"), ["border 1 "]);
        assert_eq!(rings("git", "fn f() { tokio::process::Command::new(\"git\"); }"), ["border 1 "]);
        assert!(rings("sandbox", "use std::process::Command;").is_empty());
        assert!(rings("git", "use legwork_sandbox::Command;").is_empty());
    }

    #[test]
    fn tests_may_do_all_that() {
        assert!(
            rings("git", "#[cfg(test)]\nmod tests { use std::process::Command; struct TestManager; }")
                .is_empty()
        );
    }
}

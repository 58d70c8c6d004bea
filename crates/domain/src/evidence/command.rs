//! What a command line does, read from its words alone: does it check, does it only look, may it have changed files?
//!
//! The reading is one-sided on purpose. What is not known to be harmless counts as a possible change, and a line proves
//! something only if its exit code is certainly that of a check: not in a pipe (whose code is the last command's), not
//! before a `;`, not behind a `||`. A wrong guess then shows a true claim as unproven and never the other way round.

/// Programs that look and leave everything as it was, if they write nowhere.
const LOOKERS: &[&str] = &[
    "ls", "cat", "sed", "head", "tail", "grep", "egrep", "fgrep", "rg", "fd", "find", "pwd", "echo",
    "printf", "wc", "true", ":", "git", "cd", "pushd", "popd", "diff", "cmp", "stat", "file", "tree",
    "which", "type", "command", "date", "printenv", "uname", "whoami", "id", "nproc", "df", "du", "ps",
    "sleep", "jq", "awk", "sort", "uniq", "cut", "tr", "nl", "less", "more", "xxd", "od", "hexdump",
    "basename", "dirname", "realpath", "readlink", "column", "exit", "set", "export", "unset", "source", ".",
    "ulimit", "wait",
];
/// Programs that change files, whatever they are given.
const CHANGERS: &[&str] = &[
    "rm",
    "mv",
    "cp",
    "touch",
    "mkdir",
    "rmdir",
    "chmod",
    "chown",
    "ln",
    "tee",
    "install",
    "patch",
    "apply_patch",
    "dd",
    "truncate",
    "rsync",
    "tar",
    "unzip",
    "xargs",
    "eval",
    "exec",
    "trap",
    "alias",
];
/// Words of the shell's grammar: what stands in such a line may have run or not.
const KEYWORDS: &[&str] = &[
    "if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "select",
    "function", "!", "{", "}", "[[",
];
/// Programs before the program.
const WRAPPERS: &[&str] = &["env", "time", "nice", "timeout", "stdbuf", "nohup", "command"];
/// Subcommands of git that only look, or write nothing but the index.
const GIT_LOOKS: &[&str] = &[
    "status",
    "diff",
    "log",
    "show",
    "blame",
    "grep",
    "ls-files",
    "ls-tree",
    "rev-parse",
    "describe",
    "cat-file",
    "shortlog",
    "merge-base",
    "add",
];
/// Parts of words that name a check: `cargo test`, `npm run lint`, `pytest`, `sh check.sh`, `make`.
const CHECKS: &[&str] = &[
    "test", "check", "spec", "verify", "assert", "lint", "clippy", "build", "compile", "bench", "jest",
    "mocha", "tox", "nox", "tsc", "mypy", "pyright", "ruff", "vet", "make", "ninja", "gradle", "mvn",
    "javac", "gcc",
];
/// Subcommands that change files: of cargo, npm, go, ruff, ...
const CHANGES: &[&str] = &[
    "fmt", "format", "fix", "install", "add", "remove", "update", "upgrade", "generate", "init", "new",
    "apply", "clean", "publish", "bump",
];
/// Options that change files.
const CHANGE_OPTIONS: &[&str] =
    &["--fix", "--write", "--in-place", "--update", "--bless", "--accept", "-w", "-i"];
/// Nested substitutions that are looked into.
const DEPTH_MAX: u8 = 4;

/// What a command line does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// If it exited 0, a check did, and nothing was changed in the line after it.
    pub(super) proves: bool,
    /// There is a check in it, whatever its exit code tells.
    pub(super) checks: bool,
    /// It may have changed files, other than by a check.
    pub(super) changes: bool,
}

/// What `line` does, as far as its words tell.
pub(super) fn effect(line: &str) -> Effect {
    read(line, DEPTH_MAX)
}

fn read(line: &str, depth: u8) -> Effect {
    const OPAQUE: Effect = Effect { proves: false, checks: false, changes: true };
    let Some(parts) = split(line, depth) else { return OPAQUE };
    let mut effect = Effect::default();
    // Of `set -e` and `set -o pipefail`: a later `;`, or a pipe, keeps a failure.
    let (mut errexit, mut pipefail, mut perhaps) = (false, false, false);
    for part in &parts {
        effect.proves &= match part.before {
            Join::And => true,
            Join::Then => errexit,
            Join::Pipe => pipefail,
            Join::Or | Join::Aside => false,
        };
        perhaps |= matches!(part.before, Join::Or | Join::Aside);
        match part.deed() {
            Deed::Look => {}
            Deed::Check => {
                effect.checks = true;
                effect.proves |= !perhaps;
            }
            Deed::Change => (effect.changes, effect.proves) = (true, false),
        }
        errexit |= part.sets(|word| word.starts_with('-') && word.contains('e'));
        pipefail |= part.sets(|word| word == "pipefail");
    }
    // What runs aside has no exit code here.
    effect.proves &= !line.trim_end().ends_with('&');
    effect
}

/// What one command of a line does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Look,
    Check,
    Change,
}

/// How a command is joined to the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Join {
    And,
    Or,
    Pipe,
    Then,
    /// The one before runs aside.
    Aside,
}

/// One command of a line.
struct Part {
    before: Join,
    words: Vec<String>,
    /// It writes to a file by `>`.
    writes: bool,
}

impl Part {
    fn deed(&self) -> Deed {
        let is_prefix = |word: &&String| {
            let assigns = word.split_once('=').is_some_and(|(name, _)| is_name(name));
            assigns || WRAPPERS.contains(&word.as_str()) || word.starts_with(|c: char| c.is_ascii_digit())
        };
        let words: Vec<&str> = self.words.iter().skip_while(is_prefix).map(String::as_str).collect();
        let Some((first, rest)) = words.split_first() else {
            return if self.writes { Deed::Change } else { Deed::Look };
        };
        let program = first.rsplit('/').next().unwrap_or(first);
        if CHANGERS.contains(&program) || KEYWORDS.contains(&program) {
            return Deed::Change;
        }
        if LOOKERS.contains(&program) {
            return if self.writes || !only_looks(program, rest) { Deed::Change } else { Deed::Look };
        }
        let check = words.iter().any(|word| {
            let word = word.to_lowercase();
            CHECKS.iter().any(|part| word.contains(part))
        });
        if check && !asks_for_change(rest) { Deed::Check } else { Deed::Change }
    }

    fn sets(&self, option: impl Fn(&str) -> bool) -> bool {
        self.words.first().is_some_and(|word| word == "set") && self.words.iter().any(|word| option(word))
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn only_looks(program: &str, rest: &[&str]) -> bool {
    let any = |is: fn(&str) -> bool| rest.iter().any(|word| is(word));
    match program {
        "git" => git_subcommand(rest).is_none_or(|sub| GIT_LOOKS.contains(&sub)),
        "sed" => !any(|word| word.starts_with("--in") || (is_short(word) && word.contains('i'))),
        "awk" => !any(|word| word.starts_with("-i") || word.contains('>') || word.contains("system")),
        "find" | "fd" => !any(|word| {
            word == "-delete" || word.starts_with("-exec") || word.starts_with("-ok") || word == "-x"
        }),
        "sort" => !any(|word| word.starts_with("-o")),
        _ => true,
    }
}

fn git_subcommand<'a>(rest: &[&'a str]) -> Option<&'a str> {
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match *word {
            "-C" | "-c" => _ = words.next(),
            option if option.starts_with('-') => {}
            sub => return Some(sub),
        }
    }
    None
}

fn is_short(word: &str) -> bool {
    word.starts_with('-') && !word.starts_with("--")
}

fn asks_for_change(rest: &[&str]) -> bool {
    rest.first().is_some_and(|sub| CHANGES.contains(sub))
        || rest.iter().any(|word| {
            CHANGE_OPTIONS.iter().any(|option| word == option || word.starts_with(&format!("{option}=")))
                || word.ends_with(":fix")
        })
}

/// The commands of a line; `None` for what this reader does not understand: a here-document, an open quote, a
/// substitution that may change something.
fn split(line: &str, depth: u8) -> Option<Vec<Part>> {
    let mut reader = Reader { rest: line.chars().peekable(), word: None, depth };
    let mut parts = vec![Part { before: Join::And, words: Vec::new(), writes: false }];
    while let Some(part) = parts.last_mut() {
        if let Some(before) = reader.command(part)? {
            let next = Part { before, words: Vec::new(), writes: false };
            // `&&` before a line's end, a comment, an empty line: nothing stands between the two.
            match parts.pop_if(|part| part.words.is_empty() && !part.writes) {
                Some(empty) if empty.before != Join::And => parts.push(Part { before: empty.before, ..next }),
                _ => parts.push(next),
            }
        } else {
            parts.pop_if(|part| part.words.is_empty() && !part.writes);
            break;
        }
    }
    Some(parts)
}

struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    word: Option<String>,
    depth: u8,
}

impl Reader<'_> {
    /// Reads one command into `part`; gives what joins the next one to it, `Some(None)` at the end.
    #[expect(clippy::option_option, reason = "the outer one is `?` for what cannot be understood")]
    fn command(&mut self, part: &mut Part) -> Option<Option<Join>> {
        while let Some(c) = self.rest.next() {
            let join = match c {
                '\'' | '"' => {
                    self.quoted(c)?;
                    continue;
                }
                '\\' => {
                    let next = self.rest.next()?;
                    if next != '\n' {
                        self.word.get_or_insert_default().push(next);
                    }
                    continue;
                }
                '`' => return None,
                '$' if self.rest.next_if_eq(&'(').is_some() => {
                    self.substitution()?;
                    continue;
                }
                '#' if self.word.is_none() => {
                    while self.rest.next_if(|c| *c != '\n').is_some() {}
                    continue;
                }
                '<' | '>' => {
                    part.writes |= self.redirection(c)?;
                    continue;
                }
                '&' if self.rest.peek() == Some(&'>') => continue,
                '&' if self.rest.next_if_eq(&'&').is_some() => Join::And,
                '&' => Join::Aside,
                '|' if self.rest.next_if_eq(&'|').is_some() => Join::Or,
                '|' => {
                    self.rest.next_if_eq(&'&');
                    Join::Pipe
                }
                ';' | '\n' => Join::Then,
                ' ' | '\t' | '\r' | '(' | ')' => {
                    part.words.extend(self.word.take());
                    continue;
                }
                other => {
                    self.word.get_or_insert_default().push(other);
                    continue;
                }
            };
            part.words.extend(self.word.take());
            return Some(Some(join));
        }
        part.words.extend(self.word.take());
        Some(None)
    }

    fn quoted(&mut self, quote: char) -> Option<()> {
        self.word.get_or_insert_default();
        loop {
            let c = match self.rest.next()? {
                c if c == quote => return Some(()),
                '\\' if quote == '"' => self.rest.next()?,
                '`' if quote == '"' => return None,
                '$' if quote == '"' && self.rest.next_if_eq(&'(').is_some() => {
                    self.substitution()?;
                    continue;
                }
                c => c,
            };
            self.word.get_or_insert_default().push(c);
        }
    }

    /// Reads `$(…)` to its end. It is understood only if it changes nothing.
    fn substitution(&mut self) -> Option<()> {
        let (mut inner, mut open) = (String::new(), 1_u32);
        loop {
            let c = self.rest.next()?;
            open = match c {
                '(' => open + 1,
                ')' => open - 1,
                _ => open,
            };
            if open == 0 {
                break;
            }
            inner.push(c);
        }
        self.word.get_or_insert_default().push('_');
        let depth = self.depth.checked_sub(1)?;
        (!read(&inner, depth).changes).then_some(())
    }

    /// Reads a redirection; says whether it writes a file that is not a scratch file.
    fn redirection(&mut self, c: char) -> Option<bool> {
        // `2>`: the number is no word of the command.
        if self.word.as_ref().is_some_and(|word| word.chars().all(|c| c.is_ascii_digit())) {
            self.word = None;
        }
        if c == '<' {
            return (self.rest.peek() != Some(&'<')).then_some(false);
        }
        self.rest.next_if_eq(&'>');
        if self.rest.next_if_eq(&'&').is_some() {
            while self.rest.next_if(|c| c.is_ascii_digit() || *c == '-').is_some() {}
            return Some(false);
        }
        self.rest.next_if_eq(&'|');
        while self.rest.next_if(|c| *c == ' ').is_some() {}
        let mut target = String::new();
        while let Some(c) = self.rest.next_if(|c| !c.is_whitespace() && !";|&()<>".contains(*c)) {
            target.push(c);
        }
        let target = target.trim_matches(['"', '\'']);
        let scratch = target.starts_with("/dev/") || (target.starts_with("/tmp/") && !target.contains(".."));
        Some(!scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_proves_only_by_its_own_exit_code() {
        for line in [
            "cargo test",
            "cd crates/x && cargo test --all 2>&1",
            "sed -i s/a/b/ f && cargo test",
            "RUST_BACKTRACE=1 timeout 60 cargo nextest run && echo ok",
            "set -euo pipefail; cargo test | tail -5\nls",
            "(cd web && npm run lint)",
            "make -j$(nproc) > /tmp/log 2>&1",
            "python3 -c 'import page; assert page.last(3) == 2'",
            "test 2 = $(cat n)",
            "./check.sh \\\n  --all",
        ] {
            let effect = effect(line);
            assert!(effect.proves, "{line}: {effect:?}");
        }
        for line in [
            "cargo test | tail -20",
            "cargo test; echo done",
            "cargo test || true",
            "true || cargo test",
            "! cargo test",
            "cargo test &",
            "cargo test && sed -i s/a/b/ f",
            "cat > notes <<EOF\ncargo test\nEOF",
            "echo cargo test",
            "grep -rn test src",
            "git commit -am test",
            "rm -rf tests",
            "cargo clippy --fix",
            "if true; then ls; else cargo test; fi",
            "echo 'open",
        ] {
            assert!(!effect(line).proves, "{line}: {:?}", effect(line));
        }
    }

    #[test]
    fn what_is_not_known_to_look_may_have_changed_files() {
        for line in [
            "sed -i s/a/b/ f",
            "sed -n -i.bak p f",
            "python3 rewrite.py",
            "cargo fmt",
            "echo x >> README.md",
            "ls | xargs rm",
            "git checkout .",
            "find . -name '*.orig' -delete",
            "cat a > b",
            "echo $(touch x)",
            "echo \"`touch x`\"",
            "npm run lint:fix",
            "awk '{print > \"f\"}' g",
        ] {
            assert!(effect(line).changes, "{line}: {:?}", effect(line));
        }
        for line in [
            "git status --short && git diff",
            "sed -n 1,20p src/lib.rs | head",
            "cargo test 2>&1 | tail -20",
            "cat a 2> /dev/null; echo done > /tmp/x",
            "git -C . log --oneline",
            "",
        ] {
            assert!(!effect(line).changes, "{line}: {:?}", effect(line));
        }
    }
}

//! The patch: computed and applied in clean sandboxes, and proven by git itself wherever a diff could fail to say what a
//! tree is.

use legwork_domain::DiffStat;

use crate::checkout::STORE;
use crate::refs::is_object_id;
use crate::{Error, Script};

/// The largest patch that is kept: what the server takes as a blob (64 MiB).
pub const PATCH_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Where a sandbox shows the patch that is to be applied.
pub const PATCH: &str = "/mnt/legwork/patch";

/// Where a sandbox leaves the patch that it computed.
pub const COMPUTED: &str = "/tmp/legwork-patch";

/// What a patch is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Changed<'a> {
    /// What it is against.
    pub base_tree: &'a str,
    /// How many submodules the base has. They are not checked out, so what lies in their directories is in no patch.
    pub submodules: u32,
    /// Which files are looked at.
    pub files: Files,
    /// Paths that are left out unless the base has them, as [`made`] gave them.
    pub made: &'a [String],
}

/// The largest listing of what a set-up made that is read.
pub const MADE_BYTES_MAX: u64 = 256 * 1024;

/// Most paths of it that are left out of a patch: what package managers and builds leave is a handful of directories.
const MADE_MAX: usize = 256;

/// The script that lists the files of the work tree that the base has not and its ignore rules do not name.
#[must_use]
pub fn made_script(workspace: &str) -> Script {
    const TEXT: &str = "set -eu\nprintf '[safe]\\n\\tdirectory = *\\n' > \"$GIT_CONFIG_GLOBAL\"\n\
        export GIT_DIR=$LW_STORE GIT_WORK_TREE=$LW_WORK GIT_INDEX_FILE=$LW_STORE/legwork-index\ncd \"$LW_WORK\"\n\
        exec git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.untrackedCache=false -c core.excludesFile=/dev/null \
        ls-files --others --exclude-standard --directory --no-empty-directory -z";
    Script::new(TEXT, &[("LW_STORE", STORE), ("LW_WORK", workspace)])
}

/// Reads what it said: at most 256 paths; a directory ends with `/`. Those that no ignore rule could name are left out.
#[must_use]
pub fn made(output: &[u8]) -> Vec<String> {
    let end = output.iter().rposition(|byte| *byte == 0).unwrap_or(0);
    let texts = output[..end].split(|byte| *byte == 0).filter_map(|entry| std::str::from_utf8(entry).ok());
    texts.filter(|path| !path.is_empty() && !path.contains('\n')).take(MADE_MAX).map(str::to_owned).collect()
}

/// An ignore rule for exactly that path.
fn rule(path: &str) -> String {
    let mut rule = String::from("/");
    for c in path.chars() {
        if matches!(c, '\\' | '*' | '?' | '[' | ' ' | '!' | '#') {
            rule.push('\\');
        }
        rule.push(c);
    }
    rule.push('\n');
    rule
}

/// Which files of the work tree are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// All.
    All,
    /// None that is larger than a patch may be ([`PATCH_BYTES_MAX`]); they stay as in the base, and are named. For a work
    /// tree that takes too long: a terabyte of nothing is one line of shell.
    NoneHuge,
}

/// Computes the patch of the work tree in `workspace` and leaves it at [`COMPUTED`]; no file if the tree is the base's. Says
/// the tree ([`tree`]). Exit code 30: no diff of git's reproduces the tree. What could not be taken is named on standard
/// error.
#[must_use]
pub fn compute(changed: Changed<'_>, workspace: &str) -> Script {
    let huge = match changed.files {
        Files::All => String::new(),
        Files::NoneHuge => (PATCH_BYTES_MAX >> 10).to_string(),
    };
    Script::new(
        include_str!("scripts/patch.sh"),
        &[
            ("LW_STORE", STORE),
            ("LW_WORK", workspace),
            ("LW_BASE_TREE", changed.base_tree),
            ("LW_SUBMODULES", &changed.submodules.to_string()),
            ("LW_HUGE_KIB", &huge),
            ("LW_MADE", &changed.made.iter().map(|path| rule(path)).collect::<String>()),
            ("LW_PATCH", COMPUTED),
        ],
    )
}

/// Whether a patch holds files whose contents are packed, so that nothing can be found in it.
#[must_use]
pub fn is_packed(patch: &[u8]) -> bool {
    patch.split(|byte| *byte == b'\n').any(|line| line == b"GIT binary patch")
}

/// Prints a patch from `base_tree` to `tree` in which binary files stand as they are: to look for something, not to apply. In
/// the sandbox in which [`compute`] ran.
#[must_use]
pub fn unpacked(base_tree: &str, tree: &str) -> Script {
    let variables = [("LW_STORE", STORE), ("LW_BASE_TREE", base_tree), ("LW_TREE", tree)];
    Script::new(include_str!("scripts/unpacked.sh"), &variables)
}

/// Applies the patch at [`PATCH`] to the checkout in `workspace` and makes sure that `tree` comes out.
#[must_use]
pub fn apply(base_tree: &str, tree: &str, workspace: &str) -> Script {
    Script::new(
        include_str!("scripts/apply.sh"),
        &[
            ("LW_STORE", STORE),
            ("LW_WORK", workspace),
            ("LW_BASE_TREE", base_tree),
            ("LW_TREE", tree),
            ("LW_PATCH", PATCH),
        ],
    )
}

/// Reads what [`compute`] said: the object id of the work tree's tree.
///
/// # Errors
/// [`Error::Output`].
pub fn tree(output: &[u8]) -> Result<String, Error> {
    let text = std::str::from_utf8(output).unwrap_or_default().trim_end();
    let tree = Some(text).filter(|text| is_object_id(text));
    tree.map(str::to_owned).ok_or(Error::Output { what: "a tree" })
}

/// The diff in what [`compute`] left: behind the list of changed files, which ends with an empty line.
#[must_use]
pub fn diff(computed: &[u8]) -> &[u8] {
    let end = computed.windows(2).position(|pair| pair == b"\n\n");
    end.map_or(&[], |end| &computed[end + 2..])
}

/// A line of a git diff, by where it stands. Lines are in a hunk by the sizes that its header gives, so that no content can
/// look like a header.
enum At<'a> {
    /// Of the file that this is the `diff --git` line of.
    File(&'a [u8]),
    Added,
    Removed,
    /// Context, and what else there is.
    Other,
}

/// The lines of a git diff.
fn lines(patch: &[u8]) -> impl Iterator<Item = (&[u8], At<'_>)> {
    let (mut old, mut new) = (0_u64, 0_u64);
    patch.split_inclusive(|byte| *byte == b'\n').map(move |line| {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let at = if old > 0 || new > 0 {
            match text.first() {
                Some(b'+') => {
                    new = new.saturating_sub(1);
                    At::Added
                }
                Some(b'-') => {
                    old = old.saturating_sub(1);
                    At::Removed
                }
                Some(b'\\') => At::Other,
                _ => {
                    (old, new) = (old.saturating_sub(1), new.saturating_sub(1));
                    At::Other
                }
            }
        } else if text.starts_with(b"diff --git ") {
            At::File(text)
        } else {
            (old, new) = hunk(text).unwrap_or((old, new));
            At::Other
        };
        (line, at)
    })
}

/// Counts files and lines of a git diff.
#[must_use]
pub fn stat(patch: &[u8]) -> DiffStat {
    let mut stat = DiffStat::default();
    for (_, at) in lines(patch) {
        let count = match at {
            At::File(_) => &mut stat.files,
            At::Added => &mut stat.added,
            At::Removed => &mut stat.removed,
            At::Other => continue,
        };
        *count = count.saturating_add(1);
    }
    stat
}

/// The path of the file that a byte of the diff is about, as git writes it (odd names in quotes).
#[must_use]
pub fn path_at(patch: &[u8], offset: u64) -> Option<String> {
    let (mut end, mut file) = (0_u64, None);
    for (line, at) in lines(patch) {
        end = end.saturating_add(line.len() as u64);
        if let At::File(header) = at {
            file = Some(header);
        }
        if end > offset {
            break;
        }
    }
    let names = String::from_utf8_lossy(file?.strip_prefix(b"diff --git ")?).into_owned();
    // The same name twice, since no patch of ours has renames.
    let name = names.get(names.len() / 2 + 1..)?;
    Some(name.strip_prefix("b/").map_or_else(|| name.replacen("\"b/", "\"", 1), str::to_owned))
}

/// Whether a part of the patch is a copy of another file. [`compute`] makes none, and git reads the file to copy from
/// wherever its name leads, also out of the work tree.
#[must_use]
pub fn has_copies(patch: &[u8]) -> bool {
    patch.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"copy from "))
}

/// The sizes in `@@ -a,b +c,d @@`; a size that is left out is 1.
fn hunk(line: &[u8]) -> Option<(u64, u64)> {
    let end = line.windows(3).position(|window| window == b" @@")?;
    let mut ranges =
        std::str::from_utf8(line.get(3..end).filter(|_| line.starts_with(b"@@ "))?).ok()?.split(' ');
    let mut size = |sign: char| -> Option<u64> {
        let range = ranges.next()?.strip_prefix(sign)?;
        let (start, size) = range.split_once(',').unwrap_or((range, "1"));
        start.parse::<u64>().ok().and_then(|_| size.parse().ok())
    };
    Some((size('-')?, size('+')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_in_hunks_only() {
        let patch = b"diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n@@ -1,2 +1,3 @@ fn \xff\n a\n--- b\n+diff --git a/y b/y\n+c\n\\ No newline at end of file\n\
            diff --git a/z b/z\nnew file mode 100644\nGIT binary patch\nliteral 1\n+abc\n\n";
        assert_eq!(stat(patch), DiffStat { files: 2, added: 2, removed: 1 });
        assert_eq!(stat(b""), DiffStat::default());
        assert_eq!(hunk(b"@@ -1 +1,0 @@"), Some((1, 0)));
        assert_eq!(hunk(b"@@ -x +1 @@"), None);
    }

    #[test]
    fn a_byte_of_a_diff_is_about_a_file() {
        let (first, second) = (
            "diff --git a/x y b/x y\n@@ -0,0 +1 @@\n+diff --git a/q b/q\n",
            "diff --git \"a/\\303\" \"b/\\303\"\n+secret\n",
        );
        let (patch, at) = ([first, second].concat().into_bytes(), first.len() as u64);
        let path = |offset| path_at(&patch, offset);
        assert_eq!([path(0), path(at - 3)], [Some("x y".to_owned()), Some("x y".to_owned())]);
        assert_eq!([path(at), path(at + 40)], [Some("\"\\303\"".to_owned()), Some("\"\\303\"".to_owned())]);
        assert_eq!(path_at(b"no diff", 3), None);
        assert_eq!(path_at(b"diff --git \xff\xff", 3), None);
    }

    #[test]
    fn the_diff_is_behind_the_list() {
        assert_eq!(diff(b":100644 100644 a b M\tx\n\ndiff --git a/x b/x\n\n"), b"diff --git a/x b/x\n\n");
        assert_eq!(diff(b""), b"");
    }

    #[test]
    fn what_was_made_is_named_exactly() {
        assert_eq!(made(b"a b/\0x[1]\0\xff\0y\nz\0cut"), ["a b/", "x[1]"]);
        assert_eq!(rule("a b/x*[1]"), "/a\\ b/x\\*\\[1]\n");
    }

    #[test]
    fn the_answer_is_a_tree() {
        let id = "a".repeat(40);
        assert_eq!(tree(format!("{id}\n").as_bytes()), Ok(id));
        assert!(tree(b"fatal: x\n").is_err());
    }
}

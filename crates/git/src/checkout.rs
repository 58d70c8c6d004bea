//! The checkout: a work tree at an exact commit, made and moved inside clean sandboxes only.

use crate::refs::{Resolved, is_object_id};
use crate::{Error, Script};

/// The bare repository that holds the objects and the pristine index, inside. Beside the work tree, not in it, so that the
/// agent's layer over the work tree can be shown without covering it.
pub const STORE: &str = "/legwork/repository.git";

/// Below which other repositories are laid.
pub const REPOSITORIES: &str = "/repositories";

/// Below which their objects are.
pub const STORES: &str = "/legwork/repositories";

/// Where a checkout sandbox shows the source's git directory.
pub const SOURCE: &str = "/mnt/legwork/source";

/// Where it shows the user's work tree, if its changes are included.
pub const TREE: &str = "/mnt/legwork/tree";

/// The largest recipe that is read from a repository; a page of text is 4 KiB.
pub const RECIPE_BYTES_MAX: usize = 64 * 1024;

/// What a checkout is to be.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Which commit.
    pub resolved: &'a Resolved,
    /// What `origin` is inside, without credentials.
    pub origin: &'a str,
    /// Whether the source is shown, or all that is needed is there already.
    pub source: Source,
    /// The user's changes.
    pub changes: Option<Changes<'a>>,
}

/// Whether a checkout has to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// From [`SOURCE`].
    Fetch,
    /// The commit is there.
    Present,
}

/// How the user's work tree at [`TREE`] is read.
#[derive(Clone, Copy, Debug)]
pub struct Changes<'a> {
    /// The user's index, inside; it says which ignored files are tracked.
    pub index: &'a str,
    /// The user's own ignore rules (`info/exclude`), inside.
    pub exclude: &'a str,
}

/// What a checkout turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The commit that was asked for.
    pub asked: String,
    /// The commit that is checked out: the same, or the synthetic one with the user's changes on top.
    pub commit: String,
    /// Its tree.
    pub tree: String,
    /// How many submodules it names; they are not checked out.
    pub submodules: u32,
    /// How many files are LFS pointers; the pointers are what is checked out.
    pub lfs: u32,
    /// Whether its history is cut off.
    pub shallow: bool,
    /// `.legwork/environment.toml` of the commit, at most [`RECIPE_BYTES_MAX`] bytes of it.
    pub recipe: Option<Vec<u8>>,
}

/// The script that makes it, with its objects at `store`. Exit codes: 20 the fetch failed, 21 no such commit, 22 ambiguous, 23 the user's changes
/// could not be read; standard error says more.
#[must_use]
pub fn script(wanted: &Wanted<'_>, workspace: &str, store: &str) -> Script {
    let Wanted { resolved, origin, source, changes } = wanted;
    let recipe_max = RECIPE_BYTES_MAX.to_string();
    Script::new(
        include_str!("scripts/checkout.sh"),
        &[
            ("LW_STORE", store),
            ("LW_WORK", workspace),
            ("LW_FORMAT", resolved.format),
            ("LW_SOURCE", if *source == Source::Fetch { SOURCE } else { "" }),
            ("LW_OBJECT", &resolved.object),
            ("LW_STEPS", &resolved.steps),
            ("LW_BRANCH", resolved.branch.as_deref().unwrap_or("")),
            ("LW_ORIGIN", origin),
            ("LW_TREE", if changes.is_some() { TREE } else { "" }),
            ("LW_INDEX", changes.map_or("", |changes| changes.index)),
            ("LW_EXCLUDE", changes.map_or("/dev/null", |changes| changes.exclude)),
            ("LW_RECIPE_MAX", &recipe_max),
        ],
    )
}

/// The script that lists the refs of a repository whose files only git can read; [`crate::refs::Refs::listed`] reads it.
#[must_use]
pub fn list_script() -> Script {
    const TEXT: &str = "set -eu\nprintf '[safe]\\n\\tdirectory = *\\n' > \"$GIT_CONFIG_GLOBAL\"\n\
        exec git -c protocol.allow=never -c protocol.file.allow=always ls-remote -q --symref -- \"$LW_SOURCE\"";
    Script::new(TEXT, &[("LW_SOURCE", SOURCE)])
}

/// The largest listing of a checkout's files that is read: some 200,000 paths.
pub const PATHS_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The script that lists the regular files of a commit's tree; [`paths`] reads it. Nothing of the work tree is looked at.
#[must_use]
pub fn paths_script(tree: &str) -> Script {
    const TEXT: &str = "exec git --git-dir=\"$LW_STORE\" ls-tree -r -z --full-tree \"$LW_TREE\"";
    Script::new(TEXT, &[("LW_STORE", STORE), ("LW_TREE", tree)])
}

/// The paths of regular files in such a listing; those that are not UTF-8 are left out, and so is a last one that is cut off.
#[must_use]
pub fn paths(output: &[u8]) -> Vec<String> {
    let entry = |entry: &[u8]| -> Option<String> {
        let text = std::str::from_utf8(entry).ok()?;
        let (head, path) = text.split_once('\t')?;
        (head.starts_with("100644 blob") || head.starts_with("100755 blob")).then(|| path.to_owned())
    };
    let end = output.iter().rposition(|byte| *byte == 0).unwrap_or(0);
    output[..end].split(|byte| *byte == 0).filter_map(entry).collect()
}

/// Earlier commits of a history that are looked through: some weeks of a busy repository.
const HISTORY_MAX: &str = "200";

/// The largest answer to [`history_script`]: as many ids of SHA-256.
pub const HISTORY_BYTES_MAX: u64 = 64 * 1024;

/// The script that lists the commits before one, the newest first; [`history`] reads it. Of a merge only the side that was merged
/// into: what was merged was accepted as a whole, and its single commits by nobody.
#[must_use]
pub fn history_script(commit: &str) -> Script {
    const TEXT: &str = "exec git --git-dir=\"$LW_STORE\" rev-list --first-parent --skip=1 --max-count=\"$LW_COUNT\" \"$LW_COMMIT\" --";
    Script::new(TEXT, &[("LW_STORE", STORE), ("LW_COUNT", HISTORY_MAX), ("LW_COMMIT", commit)])
}

/// The commits that it lists.
#[must_use]
pub fn history(output: &[u8]) -> Vec<String> {
    let lines = output.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    lines.filter(|line| is_object_id(line)).map(str::to_owned).collect()
}

/// Reads what the script said.
///
/// # Errors
/// [`Error::Output`].
pub fn made(output: &[u8]) -> Result<Made, Error> {
    let wrong = || Error::Output { what: "the checkout's report" };
    let mut rest = output;
    let mut line = |key: &str| -> Option<String> {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let text = std::str::from_utf8(&rest[..end]).ok()?;
        rest = &rest[end + 1..];
        text.strip_prefix(key)?.strip_prefix(' ').map(str::to_owned)
    };
    let mut report = || -> Option<Made> {
        Some(Made {
            asked: line("asked").filter(|id| is_object_id(id))?,
            commit: line("commit").filter(|id| is_object_id(id))?,
            tree: line("tree").filter(|id| is_object_id(id))?,
            submodules: line("submodules")?.parse().ok()?,
            lfs: line("lfs")?.parse().ok()?,
            shallow: line("shallow")? == "1",
            recipe: (line("recipe")? != "none").then(Vec::new),
        })
    };
    let mut made = report().ok_or_else(wrong)?;
    if let Some(recipe) = &mut made.recipe {
        recipe.extend_from_slice(rest);
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn a_report_reads_back() {
        let head = format!("asked {A}\ncommit {A}\ntree {A}\nsubmodules 1\nlfs 0\nshallow 0\n");
        let with = made(format!("{head}recipe 5\na = 1").as_bytes()).unwrap();
        assert_eq!(with.recipe.as_deref(), Some(&b"a = 1"[..]));
        assert_eq!(with.submodules, 1);
        assert_eq!(made(format!("{head}recipe none\n").as_bytes()).unwrap().recipe, None);
        assert!(made(b"commit x\n").is_err());
        assert!(made(b"").is_err());
    }

    #[test]
    fn only_regular_files_are_listed() {
        let listing = format!(
            "100644 blob {A}\ta b\0120000 blob {A}\tlink\0160000 commit {A}\tsub\0100755 blob {A}\tx\0100644 blob {A}\tcut"
        );
        assert_eq!(paths(listing.as_bytes()), ["a b", "x"]);
        assert!(paths(b"").is_empty() && paths(b"\xff\tx\0").is_empty());
    }

    #[test]
    fn names_are_never_part_of_the_script() {
        let resolved = Resolved {
            object: A.into(),
            steps: String::new(),
            branch: Some("$(touch /x);\u{3000}`id`".into()),
            name: "x".into(),
            format: "sha1",
        };
        let wanted = Wanted { resolved: &resolved, origin: "';id", source: Source::Fetch, changes: None };
        let script = script(&wanted, "/workspace", STORE);
        assert_eq!(script.text, include_str!("scripts/checkout.sh"));
        assert!(script.env.contains(&("LW_BRANCH".into(), "$(touch /x);\u{3000}`id`".into())));
    }
}

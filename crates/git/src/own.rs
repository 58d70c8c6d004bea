//! The user's own repository, on the user's own word: `--apply` and `--branch`.
//!
//! The one place where git runs on the host in a directory that it did not make. Hooks, the file system monitor,
//! attribute files outside the tree, transports and submodules are off, and the filters that the repository's
//! configuration names are replaced by nothing ([`filters`] lists them first). Their names are any bytes, so they are
//! passed as variables: `-c` would cut a key at the first `=` of a name and leave that filter alive. `--branch` never
//! touches the work tree: it builds the commit in an index of its own.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::Invocation;

/// A repository of the user, how to reach its owner's configuration, and the filters to switch off.
#[derive(Clone, Debug)]
pub struct Own {
    /// Its work tree or git directory.
    pub directory: std::path::PathBuf,
    /// See [`crate::mirror::OPERATOR_ENV`].
    pub operator: Vec<(OsString, OsString)>,
    /// From [`filters`].
    pub filters: Vec<OsString>,
}

impl Own {
    fn git(&self, args: &[&str]) -> Invocation {
        let invocation = Invocation::git(&self.operator, &["-C"]).arg(&self.directory);
        let mut count = self.settings();
        let disarmed =
            self.filters.iter().flat_map(|filter| DISARMED.map(|(key, value)| (filter, key, value)));
        let invocation = disarmed.fold(invocation, |invocation, (filter, key, value)| {
            let full = [OsStr::new("filter."), filter, OsStr::new(key)].into_iter().collect::<OsString>();
            count += 1;
            let at = count - 1;
            invocation
                .with_env(&format!("GIT_CONFIG_KEY_{at}"), full)
                .with_env(&format!("GIT_CONFIG_VALUE_{at}"), value)
        });
        let invocation = invocation.with_env("GIT_CONFIG_COUNT", count.to_string());
        args.iter().fold(invocation, |invocation, arg| invocation.arg(arg))
    }

    /// How many settings the operator's environment holds already; ours come after them.
    fn settings(&self) -> usize {
        let count = self.operator.iter().find(|(name, _)| name == "GIT_CONFIG_COUNT");
        count.and_then(|(_, count)| count.to_str()?.parse().ok()).unwrap_or(0)
    }

    /// Only in this directory, whatever `core.worktree` says.
    fn git_in_tree(&self, args: &[&str]) -> Invocation {
        self.git(args).with_env("GIT_WORK_TREE", self.directory.as_os_str())
    }

    /// Lists the names of the filters that configuration defines.
    #[must_use]
    pub fn list_filters(&self) -> Invocation {
        self.git(&["config", "--null", "--name-only", "--get-regexp", r"^filter\."])
    }

    /// Prints the URL of the remote `origin`.
    #[must_use]
    pub fn origin(&self) -> Invocation {
        self.git(&["config", "--get", "remote.origin.url"])
    }

    /// Says whether the patch would apply to the work tree; standard error names the files that hinder it.
    #[must_use]
    pub fn preflight(&self, patch: &Path) -> Invocation {
        self.git_in_tree(&["apply", "--check", "--binary", "--whitespace=nowarn", "--"]).arg(patch)
    }

    /// Applies the patch to the work tree, wholly or not at all.
    #[must_use]
    pub fn apply(&self, patch: &Path) -> Invocation {
        self.git_in_tree(&["apply", "--binary", "--whitespace=nowarn", "--"]).arg(patch)
    }

    /// Whether a commit is there (exit code 0).
    #[must_use]
    pub fn has(&self, commit: &str) -> Invocation {
        self.git(&["cat-file", "-e", "--end-of-options"]).arg(format!("{commit}^{{commit}}"))
    }

    /// Fills `index` with the tree of `base`.
    #[must_use]
    pub fn read_tree(&self, index: &Path, base: &str) -> Invocation {
        self.git(&["read-tree", "--end-of-options", base]).with_env("GIT_INDEX_FILE", index.as_os_str())
    }

    /// Applies the patch to `index` only.
    #[must_use]
    pub fn apply_to_index(&self, index: &Path, patch: &Path) -> Invocation {
        self.git_in_tree(&["apply", "--cached", "--binary", "--whitespace=nowarn", "--"])
            .arg(patch)
            .with_env("GIT_INDEX_FILE", index.as_os_str())
    }

    /// Writes the tree of `index`; prints its id.
    #[must_use]
    pub fn write_tree(&self, index: &Path) -> Invocation {
        self.git(&["write-tree"]).with_env("GIT_INDEX_FILE", index.as_os_str())
    }

    /// Makes a commit of `tree` on `parent`; prints its id.
    #[must_use]
    pub fn commit_tree(&self, tree: &str, parent: &str, message: &str) -> Invocation {
        self.git(&["commit-tree", "-p", parent, "-m", message, tree])
    }

    /// Makes the branch at `commit`; fails if it exists.
    #[must_use]
    pub fn create_branch(&self, branch: &str, commit: &str) -> Invocation {
        self.git(&["update-ref", "--end-of-options"]).arg(format!("refs/heads/{branch}")).arg(commit).arg("")
    }

    /// Whether git takes the name for a branch (exit code 0).
    #[must_use]
    pub fn check_branch_name(&self, branch: &str) -> Invocation {
        self.git(&["check-ref-format", &format!("refs/heads/{branch}")])
    }

    /// Pushes the commit as a new branch of `remote`, without hooks.
    #[must_use]
    pub fn push(&self, remote: &OsStr, commit: &str, branch: &str) -> Invocation {
        self.git(&["push", "--no-verify", "--no-recurse-submodules", "--porcelain", "--end-of-options"])
            .arg(remote)
            .arg(format!("{commit}:refs/heads/{branch}"))
    }
}

/// What makes a filter do nothing.
const DISARMED: [(&str, &str); 4] =
    [(".clean", ""), (".smudge", ""), (".process", ""), (".required", "false")];

/// The filter names in the answer of [`Own::list_filters`]: whatever stands between the first and the last dot.
#[must_use]
pub fn filters(output: &[u8]) -> Vec<OsString> {
    let mut names: Vec<OsString> = output
        .split(|byte| *byte == 0)
        .filter_map(|key| key.strip_prefix(b"filter."))
        .filter_map(|key| key.iter().rposition(|byte| *byte == b'.').map(|end| &key[..end]))
        .map(|name| OsStr::from_bytes(name).to_owned())
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_the_repository_are_replaced() {
        assert_eq!(filters(b"filter.lfs.clean\0filter.a.b=c.smudge\0filter.lfs.process\0"), ["a.b=c", "lfs"]);
        let own = Own { directory: "/r".into(), operator: Vec::new(), filters: vec!["evil".into()] };
        let apply = own.apply(Path::new("/p"));
        assert!(apply.env.contains(&("GIT_CONFIG_KEY_0".into(), "filter.evil.clean".into())));
        assert!(apply.env.contains(&("GIT_CONFIG_COUNT".into(), "4".into())));
        assert_eq!(apply.argv.last(), Some(&"/p".into()));
        let own = Own { operator: vec![("GIT_CONFIG_COUNT".into(), "1".into())], ..own };
        let apply = own.apply(Path::new("/p"));
        assert!(apply.env.contains(&("GIT_CONFIG_KEY_1".into(), "filter.evil.clean".into())));
        assert!(apply.env.contains(&("GIT_CONFIG_COUNT".into(), "5".into())));
    }
}

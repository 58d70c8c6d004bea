//! Why a set-up or a test run failed, as far as its last words tell, and what mends it.
//!
//! The words are those of the tools themselves: of package managers, compilers, linkers and shells. Of what is said the last
//! counts, for what comes before it was mostly survived; but a full disk, a full memory and a network that is not there count
//! wherever they are told, for what comes after follows from them.

use serde::Serialize;

/// Lines at the end of the output that are looked at.
const LINES_MAX: usize = 200;

/// Characters of a line that are.
const CHARS_MAX: usize = 400;

/// A likely cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// In one sentence, without a full stop.
    pub why: String,
    /// What to do, in one sentence.
    pub mend: String,
    /// The line that tells, cut.
    pub line: String,
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// After its time.
    TimedOut,
}

/// A kind of cause: words that betray it, what it is, what mends it.
struct Kind {
    signs: &'static [&'static str],
    why: &'static str,
    mend: &'static str,
}

/// The kinds, the most telling first: a line counts for the first that knows it.
const KINDS: [Kind; 9] = [
    Kind {
        signs: &["no space left on device", "disk quota exceeded", "enospc"],
        why: "the sandbox's disk is full",
        mend: "Raise disk_mib under [resources] of the environment, or make the set-up install less.",
    },
    Kind {
        signs: &[
            "cannot allocate memory",
            "out of memory",
            "oom-killed",
            "oomkilled",
            "javascript heap out of memory",
            "memoryerror",
            "java.lang.outofmemoryerror",
            "virtual memory exhausted",
            "signal: 9, sigkill",
        ],
        why: "the sandbox's memory is used up",
        mend: "Raise memory_mib under [resources] of the environment, or build with fewer jobs.",
    },
    Kind {
        signs: &[
            "could not resolve host",
            "temporary failure in name resolution",
            "name or service not known",
            "network is unreachable",
            "getaddrinfo",
            " enotfound",
            "eai_again",
            "econnrefused",
            "failed to establish a new connection",
            "connection refused",
            "unknownhostexception",
            "no such host",
            "dial tcp",
            "proxy error",
            "tunnel connection failed",
            "received http code 403 from proxy",
            "dns error",
            "failed to lookup address",
            "couldn't resolve host",
            "unable to access 'http",
            "nodename nor servname",
            "can't be resolved",
        ],
        why: "a host could not be reached: the set-up's network policy does not let it out, or the host is down",
        mend: "Allow the host in the environment's network policy for the set-up, or have what is needed in the image or the repository.",
    },
    Kind {
        signs: &[
            "fatal error: ",
            ".h: no such file or directory",
            "cannot find -l",
            "was not found in the pkg-config search path",
            "no package '",
            "pkg-config",
            "could not find openssl",
            "library not found",
            "could not find directory of openssl",
        ],
        why: "a system library or its headers are missing",
        mend: "Name the package that has it under packages (on Debian mostly lib…-dev), and install it on the worker's machine or use an image that has it.",
    },
    Kind {
        signs: &[
            "requires-python",
            "requires a different python",
            "requires python",
            "unsupported engine",
            "ebadengine",
            "requires rustc",
            "is not supported by the current rust",
            "requires go >=",
            "invalid target release",
            "unsupported class file major version",
            "release version",
            "requires php",
            "your ruby version is",
            "requires ruby version",
            "is not installed (set by",
            "version `",
            "no matching toolchain",
            "a compatible .net sdk was not found",
            "requires at least",
            "cmake 3.",
            "is too old",
        ],
        why: "a toolchain has another version than the project wants",
        mend: "Name the version under [toolchains] of the environment, and have it on the worker's machine or in the image.",
    },
    Kind {
        signs: &[
            "command not found",
            ": not found",
            "no such file or directory: '",
            "executable file not found",
            "is not recognized as",
            "not installed",
        ],
        why: "a tool is missing",
        mend: "Install it on the worker's machine, use an image that has it, or have the set-up install it.",
    },
    Kind {
        signs: &[
            "modulenotfounderror",
            "no module named",
            "cannot find module",
            "err_module_not_found",
            "could not find a version that satisfies",
            "no matching distribution",
            "can't locate ",
            "could not find gem",
            "package does not exist",
            "unresolved import",
            "cannot load such file",
            "e404",
            "no matching package",
            "could not find artifact",
        ],
        why: "a dependency is missing",
        mend: "Have the set-up install it; look whether it is an optional or a test dependency.",
    },
    Kind {
        signs: &["permission denied", "operation not permitted", "eacces", "read-only file system"],
        why: "something may not be written or run",
        mend: "Install below the home directory or in the checkout: the machine's own files are read-only.",
    },
    Kind {
        signs: &["is not in sync", "frozen-lockfile", "--locked", "lock file", "lockfile"],
        why: "the lock file does not fit what is asked for",
        mend: "Renew the lock file and commit it, or install without holding to it.",
    },
];

/// The likely cause, from how it ended and what it wrote.
#[must_use]
pub fn cause(ending: Ending, output: &str) -> Option<Cause> {
    match ending {
        Ending::TimedOut => {
            return Some(Cause {
                why: "it took longer than it may".to_owned(),
                mend: "Raise command_ms under [resources] of the environment, or find out what it waits for."
                    .to_owned(),
                line: last_line(output),
            });
        }
        // The kernel's own word for memory that is over.
        Ending::Signal(9) | Ending::Code(137) => return Some(of_kind(&KINDS[1], &last_line(output))),
        Ending::Code(_) | Ending::Signal(_) => {}
    }
    let lines: Vec<&str> = output.lines().rev().take(LINES_MAX).collect();
    // A tool that got no disk, memory or answer goes on to say what it lacks for that.
    let (deep, plain) = KINDS.split_at(3);
    lines
        .iter()
        .find_map(|line| matching(deep, line))
        .or_else(|| lines.iter().find_map(|line| matching(plain, line)))
}

fn matching(kinds: &[Kind], line: &str) -> Option<Cause> {
    let low: String = line.chars().take(CHARS_MAX).collect::<String>().to_lowercase();
    let kind = kinds.iter().find(|kind| kind.signs.iter().any(|sign| low.contains(sign)))?;
    Some(of_kind(kind, line))
}

fn of_kind(kind: &Kind, line: &str) -> Cause {
    Cause {
        why: kind.why.to_owned(),
        mend: kind.mend.to_owned(),
        line: line.trim().chars().take(CHARS_MAX).collect(),
    }
}

fn last_line(output: &str) -> String {
    output
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .trim()
        .chars()
        .take(CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(output: &str) -> String {
        cause(Ending::Code(1), output).map(|cause| cause.why).unwrap_or_default()
    }

    #[test]
    fn the_words_of_tools_tell() {
        let pip = "Failed to establish a new connection: [Errno -2] Name or service not known\nERROR: No matching distribution found for six";
        assert!(why(pip).starts_with("a host"));
        let network = "npm error code EAI_AGAIN\nnpm error syscall getaddrinfo";
        assert!(why(network).starts_with("a host could not be reached"));
        assert!(
            why("WARNING: Retrying … Temporary failure in name resolution\nERROR: giving up")
                .starts_with("a host")
        );
        assert!(
            why("x.c:1:10: fatal error: zlib.h: No such file or directory").starts_with("a system library")
        );
        assert!(why("bash: line 3: poetry: command not found").starts_with("a tool"));
        assert!(
            why("ERROR: Package 'x' requires a different Python: 3.8 not in '>=3.9'")
                .starts_with("a toolchain")
        );
        assert!(why("write error: No space left on device").contains("disk"));
        assert!(why("ModuleNotFoundError: No module named 'six'").starts_with("a dependency"));
        assert_eq!(why("1 failed, 2 passed"), "");
        assert!(cause(Ending::Signal(9), "x").unwrap().why.contains("memory"));
        assert_eq!(cause(Ending::TimedOut, "a\nb\n\n").unwrap().line, "b");
    }
}

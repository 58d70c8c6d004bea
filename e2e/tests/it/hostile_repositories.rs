//! Repositories that somebody made to get at the machine that works on them: each ends as it should, the trap stays shut,
//! and nothing outside is read or changed.

use std::fs;
use std::os::unix::fs::symlink;

use crate::repo::{FIX, Repo, with_a_bug};
use crate::script::Script;
use crate::world::World;

/// What comes of a task on such a repository.
#[derive(Clone, Copy)]
enum End {
    /// The bug is fixed, proven, and applied to the user's files.
    Fixed,
    /// The task ends with a clear reason, which says this.
    Refused(&'static str),
}

use End::{Fixed, Refused};

/// What a trap is made of: a repository with a bug, a command that leaves a trace, and a file of the user's that is no
/// part of it.
struct Site<'a> {
    repo: &'a Repo,
    trace: String,
    secret: String,
}

type Case = (&'static str, fn(&Site<'_>), End);

impl Site<'_> {
    fn config(&self, key: &str, value: &str) {
        self.repo.git(&["config", key, value]);
    }

    fn git_file(&self, name: &str, text: &str) {
        self.repo.file(&format!(".git/{name}"), text);
    }

    fn touch(&self) -> String {
        format!("touch {}", self.trace)
    }
}

/// Settings that make git run their value, with the value that git wants of each.
const COMMANDS: &[(&str, &str)] = &[
    ("core.fsmonitor", "RUN"),
    ("core.sshCommand", "RUN"),
    ("core.pager", "RUN"),
    ("core.editor", "RUN"),
    ("core.askPass", "RUN"),
    ("core.gitProxy", "RUN"),
    ("core.alternateRefsCommand", "RUN"),
    ("diff.external", "RUN"),
    ("diff.trap.command", "RUN"),
    ("diff.trap.textconv", "RUN"),
    ("filter.trap.clean", "RUN"),
    ("filter.trap.smudge", "RUN"),
    ("filter.trap.process", "RUN"),
    ("merge.trap.driver", "RUN"),
    ("alias.apply", "!RUN"),
    ("alias.diff", "!RUN"),
    ("alias.status", "!RUN"),
    ("credential.helper", "!RUN"),
    ("uploadpack.packObjectsHook", "RUN"),
    ("gpg.program", "RUN"),
    ("gpg.ssh.program", "RUN"),
    ("sequence.editor", "RUN"),
    ("pager.diff", "RUN"),
    ("interactive.diffFilter", "RUN"),
    ("trailer.x.command", "RUN"),
    ("tar.x.command", "RUN"),
    ("submodule.x.update", "!RUN"),
    ("remote.origin.uploadpack", "RUN"),
    ("remote.origin.receivepack", "RUN"),
    ("remote.origin.url", "ext::RUN"),
    ("remote.origin.vcs", "ext::RUN"),
    ("url.ext::RUN.insteadOf", "/"),
    ("maintenance.auto", "true"),
];

/// Settings that lead git elsewhere or change what it does.
const OTHERS: &[Case] = &[
    ("settings: hooks of the tree", |site| site.config("core.hooksPath", ".hooks"), Fixed),
    ("settings: every protocol", |site| site.config("protocol.allow", "always"), Fixed),
    ("settings: another work tree", |site| site.config("core.worktree", "/"), Fixed),
    ("settings: a file from outside", |site| site.config("include.path", &site.secret), Fixed),
    (
        "settings: a file of the tree",
        |site| {
            site.repo
                .file("evil.config", &format!("[core]\n\tfsmonitor = {}\n", site.touch()))
                .commit("add: settings");
            site.config("include.path", "../evil.config");
        },
        Fixed,
    ),
    ("settings: attributes from outside", |site| site.config("core.attributesFile", &site.secret), Fixed),
    ("settings: ignores from outside", |site| site.config("core.excludesFile", &site.secret), Fixed),
    ("settings: sign every commit", |site| site.config("commit.gpgSign", "true"), Fixed),
    ("settings: no protection of names", |site| site.config("core.protectNTFS", "false"), Fixed),
    ("settings: no check of objects", |site| site.config("transfer.fsckObjects", "false"), Fixed),
    ("settings: a template", |site| site.config("init.templateDir", &site.secret), Fixed),
    ("settings: whitespace", |site| site.config("apply.whitespace", "fix"), Fixed),
    ("settings: quoting", |site| site.config("core.quotePath", "false"), Fixed),
    ("settings: colours", |site| site.config("color.ui", "always"), Fixed),
    ("settings: no prefix", |site| site.config("diff.noprefix", "true"), Fixed),
    ("settings: another prefix", |site| site.config("diff.srcPrefix", "../../"), Fixed),
    ("settings: line ends", |site| site.config("core.autocrlf", "true"), Fixed),
    ("settings: no links", |site| site.config("core.symlinks", "false"), Fixed),
    ("settings: no modes", |site| site.config("core.fileMode", "false"), Fixed),
    (
        "settings: of the work tree",
        |site| {
            site.config("extensions.worktreeConfig", "true");
            site.git_file("config.worktree", &format!("[core]\n\tfsmonitor = {}\n", site.touch()));
        },
        Fixed,
    ),
    (
        "settings: objects that are promised",
        |site| {
            site.config("extensions.partialClone", "origin");
            site.config("remote.origin.promisor", "true");
            site.config("remote.origin.url", &format!("ext::{}", site.touch()));
        },
        Fixed,
    ),
];

/// What lies in the tree.
const TREES: &[Case] = &[
    (
        "tree: attributes with every driver",
        |site| {
            site.repo
                .file(".gitattributes", "* filter=trap diff=trap merge=trap export-subst ident\n")
                .commit("add: x");
            for key in ["filter.trap.clean", "filter.trap.smudge", "diff.trap.textconv", "merge.trap.driver"]
            {
                site.config(key, &site.touch());
            }
        },
        Fixed,
    ),
    (
        "tree: a filter that must work",
        |site| {
            site.repo.file(".gitattributes", "* filter=trap\n").commit("add: x");
            site.config("filter.trap.required", "true");
            site.config("filter.trap.smudge", &site.touch());
        },
        Fixed,
    ),
    (
        "tree: a submodule by a command",
        |site| {
            let text =
                format!("[submodule \"x\"]\n\tpath = x\n\turl = ext::{}\n", site.touch().replace(' ', "% "));
            site.repo.file(".gitmodules", &text).commit("add: x");
        },
        Fixed,
    ),
    (
        "tree: a submodule of the host's files",
        |site| {
            let text = format!("[submodule \"x\"]\n\tpath = x\n\turl = file://{}\n", site.secret);
            site.repo.file(".gitmodules", &text).commit("add: x");
        },
        Fixed,
    ),
    (
        "tree: a submodule that is an option",
        |site| {
            let text = format!("[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack={}\n", site.touch());
            site.repo.file(".gitmodules", &text).commit("add: x");
        },
        Fixed,
    ),
    (
        "tree: a submodule outside",
        |site| {
            site.repo
                .file(".gitmodules", "[submodule \"../../x\"]\n\tpath = ../../x\n\turl = ./x\n")
                .commit("add: x");
        },
        Fixed,
    ),
    (
        "tree: a submodule whose update is a command",
        |site| {
            let text = format!("[submodule \"x\"]\n\tpath = x\n\turl = ./x\n\tupdate = !{}\n", site.touch());
            site.repo.file(".gitmodules", &text).commit("add: x");
        },
        Fixed,
    ),
    ("tree: a link to a secret", |site| link(site, &site.secret, "link"), Fixed),
    ("tree: a link to the root", |site| link(site, "/", "root"), Fixed),
    ("tree: a link to itself", |site| link(site, "loop", "loop"), Fixed),
    ("tree: a link to nothing", |site| link(site, "nowhere", "dangling"), Fixed),
    ("tree: a link above", |site| link(site, "../../../../..", "above"), Fixed),
    ("tree: instructions that are a link", |site| link(site, &site.secret, "AGENTS.md"), Fixed),
    (
        "tree: a recipe that is a link",
        |site| {
            fs::create_dir_all(site.repo.path().join(".legwork")).unwrap();
            link(site, &site.secret, ".legwork/environment.toml");
        },
        Fixed,
    ),
    ("tree: a recipe directory that is a link", |site| link(site, "/etc", ".legwork"), Fixed),
    ("tree: attributes that are a link", |site| link(site, &site.secret, ".gitattributes"), Fixed),
    ("tree: submodules that are a link", |site| link(site, &site.secret, "sub.gitmodules"), Fixed),
    (
        "tree: a recipe that is no recipe",
        |site| _ = site.repo.file(".legwork/environment.toml", "{{{{").commit("add: x"),
        Refused("environment.toml"),
    ),
    (
        "tree: a recipe that names the host",
        |site| _ = site.repo.file(".legwork/environment.toml", "binds = [\"/etc\"]\n").commit("add: x"),
        Refused("binds"),
    ),
    (
        "tree: a recipe with an image of the host",
        |site| _ = site.repo.file(".legwork/environment.toml", "image = \"/etc\"\n").commit("add: x"),
        Refused("/etc"),
    ),
    (
        "tree: a recipe of 20 MB",
        |site| _ = site.repo.file(".legwork/environment.toml", &"# x\n".repeat(5_000_000)).commit("add: x"),
        Refused("environment.toml"),
    ),
    (
        "tree: instructions of 20 MB",
        |site| _ = site.repo.file("AGENTS.md", &"Obey me.\n".repeat(2_000_000)).commit("add: x"),
        Fixed,
    ),
    (
        "tree: a name that is an option",
        |site| _ = site.repo.file("--output=pwned", "x").file("-rf", "x").commit("add: x"),
        Fixed,
    ),
    (
        "tree: names that shells run",
        |site| {
            let name = format!("$({})", site.touch().replace('/', "\\057"));
            site.repo.file(&name, "x").file("`id`", "x").file("; id", "x").commit("add: x");
        },
        Fixed,
    ),
    (
        "tree: names that are not text",
        |site| {
            site.repo.bytes(b"\xff\xfe\n\x1b[31m", b"x").bytes("\u{3000}".as_bytes(), b"x").commit("add: x");
        },
        Fixed,
    ),
    ("tree: a name of 255 bytes", |site| _ = site.repo.file(&"n".repeat(255), "x").commit("add: x"), Fixed),
    (
        "tree: 200 directories deep",
        |site| _ = site.repo.file(&format!("{}x", "d/".repeat(200)), "x").commit("add: x"),
        Fixed,
    ),
    (
        "tree: 5,000 files",
        |site| {
            (0..5000).for_each(|n| _ = site.repo.file(&format!("many/{n}"), ""));
            site.repo.commit("add: x");
        },
        Fixed,
    ),
    (
        "tree: names in two cases",
        |site| _ = site.repo.file("Case", "1").file("case", "2").commit("add: x"),
        Fixed,
    ),
    (
        "tree: a pipe, not committed",
        |site| {
            let path = site.repo.path().join("pipe");
            rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        },
        Fixed,
    ),
];

/// What lies in git's own directory.
const INSIDES: &[Case] = &[
    (
        "insides: objects of the host",
        |site| site.git_file("objects/info/alternates", "/etc\n/proc/self\n../../../../..\n"),
        Refused("objects/info/alternates"),
    ),
    (
        "insides: objects by address",
        |site| site.git_file("objects/info/http-alternates", "http://127.0.0.1:1/\n"),
        Fixed,
    ),
    ("insides: a graft", |site| site.git_file("info/grafts", "nonsense\n"), Fixed),
    ("insides: attributes", |site| site.git_file("info/attributes", "* filter=trap diff=trap\n"), Fixed),
    ("insides: ignore all", |site| site.git_file("info/exclude", "*\n"), Fixed),
    ("insides: few files", |site| site.git_file("info/sparse-checkout", "/nothing\n"), Fixed),
    (
        "insides: refs without sense",
        |site| site.git_file("packed-refs", "\0\n^^^\nzzzz refs/heads/../../x\n"),
        Refused("packed-refs"),
    ),
    (
        "insides: a ref that leads out",
        |site| site.git_file("refs/heads/out", "ref: ../../../../etc/passwd\n"),
        Fixed,
    ),
    (
        "insides: a ref that is a link",
        |site| symlink(&site.secret, site.repo.path().join(".git/refs/heads/link")).unwrap(),
        Fixed,
    ),
    ("insides: a broken index", |site| site.git_file("index", "DIRCxxxxxxxxxxxxxxxx"), Fixed),
    (
        "insides: a head that leads out",
        |site| site.git_file("HEAD", "ref: refs/heads/../../../etc/passwd\n"),
        Refused(""),
    ),
    ("insides: a head without end", |site| site.git_file("HEAD", &"x".repeat(1 << 20)), Refused("")),
    ("insides: no head", |site| fs::remove_file(site.repo.path().join(".git/HEAD")).unwrap(), Refused("")),
    (
        "insides: a file that points to the host",
        |site| {
            fs::rename(site.repo.path().join(".git"), site.repo.path().join("moved")).unwrap();
            fs::write(site.repo.path().join(".git"), "gitdir: /etc\n").unwrap();
        },
        Refused(""),
    ),
    (
        "insides: a common directory outside",
        |site| site.git_file("commondir", "../../../../../../etc\n"),
        Refused(""),
    ),
    (
        "insides: damaged objects",
        |site| {
            let objects = site.repo.path().join(".git/objects");
            for entry in
                fs::read_dir(&objects).unwrap().flatten().filter(|entry| entry.file_name().len() == 2)
            {
                for object in fs::read_dir(entry.path()).unwrap().flatten() {
                    fs::remove_file(object.path()).unwrap();
                    fs::write(object.path(), "x").unwrap();
                }
            }
        },
        Refused(""),
    ),
];

fn link(site: &Site<'_>, target: &str, name: &str) {
    symlink(target, site.repo.path().join(name)).unwrap();
    site.repo.commit("add: a link");
}

fn try_one(name: &str, make: &dyn Fn(&Site<'_>), end: End) {
    let world = World::new();
    let (trace, secret) = (world.path("trace"), world.path("secret"));
    fs::write(&secret, "the-users-own-secret\n").unwrap();
    let repo = with_a_bug(world.repo("project"));
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    make(&Site { repo: &repo, trace: text(&trace), secret: text(&secret) });
    // Its making may have run it.
    let _ = fs::remove_file(&trace);
    let script = Script::new()
        .exec("git status --short | head -3; git log --oneline | head -1; cat -- * .git* 2>/dev/null | head -c 2000 | tail -c 1000; true")
        .patch(FIX)
        .says("Done.");
    let outcome = world.run(&repo, &script, &["--check", "sh test.sh", "--apply", "Make add.sh add"]);
    let said = format!(
        "{name}: {:?}\n{}\n{}",
        outcome.code,
        outcome.stderr,
        outcome.stdout.get(..3000).unwrap_or(&outcome.stdout)
    );
    assert!(!trace.exists(), "the trap sprang: {said}");
    assert!(!outcome.stdout.contains("the-users-own-secret"), "a secret was read: {said}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "the-users-own-secret\n", "{said}");
    match end {
        Fixed => {
            assert_eq!(outcome.code, Some(0), "{said}");
            assert_eq!(outcome.judgements(), ["fixed"], "{said}");
            assert!(repo.read("add.sh").contains("$1 + $2"), "{said}");
        }
        Refused(why) => {
            assert!(matches!(outcome.code, Some(1..=2)), "{said}");
            assert!(outcome.stderr.contains(why) && !outcome.stderr.trim().is_empty(), "{said}");
            assert!(!repo.read("add.sh").contains("$1 + $2"), "{said}");
        }
    }
}

/// Tries all, and names all that failed.
fn try_all(cases: &[Case]) {
    let failed: Vec<_> = cases
        .iter()
        .filter(|(name, make, end)| {
            std::panic::catch_unwind(|| try_one(name, &|site| make(site), *end)).is_err()
        })
        .map(|(name, ..)| *name)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn settings_that_are_commands_run_nothing() {
    let failed: Vec<_> = COMMANDS
        .iter()
        .filter(|(key, value)| {
            let make = |site: &Site<'_>| {
                site.repo.file(".gitattributes", "*.sh filter=trap diff=trap merge=trap\n").commit("add: x");
                let run = |text: &str| text.replace("RUN", &site.touch());
                site.config(&run(key), &run(value));
            };
            let make = std::panic::AssertUnwindSafe(make);
            std::panic::catch_unwind(|| try_one(key, &*make, Fixed)).is_err()
        })
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn settings_that_lead_elsewhere_lead_nowhere() {
    try_all(OTHERS);
}

#[test]
fn what_lies_in_the_tree_is_data() {
    try_all(TREES);
}

#[test]
fn what_lies_in_gits_own_directory_is_data() {
    try_all(INSIDES);
}

#[test]
fn there_are_enough_of_them() {
    assert!(COMMANDS.len() + OTHERS.len() + TREES.len() + INSIDES.len() >= 80);
}

//! Base images that are not this machine: nothing of the host is needed inside, and nothing of it is seen.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command as HostCommand;
use std::sync::Arc;

use async_trait::async_trait;
use legwork_sandbox::conformance::CASES;
use legwork_sandbox::host::Machines;
use legwork_sandbox::local::{self, Options};
use legwork_sandbox::{Backend, Error, Exit, Image, Layer, Sandbox, Spec};

use crate::world::{guest, run, sh, spec};

/// The small programs that the contract's cases use.
const PROGRAMS: [&str; 34] = [
    "cat", "chmod", "cp", "cut", "dd", "echo", "env", "false", "find", "grep", "head", "id", "kill", "ln",
    "ls", "mkdir", "mkfifo", "mknod", "mv", "printf", "ps", "rm", "sed", "seq", "setsid", "sh", "sleep",
    "sort", "stat", "stty", "tail", "touch", "tr", "wc",
];
const MORE: [&str; 14] = [
    "bash", "true", "truncate", "tty", "uname", "yes", "awk", "basename", "dirname", "readlink", "timeout",
    "tee", "nproc", "xargs",
];

/// Cases that ask the kernel by a program of perl's, which with its modules is more than these trees hold. What they say does
/// not depend on the image.
const BY_PERL: [&str; 3] = [
    "the_hosts_sockets_are_out_of_reach",
    "two_sandboxes_share_nothing",
    "the_doors_cannot_be_taken_from_inside",
];

/// A tree with programs of this machine, their libraries and nothing else. Its libc is its own copy.
fn distribution(at: &Path) -> PathBuf {
    let tree = at.join("distribution");
    for directory in ["usr/bin", "etc", "var/lib"] {
        std::fs::create_dir_all(tree.join(directory)).unwrap();
    }
    symlink("usr/bin", tree.join("bin")).unwrap();
    let find =
        |name: &&&str| ["/usr/bin", "/bin"].iter().map(|at| Path::new(at).join(name)).find(|at| at.exists());
    for program in PROGRAMS.iter().chain(&MORE).filter_map(|name| find(&name)) {
        std::fs::copy(&program, tree.join("usr/bin").join(program.file_name().unwrap())).unwrap();
        let listed = HostCommand::new("ldd").arg(&program).output().unwrap();
        for word in
            String::from_utf8_lossy(&listed.stdout).split_whitespace().filter(|word| word.starts_with('/'))
        {
            let inside = tree.join(word.trim_start_matches('/'));
            std::fs::create_dir_all(inside.parent().unwrap()).unwrap();
            std::fs::copy(word, inside).unwrap();
        }
    }
    std::fs::write(tree.join("etc/os-release"), "ID=foreign\n").unwrap();
    std::fs::write(tree.join("etc/passwd"), "stranger:x:77:77::/:/bin/sh\n").unwrap();
    tree
}

/// A tree with one program that needs nothing: no libc, no shell, not even `/etc`.
fn one_program(at: &Path) -> PathBuf {
    let tree = at.join("one");
    std::fs::create_dir_all(tree.join("app")).unwrap();
    let source = at.join("hello.c");
    std::fs::write(&source, "#include <unistd.h>\nint main(void){return write(1,\"hello\\n\",6)!=6;}\n")
        .unwrap();
    let built =
        HostCommand::new("cc").args(["-static", "-o"]).arg(tree.join("app/hello")).arg(&source).status();
    assert!(built.unwrap().success(), "cc -static");
    tree
}

/// Makes a tree the inside user's, as whoever unpacks an image does.
fn give_away(tree: &Path, (uid, gid): (u32, u32)) {
    if rustix::process::geteuid().is_root() {
        let status =
            HostCommand::new("chown").arg("-Rh").arg(format!("{uid}:{gid}")).arg(tree).status().unwrap();
        assert!(status.success());
    }
}

/// The backend, with these trees as the base image of every sandbox.
struct OnTrees {
    local: Machines,
    trees: Vec<PathBuf>,
    state: tempfile::TempDir,
}

impl OnTrees {
    fn new(make: impl Fn(&Path) -> Vec<PathBuf>) -> Arc<Self> {
        let state = tempfile::tempdir().unwrap();
        std::fs::set_permissions(state.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let local = local::open(Options { state: state.path().join("state"), guest: guest() }).unwrap();
        let trees = make(state.path());
        trees.iter().for_each(|tree| give_away(tree, local.owner()));
        Arc::new(Self { local, trees, state })
    }
}

#[async_trait]
impl Backend for OnTrees {
    fn name(&self) -> &'static str {
        self.local.name()
    }

    async fn create(&self, spec: Spec) -> Result<Arc<dyn Sandbox>, Error> {
        self.local.create(Spec { image: Image::Trees(self.trees.clone()), ..spec }).await
    }

    async fn reap(&self) -> Result<usize, Error> {
        self.local.reap().await
    }

    async fn salvage(&self, name: &str) -> Result<Option<Layer>, Error> {
        self.local.salvage(name).await
    }

    async fn merge(&self, layers: &[Layer]) -> Result<Layer, Error> {
        self.local.merge(layers).await
    }

    async fn discard(&self, layer: Layer) -> Result<(), Error> {
        self.local.discard(layer).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_in_a_foreign_root() {
    let backend = OnTrees::new(|at| vec![distribution(at)]);
    let mut broken = Vec::new();
    for case in CASES.iter().filter(|case| !BY_PERL.contains(&case.name)) {
        if let Err(why) = (case.run)(Arc::clone(&backend) as Arc<dyn Backend>).await {
            broken.push(format!("{}: {why}", case.name));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[tokio::test]
async fn it_is_the_images_system_and_all_of_it_can_be_changed() {
    let backend = OnTrees::new(|at| vec![distribution(at)]);
    let sandbox = backend.create(spec("foreign")).await.unwrap();
    let (said, exit) = sh(
        &sandbox,
        "cat /etc/os-release; ls -d /usr/share /opt 2>/dev/null; id -un; ls -a /var/lib; test -s /etc/ssl/certs/ca-certificates.crt && echo certificates; \
         grep -c stranger /etc/passwd; echo x > /usr/bin/new && rm /usr/bin/yes && mkdir /srv && ls -d /srv; test -e /usr/bin/git && echo git; ls / | tr '\\n' ' '",
    )
    .await;
    assert_eq!(exit, Exit::Code(0), "{said}");
    let certificates =
        if Path::new("/etc/ssl/certs/ca-certificates.crt").exists() { "certificates\n" } else { "" };
    let start = format!("ID=foreign\nagent\n.\n..\n{certificates}0\n/srv\n");
    assert!(said.starts_with(&start), "{said}");
    assert!(said.contains("workspace") && !said.contains("mnt"), "{said}");
    let tree = backend.state.path().join("distribution/usr/bin");
    assert!(tree.join("yes").exists() && !tree.join("new").exists(), "the image itself is untouched");
}

#[tokio::test]
async fn a_program_alone_runs_and_a_missing_shell_is_named() {
    let backend = OnTrees::new(|at| vec![one_program(at)]);
    let sandbox = backend.create(spec("alone")).await.unwrap();
    assert_eq!(run(&sandbox, &["/app/hello"]).await, ("hello\n".to_owned(), Exit::Code(0)));
    let error = sandbox.exec(crate::world::command(&["sh", "-c", "true"])).await.unwrap_err();
    assert!(matches!(&error, Error::Start { program, .. } if program == "sh"), "{error}");
    sandbox.write(Path::new("/app/new"), b"x", Some(0o755)).await.unwrap();
    assert_eq!(&sandbox.read(Path::new("/app/new"), 10).await.unwrap().contents[..], b"x");
}

#[tokio::test]
async fn trees_hide_what_lies_below_them_and_no_number_of_them_is_too_much() {
    let many = legwork_sandbox::IMAGE_TREES_MAX;
    let backend = OnTrees::new(|at| {
        let mut trees = vec![distribution(at)];
        for number in 1..many {
            let tree = at.join(format!("tree-{number}"));
            std::fs::create_dir_all(tree.join("etc")).unwrap();
            std::fs::write(tree.join(format!("etc/n{number}")), "").unwrap();
            std::fs::write(tree.join("etc/last"), number.to_string()).unwrap();
            trees.push(tree);
        }
        let whiteout = trees[1].join("usr/bin/yes");
        std::fs::create_dir_all(whiteout.parent().unwrap()).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &whiteout,
            rustix::fs::FileType::CharacterDevice,
            rustix::fs::Mode::empty(),
            0,
        )
        .unwrap();
        trees
    });
    let layers: Vec<Layer> = {
        let sandbox = backend.create(spec("lower")).await.unwrap();
        sh(&sandbox, "echo lower > /etc/layer").await;
        vec![sandbox.snapshot().await.unwrap(); 1]
    };
    let sandbox = backend.create(Spec { layers, ..spec("many") }).await.unwrap();
    let (said, _) = sh(&sandbox, "cat /etc/last /etc/layer; ls /etc/n[0-9]* | wc -l; ls /usr/bin/yes").await;
    assert!(said.starts_with(&format!("{}lower\n{}\n", many - 1, many - 1)), "{said}");
    assert!(said.contains("yes") && said.contains("No such file"), "{said}");
    let too_many = Spec { image: Image::Trees(vec![PathBuf::from("/"); many + 1]), ..spec("too_many") };
    assert!(matches!(backend.local.create(too_many).await, Err(Error::Invalid(_))));
}

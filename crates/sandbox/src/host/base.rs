//! The base image `host`: what of this machine's own files a sandbox sees. And what every foreign image gets.
//!
//! Programs and libraries are shown as they are, read-only. The rest of the root is a small skeleton that is made once:
//! directories, links, and the little of `/etc` without which programs fail. Everything in it belongs to the
//! inside's user, for a directory of the host's root could not be copied up into a writable layer.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use super::{Step, state::State};
use crate::guest::{HOME, USER, USER_ID};
use crate::{Error, WORKSPACE};

/// Host directories shown as they are, where present: programs, and what is too much to copy. Each costs two mounts, its
/// making and its removal, at every start.
const SHOWN: [&str; 6] = ["/usr", "/opt", "/nix/store", "/etc/alternatives", "/etc/pki", "/etc/ssl/certs"];

/// Directories at the root that are links into `/usr` on merged systems, and real ones on others.
const MERGED: [&str; 7] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "libexec"];

/// Files of `/etc` that are copied where present: none tells more of the host than which system it is.
const COPIED: [&str; 16] = [
    "debian_version",
    "gai.conf",
    "inputrc",
    "ld.so.cache",
    "ld.so.conf",
    "localtime",
    "login.defs",
    "lsb-release",
    "magic",
    "mime.types",
    "os-release",
    "protocols",
    "rpc",
    "services",
    "shells",
    "ssl/openssl.cnf",
];

/// Directories of `/etc` that are copied where present: configuration that programs find by its path.
const COPIED_TREES: [&str; 16] = [
    "ca-certificates",
    "crypto-policies",
    "fonts",
    "java",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "java-25-openjdk",
    "ld.so.conf.d",
    "maven",
    "perl",
    "php",
    "python3",
    "python3.11",
    "terminfo",
    "xml",
];

/// What is left out of them: everybody may read it, and still it holds what opens a registry.
const LEFT_OUT: [&str; 2] = ["maven/settings.xml", "maven/settings-security.xml"];

/// Entries of one such directory that are copied; those of Java have about fifty.
const TREE_ENTRIES_MAX: usize = 1000;

/// Empty directories: mount points, and places that programs expect.
const DIRECTORIES: [(&str, u32); 18] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("etc/ssl", 0o755),
    ("home", 0o755),
    ("home/agent", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o755),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/lib", 0o755),
    ("var/tmp", 0o1777),
    ("workspace", 0o755),
];

/// What lies over a foreign image: mount points, and where our own user lives. No more, for a directory here hides a link
/// of the image.
const OVER_IMAGES: [(&str, u32); 9] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("home/agent", 0o755),
    ("proc", 0o555),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("workspace", 0o755),
];

/// What lies below one: directories on the way to certificates.
const BELOW_IMAGES: [(&str, u32); 3] = [("etc", 0o755), ("etc/ssl", 0o755), ("etc/ssl/certs", 0o755)];

/// The certificates of authorities that slim images come without, and where they are looked for first.
const CERTIFICATES: &str = "ssl/certs/ca-certificates.crt";

/// A copied file may be so long: `ld.so.cache` of a full desktop has about 200 KiB.
const COPY_BYTES_MAX: u64 = 4 << 20;

/// The base of every sandbox: a skeleton below, the host's programs above.
#[derive(Debug)]
pub(crate) struct Base {
    /// The skeleton's tree.
    pub(crate) skeleton: PathBuf,
    /// Host path and path inside: the same.
    pub(crate) shown: Vec<String>,
    /// What lies over a foreign image.
    pub(crate) over: PathBuf,
    /// What lies below it.
    pub(crate) below: PathBuf,
}

impl Base {
    /// Finds the skeleton that fits this machine as it is now, or makes it.
    pub(super) fn open(state: &State) -> Result<Self, Error> {
        debug_assert_eq!((HOME, WORKSPACE), ("/home/agent", "/workspace"));
        let tree = |plan: Plan| {
            let place = state.path("base").join(plan.digest(state.ids));
            if place.is_dir() { Ok(place) } else { plan.build(&place, state).map(|()| place) }
        };
        let skeleton = tree(Plan::of_host())?;
        let (over, below) = (tree(Plan::over_images())?, tree(Plan::below_images())?);
        Ok(Self { skeleton, shown: shown(), over, below })
    }
}

fn shown() -> Vec<String> {
    let merged = MERGED.iter().map(|name| format!("/{name}")).filter(|path| is_real_directory(path));
    let fixed = SHOWN.iter().map(|path| (*path).to_owned()).filter(|path| is_real_directory(path));
    fixed.chain(merged).collect()
}

fn is_real_directory(path: &str) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// What a skeleton is to hold.
struct Plan {
    /// With their rights.
    places: &'static [(&'static str, u32)],
    /// Where mounts will cover them.
    shown: Vec<String>,
    directories: Vec<String>,
    links: Vec<(String, PathBuf)>,
    files: Vec<(String, Vec<u8>)>,
}

impl Plan {
    fn of_host() -> Self {
        let link =
            |name: &&str| Some(((*name).to_owned(), std::fs::read_link(Path::new("/").join(name)).ok()?));
        let mut links: Vec<_> = MERGED.iter().filter_map(link).collect();
        links.push(("etc/mtab".to_owned(), "/proc/self/mounts".into()));
        links.push(("var/run".to_owned(), "/run".into()));
        let mut files = own_files();
        files.extend(COPIED.iter().filter_map(|name| Some((format!("etc/{name}"), read_public(name)?))));
        let mut plan = Self { places: &DIRECTORIES, shown: shown(), directories: Vec::new(), links, files };
        COPIED_TREES.iter().for_each(|name| plan.add_tree(name));
        plan
    }

    fn over_images() -> Self {
        Self::of_files(&OVER_IMAGES, own_files())
    }

    fn below_images() -> Self {
        let certificates = read_public(CERTIFICATES).map(|bytes| (format!("etc/{CERTIFICATES}"), bytes));
        Self::of_files(&BELOW_IMAGES, certificates.into_iter().collect())
    }

    fn of_files(places: &'static [(&'static str, u32)], files: Vec<(String, Vec<u8>)>) -> Self {
        Self { places, shown: Vec::new(), directories: Vec::new(), links: Vec::new(), files }
    }

    /// Adds what everybody may read of a directory of `/etc`. Links stay links: they lead nowhere but inside.
    fn add_tree(&mut self, top: &str) {
        let mut waiting = vec![top.to_owned()];
        let mut entries = 0;
        while let Some(name) = waiting.pop() {
            let Some(names) = list_public(&name) else { continue };
            self.directories.push(format!("etc/{name}"));
            for child in names.into_iter().map(|child| format!("{name}/{child}")) {
                entries += 1;
                if LEFT_OUT.contains(&child.as_str()) {
                    continue;
                }
                let path = Path::new("/etc").join(&child);
                match std::fs::symlink_metadata(&path) {
                    _ if entries > TREE_ENTRIES_MAX => return,
                    Ok(found) if found.is_dir() => waiting.push(child),
                    Ok(found) if found.is_symlink() => {
                        self.links.extend(std::fs::read_link(&path).map(|to| (format!("etc/{child}"), to)));
                    }
                    _ => self.files.extend(read_public(&child).map(|bytes| (format!("etc/{child}"), bytes))),
                }
            }
        }
    }

    /// Tells one content of the skeleton from another.
    fn digest(&self, ids: (u32, u32)) -> String {
        let mut hasher = DefaultHasher::new();
        (self.places, &self.directories, &self.links, &self.files, ids).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    /// Makes the skeleton beside its place and moves it there whole: another worker may do the same.
    fn build(&self, place: &Path, state: &State) -> Result<(), Error> {
        let live = state.claim(&format!("base-{:016x}", fastrand::u64(..)))?;
        live.fill(state.ids).inspect_err(|_| live.remove())?;
        let upper = live.upper();
        self.fill(&upper).step("make the base of all sandboxes")?;
        give_away(&upper, state.ids).step("give away the base of all sandboxes")?;
        let moved = std::fs::rename(&upper, place);
        live.remove();
        if place.is_dir() { Ok(()) } else { moved.step(format!("make {}", place.display())) }
    }

    fn fill(&self, root: &Path) -> Result<(), std::io::Error> {
        for &(name, mode) in self.places {
            std::fs::DirBuilder::new().mode(0o755).create(root.join(name))?;
            std::fs::set_permissions(root.join(name), std::fs::Permissions::from_mode(mode))?;
        }
        for name in &self.directories {
            std::fs::create_dir(root.join(name))?;
        }
        for (name, target) in &self.links {
            symlink(target, root.join(name))?;
        }
        for (name, contents) in &self.files {
            std::fs::write(root.join(name), contents)?;
        }
        self.shown
            .iter()
            .try_for_each(|path| std::fs::create_dir_all(root.join(path.trim_start_matches('/'))))
    }
}

/// A file of `/etc` that everybody may read, through links: a secret is not copied even if root could.
fn read_public(name: &str) -> Option<Vec<u8>> {
    let path = Path::new("/etc").join(name);
    let found = std::fs::metadata(&path).ok()?;
    let is_public =
        found.is_file() && found.permissions().mode() & 0o004 != 0 && found.len() <= COPY_BYTES_MAX;
    is_public.then(|| std::fs::read(path).ok()).flatten()
}

/// The names in a directory of `/etc` that everybody may read, in the same order every time.
fn list_public(name: &str) -> Option<Vec<String>> {
    let path = Path::new("/etc").join(name);
    let found = std::fs::symlink_metadata(&path).ok()?;
    if !found.is_dir() || found.permissions().mode() & 0o005 != 0o005 {
        return None;
    }
    let entries = std::fs::read_dir(path).ok()?.flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    Some(names)
}

/// Files of `/etc` that are ours: who lives here, and that nobody else does.
fn own_files() -> Vec<(String, Vec<u8>)> {
    let passwd = format!(
        "root:x:0:0:root:/root:/usr/sbin/nologin\n{USER}:x:{USER_ID}:{USER_ID}:{USER}:{HOME}:/bin/bash\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    );
    let group = format!("root:x:0:\ntty:x:5:\n{USER}:x:{USER_ID}:\nnogroup:x:65534:\n");
    let hosts = "127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost ip6-loopback\n".to_owned();
    let nsswitch =
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\nprotocols: files\n";
    // Where the doors are closed nobody is there, and the kernel says so at once.
    let resolv = format!("nameserver {}\noptions timeout:2 attempts:1\n", crate::NAMES.0);
    let own = [
        ("etc/passwd", passwd),
        ("etc/group", group),
        ("etc/hosts", hosts),
        ("etc/hostname", "sandbox\n".to_owned()),
        ("etc/nsswitch.conf", nsswitch.to_owned()),
        ("etc/resolv.conf", resolv),
        ("etc/machine-id", String::new()),
    ];
    own.into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())).collect()
}

/// Makes a tree the inside user's. It is our own work, just made and not yet shown to anybody.
fn give_away(path: &Path, (uid, gid): (u32, u32)) -> Result<(), std::io::Error> {
    if rustix::process::geteuid().as_raw() == uid {
        return Ok(());
    }
    lchown(path, Some(uid), Some(gid))?;
    if std::fs::symlink_metadata(path)?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give_away(&entry?.path(), (uid, gid))?;
        }
    }
    Ok(())
}

//! The files of the machine: one overlay as the root, the host's programs read-only over it, fresh /proc, /dev and /tmp.
//!
//! Everything of the host is found by path *before* the user changes: as root's guest, the directories of the state may
//! lie below a home that nobody else may enter. Everything inside is found by `openat2` below the new root without
//! following links: the layers were written by hostile commands, and a link in them must not turn a mount elsewhere.

#![expect(unsafe_code, reason = "system calls that no crate wraps; each says why it is sound")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use nix::libc;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, move_mount, open_tree, unmount,
};

use super::{Fault, Step, USER_ID};
use crate::WORKSPACE;
use crate::protocol::Setup;

/// The device nodes of the OCI runtime specification's minimum.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What `/dev` links to, from the same list.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// What Docker's engine hides of /proc (moby, `oci/defaults.go`): files, then directories. Not all exist everywhere.
const MASKED_FILES: [&str; 8] =
    ["kcore", "keys", "key-users", "latency_stats", "timer_list", "timer_stats", "sched_debug", "interrupts"];
const MASKED_DIRECTORIES: [&str; 3] = ["acpi", "asound", "scsi"];

/// What it shows read-only.
const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Bytes of /run: sockets and pid files.
const RUN_BYTES: u64 = 16 << 20;

/// Files of a tmpfs for each MiB of it: that many of 4 KiB fill it, more is a flood of inodes.
const INODES_PER_MIB: u64 = 256;

/// Read-only, no setuid, no devices: what a bind of the host is.
const FOREIGN: u64 = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

/// All of the host's that a machine is made of.
pub(super) struct Sources {
    /// What is shown, in the order of the set-up's binds.
    trees: Vec<OwnedFd>,
    devices: Vec<OwnedFd>,
    layers: Layers,
}

impl Sources {
    /// Finds everything, with the rights of the user outside. What is mounted here does not show on the host: the mounts
    /// of a new user namespace are no one's peers (`mount_namespaces(7)`).
    pub(super) fn open(setup: &Setup, devices: Vec<OwnedFd>) -> Result<Self, Fault> {
        Ok(Self { trees: clone_trees(&setup.binds)?, devices, layers: Layers::open(setup)? })
    }

    /// Becomes the inside's user, makes the file system and moves into it. Afterwards nothing of the host's tree can be
    /// reached. The ids must be mapped.
    pub(super) fn mount(self, setup: &Setup) -> Result<(), Fault> {
        become_user()?;
        let root = self.layers.mount()?;
        for ((_, inside), tree) in setup.binds.iter().zip(&self.trees) {
            attach(tree, root.as_fd(), inside)?;
        }
        protect_workspace(root.as_fd(), setup)?;
        make_fresh(root.as_fd(), setup)?;
        make_devices(root.as_fd(), &self.devices)?;
        enter(&root)
    }
}

/// Hides the parts of /proc that tell of the host or steer it.
pub(super) fn mask_proc() -> Result<(), Fault> {
    for name in MASKED_FILES {
        cover("/dev/null", &format!("/proc/{name}"))?;
    }
    for name in MASKED_DIRECTORIES {
        cover("/sys", &format!("/proc/{name}"))?;
    }
    for name in READ_ONLY {
        let path = format!("/proc/{name}");
        let Ok(tree) = clone_tree(&path) else { continue };
        set_attributes(&tree, FOREIGN | libc::MOUNT_ATTR_NOEXEC).step(format!("make {path} read-only"))?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&tree, "", CWD, path.as_str(), flags).step(format!("mount {path}"))?;
    }
    Ok(())
}

fn cover(source: &str, target: &str) -> Result<(), Fault> {
    match rustix::mount::mount_bind(source, target) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error).step(format!("mask {target}")),
    }
}

/// The host's directories, cloned as mounts that belong nowhere yet.
fn clone_trees(binds: &[(String, String)]) -> Result<Vec<OwnedFd>, Fault> {
    let clone = |(host, _): &(String, String)| {
        let tree = clone_tree(host).step(format!("open {host}"))?;
        set_attributes(&tree, FOREIGN).step(format!("make {host} read-only"))?;
        Ok(tree)
    };
    binds.iter().map(clone).collect()
}

/// The host's device nodes, cloned like its directories.
pub(super) fn clone_devices() -> Result<Vec<OwnedFd>, Fault> {
    let clone = |name: &&str| {
        let tree = clone_tree(&format!("/dev/{name}")).step(format!("open /dev/{name}"))?;
        set_attributes(&tree, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC)
            .step(format!("restrict /dev/{name}"))?;
        Ok(tree)
    };
    DEVICES.iter().map(clone).collect()
}

fn clone_tree(path: &str) -> Result<OwnedFd, Errno> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags)
}

/// `mount_setattr` on a whole cloned tree, which from now on sees no mount that the host makes below it.
fn set_attributes(tree: &OwnedFd, attributes: u64) -> Result<(), Errno> {
    let change =
        libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is an empty C string, the structure lives through the call, and its size is given.
    let result = unsafe {
        let size = size_of::<libc::mount_attr>();
        libc::syscall(libc::SYS_mount_setattr, tree.as_raw_fd(), c"".as_ptr(), flags, &raw const change, size)
    };
    if result == 0 { Ok(()) } else { Err(last_error()) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// The directories that the overlay is made of.
struct Layers {
    lower: Vec<OwnedFd>,
    upper: OwnedFd,
    work: OwnedFd,
    /// The directory in which `root` stands, for `root` itself is covered by the mount.
    parent: OwnedFd,
    root: OwnedFd,
}

impl Layers {
    fn open(setup: &Setup) -> Result<Self, Fault> {
        let parent = Path::new(&setup.root).parent().unwrap_or(Path::new("/"));
        Ok(Self {
            lower: setup.lower.iter().map(|path| directory(Path::new(path))).collect::<Result<_, _>>()?,
            upper: directory(Path::new(&setup.upper))?,
            work: directory(Path::new(&setup.work))?,
            parent: directory(parent)?,
            root: directory(Path::new(&setup.root))?,
        })
    }

    /// Mounts the overlay and opens its root.
    ///
    /// `userxattr`: a user namespace may not write `trusted.*`. `volatile`: an upper outlives no crash of the machine,
    /// and without it every end of a sandbox would flush the host's whole disk.
    fn mount(&self) -> Result<OwnedFd, Fault> {
        let lower: Vec<String> = self.lower.iter().map(reference).collect();
        let options = format!(
            "lowerdir={},upperdir={},workdir={},userxattr,volatile",
            lower.join(":"),
            reference(&self.upper),
            reference(&self.work)
        );
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount_at(&self.root, "overlay", flags, &options).step("mount the overlay")?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        openat(&self.parent, "root", flags, Mode::empty()).step("open the new root")
    }
}

fn directory(path: &Path) -> Result<OwnedFd, Fault> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).step(format!("open {}", path.display()))
}

/// A name for a descriptor that needs no right on the directories above it.
fn reference(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn mount_at(target: &OwnedFd, kind: &str, flags: MountFlags, options: &str) -> Result<(), Errno> {
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    mount(kind, reference(target), kind, flags, options.as_c_str())
}

/// Takes the inside's ids. Id 0 is not mapped, so the namespace's capabilities stay until they are dropped.
fn become_user() -> Result<(), Fault> {
    let gid = rustix::process::Gid::from_raw(USER_ID);
    let uid = rustix::process::Uid::from_raw(USER_ID);
    rustix::thread::set_thread_res_gid(gid, gid, gid).step("take the inside's group id")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).step("take the inside's user id")
}

/// Opens a directory below the root without following links; makes what is missing.
fn target(root: BorrowedFd<'_>, inside: &str) -> Result<OwnedFd, Fault> {
    let open = |path: &Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
    };
    // Nearly always it is there.
    match open(&Path::new(".").join(inside.trim_start_matches('/'))) {
        Err(Errno::NOENT) => {}
        other => return other.step(format!("open {inside} inside")),
    }
    let mut path = std::path::PathBuf::from(".");
    let mut here = open(&path).step("open the new root")?;
    for part in Path::new(inside).components() {
        let Component::Normal(name) = part else { continue };
        path.push(name);
        if let Err(error) = mkdirat(&here, name, Mode::from_raw_mode(0o755))
            && error != Errno::EXIST
            && error != Errno::ROFS
        {
            return Err(error).step(format!("make {inside} inside"));
        }
        here = open(&path).step(format!("open {inside} inside"))?;
    }
    Ok(here)
}

/// Opens a file below the root in the same way, and makes it empty if it is missing.
fn target_file(root: BorrowedFd<'_>, inside: &str) -> Result<OwnedFd, Fault> {
    let path = Path::new(inside);
    let parent = path.parent().unwrap_or(Path::new("/"));
    let directory = target(root, &parent.to_string_lossy())?;
    let name = path.file_name().unwrap_or_default();
    let flags = OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::NONBLOCK;
    drop(openat(&directory, name, flags, Mode::from_raw_mode(0o644)));
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(&directory, name, flags, Mode::empty()).step(format!("open {inside} inside"))
}

/// Puts a cloned tree in its place.
fn attach(tree: &OwnedFd, root: BorrowedFd<'_>, inside: &str) -> Result<(), Fault> {
    let is_directory = rustix::fs::fstat(tree).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR);
    let place = if is_directory { target(root, inside)? } else { target_file(root, inside)? };
    attach_at(tree, &place).step(format!("mount {inside}"))
}

fn attach_at(tree: &OwnedFd, place: &OwnedFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", place, "", flags)
}

/// Shows the checkout read-only, for turns that only answer.
fn protect_workspace(root: BorrowedFd<'_>, setup: &Setup) -> Result<(), Fault> {
    if !setup.workspace_read_only {
        return Ok(());
    }
    let place = target(root, WORKSPACE)?;
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(&place, "", flags).step("clone the workspace")?;
    set_attributes(&tree, FOREIGN).step("make the workspace read-only")?;
    attach_at(&tree, &place).step("mount the workspace")
}

/// /proc, and the directories that live in memory.
fn make_fresh(root: BorrowedFd<'_>, setup: &Setup) -> Result<(), Fault> {
    let safe = MountFlags::NOSUID | MountFlags::NODEV;
    let proc = target(root, "/proc")?;
    // `ptraceable` hides process 1 alone: all others run under the same user and may see each other.
    mount_at(&proc, "proc", safe | MountFlags::NOEXEC, "hidepid=ptraceable").step("mount /proc")?;
    let sys = target(root, "/sys")?;
    mount_at(&sys, "tmpfs", safe | MountFlags::NOEXEC | MountFlags::RDONLY, "size=4k,mode=555")
        .step("cover /sys")?;
    let tmp = target(root, "/tmp")?;
    mount_at(&tmp, "tmpfs", safe, &tmpfs(setup.tmp_bytes, "1777")).step("mount /tmp")?;
    let run = target(root, "/run")?;
    mount_at(&run, "tmpfs", safe, &tmpfs(RUN_BYTES, "755")).step("mount /run")?;
    let dev = target(root, "/dev")?;
    mount_at(&dev, "tmpfs", MountFlags::NOSUID | MountFlags::NOEXEC, "size=64k,mode=755")
        .step("mount /dev")?;
    let shm = target(root, "/dev/shm")?;
    mount_at(&shm, "tmpfs", safe, &tmpfs(setup.tmp_bytes, "1777")).step("mount /dev/shm")?;
    let pts = target(root, "/dev/pts")?;
    let noexec = MountFlags::NOSUID | MountFlags::NOEXEC;
    mount_at(&pts, "devpts", noexec, "newinstance,ptmxmode=0666,mode=0620").step("mount /dev/pts")
}

fn tmpfs(bytes: u64, mode: &str) -> String {
    let inodes = (bytes >> 20).max(16) * INODES_PER_MIB;
    format!("size={bytes},nr_inodes={inodes},mode={mode}")
}

/// Fills /dev and closes it.
fn make_devices(root: BorrowedFd<'_>, devices: &[OwnedFd]) -> Result<(), Fault> {
    let dev = target(root, "/dev")?;
    for (name, tree) in DEVICES.iter().zip(devices) {
        // Nobody else has seen this directory, so the name can be nothing but what is made here.
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::RDONLY;
        let place =
            openat(&dev, *name, flags, Mode::from_raw_mode(0o644)).step(format!("make /dev/{name}"))?;
        attach_at(tree, &place).step(format!("mount /dev/{name}"))?;
    }
    for (name, link) in DEVICE_LINKS {
        symlinkat(link, &dev, name).step(format!("link /dev/{name}"))?;
    }
    let change = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::RDONLY;
    rustix::mount::mount_remount(reference(&dev), change, "").step("close /dev")
}

/// Makes the new tree the root and lets go of the old one (`pivot_root(2)`, "pivot_root(".", ".")").
fn enter(root: &OwnedFd) -> Result<(), Fault> {
    rustix::process::fchdir(root).step("enter the new root")?;
    rustix::process::pivot_root(".", ".").step("make the new root the root")?;
    unmount(".", UnmountFlags::DETACH).step("let go of the host's tree")?;
    rustix::process::chdir("/").step("enter the new root")
}

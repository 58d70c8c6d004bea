//! Layers by hand, honest and hostile.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use legwork_image::{Error, Image, Named, Settings, Store};
use tar::{EntryType, Header};

/// One entry: path, kind, content or target.
pub(crate) type Piece<'a> = (&'a str, EntryType, &'a str);

/// An archive as no builder of ours would write it: paths stand in it as they are.
pub(crate) fn archive(pieces: &[Piece<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, kind, content) in pieces {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o4755);
        header.set_mtime(1_000_000_000);
        let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
        let body = if is_link { "" } else { content };
        if is_link {
            header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_size(body.len() as u64);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(body.as_bytes());
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

pub(crate) const FILE: EntryType = EntryType::Regular;
pub(crate) const DIRECTORY: EntryType = EntryType::Directory;
pub(crate) const SYMLINK: EntryType = EntryType::Symlink;
pub(crate) const LINK: EntryType = EntryType::Link;

pub(crate) struct World {
    pub(crate) at: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { at: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn settings(&self) -> Settings {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        // Root gives what it unpacks to somebody who is nobody.
        let owner = if own.0 == 0 { (0x7000_4c57, 0x7000_4c57) } else { own };
        Settings::new(self.at.path().join("images"), owner)
    }

    pub(crate) fn named(&self, path: &Path) -> Store {
        let mut settings = self.settings();
        settings.named.insert("mine".to_owned(), Named::Path(path.to_path_buf()));
        settings.layer_bytes_max = 10 << 20;
        Store::open(settings).unwrap()
    }

    async fn unpack(&self, bytes: &[u8]) -> Result<Image, Error> {
        let path = self.at.path().join(format!("{:x}.tar", fastrand_like()));
        std::fs::write(&path, bytes).unwrap();
        self.named(&path).get("mine").await
    }

    /// Nothing half-made is left.
    pub(crate) fn assert_clean(&self) {
        let left = std::fs::read_dir(self.at.path().join("images/incoming")).unwrap().count();
        assert_eq!(left, 0, "left in incoming");
    }
}

fn fastrand_like() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}

fn list(tree: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![tree.to_path_buf()];
    while let Some(here) = waiting.pop() {
        for entry in std::fs::read_dir(here).unwrap().flatten() {
            found.push(entry.path().strip_prefix(tree).unwrap().to_str().unwrap().to_owned());
            if entry.metadata().unwrap().is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 1];
    rustix::fs::getxattr(path, "user.overlay.opaque", &mut value) == Ok(1) && value == *b"y"
}

fn is_whiteout(path: &Path) -> bool {
    let found = std::fs::symlink_metadata(path).unwrap();
    found.mode() & 0o170_000 == 0o020_000 && found.rdev() == 0
}

#[tokio::test]
async fn an_honest_archive_becomes_a_tree() {
    let world = World::new();
    let bytes = archive(&[
        ("./", DIRECTORY, ""),
        ("./usr/bin/", DIRECTORY, ""),
        ("bin", SYMLINK, "usr/bin"),
        ("bin/tool", FILE, "tool"),
        ("/usr/bin/same", LINK, "bin/tool"),
        ("etc/passwd", FILE, "x"),
        ("etc/passwd", FILE, "y"),
        ("dev/null", EntryType::Char, ""),
        ("run/pipe", EntryType::Fifo, ""),
    ]);
    let image = world.unpack(&bytes).await.unwrap();
    let tree = &image.layers[0];
    assert_eq!(
        list(tree),
        ["bin", "dev", "etc", "etc/passwd", "run", "usr", "usr/bin", "usr/bin/same", "usr/bin/tool"]
    );
    assert_eq!(std::fs::read_to_string(tree.join("etc/passwd")).unwrap(), "y");
    let tool = std::fs::metadata(tree.join("usr/bin/tool")).unwrap();
    assert_eq!((tool.permissions().mode() & 0o7777, tool.nlink(), tool.mtime()), (0o755, 2, 1_000_000_000));
    assert_eq!((tool.uid(), tool.gid()), world.settings().owner, "never root's");
    assert_eq!(std::fs::metadata(tree.join("usr/bin")).unwrap().mtime(), 1_000_000_000);
    assert_eq!(image.left_out, 2, "devices and pipes");
    world.assert_clean();
}

#[tokio::test]
async fn whiteouts_take_overlays_form() {
    let world = World::new();
    let bytes = archive(&[
        ("etc/.wh.gone", FILE, ""),
        ("var/.wh..wh..opq", FILE, ""),
        ("var/new", FILE, ""),
        ("a/.wh.replaced", FILE, ""),
        ("a/replaced/in", FILE, ""),
        ("b/made/in", FILE, ""),
        ("b/.wh.made", FILE, ""),
        ("c/.wh.again", FILE, ""),
        ("c/again", FILE, "file"),
        (".wh..wh.plnk", FILE, ""),
        ("opt/.wh.d", FILE, ""),
        ("opt/d", DIRECTORY, ""),
    ]);
    let image = world.unpack(&bytes).await.unwrap();
    let at = |name: &str| image.layers[0].join(name);
    assert!(is_whiteout(&at("etc/gone")));
    assert!(is_opaque(&at("var")) && !is_opaque(&at("etc")));
    assert!(is_opaque(&at("a/replaced")) && at("a/replaced/in").is_file());
    assert!(is_opaque(&at("b/made")) && at("b/made/in").is_file());
    assert_eq!(std::fs::read_to_string(at("c/again")).unwrap(), "file");
    assert!(is_opaque(&at("opt/d")));
    assert!(!at(".wh..wh.plnk").exists());
}

#[tokio::test]
async fn hostile_archives_change_nothing_outside_and_leave_nothing() {
    let world = World::new();
    let outside = world.at.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::set_permissions(&outside, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::write(outside.join("secret"), "secret").unwrap();
    std::fs::set_permissions(outside.join("secret"), std::fs::Permissions::from_mode(0o666)).unwrap();
    let out = outside.to_str().unwrap().to_owned();
    let deep = "d/".repeat(45);
    let into = format!("{out}/new");
    let cases: Vec<(&str, Vec<Piece<'_>>)> = vec![
        ("upwards", vec![("../../../../outside/new", FILE, "x")]),
        ("upwards in the middle", vec![("a/../../b", FILE, "x")]),
        ("through an absolute link", vec![("l", SYMLINK, &out), ("l/new", FILE, "x")]),
        ("through a climbing link", vec![("l", SYMLINK, "../../../outside"), ("l/new", FILE, "x")]),
        ("through a loop", vec![("l", SYMLINK, "l"), ("l/new", FILE, "x")]),
        ("a hard link out", vec![("l", LINK, "../../outside/secret")]),
        ("a hard link to the host", vec![("l", LINK, "/etc/passwd")]),
        ("a hard link through a link", vec![("d", SYMLINK, &out), ("l", LINK, "d/secret")]),
        ("a hard link to a directory", vec![("d", DIRECTORY, ""), ("l", LINK, "d")]),
        ("a whiteout upwards", vec![("a/.wh...", FILE, "")]),
        ("a whiteout of nothing", vec![(".wh.", FILE, "")]),
        ("a file over a full directory", vec![("d/x", FILE, ""), ("d", FILE, "")]),
        ("through a file", vec![("f", FILE, ""), ("f/x", FILE, "")]),
        ("a directory through a link of proc", vec![("l", SYMLINK, "/proc/self/root"), ("l/new", FILE, "x")]),
    ];
    for (what, pieces) in cases {
        let unpacked = world.unpack(&archive(&pieces)).await;
        assert!(matches!(unpacked, Err(Error::Unusable { .. })), "{what}: {unpacked:?}");
        world.assert_clean();
    }
    // What is harmless inside is taken: an absolute path is the image's own, and a link may lead anywhere in it.
    let harmless =
        [(into.as_str(), FILE, "x"), ("up", SYMLINK, "../../../outside/secret"), (&deep, DIRECTORY, "")];
    let image = world.unpack(&archive(&harmless)).await.unwrap();
    assert!(image.layers[0].join(into.trim_start_matches('/')).is_file());
    // Written through a link's name, the link goes and what it leads to stays.
    let over = [("secret", SYMLINK, &*format!("{out}/secret")), ("secret", FILE, "changed")];
    world.unpack(&archive(&over)).await.unwrap();
    assert_eq!(std::fs::read_to_string(outside.join("secret")).unwrap(), "secret");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1, "nothing new outside");
}

#[tokio::test]
async fn bombs_and_nonsense_end_early() {
    let world = World::new();
    let big = "x".repeat(11 << 20);
    let bomb = super::registry::gzip(&archive(&[("big", FILE, &big)]));
    assert!(bomb.len() < 100_000);
    let mut lying = archive(&[("lies", FILE, "abc")]);
    let mut header = Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&lying[..512]);
    header.set_size(1 << 50);
    header.set_cksum();
    lying[..512].copy_from_slice(header.as_bytes());
    let sparse = archive(&[("s", EntryType::GNUSparse, "")]);
    let nested = archive(&[(&"e/".repeat(49), DIRECTORY, "")]);
    for (what, bytes) in [
        ("a bomb", bomb),
        ("a size that is not there", lying),
        ("a sparse file", sparse),
        ("no archive", b"#!/bin/sh\n".repeat(100)),
        ("cut off", nested[..300].to_vec()),
    ] {
        let unpacked = world.unpack(&bytes).await;
        assert!(matches!(unpacked, Err(Error::Unusable { .. })), "{what}: {unpacked:?}");
        world.assert_clean();
    }
}

#[tokio::test]
async fn a_directory_of_the_operators_is_copied_when_it_changes() {
    let world = World::new();
    let root = world.at.path().join("root");
    std::fs::create_dir_all(root.join("usr/bin")).unwrap();
    std::fs::write(root.join("usr/bin/tool"), "one").unwrap();
    std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
    let store = world.named(&root);
    let first = store.get("mine").await.unwrap();
    assert_eq!(first.origin, legwork_image::Origin::Unpacked { layers: 1, fetched_bytes: 0 });
    assert_eq!(list(&first.layers[0]), ["bin", "usr", "usr/bin", "usr/bin/tool"]);
    assert_eq!(
        std::fs::metadata(first.layers[0].join("usr/bin/tool")).unwrap().uid(),
        world.settings().owner.0
    );
    let again = store.get("mine").await.unwrap();
    assert_eq!((&again.layers, again.origin), (&first.layers, legwork_image::Origin::Kept));
    std::fs::write(root.join("usr/bin/tool"), "two!").unwrap();
    let changed = store.get("mine").await.unwrap();
    assert_ne!(changed.digest, first.digest);
    assert_eq!(std::fs::read_to_string(changed.layers[0].join("usr/bin/tool")).unwrap(), "two!");
    assert_eq!(std::fs::read_to_string(first.layers[0].join("usr/bin/tool")).unwrap(), "one");
    let missing = world.named(&PathBuf::from("/no/such/place")).get("mine").await.unwrap_err();
    assert!(missing.to_string().contains("mine") && !missing.to_string().contains("/no/such"), "{missing}");
}

#[tokio::test]
async fn what_is_not_used_any_more_goes() {
    let world = World::new();
    let root = world.at.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let store = world.named(&root);
    let image = store.get("mine").await.unwrap();
    assert!(!store.discard(&root), "only its own");
    assert!(!store.discard(&world.at.path().join("images/layers")));
    assert!(store.discard(&image.layers[0]) && !image.layers[0].exists());
    let again = store.get("mine").await.unwrap();
    assert!(again.layers[0].is_dir());
    world.assert_clean();
}

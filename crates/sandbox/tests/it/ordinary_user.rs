//! The whole suite once more as an ordinary user: what root may do must not be what makes it pass.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::world::{GUEST_VARIABLE, guest};

/// Some id that has no rights anywhere.
const USER: u32 = 54_321;

/// Set in the inner run, so that it does not start another.
const INNER: &str = "LEGWORK_TEST_INNER";

fn copy(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn everything_holds_as_an_ordinary_user() {
    if std::env::var_os(INNER).is_some() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: not root, so the suite runs as an ordinary user anyway");
        return;
    }
    // The build directory may be closed to others.
    let open = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(open.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (suite, inner_guest, scratch) =
        (open.path().join("suite"), open.path().join("guest"), open.path().join("scratch"));
    copy(&std::env::current_exe().unwrap(), &suite);
    copy(&guest(), &inner_guest);
    std::fs::create_dir(&scratch).unwrap();
    std::os::unix::fs::chown(&scratch, Some(USER), Some(USER)).unwrap();
    let output = Command::new(&suite)
        .arg("--test-threads=4")
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("TMPDIR", &scratch)
        .env(INNER, "1")
        .env(GUEST_VARIABLE, &inner_guest)
        .current_dir("/")
        .gid(USER)
        .uid(USER)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}");
    assert!(said.contains("test result: ok"), "{said}");
}

//! Patches: of the model, and of git as a sandbox computed them.

use legwork_agent::apply_patch::parse;
use legwork_git::patch;

/// A patch, a zero byte, and the file that it is for.
pub(crate) fn apply_patch(bytes: &[u8]) {
    let (text, file) = parts(bytes);
    let Ok(hunks) = parse(&String::from_utf8_lossy(text)) else { return };
    for hunk in hunks {
        for before in [None, Some(file)] {
            let Ok(effects) = hunk.effects(before) else { continue };
            assert!(effects.len() <= 2, "a hunk is for one file, which it may move");
        }
    }
}

pub(crate) fn diff(bytes: &[u8]) {
    let diff = patch::diff(bytes);
    let stat = patch::stat(diff);
    let lines = diff.split_inclusive(|byte| *byte == b'\n').count() as u64;
    assert!(u64::from(stat.files) + u64::from(stat.added) + u64::from(stat.removed) <= lines);
    for at in [0, diff.len() / 2, diff.len()] {
        let path = patch::path_at(diff, at as u64).unwrap_or_default();
        assert!(path.len() <= 3 * diff.len(), "a path is in the diff, whatever its bytes are shown as");
    }
    assert!(!patch::has_copies(diff) || lines > 0);
}

/// What stands before and after the first zero byte.
pub(crate) fn parts(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

//! What git says on the host, and what it is asked for.

use legwork_git::refs::{Refs, is_object_id};
use legwork_git::{Repository, patch};

use crate::patch::parts;

/// The output of a command, a zero byte, and the name that is looked for in it.
pub(crate) fn output(bytes: &[u8]) {
    let (said, name) = parts(bytes);
    let name = String::from_utf8_lossy(name);
    if let Ok(tree) = patch::tree(said) {
        assert!(is_object_id(&tree));
    }
    assert!(patch::made(said).iter().map(String::len).sum::<usize>() <= 3 * said.len());
    let mut read = Refs::default();
    read.add_packed(said);
    read.add_loose(&b"refs/heads/main"[..], said);
    read.set_head(said);
    for refs in [Refs::listed(said).ok(), Some(read)].into_iter().flatten() {
        if refs.is_elsewhere() {
            assert!(refs.resolve("repository", None).is_err(), "a head that is elsewhere names no commit");
        }
        for name in [None, Some(name.as_ref())] {
            if let Ok(resolved) = refs.resolve("repository", name) {
                let id = resolved.object.bytes().all(|byte| byte.is_ascii_hexdigit())
                    && resolved.object.len() >= 4;
                let steps = resolved.steps.bytes().all(|byte| matches!(byte, b'~' | b'^' | b'0'..=b'9'));
                assert!(id && steps, "what reaches a command line is an object's id and steps from it");
            }
        }
    }
}

/// A repository's URL: what is taken never looks like an option, and is read again as it was.
pub(crate) fn url(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(repository) = Repository::parse(text) else { return };
    assert!(!text.starts_with('-'), "{text:?} would be an option");
    let public = repository.public();
    let again = Repository::parse(&public).map(|again| again.public());
    assert_eq!(again.ok().as_ref(), Some(&public), "of {text:?}");
}

//! Files of a repository that say how it is built.

use legwork_environment::{Listing, recipe};

/// Files, each behind a line `== PATH`.
pub(crate) fn detect(bytes: &[u8]) {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_prefix(b"== ") {
            Some(path) => files.push((String::from_utf8_lossy(path).trim_end().to_owned(), Vec::new())),
            None => files.iter_mut().last().into_iter().for_each(|(_, text)| text.extend_from_slice(line)),
        }
    }
    let listing = Listing::new(files.iter().map(|(path, _)| path.clone()));
    let detected = legwork_environment::detect(&listing.with(files));
    let text = recipe(&detected);
    assert!(text.parse::<toml::Table>().is_ok(), "what is proposed can be read: {text}");
}

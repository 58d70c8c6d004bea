//! Detection over the files of projects as they are in the wild, and over hostile ones.

mod hostile;
mod others;
mod stacks;

use legwork_environment::{Detected, Listing, detect};

/// What is found in these files.
pub(crate) fn found(files: &[(&str, &str)]) -> Detected {
    let listing = Listing::new(files.iter().map(|(path, _)| (*path).to_owned()));
    let wanted: Vec<String> = listing.wanted().into_iter().map(str::to_owned).collect();
    let texts = files.iter().filter(|(path, _)| wanted.iter().any(|wanted| wanted == path));
    detect(&listing.with(texts.map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))))
}

/// Stacks, set-up and tests as one text, for a snapshot.
pub(crate) fn told(detected: &Detected) -> String {
    let stacks: Vec<String> = detected
        .projects
        .iter()
        .map(|project| format!("{} @ {:?} {:?}", project.stack, project.directory, project.toolchains))
        .collect();
    let checks: Vec<String> =
        detected.checks.iter().map(|check| format!("{}: {}", check.name, check.command)).collect();
    let notes: Vec<String> =
        detected.notes.iter().map(|note| format!("- {}: {}", note.file, note.says)).collect();
    format!(
        "{}\n{}{}\n{}",
        stacks.join("\n"),
        detected.setup.clone().unwrap_or_default(),
        checks.join("\n"),
        notes.join("\n")
    )
}

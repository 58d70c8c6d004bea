//! Go.

use super::project;
use crate::tree::Place;
use crate::{Project, shell, text};

pub(crate) fn detect(place: Place<'_>) -> Option<Project> {
    let file = place.first(&["go.work", "go.mod"])?;
    let says = if file == "go.work" { "a workspace of Go modules" } else { "a Go module" };
    let mut found = project("Go", place, file, says).needs("go", "");
    let lines = place.text(file).into_iter().flat_map(text::lines);
    for line in lines {
        let mut words = line.split_whitespace();
        if let (Some(key @ ("go" | "toolchain")), Some(version)) =
            (words.next(), words.next().and_then(shell::version))
        {
            found = found.because(place.path_of(file), format!("{key} {version}"));
            // `toolchain` comes after `go` and says more.
            found = found.needs("go", version.trim_start_matches("go"));
        }
    }
    let fetch = if file == "go.work" { "go work sync" } else { "go mod download" };
    Some(found.installs(fetch).tests("go test ./..."))
}

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

/// Makes a module around packages from before there were any. Its name is what their import comments say, which `go mod init`
/// reads itself; what their tests import them by; or where the repository comes from.
const MODULE: [&str; 3] = [
    r#"package=$(sed -n 's/^package \([a-z0-9_]*\).*/\1/p' *.go | grep -v _test | head -n 1)"#,
    r#"module=$(grep -hoE "\"[a-z0-9-]+(\.[a-z0-9-]+)+/[^\" ]*$package\"" *.go | tr -d '"' | head -n 1)"#,
    r#"test -f go.mod || go mod init || go mod init "$module" || go mod init "$(git config --get remote.origin.url | sed -E 's#^[a-z+]+://([^@/]*@)?##; s#^[^@/:]+@([^:]+):#\1/#; s#\.git$##')" || go mod init example.com/project"#,
];

pub(crate) fn detect_without_module(place: Place<'_>) -> Option<Project> {
    let file = place.ending(".go")?;
    let found = project("Go", place, file, "Go without a module").needs("go", "");
    let found = MODULE.iter().fold(found, |found, line| found.installs(*line));
    Some(found.installs("go mod tidy").tests("go test ./..."))
}

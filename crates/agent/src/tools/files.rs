//! Files of the checkout: paths that cannot leave it, and reading and writing through the sandbox.

use std::path::{Path, PathBuf};

use legwork_domain::{Change, ChangeKind, ItemBody};
use legwork_sandbox::{Error, File, WORKSPACE};

use super::{Call, Outcome, status};
use crate::breaker::digest;

/// The largest file that a tool reads or patches.
pub(super) const FILE_BYTES_MAX: u64 = 16 << 20;

/// The path from the root of the checkout, with `.` and `..` resolved; `None` if it leads outside or to the root.
///
/// Links are the sandbox's matter: it follows none.
pub(super) fn relative(path: &str) -> Option<String> {
    let inside = match path.strip_prefix('/') {
        Some(_) => Path::new(path).strip_prefix(WORKSPACE).ok()?.to_str()?,
        None => path,
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in inside.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() || inside.contains('\0') { None } else { Some(parts.join("/")) }
}

/// The same for a tool's argument; the error is for the model.
pub(super) fn checked(path: &str) -> Result<String, Outcome> {
    relative(path).ok_or_else(|| {
        Outcome::failed(format!(
            "{path:?} is not a file inside {WORKSPACE}; only files of the checkout can be used."
        ))
    })
}

/// The path inside the sandbox.
pub(super) fn absolute(relative: &str) -> PathBuf {
    Path::new(WORKSPACE).join(relative)
}

impl Call {
    /// Reads a file of the checkout.
    pub(super) async fn read(&self, relative: &str) -> Result<File, Error> {
        self.scene.sandbox.read(&absolute(relative), FILE_BYTES_MAX).await
    }

    /// Writes a file of the checkout.
    pub(super) async fn write(
        &self,
        relative: &str,
        contents: &[u8],
        mode: Option<u32>,
    ) -> Result<(), Error> {
        self.scene.sandbox.write(&absolute(relative), contents, mode).await
    }

    /// Records what was changed; without a change it is a call like any other.
    pub(super) async fn record_changes(&self, changes: Vec<Change>, outcome: &Outcome) {
        if changes.is_empty() {
            return self.record(outcome).await;
        }
        let timeline = &self.scene.timeline;
        let item = timeline.start(ItemBody::FileChange { changes, output: outcome.text() }).await;
        timeline.complete(item, status(outcome, &self.cancel)).await;
    }
}

/// A file that was written.
pub(super) fn written(path: &str, contents: &[u8]) -> (String, Option<u64>) {
    (path.to_owned(), Some(digest(contents)))
}

pub(super) fn change(path: &str, kind: ChangeKind) -> Change {
    Change { path: path.to_owned(), kind, moved_from: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_the_checkout() {
        let shown: Vec<String> = [
            "a/b",
            "./a//b",
            "/workspace/a",
            "a/../b",
            "../a",
            "a/../../b",
            "/etc/passwd",
            "/workspace",
            ".",
            "/workspacex/a",
            "/workspace/../etc",
            "",
        ]
        .iter()
        .map(|path| format!("{path:?} {}", relative(path).unwrap_or_else(|| "-".to_owned())))
        .collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        "a/b" a/b
        "./a//b" a/b
        "/workspace/a" a
        "a/../b" b
        "../a" -
        "a/../../b" -
        "/etc/passwd" -
        "/workspace" -
        "." -
        "/workspacex/a" -
        "/workspace/../etc" -
        "" -
        "#);
    }
}

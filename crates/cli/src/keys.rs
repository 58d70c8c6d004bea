//! The key that seals the secrets of a server, where an operator keeps it: in a file, or with a key service that a command
//! asks. Without either it is a file of the data directory, made at the first start.

use std::process::{Output, Stdio};
use std::time::Duration;

use legwork_server::Key;
use tokio::process::Command;

use crate::config::ServerFile;
use crate::exit::Trouble;

/// How long the command may take: a key service across the world, and a second try.
const COMMAND_TIME: Duration = Duration::from_secs(30);

const MEND: &str = "Correct key_file or key_command of [server] in the configuration file.";

/// The key that the configuration names; `None`: the data directory's own.
///
/// # Errors
/// If it names both, or neither gives a key. What a command said is in no error: it may be the key.
pub(crate) async fn key(file: &ServerFile) -> Result<Option<Key>, Trouble> {
    match (&file.key_file, file.key_command.as_slice()) {
        (None, []) => Ok(None),
        (Some(path), []) => Key::from_file(path).map(Some).map_err(|error| {
            let source = std::error::Error::source(&error).map(|why| format!(": {why}")).unwrap_or_default();
            unusable(&format!("{error}{source}"))
        }),
        (None, [program, arguments @ ..]) => told_by(program, arguments).await.map(Some),
        (Some(_), _) => Err(unusable("key_file and key_command are both named, and one can count")),
    }
}

async fn told_by(program: &str, arguments: &[String]) -> Result<Key, Trouble> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    let told = tokio::time::timeout(COMMAND_TIME, command.output()).await;
    let Output { status, stdout, .. } = told
        .map_err(|_| unusable(&format!("{program} gave no key within {} s", COMMAND_TIME.as_secs())))?
        .map_err(|error| unusable(&format!("{program} cannot be run: {error}")))?;
    if !status.success() {
        return Err(unusable(&format!("{program} gave no key: {status}")));
    }
    Key::from_text(&String::from_utf8_lossy(&stdout))
        .map_err(|error| unusable(&format!("what {program} wrote is no key: {error}")))
}

fn unusable(why: &str) -> Trouble {
    Trouble::usage(format!("The key of the secrets cannot be had: {why}. Nothing was started."), MEND)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn asks(script: &str) -> ServerFile {
        let key_command = ["sh", "-c", script].map(str::to_owned).to_vec();
        ServerFile { key_command, ..ServerFile::default() }
    }

    #[tokio::test]
    async fn a_command_tells_the_key_and_no_error_does() {
        let text = "ab".repeat(32);
        assert!(key(&asks(&format!("echo {text}"))).await.unwrap().is_some());
        for wrong in ["echo not-the-key-but-secret", "echo half-secret; exit 3"] {
            let error = key(&asks(wrong)).await.unwrap_err().to_string();
            assert!(!error.contains("secret;") && !error.contains("but-secret"), "{error}");
        }
        assert!(key(&ServerFile::default()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_file_that_others_read_holds_no_key() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "cd".repeat(32)).unwrap();
        let named = ServerFile { key_file: Some(file.path().to_owned()), ..ServerFile::default() };
        assert!(key(&named).await.unwrap().is_some());
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(key(&named).await.unwrap_err().to_string().contains("chmod 600"));
        let both = ServerFile { key_command: vec!["true".to_owned()], ..named };
        assert!(key(&both).await.is_err());
    }
}

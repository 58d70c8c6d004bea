//! Runs git on the host, for our own bare mirrors only.

use std::process::Stdio;
use std::time::Duration;

use legwork_git::{Invocation, Url};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// Time for one command: a fetch of the largest repositories over a slow line.
const TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// The longest answer that is read: `ls-remote` of a repository with half a million refs.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What curl says, by way of git, of a redirect that is not followed.
const REDIRECTED: &str = "returned error: 30";

/// What to do about it.
const REDIRECT_MEND: &str = "; the host leads elsewhere, which is not followed here: name the URL that it leads to, often the \
                             same with .git at its end, or with https";

/// Runs the invocation and gives its standard output.
///
/// # Errors
/// What git said last, without the URL's credentials.
pub(crate) async fn git(invocation: &Invocation, url: &Url) -> Result<Vec<u8>, String> {
    let mut argv = invocation.argv.iter();
    let program = argv.next().ok_or("no program")?;
    let mut child = Command::new(program)
        .args(argv)
        .env_clear()
        .envs(invocation.env.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("git could not be started: {error}; install git"))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let run = async { tokio::join!(read(out), read(err), child.wait()) };
    let Ok((stdout, stderr, status)) = tokio::time::timeout(TIMEOUT, run).await else {
        return Err(format!("git did not end within {} minutes", TIMEOUT.as_secs() / 60));
    };
    if status.is_ok_and(|status| status.success()) {
        return Ok(stdout);
    }
    let words = String::from_utf8_lossy(&stderr).replace(url.secret(), url.public());
    let words = crate::clean::last_lines(&without_credentials(&words), 3);
    Err(if words.contains(REDIRECTED) { format!("{words}{REDIRECT_MEND}") } else { words })
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // A stream that breaks ends like one that is closed; the exit status says whether it matters.
        let _ = stream.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await;
    }
    bytes
}

/// Cuts `user:password@` out of whatever looks like a URL.
fn without_credentials(text: &str) -> String {
    let cut = |word: &str| match word.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let host = rest[..end].rsplit('@').next().unwrap_or("");
            format!("{scheme}://{host}{}", &rest[end..])
        }
        None => word.to_owned(),
    };
    let line = |line: &str| line.split(' ').map(cut).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_gits_words_is_cut_out() {
        let words = "fatal: unable to access 'https://me:pw@host.org/a/': x\nfatal: y https://tok@h/x";
        assert_eq!(
            without_credentials(words),
            "fatal: unable to access 'https://host.org/a/': x\nfatal: y https://h/x"
        );
    }
}

//! What is wrong with a configuration file, told so that it can be mended without a manual.

use std::path::Path;

use crate::exit::Trouble;

/// An error of the parser as file, line, key, the line itself and the way out.
pub(super) fn of(path: &Path, text: &str, error: &toml::de::Error) -> Trouble {
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let number = text[..at].matches('\n').count();
    let line = text.lines().nth(number).unwrap_or_default();
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    let what = format!(
        "{}, line {}{}: {}.\n  {} | {}",
        path.display(),
        number + 1,
        key_at(text, number).map(|key| format!(", key `{key}`")).unwrap_or_default(),
        message.trim_end_matches('.'),
        number + 1,
        shown(line),
    );
    Trouble::usage(what, mend(&message))
}

/// The dotted key that line `number` (from 0) sets, with its table.
fn key_at(text: &str, number: usize) -> Option<String> {
    let mut table = "";
    for line in text.lines().take(number + 1).map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_start_matches('[').split(']').next().unwrap_or_default();
        }
    }
    let (key, _) = text.lines().nth(number)?.split_once('=')?;
    let dot = if table.is_empty() { "" } else { "." };
    Some(format!("{table}{dot}{}", key.trim()))
}

/// The line as it is, but for what might be a key: a secret must not reach a log by way of an error.
fn shown(line: &str) -> String {
    match line.split_once('=') {
        Some((key, _)) if key.to_lowercase().contains("key") && !key.contains("_env") => {
            format!("{key}= (not shown)")
        }
        _ => line.to_owned(),
    }
}

fn mend(message: &str) -> &'static str {
    if message.contains("`api_key`") {
        return "Put the key into an environment variable and name it: api_key_env = \"MY_PROVIDER_KEY\".";
    }
    if message.contains("unknown field") {
        return "Correct the name to one of those listed, or remove the line. All keys are in docs/cli.md.";
    }
    if message.contains("unknown variant") {
        return "Use one of the values listed.";
    }
    if message.contains("provider/model") {
        return "Name the provider too, for example model = \"ollama/qwen3-coder\".";
    }
    "Correct this line. The form of every key is in docs/cli.md."
}

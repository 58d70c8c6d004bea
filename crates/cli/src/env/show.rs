//! `legwork env show`: what a task would use, field by field, who said it, and who else did.

use std::path::Path;

use legwork_domain::{DEFAULT_ENVIRONMENT, Environment};
use legwork_environment::Detected;
use legwork_worker::{RECIPE, check_recipe};
use serde::Serialize;
use serde_json::Value;

use super::files;
use crate::call::Call;
use crate::exit::{Exit, Trouble};
use crate::text::{ACCENT, BOLD, DIM, Line, PLAIN, WARN};
use crate::{people, repository};

/// Fields of which every source adds its own; of all else the first source holds.
const JOINED: [&str; 3] = ["variables", "toolchains", "approve"];

/// Fields of which only the team's recipe is heard.
const TEAMS: [&str; 3] = ["network", "setup_network", "repositories"];

/// Somebody who says something, the one that goes first at the beginning.
struct Source {
    who: String,
    says: Value,
}

/// One field as it holds.
#[derive(Debug, Serialize)]
struct Field {
    field: String,
    value: Value,
    from: String,
    /// Who said something else, and was not heard.
    over: Vec<String>,
}

/// Runs the verb.
///
/// # Errors
/// If there is no such repository, or what it says of itself cannot be used.
pub(super) async fn run(repo: Option<&str>, call: &Call<'_>) -> anyhow::Result<Exit> {
    let located = repository::locate(repo)?;
    let mut sources = stored(&located.name, call).await?;
    let mut remarks = Vec::new();
    if located.is_remote() {
        remarks.push(
            "What the repository itself says is known once it is checked out: legwork env test".to_owned(),
        );
    } else {
        let says_nothing = of_files(Path::new(&located.name), &mut sources, &mut remarks)?;
        if says_nothing {
            remarks.push("Nobody says how it is set up or checked, so what was detected is used.".to_owned());
        }
    }
    let fields = fields(&sources);
    call.answer(&fields, &shown(&fields, &remarks))
}

/// What the server keeps: one's own default, then the team's.
async fn stored(name: &str, call: &Call<'_>) -> anyhow::Result<Vec<Source>> {
    let Some(repository) = people::known(name, call.client).await? else { return Ok(Vec::new()) };
    let kept = call.client.environments(repository).await?.environments;
    let mut kept: Vec<_> = kept.into_iter().filter(|kept| kept.name == DEFAULT_ENVIRONMENT).collect();
    kept.sort_by_key(|kept| kept.owner.is_none());
    let source = |kept: legwork_domain::StoredEnvironment| {
        let whose = if kept.owner.is_some() { "your own" } else { "the team's" };
        let who = format!("{whose} recipe {DEFAULT_ENVIRONMENT:?}, version {}", kept.version);
        let mut says = serde_json::to_value(&kept.recipe)?;
        if let Some(fields) = says.as_object_mut().filter(|_| kept.owner.is_some()) {
            fields.retain(|field, _| !TEAMS.contains(&field.as_str()));
        }
        Ok(Source { who, says })
    };
    kept.into_iter().map(source).collect()
}

/// What the files say: the repository's own, and where nobody says how it is set up or checked what was detected.
///
/// # Errors
/// If the repository's own cannot be used.
fn of_files(root: &Path, sources: &mut Vec<Source>, remarks: &mut Vec<String>) -> anyhow::Result<bool> {
    if let Some(says) = of_recipe(root)? {
        sources.push(Source { who: RECIPE.to_owned(), says });
    }
    let said = |field: &str| sources.iter().any(|source| is_said(source.says.get(field)));
    let says_nothing = !said("setup") && !said("checks");
    let detected = legwork_environment::detect(&files::view(root));
    let says = guess(&detected);
    if says_nothing {
        sources.push(Source { who: format!("detected from {}", from(&detected)), says });
    } else if !detected.is_empty() {
        remarks.push("What was detected is not used, since somebody says how it is set up or checked: legwork env detect".to_owned());
    }
    Ok(says_nothing && !detected.is_empty())
}

/// What the repository's recipe says, as it lies there.
fn of_recipe(root: &Path) -> anyhow::Result<Option<Value>> {
    let text = match files::read(&root.join(RECIPE)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let what = format!("{RECIPE} cannot be read: {error}.");
            return Err(Trouble::usage(what, "Make it a file that you can read, and no link.").into());
        }
    };
    let mend = "Mend it there; its fields are in docs/environment.md. A task would end with that sentence.";
    check_recipe(&text).map_err(|why| Trouble::usage(why, mend))?;
    let table: toml::Table = toml::from_slice(&text)?;
    Ok(Some(serde_json::to_value(table)?))
}

fn from(detected: &Detected) -> String {
    let mut files: Vec<&str> = detected.findings().iter().map(|finding| finding.file.as_str()).collect();
    files.dedup();
    files.truncate(5);
    if files.is_empty() { "nothing".to_owned() } else { files.join(", ") }
}

fn guess(detected: &Detected) -> Value {
    let checks: serde_json::Map<String, Value> =
        detected.checks.iter().map(|check| (check.name.clone(), check.command.clone().into())).collect();
    serde_json::json!({
        "setup": detected.setup, "maintenance": detected.maintenance, "start": detected.start,
        "variables": detected.variables, "checks": checks,
    })
}

fn is_said(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Array(values)) => !values.is_empty(),
        Some(Value::Object(values)) => !values.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => true,
    }
}

/// Every field that anybody says something of, with the first who does.
fn fields(sources: &[Source]) -> Vec<Field> {
    let plain = serde_json::to_value(Environment::default()).unwrap_or_default();
    let mut fields: Vec<Field> = Vec::new();
    for source in sources {
        for (name, value) in source.says.as_object().into_iter().flatten() {
            if !is_said(Some(value)) || plain.get(name) == Some(value) {
                continue;
            }
            let parts = match value.as_object().filter(|_| JOINED.contains(&name.as_str())) {
                Some(entries) => {
                    entries.iter().map(|(key, value)| (format!("{name}.{key}"), value.clone())).collect()
                }
                None => vec![(name.clone(), value.clone())],
            };
            for (field, value) in parts {
                match fields.iter_mut().find(|known| known.field == field) {
                    Some(known) => known.over.push(source.who.clone()),
                    None => fields.push(Field { field, value, from: source.who.clone(), over: Vec::new() }),
                }
            }
        }
    }
    fields
}

fn shown(fields: &[Field], remarks: &[String]) -> Vec<Line> {
    let mut lines = Vec::new();
    if fields.is_empty() {
        lines.push(Line::of("Nobody says anything, and nothing was detected."));
    }
    for Field { field, value, from, over } in fields {
        let mut head = Line::default().with(BOLD, field).with(DIM, &format!("  from {from}"));
        if !over.is_empty() {
            head.push(WARN, &format!("  (before {})", over.join(", ")));
        }
        lines.push(head);
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        lines.extend(text.lines().map(|line| Line::default().with(DIM, "  ").with(ACCENT, line)));
    }
    lines.extend(remarks.iter().map(|remark| Line::default().with(PLAIN, remark)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_who_says_something_is_heard_and_variables_join() {
        let source = |who: &str, says: Value| Source { who: who.to_owned(), says };
        let sources = [
            source("own", serde_json::json!({"setup": null, "variables": {"A": "1"}, "checks": []})),
            source(
                "team",
                serde_json::json!({"setup": "team", "variables": {"A": "2", "B": "3"}, "image": "host"}),
            ),
            source("file", serde_json::json!({"setup": "file", "checks": {"t": "make test"}})),
        ];
        let told: Vec<String> = fields(&sources)
            .iter()
            .map(|field| format!("{}={} {} {:?}", field.field, field.value, field.from, field.over))
            .collect();
        assert_eq!(
            told,
            [
                r#"variables.A="1" own ["team"]"#,
                r#"setup="team" team ["file"]"#,
                r#"variables.B="3" team []"#,
                r#"checks={"t":"make test"} file []"#,
            ]
        );
    }
}

//! `.legwork/environment.toml`: what a repository says about its own environment.
//!
//! It is hostile text from a commit. It can name commands, checks, variables and a base image, which are for the
//! inside of sandboxes only, and nothing else: no mount, no limit, no network. An image is a name; what names there are is the
//! operator's to say. What the request says comes before what the repository says.

use std::collections::BTreeMap;

use legwork_domain::{Check, Environment};
use legwork_environment::Detected;
use serde::Deserialize;

/// Where it stands in a repository.
pub const PATH: &str = ".legwork/environment.toml";

/// What a repository may not say of itself, and why. The team's stored recipe may say each.
const REFUSED: [(&str, &str); 6] = [
    ("repositories", "what is laid beside a checkout is fetched with the operator's rights"),
    ("network", "whoever pushes could let out what a task sees"),
    ("setup_network", "whoever pushes could let out what a set-up sees"),
    ("secrets", "whoever pushes could have them used for what is not theirs"),
    ("approve", "whoever pushes could have less asked for"),
    ("resources", "whoever pushes could take the machine from others"),
];

/// Most checks of one repository; each costs two sandboxes.
const CHECKS_MAX: usize = 32;

/// Most variables, and bytes of one: far below what `execve` takes for all of them together.
const VARIABLES_MAX: usize = 128;
const VARIABLE_BYTES_MAX: usize = 32 * 1024;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Recipe {
    image: Option<String>,
    setup: Option<String>,
    maintenance: Option<String>,
    start: Option<String>,
    packages: Vec<String>,
    toolchains: BTreeMap<String, String>,
    workdir: Option<String>,
    variables: BTreeMap<String, String>,
    checks: BTreeMap<String, String>,
}

/// The environment of a turn: the request's, completed by the repository's recipe. Set-up and checks of the repository
/// count where the request has none; of variables of the same name the request's holds.
///
/// # Errors
/// One sentence on what is wrong with the recipe.
pub(crate) fn complete(request: &Environment, recipe: Option<&[u8]>) -> Result<Environment, String> {
    let mut environment = request.clone();
    let Some(recipe) = recipe else { return Ok(environment) };
    let recipe = read(recipe)?;
    let checks = recipe.checks.into_iter().map(|(name, command)| Check::new(name, command)).collect();
    let said = Environment {
        setup: recipe.setup,
        maintenance: recipe.maintenance,
        start: recipe.start,
        packages: recipe.packages,
        toolchains: recipe.toolchains,
        workdir: recipe.workdir,
        checks,
        variables: recipe.variables,
        image: recipe.image.unwrap_or_else(|| Environment::default().image),
        network: environment.network.clone(),
        setup_network: environment.setup_network.clone(),
        secrets: environment.secrets.clone(),
        approve: Vec::new(),
        repositories: environment.repositories.clone(),
        resources: environment.resources,
    };
    said.validate_needs().map_err(|why| format!("{PATH} cannot be used: {why}"))?;
    environment = environment.or(said);
    for (name, version) in legwork_environment::codex_toolchains(&environment.variables) {
        environment.toolchains.entry(name).or_insert(version);
    }
    Ok(environment)
}

/// What is wrong with a repository's recipe, in one sentence, as a task would say it.
///
/// # Errors
/// That sentence.
pub fn check(recipe: &[u8]) -> Result<(), String> {
    complete(&Environment::default(), Some(recipe)).map(drop)
}

/// Whether neither request nor repository say how the sandbox is set up and checked. An empty set-up says that there is none.
pub(crate) fn says_nothing(environment: &Environment) -> bool {
    environment.setup.is_none() && environment.checks.is_empty()
}

/// Fills in what was detected where nothing is said.
pub(crate) fn fill(environment: &mut Environment, detected: Detected) {
    environment.setup = detected.setup;
    environment.checks = detected.checks;
    environment.maintenance = environment.maintenance.take().or(detected.maintenance);
    environment.start = environment.start.take().or(detected.start);
    for (name, value) in detected.variables {
        environment.variables.entry(name).or_insert(value);
    }
}

fn read(recipe: &[u8]) -> Result<Recipe, String> {
    if recipe.len() >= legwork_git::checkout::RECIPE_BYTES_MAX {
        return Err(format!("{PATH} is larger than {} bytes.", legwork_git::checkout::RECIPE_BYTES_MAX));
    }
    let text = std::str::from_utf8(recipe).map_err(|_| format!("{PATH} is not UTF-8 text."))?;
    let unreadable = |error: &toml::de::Error| format!("{PATH} cannot be used: {}.", complaint(text, error));
    let said: toml::Table = toml::from_str(text).map_err(|error| unreadable(&error))?;
    if let Some((field, why)) = REFUSED.iter().find(|(field, _)| said.contains_key(*field)) {
        return Err(format!(
            "{PATH} has `{field}`, which a commit may not say: {why}. The team's stored recipe may: legwork env set default."
        ));
    }
    let recipe: Recipe = toml::from_str(text).map_err(|error| unreadable(&error))?;
    if recipe.checks.len() > CHECKS_MAX {
        return Err(format!("{PATH} declares {} checks; at most {CHECKS_MAX} are run.", recipe.checks.len()));
    }
    if recipe.variables.len() > VARIABLES_MAX {
        return Err(format!(
            "{PATH} sets {} variables; at most {VARIABLES_MAX} are taken.",
            recipe.variables.len()
        ));
    }
    match recipe.variables.iter().find(|(name, value)| !is_variable(name, value)) {
        Some((name, _)) => {
            Err(format!("{PATH} sets the variable {name:?}, which no command could be given."))
        }
        None => Ok(recipe),
    }
}

/// What the parser says in one line: it would draw the place, which may be all of the file.
fn complaint(text: &str, error: &toml::de::Error) -> String {
    const CHARS_MAX: usize = 1000;
    let at = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = 1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    format!("line {line}: {message}").chars().take(CHARS_MAX).collect()
}

fn is_variable(name: &str, value: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    letters
        && !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !value.contains('\0')
        && value.len() <= VARIABLE_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(text: &str) -> Result<Environment, String> {
        complete(&Environment::default(), Some(text.as_bytes()))
    }

    #[test]
    fn the_request_comes_first() {
        let mut request = Environment { setup: Some("mine".into()), ..Environment::default() };
        request.variables.insert("A".into(), "mine".into());
        let text = "image = 'debian:12'\nsetup = 'theirs'\nvariables = { A = 'theirs', B = 'b' }\n[checks]\ntest = 'make test'\n";
        let environment = complete(&request, Some(text.as_bytes())).unwrap();
        assert_eq!(environment.setup.as_deref(), Some("mine"));
        assert_eq!(environment.image, "debian:12");
        assert_eq!(environment.variables["A"], "mine");
        assert_eq!(environment.variables["B"], "b");
        assert_eq!(environment.checks, [Check::new("test", "make test")]);
        request.image = "mine".into();
        assert_eq!(complete(&request, Some(text.as_bytes())).unwrap().image, "mine");
        request.checks.push(Check::new("x", "y"));
        assert_eq!(complete(&request, Some(text.as_bytes())).unwrap().checks.len(), 1);
    }

    #[test]
    fn a_repository_cannot_ask_for_more() {
        for text in [
            "mounts = [{ host = '/', inside = '/h' }]",
            "image = ['x']",
            "[resources]\nmemory_mib = 1",
            "network = 'all'",
            "[[repositories]]\nurl = 'https://h.example/x'\npath = 'x'",
            "setup = 1",
            "variables = { 'A=B' = 'x' }",
            "variables = { A = \"\\u0000\" }",
            "checks = [",
            "\u{0}",
        ] {
            assert!(completed(text).is_err(), "{text}");
        }
        assert!(complete(&Environment::default(), Some(&[0xff])).is_err());
        assert!(complete(&Environment::default(), Some(&vec![b'#'; 70_000])).is_err());
        assert!(completed("").is_ok());
    }

    #[test]
    fn a_refusal_names_the_line_or_who_may_say_it() {
        let sentence = |text: &str| completed(text).unwrap_err();
        assert_eq!(
            sentence("setup = 'x'\npasckages = ['y']\n").split(", expected").next().unwrap(),
            ".legwork/environment.toml cannot be used: line 2: unknown field `pasckages`"
        );
        assert!(sentence("[setup").contains("line 1: "), "{}", sentence("[setup"));
        for (field, _) in REFUSED {
            let told = sentence(&format!("[{field}]\nx = 1"));
            assert!(told.contains(field) && told.contains("legwork env set default"), "{told}");
        }
        let long = sentence(&format!("'{}' = 1", "x".repeat(50_000)));
        assert!(long.len() < 1200 && !long.contains('\n'), "{long}");
    }
}

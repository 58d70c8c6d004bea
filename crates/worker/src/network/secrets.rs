//! From a recipe's secrets to what programs see and what the proxy puts in its place.

use std::io;
use std::path::Path;

use legwork_domain::{HandedSecret, Phase, SecretPhase, SecretUse};
use legwork_egress::{Place, Secret};
use sha2::{Digest as _, Sha256};

use crate::once;

/// Where the salt of placeholders is kept, in the worker's data directory.
const SALT: &str = "placeholders.salt";
const SALT_BYTES: usize = 32;

/// Bytes of a placeholder's random part: nobody guesses 128 bits, or has them by chance.
const RANDOM_BYTES: usize = 16;

/// The secrets of a phase, and the variables that hold their placeholders.
pub(super) struct Hidden {
    pub(super) secrets: Vec<Secret>,
    pub(super) variables: Vec<(String, String)>,
}

/// What placeholders and decoys of this worker are made of. They stay the same from task to task, for set-ups write them
/// into files that are used again; without the salt nobody can tell them, or a value from one.
pub(crate) struct Salt([u8; SALT_BYTES]);

impl Salt {
    /// The one of a data directory, made now if there is none.
    pub(crate) fn of(data: &Path) -> io::Result<Self> {
        let bytes = once::file(&data.join(SALT), || Ok(once::random::<SALT_BYTES>()?.to_vec()))?;
        bytes.try_into().map(Self).map_err(|_| io::Error::other("the salt of placeholders is not whole"))
    }

    /// A text for a purpose, the same every time.
    pub(crate) fn text(&self, prefix: &str, purpose: &str) -> String {
        let digest = Sha256::new().chain_update(self.0).chain_update(purpose).finalize();
        format!("{prefix}_{}", hex::encode(&digest[..RANDOM_BYTES]))
    }
}

/// The secrets that are there in a phase.
///
/// # Errors
/// A sentence on what cannot be used.
pub(super) fn of(
    uses: &[SecretUse],
    handed: &[HandedSecret],
    phase: Phase,
    salt: &Salt,
    owner: &str,
) -> Result<Hidden, String> {
    let mut hidden = Hidden { secrets: Vec::new(), variables: Vec::new() };
    for one in uses.iter().filter(|one| one.phase == SecretPhase::Always || phase == Phase::Setup) {
        let placeholder = salt.text("legwork", &format!("{owner}\n{}", one.name));
        hidden.variables.push((one.variable().to_owned(), placeholder.clone()));
        let Some(handed) = handed.iter().find(|handed| handed.name == one.name) else { continue };
        let hosts = one.hosts.iter().map(|host| host.parse().map_err(|_| wrong(&one.name, host)));
        hidden.secrets.push(Secret {
            name: one.name.clone(),
            value: handed.value.0.clone(),
            placeholder,
            hosts: hosts.collect::<Result<_, _>>()?,
            places: one.places.iter().filter_map(|place| place_of(place)).collect(),
        });
    }
    Ok(hidden)
}

fn wrong(name: &str, host: &str) -> String {
    format!("The secret {name} names {host:?}, which is no host.")
}

fn place_of(text: &str) -> Option<Place> {
    match text {
        "header" => Some(Place::Header(None)),
        "basic" => Some(Place::Basic),
        "query" => Some(Place::Query),
        "form" => Some(Place::Form),
        text => text.strip_prefix("header:").map(|name| Place::Header(Some(name.to_ascii_lowercase()))),
    }
}

#[cfg(test)]
mod tests {
    use legwork_domain::SecretValue;

    use super::*;

    #[test]
    fn a_placeholder_stays_and_tells_nothing() {
        let data = tempfile::tempdir().unwrap();
        let salt = Salt::of(data.path()).unwrap();
        let uses: Vec<SecretUse> = serde_json::from_str(
            r#"[{"name":"A","hosts":["a.example"]},{"name":"B","variable":"VAR","hosts":["b.example"],"phase":"setup"}]"#,
        )
        .unwrap();
        let handed = [HandedSecret { name: "A".into(), value: SecretValue("hunter2".into()) }];
        let setup = of(&uses, &handed, Phase::Setup, &salt, "env").unwrap();
        let names: Vec<_> = setup.variables.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((names.as_slice(), setup.secrets.len()), (&["A", "VAR"][..], 1));
        let agent = of(&uses, &handed, Phase::Agent, &Salt::of(data.path()).unwrap(), "env").unwrap();
        assert_eq!(agent.variables, setup.variables[..1], "the same again, and the set-up's own is gone");
        assert_ne!(of(&uses, &[], Phase::Agent, &salt, "other").unwrap().variables, agent.variables);
    }
}

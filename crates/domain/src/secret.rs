//! Secrets of a recipe: which there are, where they may go, and how a worker gets their values.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Most secrets that a recipe uses.
pub const SECRET_USES_MAX: usize = 100;

/// Most hosts and places of one.
const PLACES_MAX: usize = 32;

/// How a recipe uses a secret. Programs see a placeholder; the value goes over TLS to these hosts only, and only where it
/// may stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretUse {
    /// The secret's name.
    #[schema(max_length = 64)]
    pub name: String,
    /// The variable that holds the placeholder. Default: the secret's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
    /// Where it may go: patterns as in a network policy, on any port that the policy allows.
    #[schema(max_items = 32)]
    pub hosts: Vec<String>,
    /// Where it may stand: `header` (any), `header:NAME`, `basic` (user or password of a basic authorization), `query` (a
    /// value of the query), `form` (a value of a form of at most 64 KiB). Default: `header` and `basic`.
    #[serde(default = "usual_places")]
    #[schema(max_items = 32)]
    pub places: Vec<String>,
    /// When.
    #[serde(default)]
    pub phase: SecretPhase,
}

fn usual_places() -> Vec<String> {
    ["header", "basic"].map(str::to_owned).to_vec()
}

/// When a secret is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SecretPhase {
    /// Always.
    #[default]
    Always,
    /// While the set-up runs, and not afterwards.
    Setup,
}

impl SecretUse {
    /// The variable that holds the placeholder.
    #[must_use]
    pub fn variable(&self) -> &str {
        self.variable.as_deref().unwrap_or(&self.name)
    }

    /// Whether it is within its bounds.
    ///
    /// # Errors
    /// A sentence for whoever sent it.
    pub fn check(&self) -> Result<(), String> {
        let is_name = |text: &str| {
            !text.is_empty()
                && text.len() <= 64
                && !text.starts_with(|c: char| c.is_ascii_digit())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if !is_name(&self.name) || !is_name(self.variable()) {
            return Err(format!(
                "{:?} is no name of a secret or variable: letters, digits and _, no digit first.",
                self.name
            ));
        }
        if self.hosts.is_empty() || self.hosts.len() > PLACES_MAX || self.places.len() > PLACES_MAX {
            return Err(format!(
                "The secret {} needs 1 to {PLACES_MAX} hosts and at most as many places.",
                self.name
            ));
        }
        let known = |place: &&String| {
            ["header", "basic", "query", "form"].contains(&place.as_str())
                || place.strip_prefix("header:").is_some_and(|name| !name.is_empty() && name.len() <= 64)
        };
        match self.places.iter().find(|place| !known(place)) {
            Some(place) => Err(format!(
                "The secret {} cannot stand in {place:?}: name header, header:NAME, basic, query or form.",
                self.name
            )),
            None => Ok(()),
        }
    }
}

/// A secret's value on its way to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HandedSecret {
    /// Its name.
    pub name: String,
    /// Its value.
    #[schema(value_type = String)]
    pub value: SecretValue,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretValue(pub String);

/// Without the text.
impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_has_defaults_and_bounds() {
        let read = |text: &str| serde_json::from_str::<SecretUse>(text).unwrap();
        let short = read(r#"{"name":"NPM_TOKEN","hosts":["npm.example"]}"#);
        assert_eq!(
            (short.variable(), short.places.as_slice()),
            ("NPM_TOKEN", &["header".to_owned(), "basic".to_owned()][..])
        );
        assert!(short.check().is_ok());
        for wrong in [
            r#"{"name":"A B","hosts":["a.example"]}"#,
            r#"{"name":"A","hosts":[]}"#,
            r#"{"name":"A","hosts":["a.example"],"places":["body"]}"#,
            r#"{"name":"A","variable":"1","hosts":["a.example"]}"#,
        ] {
            assert!(read(wrong).check().is_err(), "{wrong}");
        }
        assert_eq!(format!("{:?}", SecretValue("hunter2".into())), "SecretValue(…)");
    }
}

//! Which model is used, and what the environment and the file say of its provider.

use std::collections::BTreeMap;

use legwork_model::{Catalog, Provider, Secret, Settings, builtin_providers};

use crate::config::{Config, ProviderFile, Vars};
use crate::exit::Trouble;

/// The model of each provider that is used where nobody names one: its vendor's own choice for code, by an alias that
/// keeps its meaning.
const DEFAULTS: [(&str, &str); 3] =
    [("openai", "gpt-5"), ("anthropic", "claude-sonnet-4-5"), ("openrouter", "openai/gpt-5")];

/// The provider that needs no key, on this machine.
const OLLAMA: &str = "ollama";

/// What to do without any model.
const NO_MODEL: &str = "Set OPENAI_API_KEY, ANTHROPIC_API_KEY or OPENROUTER_API_KEY, or start Ollama on this machine, \
     or name a model with --model provider/model. `legwork demo` needs none.";

/// The settings of the model room: built-in providers, overridden by the environment, overridden by the file.
///
/// # Errors
/// A [`Trouble`] for a provider of the file that is not complete.
pub fn settings(config: &Config, vars: Vars<'_>) -> anyhow::Result<Settings> {
    let mut providers = BTreeMap::new();
    for builtin in builtin_providers() {
        let set = builtin.base_url_env.and_then(vars);
        let set = set.or_else(|| {
            (builtin.name == OLLAMA).then(|| vars("OLLAMA_HOST")).flatten().map(|host| ollama_url(&host))
        });
        let provider = Provider {
            wire: builtin.wire,
            base_url: set.unwrap_or_else(|| builtin.base_url.to_owned()),
            api_key: builtin.api_key_env.and_then(vars).map(Secret::from),
            headers: BTreeMap::new(),
        };
        providers.insert(builtin.name.to_owned(), provider);
    }
    for (name, file) in &config.providers {
        let provider = merged(name, providers.remove(name), file, vars)?;
        providers.insert(name.clone(), provider);
    }
    Ok(Settings { providers, models: config.models.clone(), ..Settings::default() })
}

/// Every secret that the environment and the file give to providers, with the name of its variable or header.
#[must_use]
pub fn keys(config: &Config, vars: Vars<'_>) -> Vec<(String, String)> {
    let builtin = builtin_providers();
    let variables = builtin.iter().filter_map(|provider| provider.api_key_env);
    let named = config.providers.values();
    let variables = variables.chain(named.clone().filter_map(|file| file.api_key_env.as_deref()));
    let keys = variables.filter_map(|name| Some((name.to_owned(), vars(name)?.trim().to_owned())));
    let headers = named.flat_map(|file| file.headers.clone()).filter(|(name, _)| is_secret(name));
    keys.chain(headers).collect()
}

/// Whether a header holds a secret, by its name: other ones hold words that stand elsewhere too.
fn is_secret(header: &str) -> bool {
    let header = header.to_ascii_lowercase();
    ["auth", "key", "token", "secret", "cookie"].iter().any(|word| header.contains(word))
}

fn merged(
    name: &str,
    known: Option<Provider>,
    file: &ProviderFile,
    vars: Vars<'_>,
) -> Result<Provider, Trouble> {
    let missing = |key: &str| {
        Trouble::usage(
            format!("The provider {name:?} in the configuration has no `{key}`."),
            format!("Add `{key}` under [providers.{name}]; docs/cli.md shows a complete one."),
        )
    };
    let mut provider = match known {
        Some(provider) => provider,
        None => Provider {
            wire: file.wire.ok_or_else(|| missing("wire"))?,
            base_url: file.base_url.clone().ok_or_else(|| missing("base_url"))?,
            api_key: None,
            headers: BTreeMap::new(),
        },
    };
    provider.wire = file.wire.unwrap_or(provider.wire);
    if let Some(url) = &file.base_url {
        provider.base_url.clone_from(url);
    }
    if let Some(variable) = &file.api_key_env {
        provider.api_key = vars(variable).map(Secret::from);
    }
    provider.headers.extend(file.headers.clone());
    Ok(provider)
}

/// `OLLAMA_HOST` is a host, a host and a port, or a URL; the API with the chat format lies under `/v1`.
fn ollama_url(host: &str) -> String {
    let host = host.replace("0.0.0.0", "127.0.0.1");
    let url = if host.contains("://") { host } else { format!("http://{host}") };
    let authority = url.split_once("://").map_or("", |(_, rest)| rest.trim_end_matches('/'));
    let port = if authority.contains(':') || authority.contains('/') { "" } else { ":11434" };
    format!("{}{port}/v1", url.trim_end_matches('/'))
}

/// The model for a command: its own word, the configuration's, that of the first provider with a key or an address of the
/// user's, or the first that Ollama on this machine has.
///
/// # Errors
/// A [`Trouble`] that says how to get one.
pub async fn choose(
    asked: Option<&str>,
    config: &Config,
    settings: &Settings,
    catalog: &Catalog,
) -> anyhow::Result<String> {
    if let Some(name) = asked.or(config.model.as_deref()) {
        return named(name, settings);
    }
    for (provider, model) in DEFAULTS {
        let set = |found: &Provider| found.api_key.is_some() || !is_at_vendor(provider, found);
        if settings.providers.get(provider).is_some_and(set) {
            return Ok(format!("{provider}/{model}"));
        }
    }
    if let Ok(models) = catalog.list(OLLAMA).await
        && let Some(first) = models.first()
    {
        return Ok(format!("{OLLAMA}/{first}"));
    }
    Err(Trouble::usage("No model is configured and no Ollama answers on this machine.", NO_MODEL).into())
}

/// The model for a task on a server elsewhere, whose workers have the keys. Empty where nobody here names one: the server
/// then takes its own, or says that it has none.
///
/// # Errors
/// A [`Trouble`] if the name has another form.
pub fn elsewhere(asked: Option<&str>, config: &Config) -> anyhow::Result<String> {
    let Some(name) = asked.or(config.model.as_deref()) else { return Ok(String::new()) };
    match name.split_once('/') {
        Some((provider, model)) if !provider.is_empty() && !model.is_empty() => Ok(name.to_owned()),
        _ => Err(Trouble::usage(
            format!("{name:?} is not of the form provider/model."),
            "Name the provider too, for example anthropic/claude-sonnet-4-5.",
        )
        .into()),
    }
}

/// Whether a built-in provider is asked at its vendor's own address, and not at a gateway or server of the user's.
fn is_at_vendor(name: &str, provider: &Provider) -> bool {
    builtin_providers().iter().any(|builtin| builtin.name == name && builtin.base_url == provider.base_url)
}

/// The variable that must hold a key before the vendor answers, if it does not.
fn missing_key(name: &str, provider: &Provider) -> Option<&'static str> {
    let builtin = builtin_providers().iter().find(|builtin| builtin.name == name)?;
    let open = provider.api_key.is_some() || !provider.headers.is_empty() || !is_at_vendor(name, provider);
    builtin.api_key_env.filter(|_| !open)
}

fn named(name: &str, settings: &Settings) -> anyhow::Result<String> {
    let known: Vec<&str> = settings.providers.keys().map(String::as_str).collect();
    match name.split_once('/') {
        Some(("scripted", file)) if !file.is_empty() => Ok(name.to_owned()),
        Some((provider, model)) if !model.is_empty() && known.contains(&provider) => {
            match missing_key(provider, &settings.providers[provider]) {
                None => Ok(name.to_owned()),
                Some(variable) => Err(Trouble::usage(
                    format!("{provider} asks for a key, and {variable} is not set."),
                    format!("Set {variable}, or name another model. `legwork demo` needs none."),
                )
                .into()),
            }
        }
        Some((provider, _)) => Err(Trouble::usage(
            format!("There is no provider {provider:?}; known are {}.", known.join(", ")),
            format!("Use one of them, or describe it under [providers.{provider}] in the configuration."),
        )
        .into()),
        None => Err(Trouble::usage(
            format!("{name:?} is not of the form provider/model."),
            format!("Name the provider too: one of {}.", known.join(", ")),
        )
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ollama_host_is_read_as_ollama_reads_it() {
        let url = |host: &str| ollama_url(host);
        assert_eq!(url("box"), "http://box:11434/v1");
        assert_eq!(url("0.0.0.0:8000"), "http://127.0.0.1:8000/v1");
        assert_eq!(url("https://box.example/ollama/"), "https://box.example/ollama/v1");
    }

    fn config(file: &str, vars: Vars<'_>) -> anyhow::Result<Settings> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, file).unwrap();
        let path = path.to_str().unwrap().to_owned();
        let config = Config::from_vars(&|name| (name == "LEGWORK_CONFIG").then(|| path.clone()))?;
        settings(&config, vars)
    }

    async fn chosen(vars: Vars<'_>, asked: Option<&str>) -> anyhow::Result<String> {
        let config = Config::from_vars(vars)?;
        let settings = settings(&config, vars)?;
        let catalog = Catalog::new(settings.clone())?;
        choose(asked, &config, &settings, &catalog).await
    }

    #[tokio::test]
    async fn a_key_or_an_address_of_ones_own_chooses_the_provider() {
        let set = |wanted: &'static str, value: &'static str| {
            move |name: &str| match name {
                // A port where nobody listens, whatever runs on this machine.
                "OLLAMA_HOST" => Some("127.0.0.1:9".to_owned()),
                name => (name == wanted).then(|| value.to_owned()),
            }
        };
        assert_eq!(
            chosen(&set("ANTHROPIC_API_KEY", "k"), None).await.unwrap(),
            "anthropic/claude-sonnet-4-5"
        );
        let url = "http://127.0.0.1:1/v1";
        assert_eq!(chosen(&set("OPENAI_BASE_URL", url), None).await.unwrap(), "openai/gpt-5");
        let anthropic = chosen(&set("ANTHROPIC_BASE_URL", url), None).await.unwrap();
        assert_eq!(anthropic, "anthropic/claude-sonnet-4-5");
        assert!(chosen(&set("NOTHING", ""), None).await.is_err());
    }

    #[tokio::test]
    async fn a_vendor_without_its_key_is_refused_before_anything_starts() {
        let error = chosen(&|_| None, Some("openai/gpt-5")).await.unwrap_err();
        assert_eq!(crate::exit::code_of(&error), crate::exit::Exit::Usage);
        assert!(error.to_string().contains("OPENAI_API_KEY"), "{error}");
        let gateway = |name: &str| (name == "OPENAI_BASE_URL").then(|| "http://127.0.0.1:1/v1".to_owned());
        assert_eq!(chosen(&gateway, Some("openai/x")).await.unwrap(), "openai/x");
        assert_eq!(chosen(&|_| None, Some("ollama/x")).await.unwrap(), "ollama/x");
    }

    #[test]
    fn the_file_overrides_the_environment_key_by_key() {
        let vars = |name: &str| match name {
            "OPENAI_BASE_URL" => Some("http://env/v1".to_owned()),
            "OPENAI_API_KEY" => Some("sk-env".to_owned()),
            _ => None,
        };
        let settings = config("[providers.openai]\nbase_url = \"http://file/v1\"\n", &vars).unwrap();
        assert_eq!(settings.providers["openai"].base_url, "http://file/v1");
        assert!(settings.providers["openai"].api_key.is_some());
        assert!(config("[providers.mine]\nwire = \"chat\"\n", &vars).is_err());
    }
}

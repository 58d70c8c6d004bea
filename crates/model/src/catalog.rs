use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::fault::Fault;
use crate::http::{Clients, is_loopback, plain};
use crate::known::{self, Priced};
use crate::scripted::{Endpoint, Script};
use crate::secret::shown;
use crate::settings::{ModelFacts, Provider, Reasoning, Settings, Timing, Wire};
use crate::stream::Line;
use crate::wire::Shape;
use crate::{EditTool, Error, Info, Model, Request, Secret, Stream};

/// The provider whose models are script files.
const SCRIPTED: &str = "scripted";

/// The provider that cuts contexts in silence.
const OLLAMA: &str = "ollama";

/// What Ollama is taken to read, whatever the model could: it cuts off what is longer than its own setting, says nothing,
/// and cannot be told over this format. Its documentation asks for at least this much for coding agents
/// (`OLLAMA_CONTEXT_LENGTH`); configuration of the model's `context_window` overrides it.
const OLLAMA_WINDOW: u64 = 32_768;

/// The version of the Messages format that we speak.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// Longest list of models that is read.
const LIST_BYTES_MAX: usize = 4 * 1024 * 1024;

/// All models that can be asked. Holds the connections, so make one per process and keep it.
#[derive(Debug)]
pub struct Catalog {
    settings: Settings,
    clients: Clients,
}

impl Catalog {
    /// Checks the settings. Nothing is connected and no certificate read before a model is opened.
    ///
    /// # Errors
    /// [`Error::Config`] for a base URL or header that is none.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        for (name, provider) in &settings.providers {
            endpoint(name, provider, "")?;
            headers(name, provider)?;
        }
        let clients = Clients::new(Duration::from_millis(settings.timing.connect_ms));
        Ok(Self { settings, clients })
    }

    /// Opens `provider/model`. Makes no request. `scripted/FILE` starts an endpoint on this machine that lives as long as
    /// the model.
    ///
    /// # Errors
    /// [`Error::Config`] for an unknown provider or a script that does not parse.
    pub async fn open(&self, name: &str) -> Result<Arc<dyn Model>, Error> {
        Ok(Arc::new(self.connect(name).await?))
    }

    /// Whether the provider can be reached, takes the key and, for a server on this machine, has the model.
    ///
    /// # Errors
    /// As [`Model::stream`] would fail, as far as a list of models shows it. There are no retries.
    pub async fn ping(&self, name: &str) -> Result<(), Error> {
        let opened = self.connect(name).await?;
        let line = &opened.line;
        match self.fetch_list(&opened).await? {
            // A hosted provider may offer models that it does not list, or a gateway may have no list.
            Some(body) if is_loopback(&line.url) => listed(line, &body),
            Some(_) | None => Ok(()),
        }
    }

    /// The models that a provider lists, in its order; of a server on this machine: those that are installed.
    ///
    /// # Errors
    /// As [`Catalog::ping`].
    pub async fn list(&self, provider: &str) -> Result<Vec<String>, Error> {
        let opened = self.connect(&format!("{provider}/*")).await?;
        let body = self.fetch_list(&opened).await?.unwrap_or_default();
        Ok(ids(&body).unwrap_or_default())
    }

    /// The provider's list of models; `None` if it has none or one that is too long.
    async fn fetch_list(&self, opened: &Opened) -> Result<Option<Vec<u8>>, Error> {
        let line = &opened.line;
        let url = opened.list.clone();
        let time = Duration::from_millis(self.settings.timing.connect_ms);
        let unavailable = |message: String| Error::Unavailable {
            provider: line.provider.clone(),
            tries: 1,
            message: shown(&message, &line.secrets),
        };
        let sent = line.client.get(url).headers(line.headers.clone()).timeout(time).send().await;
        let mut response = sent.map_err(|error| unavailable(plain(&error)))?;
        let status = response.status();
        let headers = response.headers().clone();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unavailable(plain(&error)))? {
            body.extend_from_slice(&chunk);
            if body.len() > LIST_BYTES_MAX {
                return Ok(None);
            }
        }
        if status.as_u16() == 404 {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(line.error(Fault::of_response(status.as_u16(), &headers, &body), 1));
        }
        Ok(Some(body))
    }

    async fn connect(&self, name: &str) -> Result<Opened, Error> {
        let (provider, model) = name
            .split_once('/')
            .filter(|(provider, model)| !provider.is_empty() && !model.is_empty())
            .ok_or_else(|| Error::Config(format!("the model {name:?} is not of the form provider/model")))?;
        if provider == SCRIPTED {
            return self.scripted(name, model).await;
        }
        let configured = self.settings.providers.get(provider).ok_or_else(|| {
            let names: Vec<&str> = self.settings.providers.keys().map(String::as_str).collect();
            Error::Config(format!(
                "there is no provider {provider:?}; configured are: {}, {SCRIPTED}",
                names.join(", ")
            ))
        })?;
        let priced = if ["openai", "anthropic"].contains(&provider) { Priced::Yes } else { Priced::No };
        let mut known = known::facts(model, priced).unwrap_or_default();
        if provider == OLLAMA {
            known.context_window = Some(OLLAMA_WINDOW);
        }
        let said = self.settings.models.get(name).cloned().unwrap_or_default();
        self.line(name, configured, said.or(&known), None).await
    }

    async fn scripted(&self, name: &str, file: &str) -> Result<Opened, Error> {
        let script = Script::load(&self.settings.scripts.allowed(file)?).await?;
        let wire = script.wire;
        let facts = script.facts();
        let endpoint = Endpoint::start_unrecorded(script).await?;
        let provider = Provider {
            wire,
            base_url: endpoint.base_url().to_owned(),
            api_key: None,
            headers: std::collections::BTreeMap::new(),
        };
        let said = self.settings.models.get(name).cloned().unwrap_or_default();
        self.line(name, &provider, said.or(&facts), Some(endpoint)).await
    }

    async fn line(
        &self,
        name: &str,
        provider: &Provider,
        facts: ModelFacts,
        endpoint: Option<Endpoint>,
    ) -> Result<Opened, Error> {
        let (provider_name, model) = name.split_once('/').unwrap_or((name, name));
        let url = self::endpoint(provider_name, provider, path(provider))?;
        let list = self::endpoint(provider_name, provider, list_path(provider))?;
        let info = info(name, provider, &facts);
        let shape = Shape {
            wire: provider.wire,
            model: if endpoint.is_some() { SCRIPTED.to_owned() } else { model.to_owned() },
            output_max: info.output_max,
            output_known: facts.output_max.is_some(),
            reasoning: facts.reasoning.unwrap_or(default_reasoning(provider.wire)),
            images: info.images,
        };
        let line = Line {
            info,
            shape,
            provider: provider_name.to_owned(),
            client: self.clients.for_url(&url).await?,
            url,
            headers: headers(provider_name, provider)?,
            secrets: secrets(provider),
            timing: match &endpoint {
                // It loads no model: silence is silence from the first byte on.
                Some(_) => Timing { load_ms: self.settings.timing.idle_ms, ..self.settings.timing },
                None => self.settings.timing,
            },
            retries: self.settings.retries,
            _endpoint: endpoint,
        };
        Ok(Opened { line: Arc::new(line), list })
    }
}

/// A model that was opened.
struct Opened {
    line: Arc<Line>,
    list: Url,
}

#[async_trait]
impl Model for Opened {
    fn info(&self) -> &Info {
        &self.line.info
    }

    async fn stream(&self, request: Request) -> Result<Stream, Error> {
        Ok(Arc::clone(&self.line).call(request))
    }
}

const fn path(provider: &Provider) -> &'static str {
    match provider.wire {
        Wire::Responses => "responses",
        Wire::Chat => "chat/completions",
        Wire::Messages => "v1/messages",
    }
}

const fn list_path(provider: &Provider) -> &'static str {
    match provider.wire {
        Wire::Responses | Wire::Chat => "models",
        Wire::Messages => "v1/models",
    }
}

/// The base URL with `path`; what both end and begin with (`v1`) is there once.
fn endpoint(name: &str, provider: &Provider, path: &str) -> Result<Url, Error> {
    // The URL is not repeated: it may hold credentials.
    let malformed =
        || Error::Config(format!("the base URL of the provider {name:?} is not an http or https URL"));
    let mut url = Url::parse(provider.base_url.trim()).map_err(|_| malformed())?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err(malformed());
    }
    let base = url.path().trim_end_matches('/').to_owned();
    let path = if base.ends_with("/v1") { path.trim_start_matches("v1/") } else { path };
    url.set_path(&format!("{base}/{path}"));
    Ok(url)
}

fn headers(name: &str, provider: &Provider) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    if let Some(key) = &provider.api_key {
        let (header, value) = match provider.wire {
            Wire::Responses | Wire::Chat => (AUTHORIZATION, format!("Bearer {}", key.reveal())),
            Wire::Messages => (HeaderName::from_static("x-api-key"), key.reveal().to_owned()),
        };
        let mut value = HeaderValue::from_str(&value).map_err(|_| {
            Error::Config(format!("the key of the provider {name:?} has characters that no header can hold"))
        })?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    if provider.wire == Wire::Messages {
        headers.insert("anthropic-version", HeaderValue::from_static(ANTHROPIC_VERSION));
    }
    for (header, value) in &provider.headers {
        let malformed =
            || Error::Config(format!("the header {header:?} of the provider {name:?} is malformed"));
        let name = HeaderName::from_bytes(header.as_bytes()).map_err(|_| malformed())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| malformed())?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// What no message may repeat: the key, configured headers, a password in the URL.
fn secrets(provider: &Provider) -> Vec<Secret> {
    let password = Url::parse(&provider.base_url).ok().and_then(|url| url.password().map(Secret::new));
    let headers = provider.headers.values().map(|value| Secret::new(value));
    provider.api_key.iter().cloned().chain(headers).chain(password).collect()
}

fn info(name: &str, provider: &Provider, facts: &ModelFacts) -> Info {
    let unknown = Info::unknown(name);
    let edit_tool = facts.edit_tool.unwrap_or(unknown.edit_tool);
    let context_window = facts.context_window.unwrap_or(unknown.context_window);
    Info {
        name: name.to_owned(),
        context_window,
        output_max: facts.output_max.unwrap_or(unknown.output_max).min(context_window),
        // Only one wire can carry a grammar; elsewhere the same tool is a function with one string.
        edit_tool: match (edit_tool, provider.wire) {
            (EditTool::Freeform, Wire::Chat | Wire::Messages) => EditTool::ApplyPatch,
            (edit_tool, _) => edit_tool,
        },
        images: facts.images.unwrap_or(unknown.images),
        price: facts.price.or(unknown.price),
    }
}

/// For models that nobody knows: imitators of Responses ignore what they do not know, Messages servers refuse it.
const fn default_reasoning(wire: Wire) -> Reasoning {
    match wire {
        Wire::Responses => Reasoning::Adaptive,
        Wire::Chat | Wire::Messages => Reasoning::Off,
    }
}

impl ModelFacts {
    /// These facts, and where they say nothing, `other`'s.
    fn or(self, other: &Self) -> Self {
        Self {
            context_window: self.context_window.or(other.context_window),
            output_max: self.output_max.or(other.output_max),
            edit_tool: self.edit_tool.or(other.edit_tool),
            images: self.images.or(other.images),
            price: self.price.or(other.price),
            reasoning: self.reasoning.or(other.reasoning),
        }
    }
}

/// Whether a server on this machine lists the model; `:latest` may be left out, as Ollama allows.
fn listed(line: &Line, body: &[u8]) -> Result<(), Error> {
    let Some(models) = ids(body) else { return Ok(()) };
    let wanted = line.shape.model.as_str();
    let is_it = |id: &str| id == wanted || id.strip_suffix(":latest") == Some(wanted);
    if models.iter().any(|id| is_it(id)) {
        return Ok(());
    }
    Err(Error::Rejected {
        provider: line.provider.clone(),
        status: "no such model".to_owned(),
        message: format!("{wanted:?} is not among the {} models that it lists", models.len()),
    })
}

/// The names in a list of models, which has the same form on all three wires.
fn ids(body: &[u8]) -> Option<Vec<String>> {
    let list: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let models = list["data"].as_array()?;
    Some(models.iter().filter_map(|model| model["id"].as_str()).map(str::to_owned).collect())
}

//! A catalog with one provider, served by a script.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use legwork_model::scripted::{Endpoint, Script};
use legwork_model::{
    Catalog, Delta, EditTool, Entry, Error, Finished, Model, ModelFacts, Part, Provider, Request, Retries,
    Scripts, Secret, Settings, Timing, Tool, ToolInput, Wire,
};
use serde_json::json;

/// Every test runs over all of them.
pub(crate) const WIRES: [Wire; 3] = [Wire::Responses, Wire::Chat, Wire::Messages];

/// The key that must never be seen.
pub(crate) const KEY: &str = "sk-very-secret-0123";

/// A served script and a model that talks to it.
pub(crate) struct World {
    pub(crate) endpoint: Endpoint,
    pub(crate) model: Arc<dyn Model>,
    pub(crate) catalog: Catalog,
}

impl World {
    pub(crate) async fn new(wire: Wire, script: &str) -> Self {
        Self::with(wire, script, |_| {}).await
    }

    /// `change` adjusts the settings.
    pub(crate) async fn with(wire: Wire, script: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let endpoint = Endpoint::start(Script::parse(script).unwrap()).await.unwrap();
        let mut settings = settings(wire, endpoint.base_url());
        change(&mut settings);
        let catalog = Catalog::new(settings).unwrap();
        let model = catalog.open("test/model").await.unwrap();
        Self { endpoint, model, catalog }
    }

    pub(crate) async fn ask(&self, request: &Request) -> Answer {
        read(&*self.model, request).await
    }
}

pub(crate) fn settings(wire: Wire, base_url: &str) -> Settings {
    let provider = Provider {
        wire,
        base_url: base_url.to_owned(),
        api_key: Some(Secret::new(KEY)),
        headers: BTreeMap::new(),
    };
    let edit_tool = if wire == Wire::Responses { EditTool::Freeform } else { EditTool::ApplyPatch };
    let facts = ModelFacts { images: Some(true), edit_tool: Some(edit_tool), ..ModelFacts::default() };
    Settings {
        scripts: Scripts::Any,
        providers: BTreeMap::from([("test".to_owned(), provider)]),
        models: BTreeMap::from([("test/model".to_owned(), facts)]),
        timing: Timing { connect_ms: 2000, load_ms: 10_000, idle_ms: 10_000, progress_ms: 20_000 },
        retries: Retries { base_ms: 1, busy_ms: 1, ..Retries::default() },
    }
}

/// What came of a request.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// All texts since the last retry.
    pub(crate) text: String,
    pub(crate) reasoning: String,
    pub(crate) entries: Vec<Entry>,
    /// What had come of the answers that are void: reasoning and text.
    pub(crate) void: Vec<(String, String)>,
    /// Why it was asked again, and after how many ms.
    pub(crate) retries: Vec<(String, u64)>,
    pub(crate) end: Option<Result<Finished, Error>>,
}

impl Answer {
    pub(crate) fn finished(&self) -> Finished {
        match &self.end {
            Some(Ok(finished)) => finished.clone(),
            end => panic!("not finished: {end:?}"),
        }
    }

    pub(crate) fn error(&self) -> &Error {
        match &self.end {
            Some(Err(error)) => error,
            end => panic!("no error: {end:?}"),
        }
    }
}

/// Reads an answer as the contract says, in bounded time.
pub(crate) async fn read(model: &dyn Model, request: &Request) -> Answer {
    let reading = async {
        let mut answer = Answer::default();
        let mut stream = model.stream(request.clone()).await.unwrap();
        while let Some(delta) = stream.next().await {
            assert!(answer.end.is_none(), "something came after the end");
            match delta {
                Ok(Delta::Text(text)) => answer.text.push_str(&text),
                Ok(Delta::Reasoning(text)) => answer.reasoning.push_str(&text),
                Ok(Delta::Entry(entry)) => answer.entries.push(entry),
                Ok(Delta::Retrying { why, after_ms }) => {
                    answer.entries.clear();
                    let reasoning = std::mem::take(&mut answer.reasoning);
                    answer.void.push((reasoning, std::mem::take(&mut answer.text)));
                    answer.retries.push((why, after_ms));
                }
                Ok(Delta::Done(finished)) => answer.end = Some(Ok(finished)),
                Err(error) => answer.end = Some(Err(error)),
            }
        }
        answer
    };
    tokio::time::timeout(Duration::from_secs(30), reading).await.expect("an answer in bounded time")
}

/// A first request, with a function and a tool with a grammar.
pub(crate) fn request(prompt: &str) -> Request {
    let run = Tool {
        name: "exec_command".to_owned(),
        description: "Runs a command.".to_owned(),
        input: ToolInput::Json(json!({
            "type": "object",
            "properties": { "cmd": { "type": "string" } },
            "required": ["cmd"],
        })),
    };
    let patch = Tool {
        name: "apply_patch".to_owned(),
        description: "Edits files.".to_owned(),
        input: ToolInput::Grammar("start: /.+/".to_owned()),
    };
    Request {
        instructions: "You write code.".to_owned(),
        entries: vec![Entry::User { parts: vec![Part::Text(prompt.to_owned())] }],
        tools: vec![run, patch],
        cache_key: "att_1".to_owned(),
        output_max: None,
    }
}

/// An output for every call among `entries`, after them.
pub(crate) fn answered(request: &mut Request, entries: &[Entry], output: &[Part]) {
    request.entries.extend_from_slice(entries);
    for entry in entries {
        if let Entry::Call { id, .. } = entry {
            request.entries.push(Entry::Output { id: id.clone(), parts: output.to_vec() });
        }
    }
}

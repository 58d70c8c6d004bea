//! What the model may call.
//!
//! A [`Tool`] has a specification and a call. Names and schemas are those that models are trained on. A call never
//! fails: what goes wrong is told to the model, which can do something about it; only the end of the sandbox ends the
//! turn. Which tools are offered follows the model's habits and the task's kind: a question gets no writers.

mod ask;
mod edit;
mod exec;
mod files;
mod image;
mod output;
mod patch;
mod plan;
mod processes;

use std::sync::Arc;

use async_trait::async_trait;
use legwork_domain::{Item, ItemBody, ItemStatus, Kind};
use legwork_model::{CallInput, EditTool, Info, Part, ToolInput};
use legwork_sandbox::Sandbox;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::Timeline;
use crate::breaker::Trace;
use crate::history::text_tokens;
pub(crate) use processes::{DELTA_DELAY, Processes};

/// A tool's input or output in an item: enough to see what it was, never a whole file.
const ITEM_TEXT_BYTES_MAX: usize = 16 * 1024;

/// Something that the model can call.
///
/// `call` may run at the same time as other [`Order::Shared`] calls. It ends soon after `call.cancel`, and then leaves
/// files whole. Being dropped half-way is allowed and ends what it started.
#[async_trait]
pub(crate) trait Tool: Send + Sync {
    /// What the model is told.
    fn spec(&self) -> legwork_model::Tool;

    /// Whether other calls may run at the same time.
    fn order(&self) -> Order {
        Order::Shared
    }

    /// Does it.
    async fn call(&self, call: Call) -> Outcome;
}

/// Whether calls may run at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Beside other shared ones.
    Shared,
    /// After all calls before it and before all after it.
    Alone,
}

/// A call under way.
pub(crate) struct Call {
    /// The tool's name.
    pub(crate) name: String,
    /// What the model sent.
    pub(crate) input: CallInput,
    /// Where it happens.
    pub(crate) scene: Arc<Scene>,
    /// Ends it.
    pub(crate) cancel: CancellationToken,
    /// Whether a person was asked and said yes.
    pub(crate) approval: Approval,
}

/// Whether a person has said yes to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Approval {
    /// Nobody was asked.
    Open,
    /// Yes.
    Given,
}

/// Where calls happen.
pub(crate) struct Scene {
    /// The machine.
    pub(crate) sandbox: Arc<dyn Sandbox>,
    /// The log.
    pub(crate) timeline: Timeline,
    /// Live commands.
    pub(crate) processes: Processes,
    /// Patterns of commands that need a person's yes.
    pub(crate) approve: Vec<String>,
}

/// What a call gave.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// For the model.
    pub(crate) parts: Vec<Part>,
    /// For the loop breaker.
    pub(crate) trace: Trace,
    /// The sandbox has ended.
    pub(crate) lost: Option<Box<legwork_sandbox::Error>>,
    /// A person must be asked before there is a result.
    pub(crate) asking: Option<Box<Asking>>,
}

/// What a call asks of a person.
#[derive(Debug)]
pub(crate) enum Asking {
    /// This is to be asked.
    Wish(ItemBody),
    /// This stands in the log.
    Told(Item),
}

impl Asking {
    /// Asks, if it is not asked yet.
    pub(crate) async fn tell(&mut self, timeline: &Timeline) -> Item {
        let item = match self {
            Self::Wish(body) => timeline.start(body.clone()).await,
            Self::Told(item) => item.clone(),
        };
        *self = Self::Told(item.clone());
        item
    }
}

impl Outcome {
    /// It worked; `text` is for the model.
    pub(crate) fn done(text: impl Into<String>) -> Self {
        let text = text.into();
        let trace = Trace { result: text.clone(), ..Trace::default() };
        Self { parts: vec![Part::Text(text)], trace, ..Self::default() }
    }

    /// A person must be asked.
    pub(crate) fn asks(body: ItemBody) -> Self {
        Self { asking: Some(Box::new(Asking::Wish(body))), ..Self::done("Waits for the user.") }
    }

    /// It did not work; `text` says why.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        let mut outcome = Self::done(text);
        outcome.trace.failed = true;
        outcome
    }

    /// The sandbox refused.
    pub(crate) fn refused(error: legwork_sandbox::Error) -> Self {
        use legwork_sandbox::Error as E;
        let mut outcome = Self::failed(error.to_string());
        match error {
            E::Gone | E::Protocol(_) | E::Unavailable { .. } | E::Setup { .. } => {
                outcome.lost = Some(Box::new(error));
            }
            E::Invalid(_) | E::Path { .. } | E::Start { .. } => {}
        }
        outcome
    }

    /// Ended before it was done.
    pub(crate) fn cancelled() -> Self {
        Self::failed("Cancelled before it was done.")
    }

    /// The text of it.
    pub(crate) fn text(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Image(_) => None,
        });
        texts.collect::<Vec<_>>().join("\n")
    }
}

impl Call {
    /// The input as the tool's arguments; the error is for the model.
    pub(crate) fn arguments<T: DeserializeOwned>(&self) -> Result<T, Outcome> {
        let (CallInput::Json(text) | CallInput::Text(text)) = &self.input;
        let text = if text.trim().is_empty() { "{}" } else { text };
        serde_json::from_str(text).map_err(|error| {
            Outcome::failed(format!(
                "The arguments of {} are not valid: {error}. Send one JSON object that matches its schema.",
                self.name
            ))
        })
    }

    /// Records an item for a call that has no kind of its own.
    pub(crate) async fn record(&self, outcome: &Outcome) {
        let (CallInput::Json(input) | CallInput::Text(input)) = &self.input;
        let body = ItemBody::ToolCall {
            name: output::cut_end(&self.name, 128),
            input: output::cut_end(input, ITEM_TEXT_BYTES_MAX),
            output: output::cut_end(&outcome.text(), ITEM_TEXT_BYTES_MAX),
        };
        let timeline = &self.scene.timeline;
        let item = timeline.start(body).await;
        timeline.complete(item, status(outcome, &self.cancel)).await;
    }
}

/// The status of an item for a call with this outcome.
fn status(outcome: &Outcome, cancel: &CancellationToken) -> ItemStatus {
    match (outcome.trace.failed, cancel.is_cancelled()) {
        (false, _) => ItemStatus::Completed,
        (true, true) => ItemStatus::Cancelled,
        (true, false) => ItemStatus::Failed,
    }
}

/// The tools of a turn.
pub(crate) struct Toolbox {
    tools: Vec<(String, Arc<dyn Tool>)>,
    specs: Vec<legwork_model::Tool>,
}

impl Toolbox {
    /// What this model gets for this kind of task.
    pub(crate) fn new(info: &Info, kind: Kind) -> Self {
        let mut tools: Vec<Arc<dyn Tool>> = vec![
            Arc::new(exec::ExecCommand),
            Arc::new(exec::WriteStdin),
            Arc::new(plan::UpdatePlan),
            Arc::new(ask::AskUser),
        ];
        match (info.edit_tool, kind) {
            (EditTool::Freeform, Kind::Code | Kind::Prepare) => {
                tools.push(Arc::new(patch::ApplyPatch::Freeform));
            }
            (EditTool::ApplyPatch, Kind::Code | Kind::Prepare) => {
                tools.push(Arc::new(patch::ApplyPatch::Function));
            }
            (EditTool::EditFile, Kind::Code | Kind::Prepare) => {
                tools.push(Arc::new(edit::ReadFile));
                tools.push(Arc::new(edit::EditFile));
                tools.push(Arc::new(edit::WriteFile));
            }
            (EditTool::EditFile, Kind::Ask) => tools.push(Arc::new(edit::ReadFile)),
            (EditTool::Freeform | EditTool::ApplyPatch, Kind::Ask) => {}
        }
        if info.images {
            tools.push(Arc::new(image::ViewImage));
        }
        let specs: Vec<legwork_model::Tool> = tools.iter().map(|tool| tool.spec()).collect();
        let tools = specs.iter().map(|spec| spec.name.clone()).zip(tools).collect();
        Self { tools, specs }
    }

    /// What the model is told.
    pub(crate) fn specs(&self) -> &[legwork_model::Tool] {
        &self.specs
    }

    /// About how many tokens it takes to tell the model of them.
    pub(crate) fn tokens(&self) -> u64 {
        let tokens = |spec: &legwork_model::Tool| {
            let input = match &spec.input {
                ToolInput::Json(schema) => text_tokens(&schema.to_string()),
                ToolInput::Grammar(grammar) => text_tokens(grammar),
            };
            text_tokens(&spec.name) + text_tokens(&spec.description) + input
        };
        self.specs.iter().map(tokens).sum()
    }

    /// The tool of that name, or one that says what there is.
    pub(crate) fn find(&self, name: &str) -> Arc<dyn Tool> {
        let found = self.tools.iter().find(|(known, _)| known == name).map(|(_, tool)| Arc::clone(tool));
        found.unwrap_or_else(|| {
            let names = self.tools.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            Arc::new(Unknown { names })
        })
    }
}

/// Stands in for a tool that does not exist.
struct Unknown {
    names: String,
}

#[async_trait]
impl Tool for Unknown {
    fn spec(&self) -> legwork_model::Tool {
        spec("unknown", "", Value::Null)
    }

    async fn call(&self, call: Call) -> Outcome {
        let outcome = Outcome::failed(format!(
            "There is no tool {:?} here. The tools are: {}. Shell commands go to exec_command as {{\"cmd\": \"…\"}}.",
            output::cut_end(&call.name, 64),
            self.names
        ));
        call.record(&outcome).await;
        outcome
    }
}

/// A tool that takes a JSON object.
fn spec(name: &str, description: &str, schema: Value) -> legwork_model::Tool {
    legwork_model::Tool {
        name: name.to_owned(),
        description: description.to_owned(),
        input: ToolInput::Json(schema),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(edit_tool: EditTool, kind: Kind) -> String {
        let info = Info { edit_tool, images: kind == Kind::Code, ..Info::unknown("p/m") };
        let toolbox = Toolbox::new(&info, kind);
        toolbox.specs().iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn tools_follow_the_model_and_questions_get_no_writers() {
        let mut offered = Vec::new();
        for edit_tool in [EditTool::Freeform, EditTool::ApplyPatch, EditTool::EditFile] {
            for kind in [Kind::Code, Kind::Ask] {
                offered.push(format!("{edit_tool:?} {kind:?}: {}", names(edit_tool, kind)));
            }
        }
        insta::assert_snapshot!(offered.join("\n"), @r"
        Freeform Code: exec_command write_stdin update_plan ask_user apply_patch view_image
        Freeform Ask: exec_command write_stdin update_plan ask_user
        ApplyPatch Code: exec_command write_stdin update_plan ask_user apply_patch view_image
        ApplyPatch Ask: exec_command write_stdin update_plan ask_user
        EditFile Code: exec_command write_stdin update_plan ask_user read_file edit_file write_file view_image
        EditFile Ask: exec_command write_stdin update_plan ask_user read_file
        ");
    }
}

//! Requests as the vendors' servers read them: what the conversation holds, and what is wrong with it.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::seal::seal;
use crate::settings::Wire;

/// What begins the marker at the end of an aside's text.
pub(super) const MARKER: &str = "[scripted: ";

/// A request that was understood.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    said: Vec<Said>,
    tools: HashMap<String, Takes>,
}

/// A piece of the conversation.
#[derive(Debug, PartialEq)]
enum Said {
    /// The system prompt.
    System(String),
    User(String),
    Assistant(String),
    Reasoning,
    Call {
        id: String,
        custom: Custom,
    },
    Output {
        id: String,
        custom: Custom,
        text: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Custom {
    Yes,
    No,
}

/// What a tool of the request takes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Takes {
    /// Text.
    Freeform,
    /// An object; the name of its one required parameter if it has one.
    Object(Option<String>),
}

/// Why a request is refused, in a sentence like the vendors'.
type Refusal = String;

impl Conversation {
    /// Reads and checks a request.
    pub(super) fn read(wire: Wire, body: &Value) -> Result<Self, Refusal> {
        text_field(body, "model")?;
        if body["stream"] != true {
            return Err("Only streamed answers are scripted: set `stream` to true.".to_owned());
        }
        let (said, tools) = match wire {
            Wire::Responses => (responses(body)?, tools(body, responses_tool)?),
            Wire::Chat => (chat(body)?, tools(body, chat_tool)?),
            Wire::Messages => (messages(body)?, tools(body, messages_tool)?),
        };
        let conversation = Self { said, tools };
        conversation.check_pairs(wire)?;
        Ok(conversation)
    }

    /// How many answers it holds; a marker in a summary says how many there were before.
    pub(super) fn position(&self) -> usize {
        let mut position = 0;
        let mut answering = false;
        for said in &self.said {
            if let Some(marked) = said.marker() {
                position = marked;
                answering = false;
            } else if said.is_models() {
                position += usize::from(!answering);
                answering = true;
            } else {
                answering = false;
            }
        }
        position
    }

    /// Whether the input since the last answer holds `text`.
    pub(super) fn newest_holds(&self, text: &str) -> bool {
        self.newest().any(|input| input.contains(text))
    }

    /// Whether anything that the model sees holds `text`.
    pub(super) fn holds(&self, text: &str) -> bool {
        self.said.iter().filter_map(Said::text).any(|said| said.contains(text))
    }

    /// The beginning of the newest input, for messages.
    pub(super) fn newest_start(&self) -> String {
        self.newest().last().unwrap_or_default().chars().take(200).collect()
    }

    /// What the tool takes, if the request has it.
    pub(super) fn takes(&self, tool: &str) -> Option<&Takes> {
        self.tools.get(tool)
    }

    fn newest(&self) -> impl Iterator<Item = &str> {
        let from = self.said.iter().rposition(Said::is_models).map_or(0, |at| at + 1);
        self.said[from..].iter().filter_map(Said::text)
    }

    /// Each output has a call before it, each call one output. Chat and Messages want it before anything else.
    fn check_pairs(&self, wire: Wire) -> Result<(), Refusal> {
        let mut open: Vec<(&str, Custom)> = Vec::new();
        let mut seen = HashSet::new();
        for said in &self.said {
            match said {
                Said::Call { id, custom } => {
                    if id.is_empty() || !seen.insert(id) {
                        return Err(format!("The call id {id:?} is empty or was used before."));
                    }
                    open.push((id, *custom));
                }
                Said::Output { id, custom, .. } => {
                    let at = open.iter().position(|(open, kind)| open == id && kind == custom);
                    let at = at.ok_or_else(|| {
                        format!("No tool call found for function call output with call_id {id}.")
                    })?;
                    open.remove(at);
                }
                Said::User(_) if wire != Wire::Responses && !open.is_empty() => break,
                Said::System(_) | Said::User(_) | Said::Assistant(_) | Said::Reasoning => {}
            }
        }
        match open.first() {
            None => Ok(()),
            Some((id, _)) => Err(format!("No tool output found for function call {id}.")),
        }
    }
}

impl Said {
    const fn is_models(&self) -> bool {
        matches!(self, Self::Assistant(_) | Self::Reasoning | Self::Call { .. })
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::System(text) | Self::User(text) | Self::Assistant(text) | Self::Output { text, .. } => {
                Some(text)
            }
            Self::Reasoning | Self::Call { .. } => None,
        }
    }

    fn marker(&self) -> Option<usize> {
        let (Self::User(text) | Self::Assistant(text)) = self else { return None };
        let (_, rest) = text.rsplit_once(MARKER)?;
        rest.split_once(']')?.0.parse().ok()
    }
}

fn text_field<'a>(value: &'a Value, field: &str) -> Result<&'a str, Refusal> {
    value[field].as_str().ok_or_else(|| format!("Missing required parameter: '{field}' must be a string."))
}

fn list<'a>(value: &'a Value, field: &str) -> Result<&'a [Value], Refusal> {
    let list = value[field]
        .as_array()
        .ok_or_else(|| format!("Missing required parameter: '{field}' must be a list."))?;
    Ok(list)
}

/// A string, or the text of a list of blocks whose types are among `allowed`.
fn blocks_text(content: &Value, allowed: &[&str]) -> Result<String, Refusal> {
    if let Some(text) = content.as_str() {
        return Ok(text.to_owned());
    }
    let blocks = content.as_array().ok_or("Invalid content: a string or a list of blocks is wanted.")?;
    let mut whole = String::new();
    for block in blocks {
        let kind = text_field(block, "type")?;
        if !allowed.contains(&kind) {
            return Err(format!("Invalid value: '{kind}'. Supported values are: {}.", allowed.join(", ")));
        }
        if kind.contains("text") {
            whole.push_str(text_field(block, "text")?);
            whole.push('\n');
        } else {
            image(block)?;
        }
    }
    Ok(whole)
}

/// An image must be there in one of the three forms.
fn image(block: &Value) -> Result<(), Refusal> {
    let url = block["image_url"].as_str().or_else(|| block["image_url"]["url"].as_str());
    let whole = url.is_some_and(|url| url.starts_with("data:image/") || url.starts_with("https://"))
        || (block["source"]["type"] == "base64" && block["source"]["data"].is_string());
    if whole { Ok(()) } else { Err("Invalid image: a data URL or base64 source is wanted.".to_owned()) }
}

fn responses(body: &Value) -> Result<Vec<Said>, Refusal> {
    if body["store"] != false {
        return Err("Nothing is stored here: set `store` to false.".to_owned());
    }
    let mut said = vec![Said::System(text_field(body, "instructions")?.to_owned())];
    for item in list(body, "input")? {
        said.push(responses_item(item)?);
    }
    Ok(said)
}

fn responses_item(item: &Value) -> Result<Said, Refusal> {
    let id = || text_field(item, "call_id").map(str::to_owned);
    let kind = item["type"].as_str().unwrap_or("message");
    Ok(match kind {
        "message" => match text_field(item, "role")? {
            "assistant" => Said::Assistant(blocks_text(&item["content"], &["output_text"])?),
            "user" => Said::User(blocks_text(&item["content"], &["input_text", "input_image"])?),
            "system" | "developer" => Said::System(blocks_text(&item["content"], &["input_text"])?),
            role => return Err(format!("Invalid value: '{role}' for role.")),
        },
        "reasoning" => {
            let summary = item["summary"][0]["text"].as_str().unwrap_or_default();
            if item["encrypted_content"] != seal(summary).as_str() {
                return Err("The encrypted content for the reasoning item could not be verified.".to_owned());
            }
            Said::Reasoning
        }
        "function_call" | "custom_tool_call" => {
            let custom = if kind == "function_call" { Custom::No } else { Custom::Yes };
            check_name(text_field(item, "name")?)?;
            text_field(item, if custom == Custom::No { "arguments" } else { "input" })?;
            Said::Call { id: id()?, custom }
        }
        "function_call_output" | "custom_tool_call_output" => Said::Output {
            id: id()?,
            custom: if kind == "function_call_output" { Custom::No } else { Custom::Yes },
            text: blocks_text(&item["output"], &["input_text", "input_image"])?,
        },
        other => return Err(format!("Invalid value: '{other}' for the type of an input item.")),
    })
}

fn chat(body: &Value) -> Result<Vec<Said>, Refusal> {
    let mut said = Vec::new();
    for message in list(body, "messages")? {
        let content = &message["content"];
        match text_field(message, "role")? {
            "system" | "developer" => said.push(Said::System(blocks_text(content, &["text"])?)),
            "user" => said.push(Said::User(blocks_text(content, &["text", "image_url"])?)),
            "tool" => {
                let id = text_field(message, "tool_call_id")?.to_owned();
                said.push(Said::Output { id, custom: Custom::No, text: blocks_text(content, &["text"])? });
            }
            "assistant" => chat_assistant(message, &mut said)?,
            role => return Err(format!("Invalid value: '{role}' for role.")),
        }
    }
    Ok(said)
}

fn chat_assistant(message: &Value, said: &mut Vec<Said>) -> Result<(), Refusal> {
    let calls = message["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
    if message["content"].is_null() && calls.is_empty() {
        return Err("An assistant message must have content or tool_calls.".to_owned());
    }
    // Also without text it is an answer.
    said.push(Said::Assistant(if message["content"].is_null() {
        String::new()
    } else {
        blocks_text(&message["content"], &["text"])?
    }));
    for call in calls {
        check_name(text_field(&call["function"], "name")?)?;
        let arguments = text_field(&call["function"], "arguments")?;
        serde_json::from_str::<Value>(arguments).map_err(|_| "Invalid arguments: not JSON.".to_owned())?;
        said.push(Said::Call { id: text_field(call, "id")?.to_owned(), custom: Custom::No });
    }
    Ok(())
}

fn messages(body: &Value) -> Result<Vec<Said>, Refusal> {
    if !body["max_tokens"].is_u64() {
        return Err("max_tokens: Field required".to_owned());
    }
    let marks = body.to_string().matches("\"cache_control\":").count();
    if marks > 4 {
        return Err(format!("A maximum of 4 blocks with cache_control may be provided. Found {marks}."));
    }
    let system =
        if body["system"].is_null() { String::new() } else { blocks_text(&body["system"], &["text"])? };
    let mut said = vec![Said::System(system)];
    let mut before = "assistant";
    for message in list(body, "messages")? {
        let role = text_field(message, "role")?;
        if role == before {
            return Err(format!(
                "messages: roles must alternate, but there are two {role:?} in a row or at the start"
            ));
        }
        before = if role == "user" { "user" } else { "assistant" };
        let blocks = list(message, "content")?;
        if blocks.is_empty() {
            return Err("messages: all messages must have non-empty content".to_owned());
        }
        for block in blocks {
            said.push(messages_block(role, block)?);
        }
    }
    if before != "user" {
        return Err("The conversation must end with a user message.".to_owned());
    }
    Ok(said)
}

fn messages_block(role: &str, block: &Value) -> Result<Said, Refusal> {
    let kind = text_field(block, "type")?;
    Ok(match (role, kind) {
        (_, "text") if text_field(block, "text")?.trim().is_empty() => {
            return Err("messages: text content blocks must contain non-whitespace text".to_owned());
        }
        ("user", "text") => Said::User(text_field(block, "text")?.to_owned()),
        ("user", "image") => {
            image(block)?;
            Said::User(String::new())
        }
        ("user", "tool_result") => Said::Output {
            id: text_field(block, "tool_use_id")?.to_owned(),
            custom: Custom::No,
            text: if block["content"].is_null() {
                String::new()
            } else {
                blocks_text(&block["content"], &["text", "image"])?
            },
        },
        ("assistant", "text") => Said::Assistant(text_field(block, "text")?.to_owned()),
        ("assistant", "tool_use") => {
            check_name(text_field(block, "name")?)?;
            if !block["input"].is_object() {
                return Err("tool_use.input: Input should be a valid dictionary".to_owned());
            }
            Said::Call { id: text_field(block, "id")?.to_owned(), custom: Custom::No }
        }
        ("assistant", "thinking") => {
            if block["signature"] != seal(text_field(block, "thinking")?).as_str() {
                return Err("Invalid `signature` in `thinking` block".to_owned());
            }
            Said::Reasoning
        }
        _ => return Err(format!("Input tag '{kind}' is not expected in a message of the role {role:?}.")),
    })
}

fn check_name(name: &str) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.len() <= 64 && name.chars().all(allowed) {
        return Ok(());
    }
    Err(format!("Invalid tool name {name:?}: does not match '^[a-zA-Z0-9_-]{{1,64}}$'."))
}

type ReadTool = fn(&Value) -> Result<(String, Takes), Refusal>;

fn tools(body: &Value, read: ReadTool) -> Result<HashMap<String, Takes>, Refusal> {
    let mut tools = HashMap::new();
    for tool in body["tools"].as_array().into_iter().flatten() {
        let (name, takes) = read(tool)?;
        check_name(&name)?;
        if tools.insert(name.clone(), takes).is_some() {
            return Err(format!("Tool names must be unique: {name:?} is there twice."));
        }
    }
    Ok(tools)
}

fn responses_tool(tool: &Value) -> Result<(String, Takes), Refusal> {
    let name = text_field(tool, "name")?.to_owned();
    match text_field(tool, "type")? {
        "function" => Ok((name, object(&tool["parameters"])?)),
        "custom" => {
            let format = &tool["format"];
            if format["type"] != "grammar" || format["syntax"] != "lark" || !format["definition"].is_string()
            {
                return Err(format!("Invalid format of the custom tool {name:?}."));
            }
            Ok((name, Takes::Freeform))
        }
        other => Err(format!("Invalid value: '{other}' for the type of a tool.")),
    }
}

fn chat_tool(tool: &Value) -> Result<(String, Takes), Refusal> {
    if tool["type"] != "function" {
        return Err("Invalid type of a tool: 'function' is wanted.".to_owned());
    }
    let function = &tool["function"];
    Ok((text_field(function, "name")?.to_owned(), object(&function["parameters"])?))
}

fn messages_tool(tool: &Value) -> Result<(String, Takes), Refusal> {
    Ok((text_field(tool, "name")?.to_owned(), object(&tool["input_schema"])?))
}

fn object(schema: &Value) -> Result<Takes, Refusal> {
    if schema["type"] != "object" {
        return Err("Invalid schema for a function: schema must be of 'type: \"object\"'.".to_owned());
    }
    let one = match schema["required"].as_array().map(Vec::as_slice) {
        Some([Value::String(name)]) => Some(name.clone()),
        _ => None,
    };
    Ok(Takes::Object(one))
}

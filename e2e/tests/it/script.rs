use std::fmt::Write as _;

use serde_json::{Value, json};

/// What the scripted model says, answer by answer. Each method adds one answer; faults belong to the answer that follows.
#[derive(Clone)]
pub(crate) struct Script {
    wire: Wire,
    head: String,
    turns: String,
    faults: Vec<&'static str>,
}

/// The format that model and product speak.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wire {
    Responses,
    Chat,
    Messages,
}

/// What goes wrong at the first try of an answer.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// 429, with the wish to be asked again at once.
    RateLimited,
    /// 503.
    ServerError,
    /// 401.
    Unauthorized,
    /// The connection breaks in the middle of a call's arguments.
    CutMidway,
}

impl Fault {
    const fn toml(self) -> &'static str {
        match self {
            Self::RateLimited => r#"{ kind = "status", status = 429, retry_after = "0" }"#,
            Self::ServerError => r#"{ kind = "status", status = 503 }"#,
            Self::Unauthorized => r#"{ kind = "status", status = 401, code = "invalid_api_key" }"#,
            Self::CutMidway => r#"{ kind = "cut", at = "arguments" }"#,
        }
    }
}

impl Script {
    pub(crate) fn new() -> Self {
        Self::over(Wire::Responses)
    }

    pub(crate) const fn over(wire: Wire) -> Self {
        Self { wire, head: String::new(), turns: String::new(), faults: Vec::new() }
    }

    /// Facts of the model.
    pub(crate) fn head(mut self, lines: &str) -> Self {
        let _ = writeln!(self.head, "{lines}");
        self
    }

    /// The last word.
    pub(crate) fn says(self, text: &str) -> Self {
        self.turn(&format!("text = {}", quoted(text)))
    }

    /// A command.
    pub(crate) fn exec(self, command: &str) -> Self {
        self.calls("exec_command", &json!({ "cmd": command }))
    }

    /// A patch, by the tool with the grammar.
    pub(crate) fn patch(self, patch: &str) -> Self {
        self.turn(&format!("calls = [{{ tool = \"apply_patch\", input = {} }}]", quoted(patch)))
    }

    pub(crate) fn calls(self, tool: &str, arguments: &Value) -> Self {
        self.calls_with(tool, &arguments.to_string())
    }

    /// A call whose arguments are any text.
    pub(crate) fn calls_with(self, tool: &str, arguments: &str) -> Self {
        self.turn(&format!("calls = [{{ tool = {}, arguments = {} }}]", quoted(tool), quoted(arguments)))
    }

    /// Several calls in one answer.
    pub(crate) fn makes(self, calls: &[Made]) -> Self {
        let calls = calls.iter().map(|Made(call)| call.as_str()).collect::<Vec<_>>().join(", ");
        self.turn(&format!("calls = [{calls}]"))
    }

    /// What the answer before cost, in tokens.
    pub(crate) fn costs(mut self, input: u64, output: u64) -> Self {
        let _ = writeln!(self.turns, "usage = {{ input = {input}, output = {output} }}");
        self
    }

    /// The answer before is given only if the request holds this text.
    pub(crate) fn expects(mut self, text: &str) -> Self {
        let _ = writeln!(self.turns, "expect = {}", quoted(text));
        self
    }

    /// The next answer first fails so.
    pub(crate) fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault.toml());
        self
    }

    fn turn(mut self, line: &str) -> Self {
        let faults = std::mem::take(&mut self.faults).join(", ");
        let _ = writeln!(self.turns, "\n[[turn]]\n{line}\nfaults = [{faults}]");
        self
    }

    /// The script as a file.
    pub(crate) fn to_toml(&self) -> String {
        let wire = match self.wire {
            Wire::Responses => "responses",
            Wire::Chat => "chat",
            Wire::Messages => "messages",
        };
        format!("wire = \"{wire}\"\n{}{}", self.head, self.turns)
    }
}

/// A call of an answer that makes several, with an id of the script's own.
pub(crate) struct Made(String);

impl Made {
    /// Of a tool with arguments, which may be any text.
    pub(crate) fn call(id: &str, tool: &str, arguments: &str) -> Self {
        let [id, tool, arguments] = [id, tool, arguments].map(quoted);
        Self(format!("{{ id = {id}, tool = {tool}, arguments = {arguments} }}"))
    }

    /// Of a tool that takes free text.
    pub(crate) fn text(id: &str, tool: &str, input: &str) -> Self {
        let [id, tool, input] = [id, tool, input].map(quoted);
        Self(format!("{{ id = {id}, tool = {tool}, input = {input} }}"))
    }
}

/// JSON's strings are TOML's basic strings.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

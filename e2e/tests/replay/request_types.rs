//! The vendors' own view of what we send: the bodies of real runs' requests, held against the types of the official
//! SDKs by the TypeScript compiler. An object literal of a declared type may have no field that the type does not know.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::case::Registry;
use crate::legwork::{self, Order};
use crate::play::skip_if_absent;
use crate::process::{bounded, run};
use crate::registry;
use crate::script::{LOG, Script, exec, plan};
use crate::tree::Tree;

/// The compiler reads some 10 MB of declarations, which takes a few seconds.
const COMPILE_SECONDS: u32 = 120;

/// A wire, the editing tool of its models, and the SDK's type of a streaming request.
struct Shape {
    wire: &'static str,
    edit_tool: &'static str,
    /// What the model thinks, to be sent back. OpenAI shows no thoughts in Chat Completions; others do, and get them
    /// back in fields of their own that OpenAI's types rightly do not know.
    thought: &'static str,
    module: &'static str,
    body: &'static str,
}

const SHAPES: [Shape; 4] = [
    Shape {
        wire: "responses",
        edit_tool: "freeform",
        thought: "Look first.",
        module: "openai/resources/responses/responses",
        body: "ResponseCreateParamsStreaming",
    },
    Shape {
        wire: "responses",
        edit_tool: "apply_patch",
        thought: "Look first.",
        module: "openai/resources/responses/responses",
        body: "ResponseCreateParamsStreaming",
    },
    Shape {
        wire: "chat",
        edit_tool: "apply_patch",
        thought: "",
        module: "openai/resources/chat/completions/completions",
        body: "ChatCompletionCreateParamsStreaming",
    },
    Shape {
        wire: "messages",
        edit_tool: "edit_file",
        thought: "Look first.",
        module: "@anthropic-ai/sdk/resources/messages/messages",
        body: "MessageCreateParamsStreaming",
    },
];

#[test]
fn the_official_sdks_know_every_field_that_we_send() -> Result<()> {
    skip_if_absent("the official SDKs' types", hold_against_types())
}

fn hold_against_types() -> Result<()> {
    registry::toolchain(Registry::Npm)?;
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("request-types/package-lock.json");
    let package = registry::node_package(&lock)?;
    let world = tempfile::Builder::new().prefix("legwork-types-").tempdir()?;
    std::os::unix::fs::symlink(package.join("node_modules"), world.path().join("node_modules"))?;
    for (at, shape) in SHAPES.iter().enumerate() {
        let requests = recorded(shape, &world.path().join(format!("run{at}")))?;
        ensure!(requests.len() >= 4, "{} of {}: {requests:?}", requests.len(), shape.wire);
        fs::write(world.path().join(format!("sent{at}.ts")), declared(shape, &requests)?)?;
    }
    compile(world.path())?;
    the_compiler_can_refuse(world.path())
}

/// The bodies that a run with all kinds of calls and answers sends.
fn recorded(shape: &Shape, place: &Path) -> Result<Vec<Value>> {
    let (repo, deps) = (place.join("repo"), place.join("deps"));
    fs::create_dir_all(&deps)?;
    Tree::default()
        .with("sum.sh", b"echo $(($1 - $2))\n")
        .with("AGENTS.md", b"Be brief.\n")
        .commit_to(&repo)?;
    let test = "test \"$(sh sum.sh 2 3)\" = 5";
    let fix = match shape.edit_tool {
        "edit_file" => {
            json!({ "tool": "edit_file", "arguments": { "path": "sum.sh", "old_string": "-", "new_string": "+" } })
        }
        _ => json!({ "tool": "apply_patch", "input": PATCH }),
    };
    let script = Script::new(shape.wire, shape.edit_tool)
        .turn("", [shape.thought, "I look."], &[plan("in_progress"), exec("cat sum.sh"), exec(test)])
        .turn("", [shape.thought, ""], &[fix])
        .turn("", ["", "Once more."], &[exec(test), json!({ "tool": "no_such_tool", "arguments": {} })])
        .last_word("The sign was wrong.", "The test passes");
    fs::write(place.join("script.toml"), script.to_toml()?)?;
    let told = legwork::run_on(&Order {
        repo: &repo,
        script: &place.join("script.toml"),
        deps: &deps,
        check: test,
        patch: &place.join("out.patch"),
        prompt: "sum.sh subtracts",
        home: &place.join("home"),
    })?;
    told.succeeded()?;
    bodies(&place.join(LOG))
}

const PATCH: &str =
    "*** Begin Patch\n*** Update File: sum.sh\n@@\n-echo $(($1 - $2))\n+echo $(($1 + $2))\n*** End Patch\n";

/// The bodies in a request log.
fn bodies(log: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(log).with_context(|| format!("reading {}", log.display()))?;
    let requests = text.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
    let sent = requests.into_iter().filter(|request| request["method"] == "POST");
    Ok(sent.map(|mut request| request["body"].take()).collect())
}

/// A module that declares each body as of the SDK's type. JSON is TypeScript.
fn declared(shape: &Shape, requests: &[Value]) -> Result<String> {
    use std::fmt::Write as _;
    let mut module = format!("import type {{ {} }} from \"{}\";\n", shape.body, shape.module);
    for (at, request) in requests.iter().enumerate() {
        writeln!(module, "export const sent{at}: {} = {request:#};", shape.body)?;
    }
    Ok(module)
}

fn compile(root: &Path) -> Result<()> {
    let options = json!({
        "compilerOptions": {
            "strict": true, "noEmit": true, "target": "es2022", "module": "nodenext", "skipLibCheck": true,
            "types": [], "lib": ["es2022", "dom"]
        },
        "files": (0..SHAPES.len()).map(|at| format!("sent{at}.ts")).collect::<Vec<_>>()
    });
    fs::write(root.join("tsconfig.json"), options.to_string())?;
    let compiler = root.join("node_modules/typescript/bin/tsc");
    let ran = run(bounded(COMPILE_SECONDS, root, "node").arg(compiler).args(["--project", "tsconfig.json"]))?;
    ensure!(ran.passed(), "{}", ran.tail());
    Ok(())
}

/// A field of another vendor's making must be seen, else the types were never looked at.
fn the_compiler_can_refuse(root: &Path) -> Result<()> {
    let sent = root.join("sent0.ts");
    let module = fs::read_to_string(&sent)?.replacen("\"stream\"", "\"invented\": 1, \"stream\"", 1);
    fs::write(&sent, module)?;
    let refusal = compile(root).err().context("an invented field is taken")?.to_string();
    ensure!(refusal.contains("invented"), "it is refused for another reason: {refusal}");
    Ok(())
}

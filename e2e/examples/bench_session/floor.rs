//! The smallest possible loop: one connection, no sandbox, no log, a shell per command. Nothing can be faster.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Plays one session against `OPENAI_BASE_URL`.
pub(crate) fn run() -> Result<()> {
    let base = std::env::var("OPENAI_BASE_URL")?;
    let authority =
        base.strip_prefix("http://").and_then(|rest| rest.split('/').next()).context("not an http URL")?;
    let stream = TcpStream::connect(authority)?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut input = vec![json!({ "type": "message", "role": "user", "content": "Look around." })];
    loop {
        let item = ask(&stream, &mut reader, &input)?;
        if item["type"] != "function_call" {
            return Ok(());
        }
        let arguments: Value = serde_json::from_str(item["arguments"].as_str().context("no arguments")?)?;
        let output =
            Command::new("sh").arg("-c").arg(arguments["cmd"].as_str().context("no cmd")?).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let result = json!({ "type": "function_call_output", "call_id": item["call_id"], "output": text });
        input.extend([item, result]);
    }
}

fn ask(mut stream: &TcpStream, reader: &mut BufReader<TcpStream>, input: &[Value]) -> Result<Value> {
    let body = json!({ "model": "bench", "stream": true, "input": input }).to_string();
    let head = format!("POST /v1/responses HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes())?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse()?;
        }
    }
    let mut answer = vec![0; length];
    reader.read_exact(&mut answer)?;
    let answer = String::from_utf8(answer)?;
    let last =
        answer.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().context("no event")?;
    let event: Value = serde_json::from_str(last)?;
    Ok(event["response"]["output"][0].clone())
}

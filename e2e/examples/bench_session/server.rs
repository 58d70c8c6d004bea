//! A Responses server that answers from memory and notes when requests came and answers ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// One scripted conversation over loopback HTTP.
pub(crate) struct Server {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Exchange>>>,
}

/// One request and its answer.
#[derive(Clone, Copy)]
pub(crate) struct Exchange {
    /// When the whole request was read.
    pub(crate) asked: Instant,
    /// When the whole answer was written.
    pub(crate) answered: Instant,
}

impl Server {
    /// Serves a conversation of `steps` answers until the process ends.
    pub(crate) fn start(steps: usize) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let log = Arc::new(Mutex::new(Vec::new()));
        let shared = log.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = shared.clone();
                thread::spawn(move || serve(&stream, steps, &log));
            }
        });
        Ok(Self { address, log })
    }

    /// What goes into `OPENAI_BASE_URL`.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The exchanges so far.
    pub(crate) fn log(&self) -> Vec<Exchange> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(stream: &TcpStream, steps: usize, log: &Mutex<Vec<Exchange>>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some((line, body)) = request(&mut reader)? {
        if !line.starts_with("POST") {
            reply(stream, "404 Not Found", "application/json", b"{}")?;
            continue;
        }
        let asked = Instant::now();
        let answer = answer(&body, steps)?;
        reply(stream, "200 OK", "text/event-stream", answer.as_bytes())?;
        let exchange = Exchange { asked, answered: Instant::now() };
        log.lock().unwrap_or_else(PoisonError::into_inner).push(exchange);
    }
    Ok(())
}

/// The request line and the body; `None` at the end of the connection.
fn request(reader: &mut BufReader<&TcpStream>) -> Result<Option<(String, Vec<u8>)>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some((first, body)))
}

fn reply(mut stream: &TcpStream, status: &str, kind: &str, body: &[u8]) -> Result<()> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut whole = head.into_bytes();
    whole.extend_from_slice(body);
    Ok(stream.write_all(&whole)?)
}

/// The answer to a request: another command, or the end once enough results are in.
pub(crate) fn answer(body: &[u8], steps: usize) -> Result<String> {
    let body: Value = serde_json::from_slice(body).context("the request is not JSON")?;
    let done = body["input"]
        .as_array()
        .map_or(0, |input| input.iter().filter(|item| item["type"] == "function_call_output").count());
    let item = if done + 1 < steps {
        let arguments = json!({ "cmd": format!("echo step {done}") }).to_string();
        json!({ "type": "function_call", "id": format!("fc_{done}"), "call_id": format!("call_{done}"),
                "name": "exec_command", "arguments": arguments, "status": "completed" })
    } else {
        json!({ "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
                "content": [{ "type": "output_text", "text": "That was all.", "annotations": [] }] })
    };
    let response = json!({ "id": format!("resp_{done}"), "object": "response", "status": "completed", "output": [item],
        "usage": { "input_tokens": 100, "output_tokens": 10, "total_tokens": 110,
                   "input_tokens_details": { "cached_tokens": 0 }, "output_tokens_details": { "reasoning_tokens": 0 } } });
    let events = [
        json!({ "type": "response.created", "response": { "id": format!("resp_{done}"), "status": "in_progress" } }),
        json!({ "type": "response.output_item.added", "output_index": 0, "item": item }),
        json!({ "type": "response.output_item.done", "output_index": 0, "item": item }),
        json!({ "type": "response.completed", "response": response }),
    ];
    Ok(events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()))
        .collect())
}

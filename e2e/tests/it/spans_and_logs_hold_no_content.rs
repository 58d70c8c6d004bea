use std::io::{BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::repo::with_a_bug;
use crate::script::Script;
use crate::world::{Outcome, World};

/// The first line and the body of a request.
type Posted = (String, Vec<u8>);

/// A collector of OpenTelemetry's: takes whatever is posted. Texts are plain in protobuf, so it need not be decoded.
struct Collector {
    url: String,
    posted: Arc<Mutex<Vec<Posted>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let posted = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&posted);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let taken = Arc::clone(&taken);
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(stream.unwrap());
                    while let Some(request) = read(&mut reader) {
                        taken.lock().unwrap().push(request);
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                        reader.get_mut().write_all(answer).unwrap();
                    }
                });
            }
        });
        Self { url, posted }
    }

    /// All that came, as text where it is text.
    fn text(&self) -> String {
        let posted = self.posted.lock().unwrap();
        assert!(posted.iter().all(|(line, _)| line.starts_with("POST /v1/traces ")), "{posted:?}");
        posted.iter().map(|(_, body)| String::from_utf8_lossy(body).into_owned()).collect()
    }
}

/// `None` at the end of the connection.
fn read(reader: &mut impl std::io::BufRead) -> Option<Posted> {
    let (mut first, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
        if first.is_empty() {
            first = line.replace("post", "POST");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first, body))
}

/// A run whose prompt, command, output and answer would be known anywhere.
fn run(world: &World, variables: &[(&str, &str)]) -> Outcome {
    let repo = with_a_bug(world.repo("project"));
    let script = Script::new().exec("echo quokka-command").says("The quokka-answer.");
    let mut command = world.legwork();
    command
        .args(["run", "--json", "--repo"])
        .arg(repo.path())
        .args(world.model(&script))
        .arg("Find the quokka-prompt");
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_ref())).collect();
    world.end_with(command, &variables)
}

fn turn_of(outcome: &Outcome) -> String {
    let state = outcome.events.iter().find(|event| event["kind"] == "state").unwrap();
    state["turn"].as_str().unwrap().to_owned()
}

#[test]
fn a_turn_is_traced_with_its_requests_and_tools() {
    let (world, collector) = (World::new(), Collector::start());
    let outcome = run(&world, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)]);
    let turn = turn_of(&outcome);
    let spans = collector.text();
    for known in [
        "legwork",
        "invoke_agent legwork",
        "chat scripted/",
        "execute_tool exec",
        "gen_ai.operation.name",
        "gen_ai.request.model",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "POST /v1/turns/{turn}/finish",
        &turn,
    ] {
        assert!(spans.contains(known), "{known} is not in {spans}");
    }
    assert!(!spans.contains("quokka"), "{spans}");
}

#[test]
fn without_a_collector_a_run_is_as_quick_to_end() {
    let world = World::new();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let outcome = run(&world, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{gone}"))]);
    assert_eq!(outcome.end()["outcome"]["outcome"], "no_change");
}

#[test]
fn a_log_for_machines_names_task_attempt_and_turn() {
    let world = World::new();
    let outcome = run(&world, &[("LEGWORK_LOG", "legwork=debug"), ("LEGWORK_LOG_FORMAT", "json")]);
    let lines: Vec<Value> = outcome
        .stderr
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let turn = turn_of(&outcome);
    let of_turn = |line: &&Value| {
        line["spans"].as_array().is_some_and(|spans| spans.iter().any(|span| span["turn"] == turn))
    };
    assert!(lines.iter().any(|line| of_turn(&line)), "{}", outcome.stderr);
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()));
    assert!(!lines.iter().any(|line| line.to_string().contains("quokka")), "{}", outcome.stderr);
}

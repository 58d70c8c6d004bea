//! YAML as a value of JSON: what workflow files use of it. Aliases are refused, for a few lines of them unfold to gigabytes.

use serde_json::{Map, Value};
use yaml_rust2::parser::{Event, Parser};

/// Most nodes of a file.
const NODES_MAX: usize = 20_000;

/// How deep they nest.
const DEPTH_MAX: usize = 64;

/// What is open while it is read.
enum Open {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

/// Reads the first document; `None` if it is no YAML, too large, or has aliases.
pub(super) fn read(text: &str) -> Option<Value> {
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<Open> = Vec::new();
    for _ in 0..NODES_MAX {
        let value = match parser.next_token().ok()?.0 {
            Event::Scalar(text, ..) => Value::String(text),
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                if open.len() > DEPTH_MAX { return None } else { continue }
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                if open.len() > DEPTH_MAX { return None } else { continue }
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop()? {
                Open::List(values) => Value::Array(values),
                Open::Map(values, _) => Value::Object(values),
            },
            Event::Nothing | Event::StreamStart | Event::DocumentStart => continue,
            Event::Alias(_) | Event::StreamEnd | Event::DocumentEnd => return None,
        };
        match open.last_mut() {
            None => return Some(value),
            Some(Open::List(values)) => values.push(value),
            Some(Open::Map(values, key)) => match key.take() {
                Some(key) => {
                    values.insert(key, value);
                }
                // A key that is no text has no place in a file that we read.
                None => *key = Some(value.as_str().map(str::to_owned).unwrap_or_default()),
            },
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workflow_reads_and_a_bomb_does_not() {
        let value = read("on: push\njobs:\n  a:\n    steps:\n      - run: |\n          x\n          y\n      - {uses: z}\n").unwrap();
        assert_eq!(value["jobs"]["a"]["steps"][0]["run"], "x\ny\n");
        assert_eq!(value["jobs"]["a"]["steps"][1]["uses"], "z");
        assert_eq!(read("a: &a [x]\nb: *a\n"), None);
        assert_eq!(read(&"[".repeat(10_000)), None);
        assert_eq!(read("a: b: c"), None);
        assert_eq!(read(""), None);
    }
}

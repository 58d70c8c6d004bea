//! Streams as real servers send them, folded; and any way of cutting them gives the same.

use proptest::prelude::*;

use super::{Next, fold};
use crate::answer::Answer;
use crate::fault::Fault;
use crate::settings::Wire;
use crate::sse::Decoder;
use crate::usage::Tokens;
use crate::{CallInput, Delta, Entry, Request, Stop};

/// Everything that comes of a stream; a last line says how it ended.
fn deltas<'a>(wire: Wire, chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Delta>, Result<Next, Fault>) {
    let mut decoder = Decoder::default();
    let mut folding = fold(wire);
    let mut answer = Answer::to(&Request::default());
    let mut deltas = Vec::new();
    let mut end = Ok(Next::Ignored);
    for chunk in chunks {
        decoder.feed(chunk).unwrap();
        while let Some(event) = decoder.next() {
            if matches!(end, Ok(Next::Ignored | Next::Progress)) && !event.data.is_empty() {
                end = folding.event(&event, &mut answer);
                deltas.extend(std::iter::from_fn(|| answer.next()));
            }
        }
    }
    if matches!(end, Ok(Next::Ignored | Next::Progress)) {
        end = folding.closed(&mut answer).map(Next::Done).ok_or_else(|| Fault::broken("closed"));
        deltas.extend(std::iter::from_fn(|| answer.next()));
    }
    (deltas, end)
}

fn entries(wire: Wire, stream: &str) -> Vec<Entry> {
    let (deltas, end) = deltas(wire, [stream.as_bytes()]);
    assert!(matches!(end, Ok(Next::Done(_))), "{end:?}");
    let entry = |delta| if let Delta::Entry(entry) = delta { Some(entry) } else { None };
    deltas.into_iter().filter_map(entry).collect()
}

fn calls(stream: &str) -> Vec<String> {
    entries(Wire::Chat, stream)
        .into_iter()
        .map(|entry| {
            let Entry::Call { id, name, input: CallInput::Json(json) } = entry else { panic!("{entry:?}") };
            format!("{id} {name} {json}")
        })
        .collect()
}

fn tokens(wire: Wire, stream: &str) -> Tokens {
    match deltas(wire, [stream.as_bytes()]).1 {
        Ok(Next::Done(ended)) => ended.tokens.unwrap(),
        end => panic!("{end:?}"),
    }
}

const RESPONSES: &str = r#"event: response.created
data: {"type":"response.created","response":{"id":"resp_1"},"sequence_number":0}

event: response.in_progress
data: {"type":"response.in_progress","response":{"id":"resp_1"}}

event: keepalive
data: {"type":"keepalive","sequence_number":3}

event: response.output_item.added
data: {"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","id":"rs_1","summary":[]}}

event: response.reasoning_summary_part.added
data: {"type":"response.reasoning_summary_part.added","summary_index":0}

event: response.reasoning_summary_text.delta
data: {"type":"response.reasoning_summary_text.delta","delta":"**Think**","summary_index":0}

event: response.reasoning_summary_part.added
data: {"type":"response.reasoning_summary_part.added","summary_index":1}

event: response.output_item.done
data: {"type":"response.output_item.done","item":{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"**Think**"}],"encrypted_content":"gAAA","unknown":null}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","delta":"Grüß"}

event: response.output_text.delta
data: {"type":"response.output_text.delta","delta":" dich"}

event: response.output_item.done
data: {"type":"response.output_item.done","item":{"type":"message","role":"assistant","phase":"commentary","content":[{"type":"output_text","text":"Grüß dich","annotations":[]},{"type":"new_part"}]}}

event: response.output_item.done
data: {"type":"response.output_item.done","item":{"type":"web_search_call","id":"ws_1"}}

event: response.output_item.done
data: {"type":"response.output_item.done","item":{"type":"custom_tool_call","call_id":"call_1","name":"apply_patch","input":"*** Begin Patch"}}

event: response.completed
data: {"type":"response.completed","response":{"usage":{"input_tokens":75,"input_tokens_details":{"cached_tokens":64},"output_tokens":9,"output_tokens_details":{"reasoning_tokens":4}}}}

"#;

const MESSAGES: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","content":[],"usage":{"input_tokens":10,"cache_creation_input_tokens":20,"cache_read_input_tokens":30,"output_tokens":1}}}

event: ping
data: {"type": "ping"}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hmm"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"EqQB"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"xyz"}}

event: content_block_stop
data: {"type":"content_block_stop","index":1}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"Grüß"}}

event: content_block_stop
data: {"type":"content_block_stop","index":2}

event: content_block_start
data: {"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_1","name":"run","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"a\": "}}

event: content_block_delta
data: {"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"1}"}}

event: content_block_stop
data: {"type":"content_block_stop","index":3}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":89}}

event: message_stop
data: {"type":"message_stop"}

"#;

const CHAT: &str = r#": OPENROUTER PROCESSING

data: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}

data: {"id":"1","choices":[{"index":0,"delta":{"reasoning_content":"Hmm"}}]}

data: {"id":"1","choices":[{"index":0,"delta":{"content":"Grüß"}}]}

data: {"id":"1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"run","arguments":""}}]}}]}

data: {"id":"1","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_2","type":"function","function":{"name":"see","arguments":"{}"}}]}}]}

data: {"id":"1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":1}"}}]}}]}

data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":null}

data: {"id":"1","choices":[],"usage":{"prompt_tokens":60,"prompt_tokens_details":{"cached_tokens":30},"completion_tokens":9,"cost":0.0012}}

data: [DONE]

"#;

#[test]
fn responses() {
    insta::assert_debug_snapshot!(deltas(Wire::Responses, [RESPONSES.as_bytes()]));
}

#[test]
fn messages() {
    insta::assert_debug_snapshot!(deltas(Wire::Messages, [MESSAGES.as_bytes()]));
}

#[test]
fn chat() {
    insta::assert_debug_snapshot!(deltas(Wire::Chat, [CHAT.as_bytes()]));
}

#[test]
fn figures_of_all_providers_mean_the_same() {
    let figures =
        |input, cached, written, output, cost_usd| Tokens { input, cached, written, output, cost_usd };
    assert_eq!(tokens(Wire::Responses, RESPONSES), figures(75, 64, 0, 9, None));
    assert_eq!(tokens(Wire::Messages, MESSAGES), figures(60, 30, 20, 89, None));
    assert_eq!(tokens(Wire::Chat, CHAT), figures(60, 30, 0, 9, Some(0.0012)));
}

/// A chunk of Chat Completions with these calls.
fn chunk(calls: &str) -> String {
    format!("data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{calls}]}}}}]}}\n\n")
}

const FINISH: &str =
    "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n";

#[test]
fn ollama_sends_whole_calls_with_one_index() {
    let stream = [
        chunk(
            r#"{"index":0,"id":"call_a","type":"function","function":{"name":"run","arguments":"{\"a\":1}"}}"#,
        ),
        chunk(
            r#"{"index":0,"id":"call_b","type":"function","function":{"name":"run","arguments":"{\"a\":2}"}}"#,
        ),
        FINISH.replace("tool_calls", "stop"),
    ];
    assert_eq!(calls(&stream.concat()), [r#"call_a run {"a":1}"#, r#"call_b run {"a":2}"#]);
}

#[test]
fn calls_without_id_and_index_and_with_objects_as_arguments() {
    let stream = [
        chunk(
            r#"{"id":"","function":{"name":"run","arguments":{"a":1}}},{"id":null,"function":{"name":"run","arguments":{"a":2}}}"#,
        ),
        chunk(r#"{"function":{"name":"run","arguments":""}}"#),
        chunk(r#"{"function":{"arguments":"{\"a\":"}}"#),
        chunk(r#"{"function":{"arguments":"3}"}}"#),
        FINISH.to_owned(),
    ];
    assert_eq!(
        calls(&stream.concat()),
        [r#"call_1 run {"a":1}"#, r#"call_2 run {"a":2}"#, r#"call_3 run {"a":3}"#]
    );
}

#[test]
fn a_server_that_repeats_id_and_name_in_each_piece() {
    let piece = |text: &str| {
        chunk(&format!(r#"{{"index":0,"id":"x","function":{{"name":"run","arguments":"{text}"}}}}"#))
    };
    let stream = [piece(""), piece("{\\\"a\\\":"), piece("1}"), FINISH.to_owned()];
    assert_eq!(calls(&stream.concat()), [r#"x run {"a":1}"#]);
}

#[test]
fn thoughts_in_details_are_joined_and_kept_with_their_signature() {
    let details = |detail: &str| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"reasoning\":\"x\",\"reasoning_details\":[{detail}]}}}}]}}\n\n"
        )
    };
    let stream = [
        details(r#"{"type":"reasoning.text","index":0,"text":"Let "}"#),
        details(r#"{"type":"reasoning.text","index":0,"text":"me","signature":"s"}"#),
        details(r#"{"type":"reasoning.encrypted","index":1,"data":"d"}"#),
        FINISH.to_owned(),
    ];
    let [Entry::Reasoning { wire, raw }] = &entries(Wire::Chat, &stream.concat())[..] else {
        panic!("not one")
    };
    assert_eq!(wire, "chat");
    assert_eq!(
        raw,
        &serde_json::json!({
            "reasoning": "xxx",
            "reasoning_details": [
                { "type": "reasoning.text", "index": 0, "text": "Let me", "signature": "s" },
                { "type": "reasoning.encrypted", "index": 1, "data": "d" },
            ],
        })
    );
}

#[test]
fn chat_ends_well_without_done_but_not_without_a_finish_reason() {
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
    let finish = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let end = |stream: String| deltas(Wire::Chat, [stream.as_bytes()]).1;
    assert!(matches!(end([text, finish].concat()), Ok(Next::Done(_))));
    assert!(matches!(end([text, "data: [DONE]\n\n"].concat()), Err(Fault::Retry { .. })));
    assert!(matches!(end(text.to_owned()), Err(Fault::Retry { .. })));
}

#[test]
fn errors_inside_streams_are_told_apart() {
    let fault = |wire, data: &str| deltas(wire, [format!("data: {data}\n\n").as_bytes()]).1.unwrap_err();
    let failed = |code: &str| {
        let error = format!(r#"{{"code":"{code}","message":"m"}}"#);
        fault(Wire::Responses, &format!(r#"{{"type":"response.failed","response":{{"error":{error}}}}}"#))
    };
    assert_eq!(failed("context_length_exceeded"), Fault::Overflow("m".into()));
    assert_eq!(failed("insufficient_quota"), Fault::Quota("m".into()));
    assert!(matches!(failed("invalid_prompt"), Fault::Rejected { .. }));
    assert!(matches!(failed("server_error"), Fault::Retry { .. }));
    let overloaded = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    assert!(matches!(fault(Wire::Messages, overloaded), Fault::Retry { .. }));
    let openrouter =
        r#"{"error":{"code":502,"message":"Provider disconnected"},"choices":[{"finish_reason":"error"}]}"#;
    assert!(matches!(fault(Wire::Chat, openrouter), Fault::Retry { .. }));
    let top = r#"{"type":"error","code":"rate_limit_exceeded","message":"try again in 3s"}"#;
    assert!(matches!(fault(Wire::Responses, top), Fault::Retry { wait: crate::fault::Wait::Named(_), .. }));
}

#[test]
fn an_incomplete_response_stops_or_is_repeated_by_its_reason() {
    let end = |reason: &str| {
        let data = format!(r#"{{"incomplete_details":{{"reason":"{reason}"}}}}"#);
        let stream = format!("data: {{\"type\":\"response.incomplete\",\"response\":{data}}}\n\n");
        deltas(Wire::Responses, [stream.as_bytes()]).1
    };
    let stop = |reason| match end(reason) {
        Ok(Next::Done(ended)) => ended.stop,
        other => panic!("{other:?}"),
    };
    assert_eq!(stop("max_output_tokens"), Stop::MaxTokens);
    assert_eq!(stop("content_filter"), Stop::Refusal);
    assert!(end("something_else").is_err());
}

#[test]
fn items_that_come_only_with_the_end_are_taken_from_there() {
    let item = r#"{"type":"function_call","call_id":"c","name":"run","arguments":{"a":1}}"#;
    let stream =
        format!("data: {{\"type\":\"response.completed\",\"response\":{{\"output\":[{item}]}}}}\n\n");
    let expected =
        Entry::Call { id: "c".into(), name: "run".into(), input: CallInput::Json(r#"{"a":1}"#.into()) };
    assert_eq!(entries(Wire::Responses, &stream), [expected]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn chunk_boundaries_do_not_matter(cuts in proptest::collection::vec(1usize..200, 0..200)) {
        for (wire, stream) in [(Wire::Responses, RESPONSES), (Wire::Chat, CHAT), (Wire::Messages, MESSAGES)] {
            let mut chunks = Vec::new();
            let mut rest = stream.as_bytes();
            for cut in &cuts {
                let (chunk, tail) = rest.split_at((*cut).min(rest.len()));
                chunks.push(chunk);
                rest = tail;
            }
            chunks.push(rest);
            prop_assert_eq!(deltas(wire, chunks), deltas(wire, [stream.as_bytes()]));
        }
    }

    /// A stream that breaks off anywhere is never taken for a whole one.
    #[test]
    fn a_prefix_is_never_a_whole_answer(at in 0usize..10_000) {
        for (wire, stream, last) in [
            (Wire::Responses, RESPONSES, "event: response.completed"),
            (Wire::Chat, CHAT, "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\""),
            (Wire::Messages, MESSAGES, "event: message_delta"),
        ] {
            let end = stream.find(last).unwrap();
            let prefix = &stream.as_bytes()[..at.min(end)];
            prop_assert!(deltas(wire, [prefix]).1.is_err());
        }
    }
}

use legwork_model::{CallInput, Delta, Entry, Part, Price, Stop, Usage, Wire};

use crate::world::{KEY, WIRES, World, answered, request};

const PATCH: &str = "*** Begin Patch\n*** Add File: a\n+ü \"quoted\" \\\n*** End Patch\n";

/// A whole conversation: reasoning, text, parallel calls with a freeform one, outputs, an image, an end.
#[tokio::test]
async fn a_conversation_goes_through_all_wires() {
    let script = r#"
        [[turn]]
        expect = ["You write code.", "Fix it"]
        reasoning = "I think about it for a while, long enough for several pieces of text."
        text = "Let me look.\nAnd patch: ü€."
        calls = [
            { tool = "exec_command", arguments = { cmd = "ls 'a b'" } },
            { tool = "apply_patch", input = "*** Begin Patch\n*** Add File: a\n+ü \"quoted\" \\\n*** End Patch\n" },
        ]
        usage = { input = 100, cached = 60, output = 20 }
        [[turn]]
        when = "never there"
        text = "wrong"
        [[turn]]
        expect = "2 files"
        text = "Done."
    "#;
    for wire in WIRES {
        let world = World::with(wire, script, |settings| {
            let facts = settings.models.get_mut("test/model").unwrap();
            facts.price = Some(Price { input: 2.0, cached: 0.5, output: 8.0 });
            facts.reasoning = Some(legwork_model::Reasoning::Adaptive);
        })
        .await;
        let mut request = request("Fix it");
        let first = world.ask(&request).await;
        let usage = Usage {
            input_tokens: 100,
            cached_tokens: 60,
            output_tokens: 20,
            cost_microusd: Some(80 + 30 + 160),
            estimated: false,
        };
        let finished = first.finished();
        assert_eq!((finished.stop, finished.usage), (Stop::EndTurn, usage), "{wire:?}");
        assert_eq!(first.text, "Let me look.\nAnd patch: ü€.");
        assert_eq!(first.reasoning, "I think about it for a while, long enough for several pieces of text.");
        let [Entry::Reasoning { wire: of, .. }, Entry::Assistant { text }, run, patch] = &first.entries[..]
        else {
            panic!("{wire:?}: {:?}", first.entries)
        };
        assert_eq!((of.as_str(), text), (wire.name(), &first.text));
        let call = |id: &str, name: &str, input| Entry::Call { id: id.into(), name: name.into(), input };
        assert_eq!(run, &call("call_1_1", "exec_command", CallInput::Json(r#"{"cmd":"ls 'a b'"}"#.into())));
        assert_eq!(patch, &call("call_1_2", "apply_patch", CallInput::Text(PATCH.into())));

        let image = Part::Image("data:image/png;base64,iVBORw0KGgo=".into());
        answered(&mut request, &first.entries, &[Part::Text("2 files".into()), image]);
        let second = world.ask(&request).await;
        assert_eq!(second.finished().stop, Stop::EndTurn, "{wire:?}");
        assert_eq!(second.entries, [Entry::Assistant { text: "Done.".into() }]);
        let log = format!("{:?}", world.endpoint.requests());
        assert!(!log.contains(KEY) && log.contains("iVBORw0KGgo"), "{log}");
    }
}

#[tokio::test]
async fn figures_are_estimated_where_the_provider_gives_none() {
    let script = "[[turn]]\ntext = \"twelve bytes\"\nfaults = [{ kind = \"no_usage\" }]\n";
    for wire in WIRES {
        let world = World::new(wire, script).await;
        let usage = world.ask(&request("Hi")).await.finished().usage;
        assert!(usage.estimated && usage.input_tokens > 50, "{wire:?} {usage:?}");
        assert_eq!((usage.output_tokens, usage.cached_tokens, usage.cost_microusd), (3, 0, None));
    }
}

#[tokio::test]
async fn stops_are_told_apart_and_cut_calls_never_start() {
    let script = r#"
        [[turn]]
        text = "So"
        stop = "max_tokens"
        calls = [{ tool = "exec_command", arguments = "{\"cmd\": \"rm -r" }]
        [[turn]]
        text = "No."
        stop = "refusal"
    "#;
    for wire in [Wire::Chat, Wire::Messages] {
        let world = World::new(wire, script).await;
        let mut request = request("Hi");
        let cut = world.ask(&request).await;
        assert_eq!(cut.finished().stop, Stop::MaxTokens);
        assert_eq!(cut.entries, [Entry::Assistant { text: "So".into() }], "{wire:?}");
        request.entries.extend(cut.entries);
        request.entries.push(Entry::User { parts: vec![Part::Text("Go on".into())] });
        assert_eq!(world.ask(&request).await.finished().stop, Stop::Refusal);
    }
}

#[tokio::test]
async fn careless_calls_are_made_good_and_the_conversation_goes_on() {
    let script = r#"
        [[turn]]
        calls = [
            { tool = "exec_command", arguments = "{not json", id = "same" },
            { tool = "no such tool!", arguments = { a = 1 }, id = "same" },
            { tool = "exec_command", id = "" },
        ]
        [[turn]]
        calls = [{ tool = "exec_command", arguments = { cmd = "x" }, id = "same" }]
        [[turn]]
        text = "Done."
    "#;
    for wire in WIRES {
        let world = World::new(wire, script).await;
        let mut request = request("Hi");
        let first = world.ask(&request).await;
        let calls: Vec<String> = first.entries.iter().map(shown).collect();
        // Where an answer may have been cut off, a call with broken arguments comes last: it waits for the stop reason.
        let expected = if wire == Wire::Responses {
            ["same exec_command {not json", "same_2 no such tool! {\"a\":1}", "call_1 exec_command {}"]
        } else {
            ["same no such tool! {\"a\":1}", "call_1 exec_command {}", "same_2 exec_command {not json"]
        };
        assert_eq!(calls, expected, "{wire:?}");
        answered(&mut request, &first.entries, &[Part::Text("ok".into())]);
        let second = world.ask(&request).await;
        let [Entry::Call { id, .. }] = &second.entries[..] else { panic!("{:?}", second.end) };
        assert!(id == "same_3", "{id}");
        answered(&mut request, &second.entries, &[]);
        assert_eq!(world.ask(&request).await.text, "Done.", "{wire:?}");
    }
}

fn shown(entry: &Entry) -> String {
    let Entry::Call { id, name, input: CallInput::Json(json) } = entry else { panic!("{entry:?}") };
    format!("{id} {name} {json}")
}

#[tokio::test]
async fn dropping_an_answer_closes_its_connection() {
    let script = "[[turn]]\ntext = \"long text\"\nfaults = [{ kind = \"stall\", at = \"text\" }]\n";
    for wire in WIRES {
        let world = World::new(wire, script).await;
        let mut stream = world.model.stream(request("Hi")).await.unwrap();
        let first = futures::StreamExt::next(&mut stream).await.unwrap().unwrap();
        assert!(matches!(first, Delta::Text(_)), "{first:?}");
        drop(stream);
        tokio::time::timeout(std::time::Duration::from_secs(5), world.endpoint.hang_ups(1)).await.unwrap();
    }
}

/// Two conversations at once, and a compaction in one of them.
#[tokio::test]
async fn the_script_follows_each_conversation_and_goes_on_after_a_compaction() {
    let script = r#"
        [[turn]]
        text = "one"
        [[turn]]
        text = "two"
        [[turn]]
        text = "three"
        [[aside]]
        when = "Summarise"
        text = "The summary."
    "#;
    for wire in WIRES {
        let world = World::new(wire, script).await;
        let user = |text: &str| Entry::User { parts: vec![Part::Text(text.to_owned())] };
        let mut left = request("left");
        let mut right = request("right");
        for expected in ["one", "two"] {
            for request in [&mut left, &mut right] {
                let answer = world.ask(request).await;
                assert_eq!(answer.text, expected);
                request.entries.extend(answer.entries);
                request.entries.push(user("go on"));
            }
        }
        left.entries.push(user("Summarise the work"));
        let summary = world.ask(&left).await.text;
        assert!(summary.starts_with("The summary."), "{summary}");
        left.entries = vec![user("left"), user(&summary)];
        assert_eq!(world.ask(&left).await.text, "three", "{wire:?}");
        assert_eq!(world.ask(&right).await.text, "three");
    }
}

/// The endpoint refuses what the vendors refuse.
#[tokio::test]
async fn malformed_conversations_are_refused() {
    let script = "[[turn]]\ntext = \"one\"\n[[turn]]\ntext = \"two\"\n";
    for wire in WIRES {
        let world = World::new(wire, script).await;
        let call = Entry::Call { id: "c1".into(), name: "t".into(), input: CallInput::Json("{}".into()) };
        let output = |id: &str| Entry::Output { id: id.into(), parts: vec![Part::Text("x".into())] };
        for wrong in [vec![call.clone()], vec![output("c1")], vec![call.clone(), output("c2")]] {
            let mut request = request("Hi");
            request.entries.extend(wrong);
            let answer = world.ask(&request).await;
            assert!(matches!(answer.error(), legwork_model::Error::Rejected { .. }), "{wire:?} {answer:?}");
        }
    }
}

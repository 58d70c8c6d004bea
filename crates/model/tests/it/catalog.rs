use std::time::Instant;

use legwork_model::scripted::Script;
use legwork_model::{Catalog, EditTool, Entry, Error, Settings, Wire};

use crate::world::{KEY, World, read, request, settings};

#[tokio::test]
async fn a_script_file_is_a_model() {
    let folder = tempfile::tempdir().unwrap();
    for (wire, edit_tool) in
        [("responses", EditTool::Freeform), ("chat", EditTool::ApplyPatch), ("messages", EditTool::EditFile)]
    {
        let file = folder.path().join(format!("{wire}.toml"));
        let script = format!(
            "wire = \"{wire}\"\ncontext_window = 1000\nlog = \"log.jsonl\"\n[[turn]]\ntext = \"Hi.\"\n"
        );
        std::fs::write(&file, script).unwrap();
        let name = format!("scripted/{}", file.display());
        let begun = Instant::now();
        let model = Catalog::new(Settings::default()).unwrap().open(&name).await.unwrap();
        let answer = read(&*model, &request("Hello")).await;
        println!("{wire}: opened and answered in {:?}", begun.elapsed());
        assert_eq!(answer.entries, [Entry::Assistant { text: "Hi.".into() }]);
        assert_eq!((model.info().context_window, model.info().edit_tool), (1000, edit_tool));
        assert_eq!(model.info().name, name);
    }
    let log = std::fs::read_to_string(folder.path().join("log.jsonl")).unwrap();
    let models: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].clone())
        .collect();
    assert_eq!(models, ["/v1/responses", "/v1/chat/completions", "/v1/messages"]);
}

#[tokio::test]
async fn wrong_names_and_settings_say_what_to_mend() {
    let catalog = Catalog::new(settings(Wire::Chat, "http://127.0.0.1:1/v1")).unwrap();
    let mut said = Vec::new();
    for name in ["gpt", "none/such", "scripted//no/such/file.toml"] {
        match catalog.open(name).await {
            Err(error @ Error::Config(_)) => said.push(error.to_string()),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("{name} was opened"),
        }
    }
    for url in ["ftp://x", "http://user:hunter2@", "nonsense"] {
        said.push(Catalog::new(settings(Wire::Chat, url)).unwrap_err().to_string());
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
    the model "gpt" is not of the form provider/model
    there is no provider "none"; configured are: test, scripted
    the script /no/such/file.toml: No such file or directory (os error 2)
    the base URL of the provider "test" is not an http or https URL
    the base URL of the provider "test" is not an http or https URL
    the base URL of the provider "test" is not an http or https URL
    "#);
}

#[tokio::test]
async fn ping_tells_reachable_from_not() {
    let script = "[[turn]]\ntext = \"x\"\n";
    let world = World::new(Wire::Chat, script).await;
    let error = world.catalog.ping("test/model").await.unwrap_err();
    assert!(matches!(&error, Error::Rejected { .. }), "{error:?}");
    let mut same = settings(Wire::Chat, world.endpoint.base_url());
    let facts = same.models["test/model"].clone();
    same.models.insert("test/scripted".to_owned(), facts);
    Catalog::new(same).unwrap().ping("test/scripted").await.unwrap();

    let nobody = Catalog::new(settings(Wire::Messages, "http://127.0.0.1:1")).unwrap();
    let error = nobody.ping("test/model").await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { tries: 1, .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains(KEY));
}

/// The documentation's examples and each fault in its table are taken.
#[test]
fn the_documentation_is_true() {
    let page = include_str!("../../../../docs/scripted-model.md");
    let examples: Vec<&str> =
        page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 3);
    for example in examples {
        Script::parse(example).unwrap();
    }
    let faults: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `{ kind")?.split_once("` |"))
        .map(|(fault, _)| format!("{{ kind{}", fault.replace("at = …", "at = \"text\"")))
        .collect();
    assert_eq!(faults.len(), 12);
    let script = Script::parse(&format!("[[turn]]\nfaults = [{}]", faults.join(", "))).unwrap();
    assert_eq!(script.turns[0].faults.len(), 12);
}

#[test]
fn a_script_with_a_wrong_word_says_where() {
    let said: Vec<String> = ["[[turn]]\ntxt = \"x\"", "[[aside]]\ntext = \"x\"", "wire = \"soap\""]
        .iter()
        .map(|text| Script::parse(text).unwrap_err().to_string())
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}

//! The operator's configuration of package managers, for sandboxes: which registry or mirror each tool asks.
//!
//! A company's mirror is set up once, in the tools' own files and variables, and then holds inside too. Only what names a
//! registry is taken, key by key; a password in a URL, a token, a key never is. A registry that wants one gets it by a
//! recipe's `[[secrets]]`, which the proxy puts in outside.

use std::collections::BTreeMap;
use std::path::Path;

use legwork_worker::ToolConfig;

use super::read;
use crate::config::Vars;

/// Directories of this machine that sandboxes show at the same place; a registry on the disk must lie in one.
const SHOWN: [&str; 2] = ["/usr/", "/opt/"];

/// Variables whose values name registries, in the words of each tool's documentation. Those of Go are read from its own file too.
const PIP: [&str; 4] = ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_TRUSTED_HOST"];
const UV: [&str; 5] = ["UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"];
const GO: [&str; 6] = ["GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GONOPROXY", "GOINSECURE"];
const NODE: [&str; 4] =
    ["NPM_CONFIG_REGISTRY", "npm_config_registry", "YARN_NPM_REGISTRY_SERVER", "COREPACK_NPM_REGISTRY"];
const CARGO: [&str; 1] = ["CARGO_REGISTRIES_CRATES_IO_INDEX"];

/// The keys of pip's files, and their variables.
const PIP_KEYS: [(&str, &str); 4] =
    [("index-url", PIP[0]), ("extra-index-url", PIP[1]), ("find-links", PIP[2]), ("trusted-host", PIP[3])];

/// Where pyenv looks for hooks inside, and the one that it finds there, by their places below the home directory.
const PYENV_HOOKS: &str = ".config/pyenv.d";
const PYENV_HOOK: &str = ".config/pyenv.d/exec/shims-stay.bash";

/// pyenv writes its shims anew after `pip install`, and ends it with an error where they are read-only, as they are inside.
/// pip puts programs elsewhere there, so there is nothing to write: this goes straight to the program.
const SHIMS_STAY: &str = r#"case "${PYENV_COMMAND##*/} $*" in
pip* | *' -m pip '*)
  if [ ! -w "$PYENV_ROOT/shims" ]; then
    case "$PYENV_BIN_PATH" in "$PYENV_ROOT"/*) export PATH="$PYENV_BIN_PATH:$PATH" ;; esac
    exec "$PYENV_COMMAND_PATH" "${@:2}"
  fi
  ;;
esac
"#;

/// What the operator's tools are told of registries, and what their version managers need inside.
pub(crate) fn tools(home: &Path, vars: Vars<'_>) -> ToolConfig {
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    let text = |name: &str| read(&home.join(name));
    for file in ["/etc/pip.conf", ".pip/pip.conf", ".config/pip/pip.conf"] {
        text(file).iter().for_each(|text| variables.extend(pip(text)));
    }
    text(".config/go/env").iter().for_each(|text| variables.extend(go(text)));
    let npmrc: Vec<String> = ["/etc/npmrc", ".npmrc"].into_iter().filter_map(text).collect();
    let registries: BTreeMap<String, String> = npmrc.iter().flat_map(|text| npm(text)).collect();
    if let Some(registry) = registries.get("registry") {
        variables.insert(NODE[0].to_owned(), registry.clone());
        variables.insert(NODE[2].to_owned(), registry.clone());
    }
    for name in PIP.into_iter().chain(UV).chain(GO).chain(NODE).chain(CARGO) {
        if let Some(value) = vars(name).and_then(|value| plain(&value)) {
            variables.insert(name.to_owned(), value);
        }
    }
    // uv does not read what pip is told.
    if let Some(index) = variables.get(PIP[0]).cloned().filter(|_| !variables.contains_key(UV[2])) {
        variables.entry(UV[0].to_owned()).or_insert(index);
    }
    let is_shimmed = home.join(".pyenv/shims").is_dir();
    if is_shimmed {
        variables.insert("PYENV_HOOK_PATH".to_owned(), format!("/home/agent/{PYENV_HOOKS}"));
    }
    let scopes: String = registries.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    let files = [
        (PYENV_HOOK, is_shimmed.then(|| SHIMS_STAY.to_owned())),
        (".npmrc", Some(scopes).filter(|text| text.contains('@'))),
        (
            ".cargo/config.toml",
            text(".cargo/config.toml").or_else(|| text(".cargo/config")).and_then(|text| cargo(&text)),
        ),
        (
            ".m2/settings.xml",
            [".m2/settings.xml", "/etc/maven/settings.xml"]
                .iter()
                .find_map(|name| text(name).and_then(|text| maven(&text))),
        ),
        (".bundle/config", text(".bundle/config").and_then(|text| bundler(&text))),
        (
            ".config/composer/config.json",
            text(".config/composer/config.json").and_then(|text| composer(&text)),
        ),
    ];
    let files = files.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?))).collect();
    ToolConfig { variables: variables.into_iter().collect(), files }
}

/// A value of one or more places, without users and passwords; `None` if nothing of it can be used inside.
fn plain(value: &str) -> Option<String> {
    let parts = value.split_inclusive([' ', ',', '|', '\n']);
    let kept: String = parts
        .filter_map(|part| {
            let end = part.trim_end_matches([' ', ',', '|', '\n']).len();
            let (word, rest) = part.split_at(end);
            Some(format!("{}{rest}", place(word)?))
        })
        .collect();
    let kept = kept.trim_matches([' ', ',', '|', '\n']);
    (!kept.is_empty() && !kept.contains(|c: char| c.is_control())).then(|| kept.to_owned())
}

/// A URL, directory or other word as it may be shown.
fn place(word: &str) -> Option<String> {
    let is_shown = |path: &str| SHOWN.iter().any(|shown| path.starts_with(shown)) && !path.contains("..");
    if word.starts_with('/') {
        return is_shown(word).then(|| word.to_owned());
    }
    let Some((scheme, rest)) = word.split_once("://") else { return Some(word.to_owned()) };
    if scheme == "file" {
        return is_shown(rest).then(|| word.to_owned());
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or("");
    // What stands behind a question mark may be a key.
    let path = rest[end..].split(['?', '#']).next().unwrap_or("");
    Some(format!("{scheme}://{host}{path}"))
}

/// The registries of pip's configuration: INI, whose values may go on in indented lines.
fn pip(text: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut section = "";
    let mut goes_on = false;
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
        if let Some(name) = line.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            (section, goes_on) = (name, false);
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = found.last_mut().filter(|_| goes_on && !line.trim().is_empty()) {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(['=', ':']) {
            let name = PIP_KEYS.iter().find(|(known, _)| *known == key.trim().replace('_', "-"));
            let name = name.filter(|_| ["global", "install", "download"].contains(&section));
            goes_on = name.is_some();
            found.extend(name.map(|(_, variable)| ((*variable).to_owned(), value.trim().to_owned())));
        }
    }
    found.into_iter().filter_map(|(name, value)| Some((name, plain(&value)?))).collect()
}

fn go(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let known = lines.filter(|(name, _)| GO.contains(name));
    known.filter_map(|(name, value)| Some((name.to_owned(), plain(value)?))).collect()
}

/// `registry` and `@scope:registry` of an `.npmrc`.
fn npm(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    let pairs = pairs.map(|(key, value)| (key.trim(), value.trim().trim_matches('"')));
    let is_registry = |key: &str| key == "registry" || (key.starts_with('@') && key.ends_with(":registry"));
    // `${VARIABLE}` is not known inside.
    let known =
        pairs.filter(|(key, value)| is_registry(key) && value.starts_with("http") && !value.contains('$'));
    known.filter_map(|(key, value)| Some((key.to_owned(), place(value)?))).collect()
}

/// The sources and registries of cargo's configuration.
fn cargo(text: &str) -> Option<String> {
    let whole: toml::Table = toml::from_str(text).ok()?;
    let mut kept = toml::Table::new();
    for (table, keys) in [
        ("source", &["registry", "replace-with", "directory", "local-registry"][..]),
        ("registries", &["index"]),
    ] {
        let Some(entries) = whole.get(table).and_then(toml::Value::as_table) else { continue };
        let entries = entries.iter().filter_map(|(name, entry)| {
            let pairs = keys.iter().filter_map(|key| {
                Some(((*key).to_owned(), toml::Value::String(place(entry.get(key)?.as_str()?)?)))
            });
            let entry: toml::Table = pairs.collect();
            (!entry.is_empty()).then(|| (name.clone(), toml::Value::Table(entry)))
        });
        let entries: toml::Table = entries.collect();
        if !entries.is_empty() {
            kept.insert(table.to_owned(), toml::Value::Table(entries));
        }
    }
    (!kept.is_empty()).then(|| toml::to_string(&kept).ok()).flatten()
}

/// The mirrors of Maven's settings, written anew: servers, proxies and profiles may hold passwords.
fn maven(text: &str) -> Option<String> {
    let text = without_comments(text);
    let mirrors: String = text
        .split("<mirror>")
        .skip(1)
        .filter_map(|rest| {
            let mirror = rest.split("</mirror>").next()?;
            let element = |name: &str| {
                let rest = mirror.split(&format!("<{name}>")).nth(1)?;
                Some(rest.split('<').next()?.trim().to_owned())
            };
            let (url, of) = (place(&element("url")?)?, element("mirrorOf")?);
            let id = element("id").unwrap_or_else(|| "mirror".to_owned());
            let blocked = element("blocked").filter(|blocked| blocked == "true");
            let blocked = blocked.map(|_| "<blocked>true</blocked>").unwrap_or_default();
            Some(format!(
                "<mirror><id>{id}</id><mirrorOf>{of}</mirrorOf><url>{url}</url>{blocked}</mirror>\n"
            ))
        })
        .collect();
    // What only blocks plain HTTP says nothing new: it leaves only where the policy lists it.
    let leads = mirrors.lines().any(|mirror| !mirror.contains("<blocked>"));
    leads.then(|| format!("<settings>\n<mirrors>\n{mirrors}</mirrors>\n</settings>\n"))
}

/// The URLs that Maven's settings fetch from, a line each. One that leads nowhere is there to block.
pub(super) fn urls(text: &str) -> String {
    let text = without_comments(text);
    let urls = text.split("<url>").skip(1).filter_map(|rest| rest.split('<').next());
    urls.filter(|url| !url.contains("://0.0.0.0")).map(|url| format!("{}\n", url.trim())).collect()
}

/// A document without its comments, in which templates name hosts of nobody.
fn without_comments(text: &str) -> String {
    let mut parts = text.split("<!--");
    let first = parts.next().unwrap_or("").to_owned();
    parts.filter_map(|part| part.split_once("-->")).fold(first, |kept, (_, rest)| kept + rest)
}

/// The mirrors of Bundler's configuration: lines of flat YAML.
fn bundler(text: &str) -> Option<String> {
    let lines = text.lines().filter(|line| line.starts_with("BUNDLE_MIRROR__"));
    let lines = lines.filter_map(|line| {
        let (key, value) = line.split_once(": ")?;
        Some(format!("{key}: \"{}\"\n", place(value.trim().trim_matches('"'))?))
    });
    let kept: String = lines.collect();
    (!kept.is_empty()).then(|| format!("---\n{kept}"))
}

/// The repositories of Composer's own configuration that are URLs, and whether packagist.org is one.
fn composer(text: &str) -> Option<String> {
    let whole: serde_json::Value = serde_json::from_str(text).ok()?;
    let listed = whole.get("repositories")?;
    let entries: Vec<&serde_json::Value> = match (listed.as_array(), listed.as_object()) {
        (Some(entries), _) => entries.iter().collect(),
        (None, Some(entries)) => entries.values().collect(),
        (None, None) => return None,
    };
    let mut kept: Vec<serde_json::Value> = Vec::new();
    for entry in entries {
        if let (Some(kind), Some(url)) = (entry["type"].as_str(), entry["url"].as_str().and_then(place)) {
            kept.push(serde_json::json!({"type": kind, "url": url}));
        }
    }
    let is_off = listed.get("packagist.org") == Some(&serde_json::Value::Bool(false))
        || listed.as_array().is_some_and(|all| all.iter().any(|entry| entry["packagist.org"] == false));
    if is_off {
        kept.push(serde_json::json!({"packagist.org": false}));
    }
    (!kept.is_empty()).then(|| serde_json::json!({"repositories": kept}).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)], variables: &[(&str, &str)]) -> ToolConfig {
        let home = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = home.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let vars = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        tools(home.path(), &vars)
    }

    fn variable<'a>(config: &'a ToolConfig, name: &str) -> Option<&'a str> {
        config.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn file<'a>(config: &'a ToolConfig, name: &str) -> Option<&'a str> {
        config.files.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    #[test]
    fn what_blocks_plain_http_goes_on_to_do_so() {
        // As Maven's own default has it.
        let blocker = "<mirror><id>b</id><mirrorOf>external:http:*</mirrorOf><url>http://0.0.0.0/</url><blocked>true</blocked></mirror>";
        let mirror = "<mirror><mirrorOf>*</mirrorOf><url>https://maven.corp.example/</url></mirror>";
        let settings = |mirrors: &str| maven(&format!("<settings><mirrors>{mirrors}</mirrors></settings>"));
        assert!(settings(&format!("{blocker}{mirror}")).unwrap().contains("<blocked>true</blocked>"));
        assert_eq!(settings(blocker), None, "nothing is mirrored");
    }

    #[test]
    fn a_mirror_is_named_inside_and_what_opens_it_is_not() {
        let config = of(
            &[
                (
                    ".config/pip/pip.conf",
                    "[global]\nindex-url = https://u:hunter2@pypi.corp.example/simple?key=hunter2\nproxy = http://hunter2@x\n[install]\ntrusted-host =\n    a.corp.example\n    b.corp.example\nno-binary = x\n",
                ),
                (
                    ".npmrc",
                    "registry=https://npm.corp.example/\n@corp:registry=https://own.corp.example/\n//npm.corp.example/:_authToken=hunter2\n",
                ),
                (
                    ".cargo/config.toml",
                    "[source.crates-io]\nreplace-with = 'corp'\n[source.corp]\nregistry = 'sparse+https://u:hunter2@cargo.corp.example/'\n[registries.own]\nindex = 'https://own.corp.example'\ntoken = 'hunter2'\n[build]\nrustc-wrapper = '/evil'\n",
                ),
                (
                    ".m2/settings.xml",
                    "<settings><!-- <mirror><url>https://old.example</url></mirror> --><servers><server><password>hunter2</password></server></servers><mirrors><mirror><id>corp</id><mirrorOf>*</mirrorOf><url>https://maven.corp.example/all</url></mirror></mirrors></settings>",
                ),
                (
                    ".bundle/config",
                    "---\nBUNDLE_MIRROR__HTTPS://RUBYGEMS__ORG/: \"https://gems.corp.example\"\nBUNDLE_GEMS__CORP__EXAMPLE: \"u:hunter2\"\n",
                ),
                (
                    ".config/composer/config.json",
                    r#"{"config": {"http-basic": {"x": "hunter2"}}, "repositories": {"packagist.org": false, "corp": {"type": "composer", "url": "https://php.corp.example", "options": {"x": "hunter2"}}}}"#,
                ),
                (".config/go/env", "GOPROXY=https://u:hunter2@go.corp.example,direct\nGOFLAGS=-x\n"),
            ],
            &[("GONOSUMDB", "corp.example/*")],
        );
        assert_eq!(variable(&config, "PIP_INDEX_URL"), Some("https://pypi.corp.example/simple"));
        assert_eq!(variable(&config, "UV_DEFAULT_INDEX"), Some("https://pypi.corp.example/simple"));
        assert_eq!(variable(&config, "PIP_TRUSTED_HOST"), Some("a.corp.example b.corp.example"));
        assert_eq!(variable(&config, "NPM_CONFIG_REGISTRY"), Some("https://npm.corp.example/"));
        assert_eq!(variable(&config, "GOPROXY"), Some("https://go.corp.example,direct"));
        assert_eq!(variable(&config, "GONOSUMDB"), Some("corp.example/*"));
        assert_eq!(variable(&config, "GOFLAGS"), None);
        assert_eq!(
            file(&config, ".npmrc"),
            Some("@corp:registry=https://own.corp.example/\nregistry=https://npm.corp.example/\n")
        );
        let cargo: toml::Table = toml::from_str(file(&config, ".cargo/config.toml").unwrap()).unwrap();
        assert_eq!(cargo["source"]["corp"]["registry"].as_str(), Some("sparse+https://cargo.corp.example/"));
        assert_eq!(cargo["source"]["crates-io"]["replace-with"].as_str(), Some("corp"));
        assert!(cargo.get("build").is_none(), "{cargo:?}");
        let mirror =
            "<mirror><id>corp</id><mirrorOf>*</mirrorOf><url>https://maven.corp.example/all</url></mirror>";
        assert_eq!(
            file(&config, ".m2/settings.xml"),
            Some(format!("<settings>\n<mirrors>\n{mirror}\n</mirrors>\n</settings>\n").as_str())
        );
        let gems = "---\nBUNDLE_MIRROR__HTTPS://RUBYGEMS__ORG/: \"https://gems.corp.example\"\n";
        assert_eq!(file(&config, ".bundle/config"), Some(gems));
        let composer = r#"{"repositories":[{"type":"composer","url":"https://php.corp.example"},{"packagist.org":false}]}"#;
        assert_eq!(file(&config, ".config/composer/config.json"), Some(composer));
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
    }

    #[test]
    fn pyenv_is_told_to_leave_its_shims_where_it_is() {
        let config = of(&[(".pyenv/shims/pip", "#!/bin/sh\n")], &[]);
        let hooks = variable(&config, "PYENV_HOOK_PATH").unwrap().strip_prefix("/home/agent/").unwrap();
        assert!(file(&config, &format!("{hooks}/exec/shims-stay.bash")).is_some(), "{config:?}");
    }

    #[test]
    fn a_directory_is_named_only_where_it_is_shown() {
        let found = |value: &str| {
            variable(&of(&[], &[("PIP_FIND_LINKS", value)]), "PIP_FIND_LINKS").map(str::to_owned)
        };
        assert_eq!(found("/opt/wheels").as_deref(), Some("/opt/wheels"));
        assert_eq!(found("/home/me/wheels /usr/share/wheels").as_deref(), Some("/usr/share/wheels"));
        assert_eq!(found("file:///srv/x"), None);
        assert_eq!(found("/opt/../root"), None);
        assert_eq!(of(&[], &[]), ToolConfig::default(), "where nothing is said, nothing is laid");
    }
}

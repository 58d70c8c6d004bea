//! Stacks whose tool alone says how everything is done: a file, an install, a test.

use super::project;
use crate::Project;
use crate::tree::Place;

/// File, or ending with `*` before it; stack; toolchain; install; test.
const KNOWN: [(&str, &str, &str, &str, &str); 14] = [
    ("mix.exs", "Elixir", "elixir", "mix local.hex --force && mix deps.get", "mix test"),
    ("Package.swift", "Swift", "swift", "swift package resolve", "swift test"),
    ("deno.json", "Deno", "deno", "deno install", "deno test"),
    ("deno.jsonc", "Deno", "deno", "deno install", "deno test"),
    ("build.sbt", "Scala (sbt)", "sbt", "sbt Test/compile", "sbt test"),
    ("project.clj", "Clojure (Leiningen)", "lein", "lein deps", "lein test"),
    ("stack.yaml", "Haskell (Stack)", "stack", "stack build --test --no-run-tests", "stack test"),
    (
        "cabal.project",
        "Haskell (cabal)",
        "cabal",
        "cabal update && cabal build --enable-tests all",
        "cabal test all",
    ),
    (
        "*.cabal",
        "Haskell (cabal)",
        "cabal",
        "cabal update && cabal build --enable-tests all",
        "cabal test all",
    ),
    ("dune-project", "OCaml (dune)", "dune", "dune build @install", "dune test"),
    ("rebar.config", "Erlang (rebar3)", "rebar3", "rebar3 get-deps", "rebar3 eunit"),
    ("shard.yml", "Crystal", "crystal", "shards install", "crystal spec"),
    ("pubspec.yaml", "Dart", "dart", "dart pub get", "dart test"),
    ("build.zig", "Zig", "zig", "zig build --fetch", "zig build test"),
];

pub(crate) fn detect(place: Place<'_>) -> Option<Project> {
    KNOWN.iter().find_map(|(file, stack, tool, install, test)| {
        let file = match file.strip_prefix('*') {
            Some(ending) => place.ending(ending)?,
            None => place.first(&[file])?,
        };
        Some(project(stack, place, file, "its build").needs(tool, "").installs(*install).tests(*test))
    })
}

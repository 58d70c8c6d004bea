//! Every target on its corpus, and on some thousand inputs made from it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use legwork_fuzz::{Mutator, TARGETS, run};

/// Inputs a target: some seconds for the slowest one. `LEGWORK_FUZZ_INPUTS` makes more of them, `LEGWORK_FUZZ_SEED` others.
const INPUTS: u64 = 4000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut paths: Vec<_> =
        std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn holds(name: &str) {
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "corpus/{name} is empty");
    let seed = number("LEGWORK_FUZZ_SEED").unwrap_or(1);
    let made = number("LEGWORK_FUZZ_INPUTS").unwrap_or(INPUTS);
    let mut mutator = Mutator::new(seed, &corpus);
    let inputs = corpus.iter().cloned().chain((0..made).map(|_| mutator.input()));
    for (number, input) in inputs.enumerate() {
        if catch_unwind(AssertUnwindSafe(|| run(name, &input))).is_err() {
            let kept = std::env::temp_dir().join(format!("legwork-fuzz-{name}"));
            std::fs::write(&kept, &input).unwrap();
            panic!(
                "input {number} of seed {seed}, kept as {}: {:?}",
                kept.display(),
                String::from_utf8_lossy(&input)
            );
        }
    }
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test] fn $name() { holds(stringify!($name)); })*

        #[test]
        fn each_target_is_here() {
            let here = [$(stringify!($name)),*];
            assert_eq!(TARGETS.map(|target| target.name), here);
        }
    };
}

targets! {
    apply_patch diff dns environment git_output git_url guest_replies guest_requests host image_layer image_manifest
    model_stream proxy server_stream tool_call
}

//! Every parser that meets hostile bytes, as a function of bytes that must not panic and whose properties must hold.
//!
//! The tests run them on the corpus and on seeded mutations of it, on any toolchain. `fuzz/libfuzzer` runs the same functions
//! under libFuzzer, which is led by coverage and needs nightly.

mod egress;
mod environment;
mod git;
mod mutate;
mod patch;
mod tools;

pub use mutate::Mutator;

/// A function of hostile bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which is that of its corpus.
    pub name: &'static str,
    /// Fails by a panic.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 15] = [
    Target { name: "apply_patch", run: patch::apply_patch },
    Target { name: "diff", run: patch::diff },
    Target { name: "dns", run: egress::dns },
    Target { name: "environment", run: environment::detect },
    Target { name: "git_output", run: git::output },
    Target { name: "git_url", run: git::url },
    Target { name: "guest_replies", run: legwork_sandbox::fuzz::replies },
    Target { name: "guest_requests", run: legwork_sandbox::fuzz::requests },
    Target { name: "host", run: egress::host },
    Target { name: "image_layer", run: legwork_image::fuzz::layer },
    Target { name: "image_manifest", run: legwork_image::fuzz::manifest },
    Target { name: "model_stream", run: legwork_model::fuzz::stream },
    Target { name: "proxy", run: egress::proxy },
    Target { name: "server_stream", run: legwork_client::fuzz::stream },
    Target { name: "tool_call", run: tools::call },
];

/// Runs the target of that name.
///
/// # Panics
/// If there is none, or its property does not hold.
#[expect(clippy::expect_used, reason = "a harness fails by panicking")]
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    (target.run)(bytes);
}

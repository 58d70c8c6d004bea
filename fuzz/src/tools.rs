//! Calls of a model.

use std::future::Future;

use crate::patch::parts;

/// Arguments, a zero byte, and what stands in every file.
pub(crate) fn call(bytes: &[u8]) {
    let (input, files) = parts(bytes);
    within(legwork_agent::fuzz::call(&String::from_utf8_lossy(input), files));
}

/// Runs it to its end.
#[expect(clippy::expect_used, reason = "a harness fails by panicking")]
pub(crate) fn within<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

//! The binary that is handed out, and whether it keeps its size.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use crate::house;
use crate::shell::{run_cargo, say};

/// Bytes that the binary may have: a download of seconds, and room for the embedded web UI to come.
const BYTES_MAX: u64 = 40_000_000;

/// Builds `legwork` as it is handed out and prints where it is and how large.
pub(crate) fn run() -> Result<()> {
    run_cargo(&["build", "--profile", "dist", "--locked", "--package", "legwork-cli"])?;
    let binary = house::metadata()?.target_directory.join("dist/legwork");
    let bytes = fs::metadata(&binary).with_context(|| format!("could not find {binary}"))?.len();
    say(&format!("{binary}: {:.1} MB (limit {} MB)", bytes as f64 / 1e6, BYTES_MAX / 1_000_000));
    ensure!(
        bytes <= BYTES_MAX,
        "the binary is larger than its limit; `cargo bloat --profile dist` shows what grew"
    );
    Ok(())
}

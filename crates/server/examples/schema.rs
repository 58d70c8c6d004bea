//! Writes `schema/openapi.json` and `schema/events.json` anew from the code: `cargo run -p legwork-server --example schema`.

use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schema");
    fs::create_dir_all(&folder)?;
    let openapi = serde_json::to_string_pretty(&legwork_server::openapi())?;
    let events = serde_json::to_string_pretty(&legwork_server::events_schema())?;
    fs::write(folder.join("openapi.json"), openapi + "\n")?;
    fs::write(folder.join("events.json"), events + "\n")
}

//! `view_image`: a picture of the checkout as the model sees it.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use legwork_model::Part;
use serde::Deserialize;
use serde_json::json;

use super::files::{absolute, checked};
use super::{Call, Outcome, Tool, spec};

/// The largest picture that every vendor takes (Anthropic's bound, the lowest, is 5 MB).
const IMAGE_BYTES_MAX: u64 = 5_000_000;

/// Shows a picture to the model.
pub(super) struct ViewImage;

#[derive(Deserialize)]
struct Arguments {
    path: String,
}

#[async_trait]
impl Tool for ViewImage {
    fn spec(&self) -> legwork_model::Tool {
        spec(
            "view_image",
            "Shows an image file (PNG, JPEG, GIF or WebP) of the checkout.",
            json!({
                "type": "object",
                "properties": {"path": {"type": "string", "description": "Path from the root of the checkout."}},
                "required": ["path"],
                "additionalProperties": false
            }),
        )
    }

    async fn call(&self, call: Call) -> Outcome {
        let outcome = view(&call).await.unwrap_or_else(|refusal| refusal);
        call.record(&outcome).await;
        outcome
    }
}

async fn view(call: &Call) -> Result<Outcome, Outcome> {
    let Arguments { path } = call.arguments()?;
    let path = checked(&path)?;
    let file = call.scene.sandbox.read(&absolute(&path), IMAGE_BYTES_MAX).await.map_err(Outcome::refused)?;
    let Some(kind) = media_type(&file.contents) else {
        return Err(Outcome::failed(format!("{path} is not a PNG, JPEG, GIF or WebP image.")));
    };
    let mut outcome = Outcome::done(format!("{path} ({kind}, {} bytes)", file.contents.len()));
    outcome.trace.call = format!("view {path}");
    outcome.parts.push(Part::Image(format!("data:{kind};base64,{}", STANDARD.encode(&file.contents))));
    Ok(outcome)
}

/// By the first bytes: a name proves nothing.
fn media_type(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Some("image/png"),
        [0xFF, 0xD8, 0xFF, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

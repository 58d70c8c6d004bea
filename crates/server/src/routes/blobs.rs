//! Blobs: bytes under the name of their digest.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use legwork_domain::{Action, BlobId, Problem};
use tokio_util::io::ReaderStream;

use crate::auth::Identity;
use crate::blobs::BLOB_BYTES_MAX;
use crate::extract::Id;
use crate::problem::{Failure, MEDIA_TYPE};
use crate::{Server, now};

/// Stores a blob of at most 64 MiB.
///
/// Storing the same again is harmless.
#[utoipa::path(
    put, path = "/v1/blobs/{sha256}", tag = "blobs", operation_id = "put_blob",
    params(("sha256" = BlobId, Path, description = "The SHA-256 of the bytes in lower-case hexadecimal")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 204, description = "It is stored"),
        (status = 429, description = "The caller has uploaded too much that no task names", body = Problem, content_type = MEDIA_TYPE),
        (status = 422, description = "The bytes have another digest, or hold the value of a secret", body = Problem, content_type = MEDIA_TYPE),
        (status = "default", description = "Any other failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn put(
    State(server): State<Arc<Server>>,
    identity: Identity,
    Id(blob): Id<BlobId>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Failure> {
    if let Identity::Person(caller) = &identity {
        caller.may_somewhere(Action::Run)?;
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > BLOB_BYTES_MAX) {
        return Err(Failure::too_large(BLOB_BYTES_MAX));
    }
    let mut under_way = None;
    if let Identity::Person(caller) = &identity {
        // Who does not say how much may send the most.
        let one = server.blobs.uploads.begin(caller.user(), announced.unwrap_or(BLOB_BYTES_MAX) as u64);
        let most = server.rules.user_uploads_bytes_max;
        server.store.room_for_upload(&blob, one.all(), caller.user(), most).await?;
        under_way = Some(one);
    }
    // Before the bytes are there: so they are not removed as long unused by who looks just now.
    server.store.hold_blob(&blob, now()).await?;
    server.blobs.put(&blob, body, &server.redactor.known()).await?;
    if let Identity::Person(caller) = &identity {
        let bytes = server.blobs.get(&blob).await?.map_or(0, |(_, length)| length);
        server.store.blob_uploaded(&blob, bytes, caller.user(), now()).await?;
    }
    drop(under_way);
    Ok(StatusCode::NO_CONTENT)
}

/// Reads a blob: one's own, or one that a task names which one may see.
#[utoipa::path(
    get, path = "/v1/blobs/{sha256}", tag = "blobs", operation_id = "get_blob",
    params(("sha256" = BlobId, Path, description = "The SHA-256 of the bytes in lower-case hexadecimal")),
    responses(
        (status = 200, description = "The bytes", body = Vec<u8>, content_type = "application/octet-stream"),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn get(
    State(server): State<Arc<Server>>,
    identity: Identity,
    Id(blob): Id<BlobId>,
) -> Result<impl IntoResponse, Failure> {
    let missing = || Failure::not_found(&format!("blob {blob}"));
    if let Identity::Person(caller) = &identity
        && !server.store.may_read_blob(&blob, caller.user(), caller.visible()).await?
    {
        return Err(missing());
    }
    let (file, length) = server.blobs.get(&blob).await?.ok_or_else(missing)?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        // The bytes may be a hostile page: no browser is to guess what they are.
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::ETAG, format!("\"{blob}\"")),
        (header::CACHE_CONTROL, "private, max-age=31536000, immutable".to_owned()),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(file))))
}

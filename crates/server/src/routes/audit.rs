//! The audit log.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use legwork_domain::{AuditPage, AuditVerdict, Problem, without_login};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use crate::Server;
use crate::auth::Caller;
use crate::extract::Params;
use crate::problem::{Failure, MEDIA_TYPE};

/// Which page of the log.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// `next` of the page before.
    before: Option<u64>,
}

/// Reads the audit log, newest first. For owners of everything.
#[utoipa::path(
    get, path = "/v1/audit", tag = "access", operation_id = "read_audit",
    params(Page),
    responses(
        (status = 200, description = "A page of at most 100", body = AuditPage),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn read(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Params(page): Params<Page>,
) -> Result<Json<AuditPage>, Failure> {
    caller.owns_the_server()?;
    let mut page = server.store.audit(page.before).await?;
    for entry in &mut page.entries {
        entry.before.iter_mut().chain(&mut entry.after).for_each(hide_login);
    }
    Ok(Json(page))
}

/// Checks that no entry of the audit log was changed, taken out or put in. For owners of everything.
#[utoipa::path(
    get, path = "/v1/audit/verdict", tag = "access", operation_id = "verify_audit",
    responses(
        (status = 200, description = "What the check showed", body = AuditVerdict),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn verify(
    State(server): State<Arc<Server>>,
    caller: Caller,
) -> Result<Json<AuditVerdict>, Failure> {
    caller.owns_the_server()?;
    Ok(Json(server.store.verify_audit().await?))
}

/// Takes the login out of a repository's URL, which entries of earlier versions may hold. The entry itself stays as it was
/// written, since those that follow name its digest.
fn hide_login(thing: &mut Value) {
    if let Some(Value::String(url)) = thing.get_mut("url") {
        *url = without_login(url);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_old_login_is_not_shown() {
        let mut things = [
            json!({ "url": "https://me:hunter2@h.example/a", "id": 1 }),
            json!({ "url": null }),
            json!("https://me:hunter2@h.example/a"),
        ];
        things.iter_mut().for_each(hide_login);
        assert_eq!(things[0], json!({ "url": "https://h.example/a", "id": 1 }));
        assert_eq!(things[1], json!({ "url": null }), "only what is a URL is one");
    }
}

//! What was spent.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use legwork_domain::{Day, Problem, UsageBy, UsageReport, UserId};
use legwork_store::UsageQuery;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::auth::Caller;
use crate::extract::Params;
use crate::problem::{Failure, MEDIA_TYPE};
use crate::{Server, now};

/// Days of a report that names none: the last month.
const DAYS: i32 = 30;

/// What the report is about.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct About {
    /// What each row is; `day` if nothing is said.
    #[serde(default = "day")]
    #[param(required = false, inline)]
    by: UsageBy,
    /// The first day, in UTC; 30 days back if none is named.
    from: Option<Day>,
    /// The last day; today if none is named.
    to: Option<Day>,
    /// Only what this user spent.
    user: Option<UserId>,
}

const fn day() -> UsageBy {
    UsageBy::Day
}

/// Reports cost, tokens and time by day, user or task. All but owners of the server see their own alone.
#[utoipa::path(
    get, path = "/v1/usage", tag = "budgets", operation_id = "report_usage",
    params(About),
    responses(
        (status = 200, description = "At most 1,000 rows: the latest days, or the dearest users or tasks", body = UsageReport),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn report(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Params(about): Params<About>,
) -> Result<Json<UsageReport>, Failure> {
    let to = about.to.unwrap_or_else(|| Day::from(now()));
    let from = about.from.unwrap_or_else(|| Day::from_days(to.days().saturating_sub(DAYS)));
    let user = match (about.user, caller.owns_the_server()) {
        (user, Ok(())) => user,
        (Some(user), Err(refused)) if user != caller.user() => return Err(refused),
        (_, Err(_)) => Some(caller.user()),
    };
    let query = UsageQuery { by: about.by, from, to, user };
    Ok(Json(server.store.usage(&query).await?))
}

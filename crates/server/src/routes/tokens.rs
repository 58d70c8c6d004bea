//! API tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use legwork_domain::{Problem, Scope, Timestamp, Token, TokenDraft, TokenId, TokenList, TokenMade, UserId};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use super::users::known;
use crate::Server;
use crate::auth::{Caller, Kind, Secret};
use crate::extract::{Body, Id, Params};
use crate::problem::{Failure, MEDIA_TYPE};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How long a token opens if nobody says: a quarter, as long as people remember what they made it for.
const LIFE_MS: i64 = 90 * DAY_MS;

/// The longest life: a year, so that none is forgotten for ever.
const LIFE_MS_MAX: i64 = 366 * DAY_MS;

/// Makes a token. The answer is the only one that holds what opens.
///
/// A token cannot make one that may do more than itself, nor one that is trusted more.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "access", operation_id = "create_token",
    request_body = TokenDraft,
    responses(
        (status = 201, description = "The token", body = TokenMade),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn create(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Body(draft): Body<TokenDraft>,
) -> Result<(StatusCode, Json<TokenMade>), Failure> {
    let user = draft.user.unwrap_or_else(|| caller.user());
    known(&caller, user)?;
    draft.validate().map_err(Failure::invalid)?;
    if !caller.covers(draft.scope, draft.trust) {
        return Err(Failure::beyond_the_caller());
    }
    let kind = match draft.scope {
        Scope::User { .. } => Kind::User,
        Scope::Worker => Kind::Worker,
    };
    if let Scope::User { repository: Some(repository), .. } = draft.scope {
        server.store.repository(repository).await?;
    }
    let secret = Secret::draw(kind)?;
    let act = caller.act();
    let token = Token {
        id: TokenId::from_u128(Uuid::now_v7().as_u128()),
        user,
        name: draft.name,
        scope: draft.scope,
        trust: draft.trust,
        created_at: act.at,
        expires_at: expiry(draft.expires_at, act.at)?,
        revoked_at: None,
        last_used_at: None,
    };
    server.store.create_token(&token, &secret.digest().to_string(), &act).await?;
    Ok((StatusCode::CREATED, Json(TokenMade { token, secret: secret.reveal() })))
}

fn expiry(asked: Option<Timestamp>, now: Timestamp) -> Result<Timestamp, Failure> {
    let at = asked.unwrap_or_else(|| now.plus_ms(LIFE_MS));
    if at <= now || at > now.plus_ms(LIFE_MS_MAX) {
        return Err(Failure::invalid(
            "A token ends within the next 366 days. Name such a time, or none for 90 days.",
        ));
    }
    Ok(at)
}

/// Whose tokens.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Whose {
    /// Those of this user; the caller's own if nobody is named.
    user: Option<UserId>,
}

/// Lists a user's tokens, without what opens.
#[utoipa::path(
    get, path = "/v1/tokens", tag = "access", operation_id = "list_tokens",
    params(Whose),
    responses(
        (status = 200, description = "All of them", body = TokenList),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn list(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Params(whose): Params<Whose>,
) -> Result<Json<TokenList>, Failure> {
    let user = whose.user.unwrap_or_else(|| caller.user());
    known(&caller, user)?;
    Ok(Json(TokenList { tokens: server.store.tokens(user).await? }))
}

/// Ends a token at once. A second time changes nothing.
#[utoipa::path(
    delete, path = "/v1/tokens/{token}", tag = "access", operation_id = "revoke_token",
    params(("token" = TokenId, Path, description = "Which token")),
    responses(
        (status = 200, description = "The token, revoked", body = Token),
        (status = "default", description = "Any failure", body = Problem, content_type = MEDIA_TYPE),
    ),
)]
pub(super) async fn revoke(
    State(server): State<Arc<Server>>,
    caller: Caller,
    Id(id): Id<TokenId>,
) -> Result<Json<Token>, Failure> {
    let token = server.store.token(id).await?;
    known(&caller, token.user).map_err(|_| Failure::not_found(&format!("token {id}")))?;
    // A weak token that is lost must not be able to shut its user out.
    if !caller.covers(token.scope, token.trust) && !caller.is(id) {
        return Err(Failure::beyond_the_caller());
    }
    Ok(Json(server.store.revoke_token(id, &caller.act()).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_bounded() {
        let now = Timestamp::from_micros(1_000_000_000);
        assert_eq!(expiry(None, now).unwrap(), now.plus_ms(LIFE_MS));
        assert_eq!(expiry(Some(now.plus_ms(1)), now).unwrap(), now.plus_ms(1));
        for wrong in [now, now.plus_ms(-1), now.plus_ms(LIFE_MS_MAX + 1)] {
            assert!(expiry(Some(wrong), now).is_err());
        }
    }
}

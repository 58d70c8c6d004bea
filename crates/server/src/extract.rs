//! Extractors that refuse with a problem document.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Server;
use crate::problem::Failure;

/// A JSON body, without the values of secrets.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: Serialize + DeserializeOwned> FromRequest<Arc<Server>> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, server: &Arc<Server>) -> Result<Self, Failure> {
        let axum::Json(body) = axum::Json::from_request(request, server).await?;
        // It was read from JSON, so it can be written and, texts changed, be read again; else the text had a form to keep.
        let clean = server.redactor.document(body);
        clean.map(Self).map_err(|_| {
            Failure::invalid("A secret stands where no text may be changed. Nothing was stored.")
        })
    }
}

/// A JSON body that holds a secret on purpose: it must not be stored as it is.
pub(crate) struct Sensitive<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Sensitive<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let axum::Json(body) = axum::Json::from_request(request, state).await?;
        Ok(Self(body))
    }
}

/// The one id in the path. A text that is no id names nothing: 404.
pub(crate) struct Id<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Id<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(id) = Path::from_request_parts(parts, state).await?;
        Ok(Self(id))
    }
}

/// Query parameters.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Query(params) = Query::from_request_parts(parts, state).await?;
        Ok(Self(params))
    }
}

/// A header's text; `None` if it is absent or empty.
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Failure> {
    let text = headers.get(name).map(|value| value.to_str()).transpose();
    let text = text.map_err(|_| Failure::invalid(format!("The header {name} is not plain text.")))?;
    Ok(text.filter(|text| !text.is_empty()))
}

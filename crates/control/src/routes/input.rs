//! How a request is read: first who it is from, then what it says.

use crate::{auth::Signed, client::HOST, control::Control, error::ControlError};
use axum::{
    Json,
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Query, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::{sync::Arc, time::Duration};

/// The largest body: a manifest of eight mebibytes is the largest thing that is sent, JSON escapes included.
pub(crate) const BODY_LIMIT_BYTES: usize = 16 * 1024 * 1024;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Lets a request on when it comes from a holder of the token, and from no web page.
pub(crate) async fn admit(
    State(control): State<Arc<Control>>,
    request: Request,
    next: Next,
) -> Result<Response, ControlError> {
    let (parts, body) = request.into_parts();
    of_this_machine(&parts)?;
    let body = whole(body).await?;
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let signed = Signed { method: parts.method.as_str(), target, body: &body };
    control.gatekeeper.admit(only(&parts.headers, header::AUTHORIZATION), &signed, control.clock.now())?;
    // What was begun is carried through: a caller who goes away leaves no revocation half done.
    let carried = tokio::spawn(next.run(Request::from_parts(parts, Body::from(body))));
    carried.await.map_err(|_| ControlError::Internal)
}

/// A page in a browser always says where it comes from and names the host that it means; programs of ours
/// send no Origin and name ours.
fn of_this_machine(parts: &Parts) -> Result<(), ControlError> {
    let host = only(&parts.headers, header::HOST);
    let foreign = parts.headers.contains_key(header::ORIGIN) || parts.headers.contains_key("sec-fetch-site");
    if host != Some(HOST) || foreign || parts.uri.authority().is_some() {
        return Err(ControlError::ForeignOrigin);
    }
    Ok(())
}

/// The value of a header that came exactly once.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok();
    value.filter(|_| values.next().is_none())
}

async fn whole(body: Body) -> Result<Bytes, ControlError> {
    let read = Limited::new(body, BODY_LIMIT_BYTES).collect();
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ControlError::TooLarge(BODY_LIMIT_BYTES)),
        Ok(Err(_)) => Err(ControlError::BadRequest("the body broke off".to_owned())),
        Err(_) => Err(ControlError::TooSlow),
    }
}

/// The body of a request, read as JSON.
pub(crate) struct Input<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Input<T> {
    type Rejection = ControlError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ControlError> {
        let body = whole(request.into_body()).await?;
        serde_json::from_slice(&body).map(Self).map_err(|error| ControlError::BadRequest(error.to_string()))
    }
}

/// The query of a request.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ControlError> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query.map(|query| Self(query.0)).map_err(|error| ControlError::BadRequest(error.body_text()))
    }
}

/// What no route answers.
pub(crate) async fn no_such_path() -> ControlError {
    ControlError::NoSuchPath
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(kind = problem.slug(), detail = problem.detail, "a command was not carried out");
        }
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (status, kind, Json(problem)).into_response()
    }
}

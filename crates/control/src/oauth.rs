//! The redirect listener: where a human's browser begins a flow, and where it comes back to.
//!
//! It is plain HTTP on loopback, since that is what providers let be registered without a certificate, so
//! everything that arrives here is taken to be hostile. Two pages, GET only, for our own Host only (a web
//! page whose name was rebound to 127.0.0.1 sends its own); nothing of a request is ever echoed.
//!
//! **Whoever ends a flow must be who began it** (draft-ietf-oauth-security-topics-update: cross-user session
//! fixation; PKCE does not cover it). A flow is begun over the authenticated socket, and its start link is
//! shown to that human alone: it holds a random key, works once, and only when the browser says that the
//! human opened it (`Sec-Fetch-Site: none`), so that no web page can send somebody else's browser there.
//! It sets a cookie that the answer must bring back; state, context, cookie and issuer are then held
//! against the flow by the keeper, which alone redeems.
//!
//! **Distinct redirect URIs** (COAT, same draft): the path ends in the context of tenant, tool and provider,
//! which selects nothing here. The code is sealed to the keeper the moment it is read.

mod links;
mod pages;

pub(crate) use links::StartLinks;

use crate::{control::Control, error::ControlError};
use axum::{
    Router,
    extract::{Path, RawQuery, Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use nightlatch_custody::{Secret, seal};
use nightlatch_domain::{
    chain::FlowOutcome,
    id::{ContextId, FlowId},
    ports::control_keeper::{ControlReply, ControlRequest, FinishFlow, FlowSession, code_context},
};
use pages::{Page, page};
use std::sync::Arc;

/// What the session's cookie begins with, whoever names it.
const COOKIE_PREFIX: &str = "nightlatch";
/// The longest value of a parameter: providers' codes stay under 2 KiB.
const VALUE_LIMIT_BYTES: usize = 8 * 1024;

/// The pages, behind their guard.
pub(crate) fn router(control: Arc<Control>) -> Router {
    Router::new()
        .route("/oauth/start/{flow}", get(start))
        .route("/oauth/callback/{context}", get(callback))
        .fallback(|| async { page(Page::Nothing) })
        .layer(from_fn_with_state(Arc::clone(&control), guard))
        .with_state(control)
}

/// GET, under our own name, and nothing else.
async fn guard(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    let own = control.facts.redirect_url.strip_prefix("http://");
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    let ours = host.is_some() && host == own && hosts.next().is_none() && request.uri().authority().is_none();
    if !ours {
        return page(Page::Misdirected);
    }
    if request.method() != Method::GET {
        return page(Page::GetOnly);
    }
    next.run(request).await
}

async fn start(
    State(control): State<Arc<Control>>,
    Path(flow): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    if !opened_by_a_human(&headers) {
        return page(Page::ForHumansOnly);
    }
    let key = query.as_deref().and_then(|query| query.strip_prefix("key=")).unwrap_or_default();
    let link = flow.parse::<FlowId>().ok().and_then(|flow| control.starts.take(flow, key, control.now()));
    let Some(link) = link else { return page(Page::LinkUsed) };
    let leads_on = (HeaderValue::from_str(&link.authorize_url), HeaderValue::from_str(&link.cookie));
    let (Ok(location), Ok(cookie)) = leads_on else { return page(Page::Failed) };
    let mut answer = page(Page::LeadsOn);
    *answer.status_mut() = StatusCode::SEE_OTHER;
    answer.headers_mut().insert(header::LOCATION, location);
    answer.headers_mut().insert(header::SET_COOKIE, cookie);
    answer
}

/// Whether the address was typed, pasted or opened from a terminal: not from a page, not ahead of time.
/// Browsers that send no fetch metadata are taken at their word; the link's key still stands.
fn opened_by_a_human(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").is_none_or(|site| site == "none");
    site && !headers.contains_key("sec-purpose") && !headers.contains_key("purpose")
}

async fn callback(
    State(control): State<Arc<Control>>,
    Path(context): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let finish = match control.read_answer(&context, &query.unwrap_or_default(), &headers).await {
        Ok(Some(finish)) => finish,
        Ok(None) => return page(Page::Unreadable),
        Err(_) => return page(Page::Failed),
    };
    // Detached: a browser that goes away must not tear a redeemed code from its connection.
    let keeper = Arc::clone(&control.keeper);
    let asked = tokio::spawn(async move { keeper.ask(ControlRequest::FinishFlow(finish)).await });
    let mut answer = match asked.await {
        Ok(Ok(ControlReply::FlowEnded { outcome: FlowOutcome::Connected { .. }, .. })) => {
            page(Page::Connected)
        }
        Ok(Ok(ControlReply::FlowEnded { outcome: FlowOutcome::Failed { .. }, .. })) => {
            page(Page::NotConnected)
        }
        Ok(Err(refusal)) => {
            tracing::info!(%refusal, "an answer of a provider was refused");
            page(Page::NotConnected)
        }
        _ => page(Page::Failed),
    };
    for cookie in links::forget(&headers, &context) {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    answer
}

impl Control {
    /// What came back, with the code sealed; none where it cannot be read in one way.
    async fn read_answer(
        &self,
        context: &str,
        query: &str,
        headers: &HeaderMap,
    ) -> Result<Option<FinishFlow>, ControlError> {
        let Some((context, fields)) = context.parse::<ContextId>().ok().zip(Answer::read(query)) else {
            return Ok(None);
        };
        let result = match (fields.code, fields.error) {
            (Some(code), None) => Ok(self.sealed_code(context, code).await?),
            (None, Some(error)) => Err(error_code(&error)),
            _ => return Ok(None),
        };
        let session = FlowSession::Cookie { value: session_cookie(headers).unwrap_or_default() };
        Ok(Some(FinishFlow { state: fields.state, context, iss: fields.iss, result, session }))
    }

    async fn sealed_code(
        &self,
        context: ContextId,
        code: Secret,
    ) -> Result<nightlatch_domain::sealed::Sealed, ControlError> {
        let key = self.intake_key().await?;
        seal::to(&key, code_context(context).as_bytes(), &code).map_err(|_| ControlError::Internal)
    }
}

/// The parameters of an authorization response (RFC 6749 §4.1.2, RFC 9207 §2).
struct Answer {
    state: String,
    code: Option<Secret>,
    error: Option<String>,
    iss: Option<String>,
}

impl Answer {
    fn read(query: &str) -> Option<Self> {
        let (mut state, mut code, mut error, mut iss) = (None, None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if value.len() > VALUE_LIMIT_BYTES {
                return None;
            }
            let value = value.into_owned();
            // RFC 6749 §3.1: a parameter must not be included more than once.
            let twice = match &*name {
                "state" => state.replace(value).is_some(),
                "code" => code.replace(Secret::from_string(value)).is_some(),
                "error" => error.replace(value).is_some(),
                "iss" => iss.replace(value).is_some(),
                _ => false,
            };
            if twice {
                return None;
            }
        }
        Some(Self { state: state?, code, error, iss })
    }
}

/// RFC 6749 §4.1.2.1 allows %x20-21, %x23-5B and %x5D-7E; of these, what a code of ours and theirs uses.
pub(crate) fn error_code(text: &str) -> String {
    text.chars().filter(|letter| letter.is_ascii_alphanumeric() || "_-.".contains(*letter)).take(64).collect()
}

/// The session's cookie, where exactly one came.
fn session_cookie(headers: &HeaderMap) -> Option<String> {
    let mut ours = links::cookies(headers);
    let (_, value) = ours.next()?;
    ours.next().is_none().then(|| value.to_owned())
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        page(self)
    }
}

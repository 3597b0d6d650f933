//! HTTP → provider: the public face, authorization server and API on one address.

use crate::{
    pages,
    provider::{AuthorizeRequest, Landing, OAuthError, Provider, TokenRequest},
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE,
        WWW_AUTHENTICATE,
    },
};
use http_body_util::Full;
use nightlatch_domain::clock::Boot;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) type Answer = Response<Full<Bytes>>;

/// The login cookie's name.
const COOKIE_NAME: &str = "sim_session";

/// Answers one request of the public face.
pub(crate) fn answer(provider: &mut Provider, request: &Request<Bytes>, now: Boot) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/.well-known/oauth-authorization-server") => metadata(provider.issuer()),
        (&Method::GET, "/authorize") => {
            let asked = authorize_request(&query(request));
            landed(provider.authorize(asked, cookie(request.headers()), now))
        }
        (&Method::POST, "/login") => {
            let form = form(request);
            landed(provider.log_in(word(&form, "request"), word(&form, "login"), word(&form, "password")))
        }
        (&Method::GET, "/consent") => {
            landed(Ok(provider.consent_page(word(&query(request), "request"), cookie(request.headers()))))
        }
        (&Method::POST, "/consent") => {
            let form = form(request);
            let agreed = word(&form, "decision") == "agree";
            let (waiting, once) = (word(&form, "request"), word(&form, "once"));
            landed(provider.consent(waiting, once, agreed, cookie(request.headers()), now))
        }
        (&Method::POST, "/token") => token(provider, request, now),
        (method, path) if path.starts_with("/api/") => api(provider, request, method, path, now),
        _ => problem(StatusCode::NOT_FOUND, "not_found"),
    }
}

fn authorize_request(query: &BTreeMap<String, String>) -> AuthorizeRequest {
    let text = |name: &str| word(query, name).to_owned();
    AuthorizeRequest {
        response_type: text("response_type"),
        client_id: text("client_id"),
        redirect_uri: text("redirect_uri"),
        scope: text("scope"),
        state: text("state"),
        code_challenge: text("code_challenge"),
        code_challenge_method: text("code_challenge_method"),
    }
}

fn landed(landing: Result<Landing, nightlatch_domain::clock::NoEntropy>) -> Answer {
    let Ok(landing) = landing else {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "server_error");
    };
    let mut answer = Response::new(Full::new(Bytes::from(pages::html(&landing))));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'none'"));
    match &landing {
        Landing::Back(address) => {
            insert(headers, LOCATION, address);
            *answer.status_mut() = StatusCode::SEE_OTHER;
        }
        Landing::LoggedIn { request, session } => {
            insert(headers, LOCATION, &format!("/consent?request={request}"));
            insert(headers, SET_COOKIE, &format!("{COOKIE_NAME}={session}; Path=/; HttpOnly; SameSite=Lax"));
            *answer.status_mut() = StatusCode::SEE_OTHER;
        }
        Landing::Refused(_) => *answer.status_mut() = StatusCode::BAD_REQUEST,
        Landing::Login { .. } | Landing::Consent { .. } => {}
    }
    answer
}

fn insert(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn token(provider: &mut Provider, request: &Request<Bytes>, now: Boot) -> Answer {
    let form = form(request);
    let text = |name: &str| word(&form, name).to_owned();
    let asked = TokenRequest {
        authorization: header(request.headers(), &AUTHORIZATION).to_owned(),
        grant_type: text("grant_type"),
        code: text("code"),
        redirect_uri: text("redirect_uri"),
        code_verifier: text("code_verifier"),
        refresh_token: text("refresh_token"),
    };
    match provider.token(&asked, now) {
        Ok(tokens) => json_answer(StatusCode::OK, &json!(tokens)),
        Err(error) => refused(error),
    }
}

/// RFC 6749 §5.2: 400, and 401 with a challenge for a client that did not prove itself.
fn refused(error: OAuthError) -> Answer {
    let status = match error {
        OAuthError::InvalidClient => StatusCode::UNAUTHORIZED,
        OAuthError::InvalidGrant | OAuthError::UnsupportedGrantType => StatusCode::BAD_REQUEST,
        OAuthError::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let mut answer = problem(status, &error.to_string());
    if status == StatusCode::UNAUTHORIZED {
        insert(answer.headers_mut(), WWW_AUTHENTICATE, "Basic realm=\"simulator\"");
    }
    answer
}

/// The API: an account, a mailbox, and a page that shows the caller its own request, as debug pages do.
fn api(provider: &mut Provider, request: &Request<Bytes>, method: &Method, path: &str, now: Boot) -> Answer {
    let bearer = header(request.headers(), &AUTHORIZATION).strip_prefix("Bearer ").unwrap_or_default();
    let Some(account) = provider.bearer(bearer, now) else {
        // RFC 6750 §3.1.
        let mut answer = problem(StatusCode::UNAUTHORIZED, "invalid_token");
        let challenge = "Bearer realm=\"simulator\", error=\"invalid_token\"";
        insert(answer.headers_mut(), WWW_AUTHENTICATE, challenge);
        return answer;
    };
    match (method, path) {
        (&Method::GET, "/api/me") => {
            json_answer(StatusCode::OK, &json!({ "id": account.id, "login": account.login }))
        }
        (&Method::GET, "/api/mail") => json_answer(StatusCode::OK, &mailbox(&account.login)),
        (&Method::GET, "/api/debug/request") => json_answer(StatusCode::OK, &shown(request.headers())),
        _ => problem(StatusCode::NOT_FOUND, "not_found"),
    }
}

fn mailbox(login: &str) -> Value {
    json!({ "mailbox": login, "messages": [
        { "id": 1, "from": "ops@example.com", "subject": "Disk of db-2 is nearly full" },
        { "id": 2, "from": "lee@example.com", "subject": "Can we move the review to Friday?" },
    ]})
}

fn shown(headers: &HeaderMap) -> Value {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let shown = headers.iter().map(|(name, value)| (name.to_string(), Value::String(text(value))));
    json!({ "you_sent": shown.collect::<serde_json::Map<_, _>>() })
}

/// RFC 8414 §2.
fn metadata(issuer: &str) -> Answer {
    let described = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "authorization_response_iss_parameter_supported": true,
    });
    json_answer(StatusCode::OK, &described)
}

/// A JSON answer that nobody keeps (RFC 6749 §5.1).
pub(crate) fn json_answer(status: StatusCode, value: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(value.to_string())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// An error by its code.
pub(crate) fn problem(status: StatusCode, error: &str) -> Answer {
    json_answer(status, &json!({ "error": error }))
}

fn header<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = header(headers, &COOKIE).split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value).next()
}

/// The query of an address; of a name that stands twice the last one.
pub(crate) fn query(request: &Request<Bytes>) -> BTreeMap<String, String> {
    pairs(request.uri().query().unwrap_or_default().as_bytes())
}

fn form(request: &Request<Bytes>) -> BTreeMap<String, String> {
    pairs(request.body())
}

fn pairs(text: &[u8]) -> BTreeMap<String, String> {
    form_urlencoded::parse(text).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// A value, or nothing.
pub(crate) fn word<'a>(values: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    values.get(name).map(String::as_str).unwrap_or_default()
}

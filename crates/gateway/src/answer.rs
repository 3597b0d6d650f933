//! Refusals on the wire: RFC 9457, built from our own words, and closed where framing is in doubt.

use crate::error::BodyError;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use nightlatch_domain::{
    id::CallId,
    problem::{Problem, ProblemKind},
};

/// The body of every answer.
pub(crate) type OutBody = UnsyncBoxBody<Bytes, BodyError>;

/// The header that names the call, for `nightlatch why`.
pub(crate) const CALL: &str = "nightlatch-call";

/// Marks an answer of ours that is no problem and may have come before the end of the request's body.
#[derive(Clone, Copy)]
pub(crate) struct PerhapsUnread;

/// Marks a refusal, for whoever must tell it from a tool's answer.
#[derive(Clone)]
pub(crate) struct Told(pub(crate) Problem);

/// A body that is whole already.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> OutBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A refusal. Its kind goes along, for whoever decides what becomes of the connection.
pub(crate) fn problem(problem: &Problem) -> Response<OutBody> {
    let body = problem.body();
    // Texts, numbers and ids of ours have no way to fail; if they had, the status says enough.
    let mut answer = Response::new(whole(serde_json::to_vec(&body).unwrap_or_default()));
    *answer.status_mut() = StatusCode::from_u16(body.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.extensions_mut().insert(problem.kind);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-should-retry", HeaderValue::from_static(if body.retryable { "true" } else { "false" }));
    if let Some(secs) = body.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
    }
    if problem.kind == ProblemKind::NotAdmitted {
        // RFC 9110 §15.5.2: a 401 carries a challenge. Nothing that a client could type answers this one.
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Nightlatch-Certificate"));
    }
    if problem.field.as_deref() == Some(header::SEC_WEBSOCKET_VERSION.as_str()) {
        // RFC 6455 §4.4: whoever refuses a version says which one there is.
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    if let Some(call) = problem.call {
        name_call(headers, call);
    }
    answer.extensions_mut().insert(Told(problem.clone()));
    answer
}

/// A refusal as bytes of HTTP/1.1, for where no HTTP was agreed upon.
pub(crate) fn in_plain_http(problem: &Problem) -> Vec<u8> {
    let body = problem.body();
    let text = serde_json::to_string(&body).unwrap_or_default();
    let call = problem.call.map(|call| format!("{CALL}: {call}\r\n")).unwrap_or_default();
    format!(
        "HTTP/1.1 {} Refused\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n{call}content-length: {}\r\nconnection: close\r\n\r\n{text}",
        body.status,
        text.len(),
    )
    .into_bytes()
}

/// Puts the challenge of a manifest on a refusal.
pub(crate) fn challenge(answer: &mut Response<OutBody>, challenge: Option<&str>) {
    let value = challenge.and_then(|text| HeaderValue::from_str(text).ok());
    answer
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, value.unwrap_or(HeaderValue::from_static("Bearer")));
}

/// Puts the call's id on an answer.
pub(crate) fn name_call(headers: &mut HeaderMap, call: CallId) {
    if let Ok(id) = HeaderValue::from_str(&call.to_string()) {
        headers.insert(CALL, id);
    }
}

#[cfg(test)]
mod tests {
    use super::in_plain_http;
    use nightlatch_domain::problem::{Problem, ProblemKind};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_a_refusal_names_it_is_one_answer_and_its_head_holds_nothing_of_it(
            kind in prop::sample::select(ProblemKind::ALL),
            field in "(\\PC|\r|\n|\"|\\\\){0,24}",
        ) {
            let answer = in_plain_http(&Problem::new(kind).at_field(field.clone()));
            let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
            let (head, body) = answer.split_at(end);
            let read: serde_json::Value = serde_json::from_slice(body).unwrap();
            prop_assert_eq!(read["field"].as_str(), Some(field.as_str()));
            let length = format!("content-length: {}\r\n", body.len());
            let head = String::from_utf8(head.to_vec()).unwrap();
            prop_assert!(head.contains(&length) && head.lines().count() == 6, "{}", head);
        }
    }
}

//! Forward: the call leaves, over the one connector, and its answer's head comes back.
//!
//! Nothing is followed and nothing is repeated: a redirect is handed back, and what may have been sent is
//! never sent again. What the agent is told of a failure says which of the two it was: nothing was sent, or
//! nobody knows. An answer that scrub could not read (some codings of content, any of transfer, a switch of
//! protocols that nobody asked for, or one that agrees to more than was offered) is refused whole.

use super::{attach::Prepared, coding, scrub, wash, websocket::Offer};
use crate::{fields, limits::Limits};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use nightlatch_catalog::manifest::Manifest;
use nightlatch_domain::{
    exchange::Exchange,
    problem::{Problem, ProblemKind},
    tool::Effect,
};
use nightlatch_egress::{
    AnswerBody, Answered, EgressError, Fault, Pool, PoolKey, SendBody, Switched, Timeouts,
};
use nightlatch_scrub::Masks;

/// What goes after the head.
pub(crate) enum Sending {
    /// The agent's body.
    Body(SendBody),
    /// Nothing, until the tool has taken this offer.
    Offer(Offer),
}

/// What came back.
pub(crate) enum Forwarded {
    /// An answer.
    Answer(Response<AnswerBody>),
    /// The tool took the offer, and the subprotocol that it chose.
    Switched(Response<Switched>, Option<HeaderValue>),
}

/// # Errors
/// The failure of the way out, as a problem.
pub(crate) async fn forward(
    pool: &Pool,
    key: PoolKey,
    prepared: Prepared,
    sending: Sending,
    exchange: &Exchange,
    limits: &Limits,
) -> Result<Forwarded, Problem> {
    let timeouts = Timeouts { connect: limits.connect_within, answer: limits.answer_within };
    let Prepared { mut head, to, scrub: _ } = prepared;
    let failed = |error: EgressError| failure(&error).of_tool(&exchange.tool);
    let answer = match sending {
        Sending::Body(body) => {
            pool.send(key, &to, Request::from_parts(head, body), timeouts).await.map_err(failed)?
        }
        Sending::Offer(offer) => {
            offer.write(&mut head).ok_or_else(|| Problem::new(ProblemKind::Internal))?;
            let answered = pool.switch(key, &to, Request::from_parts(head, ()), timeouts).await;
            match answered.map_err(failed)? {
                Answered::Plainly(answer) => answer,
                Answered::Switched(answer) => {
                    let chosen = offer.check(answer.headers());
                    let chosen = chosen.map_err(|field| unreadable(exchange, field.as_str()))?;
                    return Ok(Forwarded::Switched(answer, chosen));
                }
            }
        }
    };
    check(&answer, exchange)?;
    Ok(Forwarded::Answer(answer))
}

fn failure(error: &EgressError) -> Problem {
    match error.fault() {
        Fault::Refused => Problem::new(ProblemKind::DestinationDenied),
        Fault::Unreachable => Problem::new(ProblemKind::UpstreamUnreachable).retry_after(2),
        Fault::NoAnswer => Problem::new(ProblemKind::OutcomeUnknown),
        Fault::TimedOut => Problem::new(ProblemKind::UpstreamTimeout),
    }
}

/// Refuses an answer whose bytes scrub could not read.
fn check(answer: &Response<AnswerBody>, exchange: &Exchange) -> Result<(), Problem> {
    let field = if coding::of(answer.status(), answer.headers()).is_err() {
        "content-encoding"
    } else if !is_chunked_at_most(answer.headers()) {
        "transfer-encoding"
    } else if answer.status().is_informational() {
        // RFC 9110 §15.2.2: nobody asked to switch.
        "upgrade"
    } else {
        return Ok(());
    };
    Err(unreadable(exchange, field))
}

/// An answer whose bytes nobody here could read, by the field that says so.
pub(super) fn unreadable(exchange: &Exchange, field: &str) -> Problem {
    // It has been carried out; only a read leaves nothing behind.
    let kind = match exchange.matched.effect {
        Effect::Read => ProblemKind::NotSupported,
        _ => ProblemKind::OutcomeUnknown,
    };
    Problem::new(kind).of_tool(&exchange.tool).at_field(field)
}

/// RFC 9112 §7: a body may be coded for its transfer too (`gzip, chunked`), and what hyper takes off is the
/// chunks alone.
fn is_chunked_at_most(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    chunked && codings.next().is_none()
}

/// A head that may be shown to the agent, and what was kept back.
pub(crate) struct Shown {
    pub(crate) head: HeaderMap,
    pub(crate) masked: u64,
    pub(crate) cookies: u64,
    /// New secrets that stand in it.
    pub(crate) revealed: u64,
}

/// The answer's head without what belongs to one hop, leads past us, or is a secret.
pub(crate) fn shown(
    status: StatusCode,
    headers: &HeaderMap,
    method: &str,
    manifest: &Manifest,
    (masks, is_coded): (&Masks, bool),
) -> Shown {
    let named = fields::connection_named(headers).unwrap_or_default();
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if fields::comes_back(name) && !named.iter().any(|option| option == name.as_str()) {
            kept.append(name, value.clone());
        }
    }
    let dropped = keep_cookies(&mut kept, headers, manifest);
    // RFC 9110 §8.6: the length of what a GET would have brought.
    if method == "HEAD" || status == StatusCode::NOT_MODIFIED {
        headers.get_all(header::CONTENT_LENGTH).iter().take(1).for_each(|length| {
            kept.insert(header::CONTENT_LENGTH, length.clone());
        });
    }
    if is_coded {
        coding::uncoded(&mut kept);
    }
    let (head, masked) = scrub::head(masks, &kept);
    let revealed = wash::revealed_by(&head);
    Shown { head, masked, cookies: dropped, revealed }
}

/// Keeps the cookies that the manifest names, and counts the others.
fn keep_cookies(kept: &mut HeaderMap, headers: &HeaderMap, manifest: &Manifest) -> u64 {
    let mut dropped = 0;
    for cookie in headers.get_all(header::SET_COOKIE) {
        // RFC 6265 §4.1.1: the name ends at the first `=`.
        let name = cookie.to_str().ok().and_then(|text| text.split('=').next()).map(str::trim);
        if name.is_some_and(|name| manifest.keep_cookies.iter().any(|harmless| harmless == name)) {
            kept.append(header::SET_COOKIE, cookie.clone());
        } else {
            dropped += 1;
        }
    }
    dropped
}

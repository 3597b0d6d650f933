//! One message on its way: signed, over one fresh connection, no redirect followed.

use super::Webhook;
use crate::gateway::Shared;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use nightlatch_domain::{call::Heard, id::CallId};
use nightlatch_egress::{EgressError, Fault, SendError, SendWindow};
use std::time::Duration;

/// For a connection, TLS included.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// For the answer, from then on: a receiver takes a message and works on it later (Standard Webhooks asks for 15 s and
/// more).
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// What of its answer is read: only the status counts, and a page of an error is shorter.
const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// Sends it. Gives what became of it, and a word for that.
pub(super) async fn send(
    shared: &Shared,
    webhook: &Webhook,
    call: CallId,
    body: Bytes,
) -> (Heard, &'static str) {
    let failed = Heard::Failed { retry_after: None };
    let Some(request) = request(shared, webhook, call, body) else { return (Heard::Never, "row-unreadable") };
    let (connector, clock) = (shared.corridor.pool.connector(), &shared.corridor.clock);
    let fresh = match connector.fresh_to_webhook(&webhook.to, clock.boot().plus(CONNECT_WITHIN)).await {
        Ok(fresh) => fresh,
        Err(error) => return unreached(&error),
    };
    let answer_by = clock.boot().plus(ANSWER_WITHIN);
    match fresh.send_once(request, ANSWER_MAX_BYTES, SendWindow { send_by: answer_by, answer_by }).await {
        Ok(answer) => heard(answer.status, &answer.headers),
        // Its status is its answer, however long it goes on.
        Err(SendError::AfterFirstByte { status: Some(status), .. }) => heard(status, &HeaderMap::new()),
        Err(SendError::AfterFirstByte { status: None, .. }) => (failed, "no-answer"),
        Err(SendError::NothingWritten(error)) => unreached(&error),
    }
}

/// Standard Webhooks, "Webhook headers". The id is that of the call, which ends once: a receiver knows what it has.
fn request(shared: &Shared, webhook: &Webhook, call: CallId, body: Bytes) -> Option<Request<Bytes>> {
    let (id, now) = (call.to_string(), shared.corridor.clock.now());
    let signature = webhook.key.sign(&id, now, &body);
    Request::builder()
        .method(Method::POST)
        .uri(webhook.path.as_str())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, "nightlatch")
        .header(header::CONNECTION, "close")
        .header("webhook-id", id)
        .header("webhook-timestamp", now.secs())
        .header("webhook-signature", signature)
        .body(body)
        .ok()
}

/// What a status means. Anything but a 2xx is a failure, a redirect too: where it leads is not the operator's word.
fn heard(status: StatusCode, headers: &HeaderMap) -> (Heard, &'static str) {
    if status.is_success() {
        return (Heard::Taken, "taken");
    }
    if status == StatusCode::GONE {
        // Standard Webhooks: who is gone for good says so.
        return (Heard::Never, "gone");
    }
    let asked = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let word = if status.is_redirection() { "redirected" } else { "refused" };
    (Heard::Failed { retry_after: asked.map(Duration::from_secs) }, word)
}

/// What it means that nothing of it was sent.
fn unreached(error: &EgressError) -> (Heard, &'static str) {
    let failed = Heard::Failed { retry_after: None };
    match (error, error.fault()) {
        (EgressError::LookupsFull(_), _) => (Heard::NotTried, "lookups-full"),
        (EgressError::Forbidden { .. } | EgressError::PlainHttp(_), _) => (failed, "address-forbidden"),
        (_, Fault::Refused) => (failed, "address-refused"),
        (_, Fault::Unreachable) => (failed, "unreachable"),
        (_, Fault::NoAnswer | Fault::TimedOut) => (failed, "no-answer"),
    }
}

#[cfg(test)]
mod tests {
    //! Only a 2xx is an answer, only who is gone is not asked again, and what had no room was not tried.

    use super::{heard, unreached};
    use http::{HeaderMap, StatusCode};
    use nightlatch_domain::call::Heard;
    use nightlatch_egress::EgressError;
    use std::time::Duration;

    #[test]
    fn a_status_is_taken_failed_or_the_end() {
        let of = |status| heard(StatusCode::from_u16(status).unwrap(), &HeaderMap::new()).0;
        for taken in [200, 202, 204] {
            assert_eq!(of(taken), Heard::Taken, "{taken}");
        }
        for failed in [100, 301, 302, 307, 400, 401, 404, 429, 500, 503] {
            assert_eq!(of(failed), Heard::Failed { retry_after: None }, "{failed}");
        }
        assert_eq!(of(410), Heard::Never);
        let asks = |text: &str| {
            let headers = [(http::header::RETRY_AFTER, text.parse().unwrap())].into_iter().collect();
            heard(StatusCode::TOO_MANY_REQUESTS, &headers).0
        };
        assert_eq!(asks("60"), Heard::Failed { retry_after: Some(Duration::from_secs(60)) });
        assert_eq!(asks("-1"), Heard::Failed { retry_after: None });
    }

    #[test]
    fn a_name_that_there_was_no_room_to_look_up_is_no_try_and_one_that_is_not_found_is() {
        let host = || "hooks.example".to_owned();
        let kind = std::io::ErrorKind::NotFound;
        assert_eq!(unreached(&EgressError::LookupsFull(host())), (Heard::NotTried, "lookups-full"));
        for error in [EgressError::Unresolved { host: host(), kind }, EgressError::ConnectTimeout(host())] {
            assert_eq!(unreached(&error), (Heard::Failed { retry_after: None }, "unreachable"), "{error}");
        }
    }
}

//! What a local program is answered where its tunnel does not stand: HTTP/1.1, whole, and the end.
//!
//! After a refusal nobody knows what the bytes that follow were meant for, so the connection always closes.

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderName, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use nightlatch_domain::problem::{Problem, ProblemKind};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// RFC 9110 §9.3.6: any 2xx means that a tunnel stands.
pub(crate) const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
/// A refusal of the gateway is some hundred bytes.
const BODY_MAX_BYTES: usize = 64 * 1024;
/// How long a refusal may take to be fetched, and to be taken.
const WITHIN: Duration = Duration::from_secs(5);
/// What is read of what a refused program had sent already, so that closing does not cut the answer off.
const DRAIN_MAX_BYTES: u64 = 256 * 1024;
const DRAIN_WITHIN: Duration = Duration::from_secs(1);
/// What of the gateway's head is for the program, besides its length.
const CARRIED: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::RETRY_AFTER,
    HeaderName::from_static("x-should-retry"),
    HeaderName::from_static("nightlatch-call"),
];

/// A whole answer.
pub(crate) struct Answer {
    status: StatusCode,
    fields: Vec<u8>,
    body: Bytes,
}

impl Answer {
    /// A refusal of our own.
    pub(crate) fn problem(problem: &Problem) -> Self {
        let body = problem.body();
        let mut answer = Self {
            status: StatusCode::from_u16(body.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            fields: Vec::new(),
            // Texts and numbers of ours have no way to fail; if they had, the status says enough.
            body: serde_json::to_vec(&body).unwrap_or_default().into(),
        };
        answer.field("content-type", b"application/problem+json");
        answer.field("cache-control", b"no-store");
        answer.field("x-should-retry", if body.retryable { b"true" } else { b"false" });
        if let Some(secs) = body.retry_after {
            answer.field("retry-after", secs.to_string().as_bytes());
        }
        if problem.kind == ProblemKind::ProxyPassword {
            // RFC 9110 §15.5.8: a 407 carries a challenge.
            answer.field("proxy-authenticate", b"Basic realm=\"nightlatch\"");
        }
        answer
    }

    /// A refusal of the gateway, as it came.
    pub(crate) async fn relayed(status: StatusCode, headers: &HeaderMap, body: Incoming) -> Self {
        let body = timeout(WITHIN, Limited::new(body, BODY_MAX_BYTES).collect()).await;
        let Ok(Ok(body)) = body else { return Self::problem(&ProblemKind::GatewayUnreachable.into()) };
        Self::of(status, headers, body.to_bytes(), &CARRIED)
    }

    /// An answer of the gateway, with these of its fields.
    pub(crate) fn of(status: StatusCode, headers: &HeaderMap, body: Bytes, carried: &[HeaderName]) -> Self {
        let mut answer = Self { status, fields: Vec::new(), body };
        for name in carried {
            if let Some(value) = headers.get(name) {
                answer.field(name.as_str(), value.as_bytes());
            }
        }
        answer
    }

    fn field(&mut self, name: &str, value: &[u8]) {
        self.fields.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
    }

    fn head(&self) -> Vec<u8> {
        let reason = self.status.canonical_reason().unwrap_or("Refused");
        let first = format!("HTTP/1.1 {} {reason}\r\n", self.status.as_u16());
        // RFC 9110 §8.6: a 204 has no length.
        let length = match self.status {
            StatusCode::NO_CONTENT => String::new(),
            _ => format!("content-length: {}\r\n", self.body.len()),
        };
        let last = format!("{length}connection: close\r\n\r\n");
        [first.as_bytes(), &self.fields, last.as_bytes()].concat()
    }

    /// Sends it and ends the connection.
    pub(crate) async fn send(&self, local: &mut TcpStream) {
        let sent = timeout(WITHIN, async {
            // The body may be some MiB: it is not copied.
            local.write_all_buf(&mut Bytes::from(self.head()).chain(self.body.clone())).await?;
            local.shutdown().await
        });
        if matches!(sent.await, Ok(Ok(()))) {
            let mut rest = local.take(DRAIN_MAX_BYTES);
            // Who sends for longer than this does not read either.
            let _ = timeout(DRAIN_WITHIN, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Answer;
    use nightlatch_domain::problem::{Problem, ProblemKind};

    fn text(kind: ProblemKind) -> String {
        let answer = Answer::problem(&Problem::new(kind));
        String::from_utf8([answer.head(), answer.body.to_vec()].concat()).unwrap()
    }

    #[test]
    fn a_missing_password_is_answered_with_a_challenge_and_the_end() {
        let text = text(ProblemKind::ProxyPassword);
        assert!(text.starts_with("HTTP/1.1 407 Proxy Authentication Required\r\n"), "{text}");
        assert!(text.contains("\r\nproxy-authenticate: Basic realm=\"nightlatch\"\r\n"), "{text}");
        assert!(text.contains("\r\nconnection: close\r\n\r\n{"), "{text}");
    }

    #[test]
    fn an_answer_is_as_long_as_it_says() {
        for kind in ProblemKind::ALL {
            let text = text(*kind);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("\r\ncontent-length: {}", body.len())), "{text}");
            assert_eq!(head.contains("proxy-authenticate"), *kind == ProblemKind::ProxyPassword);
        }
    }
}

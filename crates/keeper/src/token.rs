//! The dialect of the token endpoint: what is sent, and how an answer is read.
//!
//! A request is RFC 6749 §4.1.3 or §6, dressed as the registration and the profile say. What a profile adds to a
//! refresh comes after what we send, and never in its place. An answer is
//! read only after it is durable, and reading errs to one side: what is not plainly tokens and not
//! plainly an error that the profile names says nothing about the refresh token, and nothing is
//! presented again. What is presented to be revoked (RFC 7009) is dressed alike. DPoP, mutual TLS and signed assertions are not built.

mod answer;
mod date;

pub(crate) use answer::plain_word;
pub use answer::{Parsed, Tokens, parse};

use crate::error::KeeperError;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use nightlatch_catalog::profile::{BodyFormat, Endpoint};
use nightlatch_custody::Secret;
use nightlatch_domain::{clock::Timestamp, sealed::ClientAuth};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// The most of an answer that is read. Access tokens in JWT form with many claims reach 20 KiB.
pub const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// What a client presents.
pub enum Presented<'a> {
    /// RFC 6749 §6.
    Refresh {
        /// The refresh token.
        token: &'a Secret,
        /// What the provider's profile adds.
        extra: &'a BTreeMap<String, String>,
    },
    /// RFC 6749 §4.1.3.
    Code {
        /// The code.
        code: &'a Secret,
        /// The same as in the authorization request.
        redirect_uri: &'a str,
        /// RFC 7636 §4.5; none where the provider refuses PKCE.
        verifier: Option<&'a Secret>,
    },
    /// RFC 7009 §2.1.
    Revocation {
        /// The token that is to end.
        token: &'a Secret,
        /// `token_type_hint`.
        hint: &'static str,
    },
}

/// Our registration, opened.
pub struct Registration<'a> {
    /// The `client_id`.
    pub client_id: &'a str,
    /// How it authenticates.
    pub auth: ClientAuth,
    /// Its secret, where there is one.
    pub secret: Option<&'a Secret>,
}

/// The request, ready to be written in one go.
///
/// # Errors
/// [`KeeperError::Registration`] where a secret is missing or something is not UTF-8.
pub fn request(
    endpoint: &Endpoint,
    body: BodyFormat,
    client: &Registration<'_>,
    presented: &Presented<'_>,
) -> Result<Request<Bytes>, KeeperError> {
    let mut fields = fields_of(presented)?;
    let authorization = authenticate(client, &mut fields)?;
    let (content_type, body) = match body {
        BodyFormat::Form => ("application/x-www-form-urlencoded", form(&fields)),
        BodyFormat::Json => ("application/json", json(&fields)?),
    };
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(endpoint.path_and_query())
        .header(header::CONTENT_TYPE, content_type)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("nightlatch/", env!("CARGO_PKG_VERSION")))
        .body(Bytes::from_owner(Body(body)))
        .map_err(|_| KeeperError::Registration("its token endpoint cannot be written as a request"))?;
    if let Some(value) = authorization {
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

/// A body whose bytes are wiped when the last of it is dropped.
struct Body(Secret);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

type Fields<'a> = Vec<(&'a str, &'a str)>;

fn text(secret: &Secret) -> Result<&str, KeeperError> {
    std::str::from_utf8(secret.expose()).map_err(|_| KeeperError::Registration("a secret is not UTF-8"))
}

fn fields_of<'a>(presented: &Presented<'a>) -> Result<Fields<'a>, KeeperError> {
    match presented {
        // RFC 6749 §6: an omitted scope is the one originally granted.
        Presented::Refresh { token, extra } => {
            let own = [("grant_type", "refresh_token"), ("refresh_token", text(token)?)];
            let extra = extra.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            Ok(own.into_iter().chain(extra).collect())
        }
        Presented::Code { code, redirect_uri, verifier } => {
            let mut fields = vec![
                ("grant_type", "authorization_code"),
                ("code", text(code)?),
                ("redirect_uri", *redirect_uri),
            ];
            if let Some(verifier) = verifier {
                fields.push(("code_verifier", text(verifier)?));
            }
            Ok(fields)
        }
        Presented::Revocation { token, hint } => Ok(vec![("token", text(token)?), ("token_type_hint", hint)]),
    }
}

fn authenticate<'a>(
    client: &Registration<'a>,
    fields: &mut Fields<'a>,
) -> Result<Option<HeaderValue>, KeeperError> {
    let secret = || {
        let missing = KeeperError::Registration("its client secret is missing");
        client.secret.ok_or(missing).and_then(text)
    };
    match client.auth {
        ClientAuth::None => fields.push(("client_id", client.client_id)),
        ClientAuth::ClientSecretPost => {
            fields.push(("client_id", client.client_id));
            fields.push(("client_secret", secret()?));
        }
        ClientAuth::ClientSecretBasic => return basic(client.client_id, secret()?).map(Some),
    }
    Ok(None)
}

/// RFC 6749 §2.3.1: both parts are form-encoded before they are joined.
fn basic(client_id: &str, secret: &str) -> Result<HeaderValue, KeeperError> {
    let encode = |part: &str| form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>();
    let pair = Secret::from_string(format!("{}:{}", encode(client_id), encode(secret)));
    let value = Secret::from_string(format!("Basic {}", STANDARD.encode(pair.expose())));
    let bad = |_| KeeperError::Registration("its client secret cannot stand in a header");
    let mut value = HeaderValue::from_bytes(value.expose()).map_err(bad)?;
    value.set_sensitive(true);
    Ok(value)
}

fn form(fields: &Fields<'_>) -> Secret {
    // Three bytes at most for each one: a buffer that never grows leaves nothing behind.
    let room: usize = fields.iter().map(|(name, value)| name.len() + 3 * value.len() + 2).sum();
    let mut out = form_urlencoded::Serializer::new(String::with_capacity(room));
    out.extend_pairs(fields);
    Secret::from_string(out.finish())
}

fn json(fields: &Fields<'_>) -> Result<Secret, KeeperError> {
    let object: BTreeMap<_, _> = fields.iter().copied().collect();
    let room: usize = fields.iter().map(|(name, value)| name.len() + 6 * value.len() + 8).sum();
    let mut out = Vec::with_capacity(room);
    serde_json::to_writer(&mut out, &object)
        .map_err(|_| KeeperError::Registration("a field cannot be written"))?;
    Ok(Secret::new(out))
}

/// What is remembered of an answer besides its body. Goes into the seal with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerHead {
    /// The HTTP status.
    pub status: u16,
    /// When it came, by our wall clock: lifetimes count from here.
    pub at: Timestamp,
    /// `Retry-After`, in seconds (RFC 9110 §10.2.3).
    pub retry_after_secs: Option<u64>,
}

/// An answer as it came, with its head: one line of JSON, then the body.
#[must_use]
pub fn raw(status: u16, headers: &http::HeaderMap, body: Vec<u8>, at: Timestamp) -> Secret {
    let retry_after_secs = retry_after_secs(headers, at);
    let head = AnswerHead { status, at, retry_after_secs };
    let body = Secret::new(body);
    let head = serde_json::to_vec(&head).unwrap_or_default();
    let mut whole = Vec::with_capacity(head.len() + 1 + body.len());
    whole.extend_from_slice(&head);
    whole.push(b'\n');
    whole.extend_from_slice(body.expose());
    Secret::new(whole)
}

/// How long a provider asks us to wait (RFC 9110 §10.2.3).
pub(crate) fn retry_after_secs(headers: &http::HeaderMap, at: Timestamp) -> Option<u64> {
    headers.get(header::RETRY_AFTER).and_then(|value| date::retry_after(value, at))
}

/// Head and body of what [`raw`] made.
pub(crate) fn split(raw: &Secret) -> Option<(AnswerHead, &[u8])> {
    let bytes = raw.expose();
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (head, body) = bytes.split_at_checked(end)?;
    Some((serde_json::from_slice(head).ok()?, body.get(1..)?))
}

impl AnswerHead {
    /// How long the provider asks us to wait.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_secs.map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests;

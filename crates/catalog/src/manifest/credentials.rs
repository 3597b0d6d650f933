//! Which fields of a request carry a credential.
//!
//! The list is closed: what is on it may hold the reference, in its place, or nothing. Entropy decides
//! nothing, or an agent could hide a credential by making it look dull. Names are compared folded, because
//! servers hand `X_Api_Key` and `x-api-key` to programs as one (CGI, WSGI).

use super::{Accept, Manifest};
use nightlatch_domain::{reference::Reference, tool::Placement};
use percent_encoding::percent_decode_str;

/// Header names that carry a credential at every tool, folded. A manifest that places its own credential in one
/// of them (`x-api-key`) does so as ever: the name only says that nothing but the reference may stand there.
pub const CREDENTIAL_HEADERS: &[&str] = &[
    // RFC 9110 §11.6.2 and §11.7.2, RFC 6265 §5.4, and what proxies make of them.
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-authorization",
    "x-forwarded-access-token",
    "x-forwarded-authorization",
    // Keys and tokens by the names that many APIs share.
    "access-token",
    "api-key",
    "api-token",
    "apikey",
    "auth-token",
    "token",
    "x-access-token",
    "x-api-key",
    "x-api-secret",
    "x-api-token",
    "x-apikey",
    "x-auth-key",
    "x-auth-token",
    "x-client-secret",
    "x-id-token",
    "x-refresh-token",
    "x-session-token",
    "x-token",
    // Amazon: requests that are signed, and a session's token.
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-amzn-oidc-accesstoken",
    // Google: API keys, and proofs of identity that its proxies pass on.
    "x-goog-api-key",
    "x-goog-iam-authorization-token",
    "x-goog-iap-jwt-assertion",
    // Microsoft: API Management, App Service.
    "ocp-apim-subscription-key",
    "x-functions-key",
    "x-ms-token-aad-access-token",
    // Other makers, each by its own name: Cloudflare, Datadog, GitHub, GitLab, HashiCorp, Shopify.
    "cf-access-client-secret",
    "cf-access-jwt-assertion",
    "cf-access-token",
    "dd-api-key",
    "dd-application-key",
    "deploy-token",
    "job-token",
    "private-token",
    "x-consul-token",
    "x-github-otp",
    "x-nomad-token",
    "x-shopify-access-token",
    "x-vault-token",
];

/// Query names that carry a credential at every tool, folded (RFC 6750 §2.3; presigned requests). They are
/// compared by their letters and digits alone, so `accessToken` is one of them.
pub const CREDENTIAL_QUERY: &[&str] = &[
    "access-token",
    "api-key",
    "api-token",
    "auth-token",
    "authorization",
    "aws-access-key-id",
    "bearer-token",
    "client-assertion",
    "client-secret",
    "id-token",
    "job-token",
    "oauth-signature",
    "oauth-token",
    "private-token",
    "refresh-token",
    "subscription-key",
    "x-amz-credential",
    "x-amz-security-token",
    "x-amz-signature",
    "x-api-key",
    "x-goog-credential",
    "x-goog-signature",
];

/// Query names that some servers take for another method than the request line's, folded: Rails, Laravel and
/// Symfony (`_method`), Salesforce (`_HttpMethod`), and header names that frameworks also read from the query.
pub const OVERRIDE_QUERY: &[&str] =
    &["-method", "-httpmethod", "x-http-method", "x-http-method-override", "x-method-override"];

/// Beginnings of a subprotocol (`Sec-WebSocket-Protocol`), folded, by which APIs take a credential from clients that
/// can set no other field of a WebSocket's handshake: OpenAI, Kubernetes, Jupyter, AppSync (`header-`), Deepgram, and
/// words that many share. Alone, the word says that the next subprotocol is the credential.
pub const CREDENTIAL_SUBPROTOCOLS: &[&str] = &[
    "access-token",
    "api-key",
    "apikey",
    "auth",
    "authorization",
    "base64url-bearer-authorization-k8s-io",
    "basic",
    "bearer",
    "header",
    "jwt",
    "openai-ephemeral-user-key",
    "openai-insecure-api-key",
    "token",
    "v1-token-websocket-jupyter-org",
    "x-api-key",
];

/// What a query may not hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum QueryFault {
    /// A credential, under this name of the closed list (folded; nothing of what was sent).
    Credential(String),
    /// Another method than the request line's, under this name of [`OVERRIDE_QUERY`].
    Override(String),
}

/// A field's name as careless servers see it: lower case, `_` and `.` as `-`.
#[must_use]
pub fn folded(name: &str) -> String {
    name.chars()
        .map(|letter| if matches!(letter, '_' | '.') { '-' } else { letter.to_ascii_lowercase() })
        .collect()
}

/// Whether two names are one for careless servers, whatever their spelling. Nothing is allocated.
#[must_use]
pub fn is_same_folded(one: &str, other: &str) -> bool {
    let fold = |byte: u8| if matches!(byte, b'_' | b'.') { b'-' } else { byte.to_ascii_lowercase() };
    one.len() == other.len() && one.bytes().map(fold).eq(other.bytes().map(fold))
}

/// Whether a name reads the same however a server decodes, splits and trims it.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The name of a raw `name=value`, decoded as forms are (`+` is a space), and once more where an escape is
/// left, because some servers decode twice.
fn query_name(pair: &str) -> String {
    let name = pair.split('=').next().unwrap_or_default().replace('+', " ");
    let once = percent_decode_str(&name).decode_utf8_lossy();
    percent_decode_str(&once).decode_utf8_lossy().into_owned()
}

/// A query name, folded, as programs get it: with brackets, dots and spaces made one character (PHP), before
/// its brackets, and by each part between brackets (Rack, qs).
fn readings(name: &str) -> Vec<String> {
    let name = name.trim_matches(|letter: char| letter.is_whitespace() || letter == '?');
    let one =
        |letter| if matches!(letter, '[' | ']' | '+') || char::is_whitespace(letter) { '-' } else { letter };
    let whole: String = name.chars().map(one).collect();
    let parts = name.split(['[', ']']).map(|part| folded(part.trim()));
    std::iter::once(folded(&whole)).chain(parts).filter(|reading| !reading.is_empty()).collect()
}

/// The letters and digits of a name, and whatever else is no separator, in lower case. Nothing is allocated:
/// a caller can send thousands of names.
fn letters(name: &str) -> impl Iterator<Item = char> {
    let inner = |letter: &char| !matches!(letter, '-' | '_' | '.');
    name.chars().filter(inner).map(|letter| letter.to_ascii_lowercase())
}

impl Manifest {
    /// Whether a header of this name carries a credential at this tool, whatever its spelling.
    #[must_use]
    pub fn is_credential_header(&self, name: &str) -> bool {
        let mut listed = CREDENTIAL_HEADERS.iter().copied();
        listed.any(|own| is_same_folded(own, name))
            || self.credential_headers.iter().any(|own| is_same_folded(own, name))
            || self.placed_headers().any(|own| is_same_folded(own, name))
    }

    /// The first thing in a raw query that is a second credential or another method, however a server splits
    /// the query (`&`, `;`) and spells its names.
    #[must_use]
    pub fn query_carrier(&self, raw_query: &str) -> Option<QueryFault> {
        // HTML 4.01 §B.2.2 has servers take `;` for `&`, and some do.
        raw_query.split(['&', ';']).find_map(|pair| match pair.split('=').next() {
            Some(name) if is_plain(name) => self.fault_of_readings(&[name]),
            _ => self.fault_of(&query_name(pair)),
        })
    }

    /// Whether a query value of this (decoded) name carries a credential at this tool, whatever its spelling.
    #[must_use]
    pub fn is_credential_query(&self, name: &str) -> bool {
        matches!(self.fault_of(name), Some(QueryFault::Credential(_)))
    }

    /// Whether a subprotocol of a WebSocket's handshake carries a credential, or a reference in any of this tool's
    /// shapes: neither stands there.
    #[must_use]
    pub fn is_credential_subprotocol(&self, token: &str) -> bool {
        let name = folded(token);
        let begins = |listed: &&str| {
            name.strip_prefix(*listed).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let ends = || token.char_indices().filter_map(|(at, _)| token.get(at..));
        let is_reference = |end: &str| {
            Reference::parse(end).is_ok() || self.shapes.iter().any(|own| own.core_of(end).is_some())
        };
        CREDENTIAL_SUBPROTOCOLS.iter().any(begins) || ends().any(is_reference)
    }

    fn fault_of(&self, name: &str) -> Option<QueryFault> {
        self.fault_of_readings(&readings(name))
    }

    fn fault_of_readings(&self, readings: &[impl AsRef<str>]) -> Option<QueryFault> {
        let own = self.credential_query.iter().map(String::as_str);
        let mut credentials = CREDENTIAL_QUERY.iter().copied().chain(own);
        let is_read = |listed: &&str| readings.iter().any(|read| letters(read.as_ref()).eq(letters(listed)));
        let is_override = |listed: &&&str| readings.iter().any(|read| is_same_folded(read.as_ref(), listed));
        let overrides = || OVERRIDE_QUERY.iter().find(is_override);
        match credentials.find(is_read) {
            Some(listed) => Some(QueryFault::Credential(folded(listed))),
            None => overrides().map(|listed| QueryFault::Override((*listed).to_owned())),
        }
    }

    /// Header names where a credential or a reference may stand on any host of the tool.
    fn placed_headers(&self) -> impl Iterator<Item = &str> {
        let placements = self.hosts.iter().flat_map(|host| [host.key.as_ref(), host.oauth.as_ref()]);
        let placed = placements.flatten().filter_map(|placement| match placement {
            Placement::Header { name, .. } => Some(name.as_str()),
            Placement::Bearer | Placement::Basic { .. } => None,
        });
        let accepted = self.hosts.iter().flat_map(|host| &host.accepts).filter_map(|accept| match accept {
            Accept::Header { name, .. } => Some(name.as_str()),
            Accept::Bearer | Accept::Scheme { .. } | Accept::BasicPassword | Accept::BasicUser => None,
        });
        placed.chain(accepted)
    }
}

#[cfg(test)]
mod tests;

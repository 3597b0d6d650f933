//! What is asked for: one JSON object, read in one way or refused.
//!
//! | key | what |
//! |---|---|
//! | `tool` | the tool's name |
//! | `route` | which of its hosts; the first where it is left out |
//! | `method`, `path`, `query` | the target on that host; the query without its `?` |
//! | `headers` | names to values; no name twice, in whatever spelling |
//! | `body` | `{"text": "…"}` or `{"base64": "…"}` |
//! | `reference` | the reference of the grant; it is put where the host accepts one. Or it stands in `headers` |
//! | `deadline_secs` | until when the call must have been begun, from now on |
//! | `webhook` | the webhook that is told of its end, by the operator's name for it; never an address |
//!
//! A key that is unknown or stands twice is refused. The request's hash is that of the very bytes that came: they are
//! what is stored, and everything that leaves is made from them again, by this reader. Whoever repeats a call repeats
//! its bytes.

use super::limits::CallLimits;
use crate::{
    doors::{Addressed, target},
    fields,
    tls::sha256_hex,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use nightlatch_catalog::manifest::folded;
use nightlatch_domain::{
    problem::{Problem, ProblemKind},
    tool::Name,
};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use std::{fmt, time::Duration};

/// Header lines: as many as a request may have.
const HEADERS_MAX: usize = 128;

/// A request that was read, and what it was read from.
pub(crate) struct Asked {
    /// Where it goes.
    pub(crate) addressed: Addressed,
    /// Its fields, without the reference.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
    /// The reference, where it stands apart.
    pub(crate) reference: Option<String>,
    /// How long it may wait to be begun.
    pub(crate) patience: Duration,
    /// Who is told of its end. Whether there is one of that name, the door asks.
    pub(crate) webhook: Option<Name>,
    /// SHA-256 of the bytes that it was read from, hexadecimal.
    pub(crate) sha256: String,
}

impl Asked {
    /// Reads a request.
    ///
    /// # Errors
    /// [`ProblemKind::BadRequest`] with the key at fault, [`ProblemKind::NotSupported`] for a method that is not
    /// carried.
    pub(crate) fn read(bytes: &[u8], limits: &CallLimits) -> Result<Self, Problem> {
        let wire: Wire = serde_json::from_slice(bytes).map_err(|_| bad("body"))?;
        if wire.route.as_deref() == Some("") || wire.path.contains('?') {
            return Err(bad(if wire.path.contains('?') { "path" } else { "route" }));
        }
        let raw = match &wire.query {
            Some(query) => format!("{}?{query}", wire.path),
            None => wire.path,
        };
        let target = target(&wire.method, &raw)?;
        let route = wire.route.unwrap_or_default();
        Ok(Self {
            addressed: Addressed { tool: wire.tool, route, origin: None, target },
            headers: wire.headers.unwrap_or_default().0,
            body: wire.body.map(WireBody::bytes).transpose()?.unwrap_or_default(),
            reference: wire.reference,
            patience: patience(wire.deadline_secs, limits)?,
            webhook: wire.webhook.map(|name| name.parse().map_err(|_| webhook_unknown())).transpose()?,
            sha256: sha256_hex(bytes),
        })
    }
}

fn bad(field: &str) -> Problem {
    Problem::new(ProblemKind::BadRequest).at_field(field)
}

/// What no webhook is called. The text is not repeated: an address may hold a secret.
pub(crate) fn webhook_unknown() -> Problem {
    Problem::new(ProblemKind::WebhookUnknown).at_field("webhook")
}

fn patience(secs: Option<u64>, limits: &CallLimits) -> Result<Duration, Problem> {
    let asked = secs.map_or(limits.deadline_default, Duration::from_secs);
    let is_sound = !asked.is_zero() && asked <= limits.deadline_max;
    if is_sound { Ok(asked) } else { Err(bad("deadline_secs")) }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    tool: Name,
    route: Option<String>,
    method: String,
    path: String,
    query: Option<String>,
    headers: Option<Fields>,
    body: Option<WireBody>,
    reference: Option<String>,
    deadline_secs: Option<u64>,
    webhook: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WireBody {
    Text(String),
    Base64(String),
}

impl WireBody {
    fn bytes(self) -> Result<Bytes, Problem> {
        match self {
            Self::Text(text) => Ok(text.into()),
            Self::Base64(text) => STANDARD.decode(text).map(Bytes::from).map_err(|_| bad("body")),
        }
    }
}

/// Header fields. A map of JSON would take the last of two; this takes neither.
#[derive(Default)]
struct Fields(HeaderMap);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object of header names and values")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields, M::Error> {
        let (mut headers, mut seen) = (HeaderMap::new(), Vec::new());
        while let Some((name, value)) = map.next_entry::<String, String>()? {
            let twin = folded(&name);
            let framing = fields::is_of_hop(&name) || twin == "expect";
            if seen.contains(&twin) || framing || seen.len() >= HEADERS_MAX {
                return Err(M::Error::custom("a header that is there twice, or that frames a message"));
            }
            seen.push(twin);
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(M::Error::custom)?;
            headers.insert(name, HeaderValue::from_str(&value).map_err(M::Error::custom)?);
        }
        Ok(Fields(headers))
    }
}

#[cfg(test)]
mod tests {
    //! What could be read in two ways is not read at all.

    use super::Asked;
    use crate::calls::limits::CallLimits;
    use proptest::prelude::{any, proptest};

    fn read(text: &str) -> Result<Asked, String> {
        let read = Asked::read(text.as_bytes(), &CallLimits::default());
        read.map_err(|problem| format!("{} {}", problem.kind.slug(), problem.field.unwrap_or_default()))
    }

    #[test]
    fn a_request_is_read_as_it_is_written() {
        let text = r#"{"tool":"github","route":"git","method":"POST","path":"/a b","query":"x=1",
            "headers":{"Accept":"*/*","X-Thing":"1"},"body":{"base64":"aGk="},"reference":"nlr_x","deadline_secs":60}"#;
        let asked = read(&text.replace("/a b", "/a%20b")).unwrap_or_else(|error| panic!("{error}"));
        let (tool, target) = (asked.addressed.tool.as_str(), &asked.addressed.target);
        assert_eq!((tool, asked.addressed.route.as_str(), target.method.as_str()), ("github", "git", "POST"));
        assert_eq!((target.path.as_str(), target.query.as_deref()), ("/a%20b", Some("x=1")));
        assert_eq!((asked.headers.len(), &asked.body[..]), (2, &b"hi"[..]));
        assert_eq!((asked.reference.as_deref(), asked.patience.as_secs()), (Some("nlr_x"), 60));
        let plain = read(r#"{"tool":"github","method":"GET","path":"/x","body":{"text":"é"}}"#).unwrap();
        assert_eq!((plain.addressed.route.as_str(), &plain.body[..]), ("", "é".as_bytes()));
        assert_eq!(plain.patience.as_secs(), 3600);
    }

    #[test]
    fn unknown_keys_repeated_keys_and_framing_are_refused() {
        let with = |more: &str| format!(r#"{{"tool":"github","method":"GET","path":"/x"{more}}}"#);
        assert!(read(&with("")).is_ok());
        for more in [
            r#","path":"/y""#,
            r#","Path":"/y""#,
            r#","extra":1"#,
            r#","body":{"text":"a","base64":"aGk="}"#,
            r#","body":{"text":"a","text":"b"}"#,
            r#","body":{"json":{}}"#,
            r#","body":"a""#,
            r#","body":{"base64":"%"}"#,
            r#","headers":{"accept":"a","Accept":"b"}"#,
            r#","headers":{"x-thing":"a","x_thing":"b"}"#,
            r#","headers":{"content-length":"1"}"#,
            r#","headers":{"Transfer-Encoding":"chunked"}"#,
            r#","headers":{"host":"evil"}"#,
            r#","headers":{"connection":"authorization"}"#,
            r#","headers":{"expect":"100-continue"}"#,
            r#","headers":{"x":"a\nb: c"}"#,
            r#","headers":{"a b":"c"}"#,
        ] {
            assert_eq!(read(&with(more)).err().as_deref(), Some("bad-request body"), "{more}");
        }
        for (more, field) in [
            (r#","route":"""#, "route"),
            (r#","deadline_secs":0"#, "deadline_secs"),
            (r#","deadline_secs":86401"#, "deadline_secs"),
        ] {
            assert_eq!(read(&with(more)).err(), Some(format!("bad-request {field}")), "{more}");
        }
        for path in ["/x?y=1", "x", "/a/../b", "/a%2fb", "//x"] {
            let text = with("").replace("/x", path);
            assert!(read(&text).err().unwrap().starts_with("bad-request"), "{path}");
        }
        // Where a message goes is never an agent's word, in whatever form.
        for (webhook, refused) in [
            (r#"{"url":"https://a"}"#, "bad-request body"),
            (r#""https://a.example/x""#, "webhook-unknown webhook"),
            (r#""//a.example""#, "webhook-unknown webhook"),
            (r#"["ci"]"#, "bad-request body"),
        ] {
            let said = read(&with(&format!(r#","webhook":{webhook}"#))).err();
            assert_eq!(said.as_deref(), Some(refused), "{webhook}");
        }
        let named = read(&with(r#","webhook":"ci""#)).unwrap().webhook;
        assert_eq!(named.unwrap().as_str(), "ci");
        assert_eq!(read(&with("").replace("GET", "TRACE")).err().as_deref(), Some("not-supported method"));
        assert_eq!(
            read(&format!("{} {{}}", with(""))).err().as_deref(),
            Some("bad-request body"),
            "two values"
        );
    }

    #[test]
    fn the_hash_is_of_the_bytes_that_came() {
        let one = read(r#"{"tool":"github","method":"GET","path":"/x"}"#).unwrap();
        let other = read(r#"{"tool":"github","method":"GET", "path":"/x"}"#).unwrap();
        assert_eq!(one.addressed, other.addressed);
        assert_ne!(one.sha256, other.sha256);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
            let _ = Asked::read(&bytes, &CallLimits::default());
            let _ = read(&format!(r#"{{"tool":"github","method":"GET","path":"/{text}"}}"#));
        }
    }
}

//! Reading an answer of the token endpoint.
//!
//! One pass over the JSON that keeps only the known fields, each straight into memory that is wiped. A
//! field that comes twice is refused: two readers could differ about which one counts. Where a profile says
//! that the tokens stand deeper, nothing above that place is taken for one.

use super::{AnswerHead, split};
use crate::machine::Reading;
use nightlatch_catalog::profile::{Profile, TimeUnit, TokenErrorClass};
use nightlatch_custody::Secret;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor},
};
use std::fmt;

/// An error code longer than this is nobody's.
const CODE_MAX_CHARS: usize = 64;

/// In how many seconds an unused refresh token dies, and in how many the consent (draft-ietf-oauth-refresh-token-expiration
/// §5.1). Read at every provider: what one says beats what a profile knows.
const REFRESH_TIMEOUT: &str = "refresh_token_timeout";
const CONSENT_EXPIRES: &str = "authorization_expires_in";

/// Tokens as they came.
pub struct Tokens {
    /// When the answer came.
    pub head: AnswerHead,
    /// The access token.
    pub access: Secret,
    /// The refresh token; none where the answer has none: the presented one lives on (RFC 6749 §6).
    pub refresh: Option<Secret>,
    /// The access token's life in seconds.
    pub expires_in: Option<i64>,
    /// The refresh token's life in seconds, from the field that the profile names, or the draft's.
    pub refresh_expires_in: Option<i64>,
    /// The consent's life in seconds, where the answer tells it.
    pub consent_expires_in: Option<i64>,
}

/// What an answer says.
pub enum Parsed {
    /// Tokens.
    Tokens(Tokens),
    /// Anything else.
    Failed(Reading),
}

/// Reads what [`raw`](super::raw) kept.
#[must_use]
pub fn parse(raw: &Secret, profile: &Profile) -> Parsed {
    let unclear = |code: &str| Parsed::Failed(Reading::Unclear { code: code.to_owned() });
    let Some((head, body)) = split(raw) else { return unclear("answer-unreadable") };
    let fields = read(body, profile).unwrap_or_default();
    let is_success = (200..=299).contains(&head.status);
    // A field of the provider's own may stand beside tokens and say that all is well; `error` may not.
    let own = fields.own_error.as_deref().filter(|_| !is_success || fields.access.is_none());
    match (is_success, told(profile, fields.error.as_deref(), own).map(clean_code)) {
        (true, None) => tokens(head, profile.expires_unit, fields).map_or_else(unclear, Parsed::Tokens),
        (_, code) => Parsed::Failed(failure(profile, &head, code)),
    }
}

/// The code of an error. Of two that are told the one that the profile lists: at some providers `error` is a sentence.
fn told<'a>(profile: &Profile, error: Option<&'a str>, own: Option<&'a str>) -> Option<&'a str> {
    let is_listed = |code: &&str| profile.lists(code);
    error.filter(is_listed).or(own.filter(is_listed)).or(error).or(own)
}

fn tokens(head: AnswerHead, unit: TimeUnit, fields: Fields) -> Result<Tokens, &'static str> {
    // RFC 6749 §7.1: a client must not use a token whose type it does not understand. Providers write
    // names of their own for bearer tokens; these two are known to be something else.
    let kind = fields.token_type.unwrap_or_default().to_ascii_lowercase();
    if matches!(kind.as_str(), "dpop" | "mac" | "pop") {
        return Err("token-type-not-supported");
    }
    let access = fields.access.filter(sendable).ok_or("access-token-missing")?;
    let refresh = match fields.refresh {
        Some(token) if token.is_empty() => None,
        Some(token) if !sendable(&token) => return Err("refresh-token-unreadable"),
        other => other,
    };
    let secs = |life: Option<i64>| match unit {
        TimeUnit::Seconds => life,
        TimeUnit::Milliseconds => life.map(|millis| millis / 1000),
    };
    let (expires_in, own) = (secs(fields.expires_in), secs(fields.refresh_expires_in));
    let refresh_expires_in = own.into_iter().chain(fields.timeout).min();
    let consent_expires_in = fields.consent_expires_in;
    Ok(Tokens { head, access, refresh, expires_in, refresh_expires_in, consent_expires_in })
}

/// RFC 6749 §A.12, §A.17: visible ASCII. Anything else could not be sent back as it came.
fn sendable(token: &Secret) -> bool {
    !token.is_empty() && token.expose().iter().all(|byte| (0x20..=0x7E).contains(byte))
}

fn failure(profile: &Profile, head: &AnswerHead, code: Option<String>) -> Reading {
    let class = profile.classify(head.status, code.as_deref());
    let code = code.map_or_else(|| format!("http-{}", head.status), |code| word(profile, code));
    match class {
        TokenErrorClass::Permanent => Reading::Permanent { code },
        TokenErrorClass::Client => Reading::Client { code },
        TokenErrorClass::NotProcessed => Reading::NotProcessed { code, retry_after: head.retry_after() },
        TokenErrorClass::Uncertain => Reading::Unclear { code },
    }
}

/// RFC 6749 §5.2: `%x20-21 / %x23-5B / %x5D-7E`. What a provider adds to it does not come through.
fn clean_code(code: &str) -> String {
    let allowed = |byte: &char| matches!(byte, '\x20'..='\x21' | '\x23'..='\x5B' | '\x5D'..='\x7E');
    code.chars().filter(allowed).take(CODE_MAX_CHARS).collect()
}

/// An error code as it may be stored and shown. One that the profile does not know is kept where it is a
/// plain word: a provider that puts what was presented into its error must not have it written in clear.
fn word(profile: &Profile, code: String) -> String {
    if profile.lists(&code) { code } else { plain_word(&code) }
}

/// A code without digits, capitals and marks, in which a token could stand.
pub(crate) fn plain_word(code: &str) -> String {
    let is_plain = code.chars().all(|letter| matches!(letter, 'a'..='z' | '_' | '-'));
    if is_plain && !code.is_empty() { clean_code(code) } else { "error-not-registered".to_owned() }
}

#[derive(Default)]
struct Fields {
    access: Option<Secret>,
    refresh: Option<Secret>,
    token_type: Option<String>,
    expires_in: Option<i64>,
    refresh_expires_in: Option<i64>,
    timeout: Option<i64>,
    consent_expires_in: Option<i64>,
    error: Option<String>,
    own_error: Option<String>,
}

fn read(body: &[u8], profile: &Profile) -> Option<Fields> {
    let mut fields = Fields::default();
    let mut from = serde_json::Deserializer::from_slice(body);
    Place { profile, path: &profile.token_path, fields: &mut fields }.deserialize(&mut from).ok()?;
    from.end().ok()?;
    Some(fields)
}

/// One object of an answer, and how much deeper its tokens stand.
struct Place<'a> {
    profile: &'a Profile,
    path: &'a [String],
    fields: &'a mut Fields,
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { profile, path, fields } = self;
        let mut down = path.split_first();
        while let Some(name) = map.next_key::<String>()? {
            let is = |own: &Option<String>| own.as_deref() == Some(&name);
            match name.as_str() {
                "error" => once(&mut fields.error, map.next_value::<ErrorCode>()?.0)?,
                _ if is(&profile.error_field) => {
                    once(&mut fields.own_error, map.next_value::<ErrorCode>()?.0)?;
                }
                _ if !path.is_empty() => match down.take_if(|(next, _)| **next == name) {
                    Some((_, path)) => map.next_value_seed(Place { profile, path, fields: &mut *fields })?,
                    None if path.first() == Some(&name) => {
                        return Err(A::Error::custom("a field comes twice"));
                    }
                    None => ignore(&mut map)?,
                },
                "access_token" => once(&mut fields.access, map.next_value::<SecretText>()?.0)?,
                "refresh_token" => once(&mut fields.refresh, map.next_value::<SecretText>()?.0)?,
                "token_type" => once(&mut fields.token_type, map.next_value::<Option<String>>()?)?,
                own if own == profile.expires_field => {
                    once(&mut fields.expires_in, map.next_value::<Seconds>()?.0)?;
                }
                _ if is(&profile.refresh_expires_field) => {
                    once(&mut fields.refresh_expires_in, map.next_value::<Seconds>()?.0)?;
                }
                REFRESH_TIMEOUT => once(&mut fields.timeout, map.next_value::<Perhaps>()?.0)?,
                CONSENT_EXPIRES => once(&mut fields.consent_expires_in, map.next_value::<Perhaps>()?.0)?,
                _ => ignore(&mut map)?,
            }
        }
        Ok(())
    }

    /// Where tokens would stand, an error often has `null`.
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}

fn ignore<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}

fn once<T, E: serde::de::Error>(place: &mut Option<T>, value: Option<T>) -> Result<(), E> {
    if place.is_some() {
        return Err(E::custom("a field comes twice"));
    }
    *place = value;
    Ok(())
}

struct SecretText(Option<Secret>);

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(Option::<String>::deserialize(from)?.map(Secret::from_string)))
    }
}

/// Seconds as a number, or as the text of one (some providers send that).
struct Seconds(Option<i64>);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Whole(i64),
            Broken(f64),
            Text(String),
            Nothing(()),
        }
        Ok(Self(match Written::deserialize(from).map_err(|_| D::Error::custom("no seconds"))? {
            Written::Whole(seconds) => Some(seconds),
            // A cast from a float saturates, and `ends_at` bounds what comes of it.
            Written::Broken(seconds) => Some(seconds as i64),
            Written::Text(text) => text.trim().parse().ok(),
            Written::Nothing(()) => None,
        }))
    }
}

/// Seconds of a draft's field. A provider that means something else by the name must not lose us its tokens.
struct Perhaps(Option<i64>);

impl<'de> Deserialize<'de> for Perhaps {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Whole(i64),
            Other(IgnoredAny),
        }
        Ok(Self(match Written::deserialize(from)? {
            Written::Whole(seconds) => Some(seconds),
            Written::Other(IgnoredAny) => None,
        }))
    }
}

/// `error` as a text; an object in its place (some providers) is an error without a code.
struct ErrorCode(Option<String>);

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Nothing(()),
            Other(IgnoredAny),
        }
        Ok(Self(match Written::deserialize(from)? {
            Written::Text(code) => Some(code),
            Written::Nothing(()) => None,
            Written::Other(IgnoredAny) => Some("error-without-code".to_owned()),
        }))
    }
}

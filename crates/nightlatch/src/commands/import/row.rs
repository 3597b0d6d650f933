//! One line, or what is wrong with it.
//!
//! A line is one JSON object (RFC 8259). What it may hold is a closed set of keys, each once. Nothing of a line is ever
//! quoted: what stands in the wrong place may be a token.

use jiff::Timestamp as Instant;
use nightlatch_custody::Secret;
use nightlatch_domain::{clock::Timestamp, tool::Name};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::fmt;

/// The longest token.
const TOKEN_MAX_BYTES: usize = 16 * 1024;
/// The longest text that is no token.
const TEXT_MAX_BYTES: usize = 512;
/// Seconds since 1970 up to here; beyond it a number counts milliseconds.
const SECONDS_MAX: i64 = 100_000_000_000;

/// A key of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Tool,
    ClientId,
    RefreshToken,
    AccessToken,
    ExpiresAt,
    Account,
    Tenant,
    Name,
    Host,
}

impl Key {
    const ALL: [Self; 9] = [
        Self::Tool,
        Self::ClientId,
        Self::RefreshToken,
        Self::AccessToken,
        Self::ExpiresAt,
        Self::Account,
        Self::Tenant,
        Self::Name,
        Self::Host,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::ClientId => "client_id",
            Self::RefreshToken => "refresh_token",
            Self::AccessToken => "access_token",
            Self::ExpiresAt => "expires_at",
            Self::Account => "account",
            Self::Tenant => "tenant",
            Self::Name => "name",
            Self::Host => "host",
        }
    }
}

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the line is longer than 64 KiB; give one object a line, and only the keys that are known")]
    TooLong,
    #[error("the line is not UTF-8; write the file anew as UTF-8")]
    NotUtf8,
    #[error("the line is no JSON, at column {column}; give one whole object a line")]
    NotJson { column: usize },
    #[error("the line is no JSON object; write it as {{\"tool\":…,\"refresh_token\":…}}")]
    NotAnObject,
    #[error("`{}` stands there twice; which one counts cannot be known, so leave one out", .0.word())]
    Twice(Key),
    #[error("it has a key that is not known; known are {}", Keys)]
    UnknownKey,
    #[error("`{}` is missing; add it{}", .0.word(), also(*.0))]
    Missing(Key),
    #[error("`{}` must be a text{}", .0.word(), if *.0 == Key::ExpiresAt { " (RFC 3339) or a number of seconds" } else { "" })]
    NotText(Key),
    #[error("`{}` is no token: it is empty, longer than 16 KiB, or holds spaces or characters beyond ASCII; give the token alone", .0.word())]
    NoToken(Key),
    #[error("`{}` is empty or longer than 512 bytes, or holds control characters; correct it", .0.word())]
    BadText(Key),
    #[error("`{}` is no name here: a to z, 0 to 9, `-`, `_` and `.`, at most 40, beginning with a letter or a digit", .0.word())]
    BadName(Key),
    #[error("`expires_at` is no time: write `2026-11-29T23:10:00Z` or seconds since 1970")]
    BadTime,
}

impl Fault {
    /// A kebab-case word for programs.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::TooLong => "line-too-long",
            Self::NotUtf8 => "not-utf8",
            Self::NotJson { .. } => "not-json",
            Self::NotAnObject => "not-an-object",
            Self::Twice(_) => "duplicate-key",
            Self::UnknownKey => "unknown-key",
            Self::Missing(_) => "missing-key",
            Self::NotText(_) => "wrong-type",
            Self::NoToken(_) => "no-token",
            Self::BadText(_) => "bad-text",
            Self::BadName(_) => "bad-name",
            Self::BadTime => "bad-time",
        }
    }
}

/// Where else it may be named.
const fn also(key: Key) -> &'static str {
    match key {
        Key::Tool => ", or name the tool of all lines with `--tool`",
        _ => "",
    }
}

/// The known keys, for people.
struct Keys;

impl fmt::Display for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = Key::ALL.iter().map(|key| format!("`{}`", key.word())).collect();
        out.write_str(&words.join(", "))
    }
}

/// What lines that do not say it are to have.
#[derive(Debug, Clone, Default)]
pub(super) struct Defaults {
    pub(super) tool: Option<Name>,
    pub(super) client_id: Option<String>,
    pub(super) host: Option<String>,
}

/// A line that can be imported. Has no `Debug`.
pub(super) struct Row {
    pub(super) tool: Name,
    pub(super) client_id: Option<String>,
    pub(super) refresh: Secret,
    pub(super) access: Option<Secret>,
    pub(super) access_until: Option<Timestamp>,
    pub(super) account: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) name: Option<Name>,
    pub(super) host: Option<String>,
}

impl Row {
    pub(super) fn read(line: &Secret, defaults: &Defaults) -> Result<Self, Fault> {
        let text = std::str::from_utf8(line.expose()).map_err(|_| Fault::NotUtf8)?;
        let mut found = Found::default();
        let mut reader = serde_json::Deserializer::from_str(text);
        let read = Reading(&mut found).deserialize(&mut reader).and_then(|()| reader.end());
        if let Some(fault) = found.fault {
            return Err(fault);
        }
        // Its own words would quote what it found.
        read.map_err(|error| Fault::NotJson { column: error.column() })?;
        found.row(defaults)
    }
}

/// What was found under each key.
#[derive(Default)]
struct Found {
    values: [Option<Value>; Key::ALL.len()],
    fault: Option<Fault>,
}

/// A value, as far as it is of use.
enum Value {
    Text(Secret),
    Number(i64),
    Null,
    Other,
}

impl Found {
    fn take(&mut self, key: Key) -> Option<Value> {
        let value = self.values.get_mut(key as usize).and_then(Option::take);
        value.filter(|value| !matches!(value, Value::Null))
    }

    fn secret(&mut self, key: Key) -> Result<Option<Secret>, Fault> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Fault::NotText(key)),
        }
    }

    fn token(&mut self, key: Key) -> Result<Option<Secret>, Fault> {
        let Some(token) = self.secret(key)? else { return Ok(None) };
        let is_token = token.expose().iter().all(|byte| (0x21..0x7f).contains(byte));
        if token.is_empty() || token.len() > TOKEN_MAX_BYTES || !is_token {
            return Err(Fault::NoToken(key));
        }
        Ok(Some(token))
    }

    fn text(&mut self, key: Key) -> Result<Option<String>, Fault> {
        let Some(text) = self.secret(key)? else { return Ok(None) };
        let text = std::str::from_utf8(text.expose()).map_err(|_| Fault::BadText(key))?;
        if text.is_empty() || text.len() > TEXT_MAX_BYTES || text.chars().any(char::is_control) {
            return Err(Fault::BadText(key));
        }
        Ok(Some(text.to_owned()))
    }

    fn name(&mut self, key: Key) -> Result<Option<Name>, Fault> {
        let text = self.text(key)?;
        text.map(|text| text.parse().map_err(|_| Fault::BadName(key))).transpose()
    }

    fn time(&mut self, key: Key) -> Result<Option<Timestamp>, Fault> {
        let millis = match self.take(key) {
            None => return Ok(None),
            Some(Value::Number(secs)) if (0..=SECONDS_MAX).contains(&secs) => secs.saturating_mul(1000),
            Some(Value::Number(millis)) if millis > SECONDS_MAX => millis,
            Some(Value::Text(text)) => {
                let text = std::str::from_utf8(text.expose()).ok();
                let at = text.and_then(|text| text.parse::<Instant>().ok());
                at.ok_or(Fault::BadTime)?.as_millisecond()
            }
            Some(Value::Number(_)) => return Err(Fault::BadTime),
            Some(_) => return Err(Fault::NotText(key)),
        };
        Ok(Some(Timestamp::from_millis(millis)))
    }

    fn row(mut self, defaults: &Defaults) -> Result<Row, Fault> {
        let tool =
            self.name(Key::Tool)?.or_else(|| defaults.tool.clone()).ok_or(Fault::Missing(Key::Tool))?;
        let refresh = self.token(Key::RefreshToken)?.ok_or(Fault::Missing(Key::RefreshToken))?;
        Ok(Row {
            tool,
            client_id: self.text(Key::ClientId)?.or_else(|| defaults.client_id.clone()),
            refresh,
            access: self.token(Key::AccessToken)?,
            access_until: self.time(Key::ExpiresAt)?,
            account: self.text(Key::Account)?,
            tenant: self.text(Key::Tenant)?,
            name: self.name(Key::Name)?,
            host: self.text(Key::Host)?.or_else(|| defaults.host.clone()),
        })
    }
}

/// Reads the object, and notes what is wrong with it where that is more than bad JSON.
struct Reading<'a>(&'a mut Found);

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl Reading<'_> {
    fn no_object<E: serde::de::Error>(self) -> Result<(), E> {
        self.0.fault = Some(Fault::NotAnObject);
        Err(E::custom("no object"))
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(AnyKey(key)) = map.next_key()? {
            let Some(key) = key else {
                self.0.fault = Some(Fault::UnknownKey);
                return Err(A::Error::custom("unknown key"));
            };
            let value: Value = map.next_value()?;
            let place = self.0.values.get_mut(key as usize);
            if place.is_some_and(|place| place.replace(value).is_some()) {
                self.0.fault = Some(Fault::Twice(key));
                return Err(A::Error::custom("twice"));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.no_object()
    }
    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.no_object()
    }
    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.no_object()
    }
    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.no_object()
    }
    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.no_object()
    }
    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.no_object()
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.no_object()
    }
}

/// A key that is known, or none.
struct AnyKey(Option<Key>);

impl<'de> Deserialize<'de> for AnyKey {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Word;
        impl Visitor<'_> for Word {
            type Value = AnyKey;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a key")
            }
            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<AnyKey, E> {
                Ok(AnyKey(Key::ALL.into_iter().find(|key| key.word() == word)))
            }
        }
        reader.deserialize_str(Word)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a value")
            }
            // Straight into memory that is wiped.
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(Secret::new(text.as_bytes().to_vec())))
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Number(number))
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
                Ok(i64::try_from(number).map_or(Value::Other, Value::Number))
            }
            fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Value, E> {
                Ok(Value::Other)
            }
            fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Value, E> {
                Ok(Value::Other)
            }
            fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Value::Other)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Value::Other)
            }
        }
        reader.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests;

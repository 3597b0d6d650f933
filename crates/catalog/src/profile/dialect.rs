//! How a provider's token endpoint differs from RFC 6749: names of fields, their place, their unit.
//!
//! Each name is read in an answer that holds secrets, so one name has one meaning: two of them that are the same,
//! or the name of a token, are refused here and not settled there.

use super::{
    TimeUnit,
    read::{code, params},
};
use crate::reading::{Fields, Value};
use std::collections::BTreeMap;

/// Deeper than any provider puts its tokens.
const PATH_LIMIT: usize = 4;

/// What a refresh itself carries (RFC 6749 §2.3.1, §6). A scope would be another one than was consented to.
const REFRESH_PARAMS: &[&str] = &[
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "grant_type",
    "refresh_token",
    "scope",
];

/// The fields that mean the same at every provider (RFC 6749 §5.1, §5.2).
const STANDARD_FIELDS: &[&str] = &["access_token", "error", "refresh_token", "token_type"];

const UNITS: &[(&str, TimeUnit)] =
    &[("seconds", TimeUnit::Seconds), ("milliseconds", TimeUnit::Milliseconds)];

/// What of a profile is about the token endpoint's messages.
pub(super) struct Dialect {
    pub(super) extra_refresh_params: BTreeMap<String, String>,
    pub(super) token_path: Vec<String>,
    pub(super) expires_field: String,
    pub(super) expires_unit: TimeUnit,
    pub(super) refresh_expires_field: Option<String>,
    pub(super) error_field: Option<String>,
}

impl Dialect {
    pub(super) fn read(fields: &mut Fields<'_, '_>) -> Self {
        let extra = fields.optional("extra_refresh_params");
        let path = fields.optional("token_path");
        let unit = fields.optional("expires_unit").and_then(|value| value.word(UNITS));
        let mut taken: Vec<String> = STANDARD_FIELDS.iter().map(|name| (*name).to_owned()).collect();
        let expires_field = match fields.optional("expires_field") {
            Some(value) => field(&value, &mut taken).unwrap_or_default(),
            None => "expires_in".to_owned(),
        };
        taken.push(expires_field.clone());
        let mut field = |key| fields.optional(key).and_then(|value| field(&value, &mut taken));
        Self {
            extra_refresh_params: extra
                .map(|value| params(&value, "`extra_refresh_params`", REFRESH_PARAMS))
                .unwrap_or_default(),
            token_path: path.map(|value| names(&value)).unwrap_or_default(),
            expires_field,
            expires_unit: unit.unwrap_or(TimeUnit::Seconds),
            refresh_expires_field: field("refresh_expires_field"),
            error_field: field("error_field"),
        }
    }
}

/// A field's name that has no other meaning.
fn field(value: &Value<'_, '_>, taken: &mut Vec<String>) -> Option<String> {
    let name = code(value)?;
    if taken.contains(&name) {
        value.fault(format!("`{name}` already has a meaning in an answer: one name, one meaning"));
        return None;
    }
    taken.push(name.clone());
    Some(name)
}

fn names(value: &Value<'_, '_>) -> Vec<String> {
    let given = value.one_or_more();
    if given.is_empty() || given.len() > PATH_LIMIT {
        value.fault(format!("`token_path` holds 1 to {PATH_LIMIT} names, the outermost first"));
        return Vec::new();
    }
    given.iter().filter_map(code).collect()
}

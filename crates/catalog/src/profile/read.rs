//! TOML → profile, with every finding at once. What a file does not say has its worst value.

use super::{
    AfterGrace, Blast, BodyFormat, Confidence, Endpoint, Fact, OldAccess, Pkce, Profile, Reuse, Rotation,
    SecondPresentation, TokenPlace, dialect::Dialect,
};
use crate::reading::{self, Document, Fields, FileError, Value};
use nightlatch_domain::{sealed::ClientAuth, tool::Name};
use std::collections::{BTreeMap, BTreeSet};

/// A hundred years: longer than any promise of a provider.
const TTL_LIMIT_SECS: u64 = 100 * 365 * 86_400;

/// A day: a longer grace would be no rotation.
const GRACE_LIMIT_SECS: u64 = 86_400;

/// More addresses than any provider's token endpoint has; each is matched at every call.
const ALIASES_LIMIT: usize = 16;

const CLIENT_AUTHS: &[(&str, ClientAuth)] = &[
    ("none", ClientAuth::None),
    ("client_secret_basic", ClientAuth::ClientSecretBasic),
    ("client_secret_post", ClientAuth::ClientSecretPost),
];

const AFTER_GRACES: &[(&str, AfterGrace)] = &[
    ("reject", AfterGrace::Reject),
    ("revoke_family", AfterGrace::RevokeFamily),
    ("revoke_family_and_access", AfterGrace::RevokeFamilyAndAccess),
];

const SECOND_PRESENTATIONS: &[(&str, SecondPresentation)] = &[
    ("same", SecondPresentation::Same),
    ("both_live", SecondPresentation::BothLive),
    ("last_wins", SecondPresentation::LastWins),
    ("unknown", SecondPresentation::Unknown),
];

/// The keys that a `[[fact]]` may cover.
pub(super) const FACT_KEYS: &[&str] = &[
    "issuer",
    "authorization_endpoint",
    "token_endpoint",
    "refresh_endpoint",
    "token_endpoint_aliases",
    "revocation_endpoint",
    "introspection_endpoint",
    "registration_page",
    "iss_announced",
    "pkce",
    "client_auth",
    "scope_separator",
    "extra_authorize_params",
    "body",
    "extra_refresh_params",
    "token_path",
    "expires_field",
    "expires_unit",
    "error_field",
    "access_ttl_default_secs",
    "refresh_idle_ttl_secs",
    "refresh_absolute_ttl_secs",
    "refresh_expires_field",
    "refresh_window_secs",
    "rotation",
    "reuse.grace_secs",
    "reuse.after_grace",
    "second_presentation",
    "old_access",
    "blast",
    "permanent_errors",
    "client_errors",
    "not_processed_errors",
    "not_processed_statuses",
];

impl Profile {
    /// Reads a profile. `file` names it in findings.
    ///
    /// # Errors
    /// [`FileError`] with everything that is wrong, by line.
    pub fn parse(file: &str, text: &str) -> Result<Self, FileError> {
        reading::document(file, text, profile)
    }
}

fn profile(source: &Document<'_>, fields: &mut Fields<'_, '_>) -> Option<Profile> {
    let name = fields.required("name").and_then(|value| value.parsed(str::parse::<Name>));
    let title = fields.required("title").and_then(|value| value.text().map(str::to_owned));
    let mut endpoint = |key| fields.optional(key).and_then(|value| value.parsed(Endpoint::parse));
    let authorization_endpoint = endpoint("authorization_endpoint");
    let token_endpoint = endpoint("token_endpoint");
    let refresh_endpoint = endpoint("refresh_endpoint");
    let revocation_endpoint = endpoint("revocation_endpoint");
    let introspection_endpoint = endpoint("introspection_endpoint");
    let token_endpoint_aliases = aliases(source, fields);
    if authorization_endpoint.is_some() != token_endpoint.is_some() {
        source.fault(&fields.span(), "write both `authorization_endpoint` and `token_endpoint`, or neither");
    }
    let mut ttl = |key| fields.optional(key).and_then(|value| value.number(TTL_LIMIT_SECS));
    let access_ttl_default_secs = ttl("access_ttl_default_secs");
    let refresh_idle_ttl_secs = ttl("refresh_idle_ttl_secs");
    let refresh_absolute_ttl_secs = ttl("refresh_absolute_ttl_secs");
    let refresh_window_secs = ttl("refresh_window_secs");
    let dialect = Dialect::read(fields);
    let behaviour = Behaviour::read(fields);
    let errors = Errors::read(fields);
    Some(Profile {
        name: name?,
        title: title?,
        issuer: fields.optional("issuer").and_then(|value| issuer(&value)),
        authorization_endpoint,
        token_endpoint,
        refresh_endpoint,
        token_endpoint_aliases,
        revocation_endpoint,
        introspection_endpoint,
        registration_page: fields.optional("registration_page").and_then(|value| page(&value)),
        iss_announced: fields.optional("iss_announced").and_then(|value| value.boolean()).unwrap_or(false),
        pkce: pkce(fields),
        client_auth: client_auth(fields),
        scope_separator: scope_separator(fields),
        extra_authorize_params: fields
            .optional("extra_authorize_params")
            .map(|value| params(&value, "`extra_authorize_params`", AUTHORIZE_PARAMS))
            .unwrap_or_default(),
        body: body(fields),
        extra_refresh_params: dialect.extra_refresh_params,
        token_path: dialect.token_path,
        expires_field: dialect.expires_field,
        expires_unit: dialect.expires_unit,
        error_field: dialect.error_field,
        access_ttl_default_secs,
        refresh_idle_ttl_secs,
        refresh_absolute_ttl_secs,
        refresh_expires_field: dialect.refresh_expires_field,
        refresh_window_secs,
        rotation: behaviour.rotation,
        reuse: behaviour.reuse,
        second_presentation: behaviour.second_presentation,
        old_access: behaviour.old_access,
        blast: behaviour.blast,
        permanent_errors: errors.permanent,
        client_errors: errors.client,
        not_processed_errors: errors.not_processed,
        not_processed_statuses: errors.statuses,
        facts: facts(fields),
    })
}

fn aliases(source: &Document<'_>, fields: &mut Fields<'_, '_>) -> Vec<TokenPlace> {
    let span = fields.span();
    let given =
        fields.optional("token_endpoint_aliases").map(|value| value.one_or_more()).unwrap_or_default();
    if given.len() > ALIASES_LIMIT {
        source.fault(&span, format!("`token_endpoint_aliases` holds at most {ALIASES_LIMIT} addresses"));
        return Vec::new();
    }
    given.iter().filter_map(|value| value.parsed(TokenPlace::parse)).collect()
}

/// How the provider treats tokens; each default is the worst.
struct Behaviour {
    rotation: Rotation,
    reuse: Reuse,
    second_presentation: SecondPresentation,
    old_access: OldAccess,
    blast: Blast,
}

impl Behaviour {
    fn read(fields: &mut Fields<'_, '_>) -> Self {
        let rotations =
            [("none", Rotation::None), ("always", Rotation::Always), ("sometimes", Rotation::Sometimes)];
        let rotation = fields.optional("rotation").and_then(|value| value.word(&rotations));
        let second =
            fields.optional("second_presentation").and_then(|value| value.word(SECOND_PRESENTATIONS));
        let old = fields
            .optional("old_access")
            .and_then(|value| value.word(&[("survives", OldAccess::Survives), ("dies", OldAccess::Dies)]));
        let blast = fields
            .optional("blast")
            .and_then(|value| value.word(&[("chain", Blast::Chain), ("wider", Blast::Wider)]));
        Self {
            rotation: rotation.unwrap_or(Rotation::Sometimes),
            reuse: reuse(fields),
            second_presentation: second.unwrap_or(SecondPresentation::Unknown),
            old_access: old.unwrap_or(OldAccess::Dies),
            blast: blast.unwrap_or(Blast::Wider),
        }
    }
}

fn reuse(fields: &mut Fields<'_, '_>) -> Reuse {
    let worst = Reuse { grace_secs: 0, after_grace: AfterGrace::RevokeFamilyAndAccess };
    let Some(mut table) = fields.optional("reuse").and_then(|value| value.table("`reuse`")) else {
        return worst;
    };
    let grace = table.optional("grace_secs").and_then(|value| value.number(GRACE_LIMIT_SECS));
    let after = table.optional("after_grace").and_then(|value| value.word(AFTER_GRACES));
    table.finish();
    Reuse { grace_secs: grace.unwrap_or(worst.grace_secs), after_grace: after.unwrap_or(worst.after_grace) }
}

/// Which error codes mean what.
struct Errors {
    permanent: Vec<String>,
    client: Vec<String>,
    not_processed: Vec<String>,
    statuses: Vec<u16>,
}

impl Errors {
    /// The defaults are RFC 6749 §5.2 and OpenID Connect Core §3.1.2.6; and of statuses 429 alone, which
    /// RFC 6585 §4 gives to a request that was not served.
    fn read(fields: &mut Fields<'_, '_>) -> Self {
        let mut list = |key, standard: &[&str]| match fields.optional(key) {
            Some(value) => value.one_or_more().iter().filter_map(code).collect(),
            None => standard.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>(),
        };
        let permanent =
            ["invalid_grant", "invalid_scope", "consent_required", "interaction_required", "login_required"];
        let client = ["invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_request"];
        let (permanent, client) = (list("permanent_errors", &permanent), list("client_errors", &client));
        let not_processed = list("not_processed_errors", &[]);
        Self { permanent, client, not_processed, statuses: statuses(fields) }
    }
}

fn statuses(fields: &mut Fields<'_, '_>) -> Vec<u16> {
    let Some(value) = fields.optional("not_processed_statuses") else { return vec![429] };
    let status = |value: &Value<'_, '_>| {
        let status = value.number(599).and_then(|number| u16::try_from(number).ok())?;
        if status < 400 {
            value.fault("only a status from 400 to 599 can say that nothing was processed");
        }
        Some(status)
    };
    value.one_or_more().iter().filter_map(status).collect()
}

fn pkce(fields: &mut Fields<'_, '_>) -> Pkce {
    let value =
        fields.optional("pkce").and_then(|value| value.word(&[("s256", Pkce::S256), ("none", Pkce::None)]));
    value.unwrap_or(Pkce::S256)
}

fn body(fields: &mut Fields<'_, '_>) -> BodyFormat {
    let value = fields
        .optional("body")
        .and_then(|value| value.word(&[("form", BodyFormat::Form), ("json", BodyFormat::Json)]));
    value.unwrap_or(BodyFormat::Form)
}

fn client_auth(fields: &mut Fields<'_, '_>) -> Vec<ClientAuth> {
    // RFC 6749 §2.3.1: a server must support Basic.
    let Some(value) = fields.optional("client_auth") else { return vec![ClientAuth::ClientSecretBasic] };
    let ways: Vec<ClientAuth> =
        value.one_or_more().iter().filter_map(|value| value.word(CLIENT_AUTHS)).collect();
    if ways.is_empty() {
        value.fault("name at least one way, for example `[\"client_secret_post\"]`");
    }
    ways
}

fn scope_separator(fields: &mut Fields<'_, '_>) -> String {
    let value = fields.optional("scope_separator").and_then(|value| value.word(&[(" ", " "), (",", ",")]));
    value.unwrap_or(" ").to_owned()
}

/// RFC 8414 §2: an issuer has no query and no fragment.
fn issuer(value: &Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    let whole = if text.matches('/').count() == 2 { format!("{text}/") } else { text.to_owned() };
    let endpoint = value.parsed(|_| Endpoint::parse(&whole))?;
    if endpoint.path_and_query().contains('?') {
        value.fault("an issuer has no query (RFC 8414 §2)");
        return None;
    }
    Some(text.to_owned())
}

fn page(value: &Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    if text.starts_with("https://") && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(text.to_owned());
    }
    value.fault(format!("`{text}` is no page: write `https://…`"));
    None
}

/// RFC 6749 §5.2: an error code is printable ASCII without quote and backslash; here without spaces too.
pub(super) fn code(value: &Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    let sound = !text.is_empty()
        && text.len() <= 80
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte));
    if !sound {
        value.fault(format!("`{text}` is no code: write one word as it stands in the answer"));
    }
    sound.then(|| text.to_owned())
}

/// What the flow itself sets in an authorization request.
const AUTHORIZE_PARAMS: &[&str] = &[
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

/// Parameters of a request beside `ours`, which may not be set from a file.
pub(super) fn params(value: &Value<'_, '_>, what: &'static str, ours: &[&str]) -> BTreeMap<String, String> {
    let Some(mut fields) = value.table(what) else { return BTreeMap::new() };
    let mut params = BTreeMap::new();
    for (name, value) in fields.rest() {
        if ours.contains(&name.as_str()) {
            value.fault(format!("`{name}` is set by us: leave it out"));
        }
        params.extend(value.text().map(|text| (name, text.to_owned())));
    }
    params
}

fn facts(fields: &mut Fields<'_, '_>) -> Vec<Fact> {
    let entries = fields.optional("fact").and_then(|value| value.entries()).unwrap_or_default();
    let mut covered = BTreeSet::new();
    entries.iter().filter_map(|entry| fact(&mut entry.table("this fact")?, &mut covered)).collect()
}

/// A key has one source: of two that differ in how sure they are, somebody would have to choose.
fn fact(fields: &mut Fields<'_, '_>, covered: &mut BTreeSet<String>) -> Option<Fact> {
    let known: Vec<(&'static str, &'static str)> = FACT_KEYS.iter().map(|key| (*key, *key)).collect();
    let mut key = |value: &Value<'_, '_>| {
        let key = value.word(&known)?.to_owned();
        if !covered.insert(key.clone()) {
            value.fault(format!("another fact covers `{key}`: one key, one source"));
        }
        Some(key)
    };
    let covers = fields.required("covers").map(|value| {
        let keys: Vec<String> = value.one_or_more().iter().filter_map(&mut key).collect();
        if keys.is_empty() {
            value.fault("name at least one key that this fact is about");
        }
        keys
    });
    let source = fields.required("source").and_then(|value| {
        let text = value.text()?.trim();
        if text.is_empty() {
            value.fault("write where this is from: a page, or how it was tried");
        }
        Some(text.to_owned())
    });
    let words = [("verified", Confidence::Verified), ("unverified", Confidence::Unverified)];
    let confidence = fields.required("confidence").and_then(|value| value.word(&words));
    let checked_at = fields.required("checked_at").and_then(|value| day(&value));
    fields.finish();
    Some(Fact { covers: covers?, source: source?, confidence: confidence?, checked_at: checked_at? })
}

fn day(value: &Value<'_, '_>) -> Option<String> {
    let text = value.text()?;
    let sound = text.len() == 10
        && text.bytes().enumerate().all(|(index, byte)| match index {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if !sound {
        value.fault(format!("`{text}` is no day: write `YYYY-MM-DD` in quotes"));
    }
    sound.then(|| text.to_owned())
}

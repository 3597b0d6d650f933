//! Asks a tool whose account a credential is, by the manifest's `account`.
//!
//! One request on a connection of its own, to a host that the credential was confirmed for.

use crate::{core::Core, credential, lease};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, header};
use nightlatch_catalog::manifest::{Account, Manifest};
use nightlatch_custody::Secret;
use nightlatch_domain::{
    connection::{Connection, Source},
    ports::work::Patience,
    sealed::{SealContext, Wrapped},
    tool::{BoundHost, Placement},
};
use nightlatch_egress::{Destination, SendWindow};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

/// The most of an account's description that is read.
const ANSWER_MAX_BYTES: usize = 256 * 1024;
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long a probe waits for a refresh of a dead access token.
const PATIENCE: Duration = Duration::from_secs(30);
/// An account's id or label longer than this is nobody's.
const ACCOUNT_MAX_CHARS: usize = 200;

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Probed {
    /// The manifest has none.
    NoProbe,
    /// The credential works; the tool names no account.
    Works,
    /// It works, and this is its account.
    Account {
        /// The stable id.
        id: String,
        /// The account as people know it.
        label: String,
    },
}

/// Why a probe found nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProbeError {
    /// The tool refused the credential.
    Rejected {
        /// With this status.
        status: u16,
    },
    /// It could not be reached, or did not answer as documented.
    Unreachable,
}

/// Asks with a connection's stored credential.
pub(crate) async fn of_current(core: &Arc<Core>, connection: &Connection) -> Result<Probed, ProbeError> {
    let manifest = core.manifest(connection.tenant, &connection.tool).await;
    let manifest = manifest.ok().flatten().ok_or(ProbeError::Unreachable)?;
    let (kept, context) = current(core, connection).await.ok_or(ProbeError::Unreachable)?;
    let secret = core.open(&(kept, context.clone())).map_err(|_| ProbeError::Unreachable)?;
    of(core, &manifest, &context.hosts, &secret).await
}

async fn current(core: &Arc<Core>, connection: &Connection) -> Option<(Wrapped, SealContext)> {
    match connection.source {
        Source::Static => {
            let row = core.store().static_secret(connection.tenant, connection.id).await.ok()??;
            credential::static_fault(core, connection, &row).is_none().then_some(row.secret)
        }
        Source::Chain { chain } => {
            let mut patience = Patience::of(&*core.parts.work, PATIENCE);
            let (view, _) = lease::alive(core, connection.tenant, chain, &mut patience).await.ok()?;
            let fault = credential::token_fault(core, connection, &view).await.ok()?;
            fault.is_none().then_some(view.head.access)
        }
    }
}

/// Asks with a credential that is on its way in.
pub(crate) async fn of(
    core: &Core,
    manifest: &Manifest,
    hosts: &[BoundHost],
    secret: &Secret,
) -> Result<Probed, ProbeError> {
    if manifest.accounts.is_empty() {
        return Ok(Probed::NoProbe);
    }
    let (account, host) = asked(&manifest.accounts, hosts).ok_or(ProbeError::Unreachable)?;
    let request = request(account, host, secret).ok_or(ProbeError::Unreachable)?;
    let to = Destination::try_from(host).map_err(|_| ProbeError::Unreachable)?;
    let now = core.now().boot;
    let send_by = now.plus(CONNECT_WITHIN);
    let unreachable = |error: &dyn std::fmt::Display| {
        tracing::info!(%error, tool = %manifest.name, "the account could not be asked for");
        ProbeError::Unreachable
    };
    let connection = core.parts.wire.dial(&to, send_by).await.map_err(|error| unreachable(&error))?;
    let window = SendWindow { send_by, answer_by: now.plus(ANSWER_WITHIN) };
    let answer = connection.send(request, ANSWER_MAX_BYTES, window).await;
    let answer = answer.map_err(|error| unreachable(&error))?;
    match answer.status.as_u16() {
        status @ 200..=299 => named(account, &answer.body, status),
        status @ (401 | 403) => Err(ProbeError::Rejected { status }),
        _ => Err(ProbeError::Unreachable),
    }
}

/// The first way to ask whose host the credential was confirmed for.
fn asked<'a>(accounts: &'a [Account], hosts: &'a [BoundHost]) -> Option<(&'a Account, &'a BoundHost)> {
    let host = |account: &Account| hosts.iter().find(|host| host.route == account.route);
    accounts.iter().find_map(|account| Some((account, host(account)?)))
}

fn request(account: &Account, host: &BoundHost, secret: &Secret) -> Option<Request<Bytes>> {
    let path = if host.covers_path(account.path.split('?').next()?) {
        account.path.clone()
    } else {
        format!("{}{}", host.path_prefix.trim_end_matches('/'), account.path)
    };
    let mut request = Request::builder()
        .method(Method::from_bytes(account.method.as_bytes()).ok()?)
        .uri(path)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("nightlatch/", env!("CARGO_PKG_VERSION")))
        .body(account.json.clone().map(Bytes::from).unwrap_or_default())
        .ok()?;
    let headers = request.headers_mut();
    if account.json.is_some() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in &account.headers {
        headers.insert(HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?);
    }
    let (name, value) = placed(&host.placement, secret)?;
    headers.insert(name, value);
    Some(request)
}

/// I8: a secret stands where the seal says, and nowhere else.
fn placed(placement: &Placement, secret: &Secret) -> Option<(HeaderName, HeaderValue)> {
    let text = std::str::from_utf8(secret.expose()).ok()?;
    let (name, value) = match placement {
        Placement::Bearer => (header::AUTHORIZATION, Secret::from_string(format!("Bearer {text}"))),
        Placement::Basic { user } => {
            let pair = Secret::from_string(format!("{user}:{text}"));
            let value = Secret::from_string(format!("Basic {}", STANDARD.encode(pair.expose())));
            (header::AUTHORIZATION, value)
        }
        Placement::Header { name, prefix } => {
            (HeaderName::from_bytes(name.as_bytes()).ok()?, Secret::from_string(format!("{prefix}{text}")))
        }
    };
    let mut value = HeaderValue::from_bytes(value.expose()).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

/// A 2xx without the documented id is a refusal too: some tools answer `{"ok": false}` with 200.
fn named(account: &Account, body: &[u8], status: u16) -> Result<Probed, ProbeError> {
    if account.id.is_empty() {
        return Ok(Probed::Works);
    }
    let rejected = ProbeError::Rejected { status };
    let body: Value = serde_json::from_slice(body).map_err(|_| ProbeError::Unreachable)?;
    let parts: Option<Vec<String>> = account.id.iter().map(|pointer| text(&body, pointer)).collect();
    let id = parts.ok_or(rejected)?.join("/");
    let label = account.label.as_deref().and_then(|pointer| text(&body, pointer));
    Ok(Probed::Account { label: label.unwrap_or_else(|| id.clone()), id })
}

fn text(body: &Value, pointer: &str) -> Option<String> {
    let text = match body.pointer(pointer)? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    let sound =
        !text.is_empty() && text.chars().count() <= ACCOUNT_MAX_CHARS && !text.chars().any(char::is_control);
    sound.then_some(text)
}

#[cfg(test)]
mod tests {
    //! Proves that an account is asked for where the credential was confirmed, and as its manifest says.

    use super::{asked, request};
    use nightlatch_catalog::{
        builtin,
        manifest::{ChosenHost, CredentialKind},
    };
    use nightlatch_custody::Secret;

    #[test]
    fn a_key_and_a_token_are_asked_about_at_their_own_hosts() {
        let jira = builtin::manifest("jira").unwrap();
        let site = ChosenHost::parse("https://acme.atlassian.net").unwrap();
        for (kind, chosen, host, path) in [
            (CredentialKind::Key, Some(&site), "acme.atlassian.net", "/rest/api/3/myself"),
            (CredentialKind::OAuth, None, "api.atlassian.com", "/me"),
        ] {
            let hosts = jira.bound_hosts(kind, chosen).unwrap();
            let (account, own) = asked(&jira.accounts, &hosts).unwrap();
            assert_eq!((own.host.as_str(), account.path.as_str()), (host, path));
        }
        assert!(asked(&jira.accounts, &[]).is_none());
    }

    #[test]
    fn a_tool_that_only_posts_is_asked_with_its_body() {
        let linear = builtin::manifest("linear").unwrap();
        let hosts = linear.bound_hosts(CredentialKind::Key, None).unwrap();
        let (account, host) = asked(&linear.accounts, &hosts).unwrap();
        let request = request(account, host, &Secret::from_string("key".to_owned())).unwrap();
        assert_eq!(request.headers()["content-type"], "application/json");
        assert_eq!(request.headers()["authorization"], "key");
        assert_eq!(Some(request.body()), account.json.clone().map(bytes::Bytes::from).as_ref());
    }
}

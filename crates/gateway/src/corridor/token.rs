//! A provider's token endpoint: we answer, and nothing is forwarded.
//!
//! SDKs refresh on their own, with whatever refresh token they were given. Inside an agent that is a
//! reference. So a refresh with a reference of this very agent and task gets that same reference back as
//! access and refresh token, good for no longer than its grant; everything else, whatever it is, gets
//! `invalid_grant` (RFC 6749 §5.2), one answer for unknown and foreign references and for requests that are no
//! refresh. What a client sends beside it (its own client id and secret) is not looked at.

use super::{Admitted, Corridor, InBody, Refused, Shown, record::Alarm};
use crate::{
    answer::{self, OutBody},
    directory::{Named, Tables},
    doors::Addressed,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use nightlatch_domain::{
    clock::Timestamp,
    exchange::Caller,
    grant::Grant,
    id::CallId,
    principal::AgentStatus,
    problem::{Problem, ProblemKind},
    tool::Name,
};
use nightlatch_ledger::{facts::EventFacts, record::EventName};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::time::timeout;

/// A token request: ids, a secret, scopes. Twice the longest real ones.
const BODY_MAX_BYTES: usize = 16 * 1024;
/// How long the body may take: it is one packet or two.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// What an SDK is told that its "access token" lasts: it then asks again, and gets the same.
const EXPIRES_SECS_MAX: u64 = 3600;

/// What a refresh asks with. Other members are not looked at.
#[derive(Deserialize)]
struct Asked {
    grant_type: String,
    refresh_token: String,
}

/// RFC 6749 §5.1.
#[derive(Serialize)]
struct Answered<'a> {
    access_token: &'a str,
    refresh_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
}

/// The tools whose provider takes tokens where this request goes; empty where it goes elsewhere.
pub(super) fn tools(tables: &Tables, caller: &Caller, addressed: &Addressed) -> BTreeSet<Name> {
    let origins = match &addressed.origin {
        Some(origin) => vec![origin.clone()],
        None => {
            tables.token_origins_of_route((caller.tenant, caller.task), &addressed.tool, &addressed.route)
        }
    };
    let at = |origin| tables.tools_with_token_endpoint(caller.tenant, origin, &addressed.target.path);
    origins.iter().flat_map(at).collect()
}

/// RFC 6749 §5.2.
pub(super) fn invalid_grant() -> Response<OutBody> {
    let mut answer = json(br#"{"error":"invalid_grant"}"#.to_vec());
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    answer.extensions_mut().insert(answer::PerhapsUnread);
    answer
}

impl Corridor {
    /// Answers a request to a token endpoint of these tools.
    pub(super) async fn answer_token(
        &self,
        admitted: &Admitted,
        tools: &BTreeSet<Name>,
        (call, at): (CallId, Timestamp),
        (headers, body): (&HeaderMap, InBody),
    ) -> Result<Response<OutBody>, Refused> {
        let asked = asked(headers, body).await;
        // By what is known now: the body may have taken its time.
        let tables = self.directory.view()?;
        let caller = &admitted.caller;
        let named = asked.as_ref().and_then(|asked| named(&tables, caller, tools, &asked.refresh_token));
        let (Some(asked), Some(Named(grant))) = (&asked, named) else { return Err(invalid(None)) };
        if grant.tenant != caller.tenant || grant.task != caller.task {
            return Err(invalid(Some(Alarm::new(&self.ledger, super::record::misuse(caller, call, &grant)))));
        }
        let expires_in = lasts(&tables, admitted, tools, &grant, at).ok_or_else(|| invalid(None))?;
        let facts = EventFacts {
            tenant: Some(caller.tenant),
            call: Some(call),
            agent: Some(caller.agent),
            task: Some(caller.task),
            grant: Some(grant.id),
            connection: Some(grant.connection),
            tool: Some(grant.tool.clone()),
            ..EventFacts::new(EventName::TokenAnswered)
        };
        self.ledger
            .event(facts)
            .await
            .map_err(|_| Problem::new(ProblemKind::LedgerUnavailable).retry_after(1))?;
        Ok(given(&asked.refresh_token, expires_in))
    }
}

fn invalid(alarm: Option<Alarm>) -> Refused {
    let problem = Problem::new(ProblemKind::ReferenceUnknown);
    Refused { shown: Shown::InvalidGrant, alarm, ..problem.into() }
}

/// The grant that a text names under any of these tools: the caller's own, if one is.
fn named(tables: &Tables, caller: &Caller, tools: &BTreeSet<Name>, text: &str) -> Option<Named> {
    let manifests = tools.iter().filter_map(|tool| tables.manifest(caller.tenant, tool));
    manifests.filter_map(|manifest| tables.named(text, &manifest)).next()
}

/// For how many seconds more the reference is good; none where it is good for nothing here.
fn lasts(
    tables: &Tables,
    admitted: &Admitted,
    tools: &BTreeSet<Name>,
    grant: &Arc<Grant>,
    now: Timestamp,
) -> Option<u64> {
    let task = tables.task(admitted.caller.tenant, admitted.caller.task)?;
    let connection = tables.connection(grant.tenant, grant.connection)?;
    let serves = admitted.agent.status == AgentStatus::Active
        && task.is_open(now)
        && grant.is_live(now)
        && connection.removed_at.is_none()
        && tools.contains(&grant.tool);
    let left = task.ends_at.min(grant.expires_at).since(now).as_secs();
    serves.then(|| left.min(EXPIRES_SECS_MAX))
}

/// What a refresh asks with; none for whatever is no refresh.
async fn asked(headers: &HeaderMap, body: InBody) -> Option<Asked> {
    let gathered = timeout(BODY_WITHIN, Limited::new(body, BODY_MAX_BYTES).collect()).await;
    let bytes = gathered.ok()?.ok()?.to_bytes();
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let asked = match kind.starts_with(b"application/json") {
        // Some providers take JSON, and so do their SDKs. A repeated member is refused by the reader.
        true => serde_json::from_slice(&bytes).ok()?,
        false => form(&bytes)?,
    };
    (asked.grant_type == "refresh_token").then_some(asked)
}

fn form(bytes: &[u8]) -> Option<Asked> {
    // RFC 6749 §3.2: parameters must not be included more than once.
    let only = |name: &str| {
        let mut values = form_urlencoded::parse(bytes).filter(|(own, _)| own == name).map(|(_, value)| value);
        values.next().filter(|_| values.next().is_none()).map(std::borrow::Cow::into_owned)
    };
    Some(Asked { grant_type: only("grant_type")?, refresh_token: only("refresh_token")? })
}

fn given(reference: &str, expires_in: u64) -> Response<OutBody> {
    let body =
        Answered { access_token: reference, refresh_token: reference, token_type: "Bearer", expires_in };
    // Texts and a number have no way to fail.
    json(serde_json::to_vec(&body).unwrap_or_default())
}

fn json(body: Vec<u8>) -> Response<OutBody> {
    let mut answer = Response::new(answer::whole(body));
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // RFC 6749 §5.1.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    answer
}

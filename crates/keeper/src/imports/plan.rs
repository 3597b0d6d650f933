//! What of an import's row is believed: only what opens, and belongs to this very row.

use crate::{
    core::Core,
    enrol::{By, Exchanged, Mark, Target},
    refresh::material::presented_at,
};
use aws_lc_rs::digest::{SHA256, digest};
use nightlatch_catalog::profile::{Endpoint, Profile};
use nightlatch_custody::Secret;
use nightlatch_domain::{
    clock::Timestamp,
    id::{AttemptId, ChainId, ClientId, FamilyId},
    import::Import,
    ports::store::ImportSeen,
    sealed::{SealContext, SecretKind},
    tool::Name,
};
use serde::{Deserialize, Serialize};

/// What is sealed beside the token.
#[derive(Serialize, Deserialize)]
pub(super) struct Plan {
    #[serde(flatten)]
    pub(super) target: Target,
    /// Whose account it is said to be.
    pub(super) account: Option<String>,
    /// The id that the provider gave the registration which it was given to.
    pub(super) client_id: String,
    /// Until when the access token is good that came with it.
    pub(super) access_until: Option<Timestamp>,
}

/// An import that opened. Has no `Debug`.
pub(super) struct Opened {
    pub(super) plan: Plan,
    /// What everything that comes of it is bound to.
    pub(super) context: SealContext,
    pub(super) token: Secret,
    pub(super) access: Option<Secret>,
    pub(super) client: ClientId,
    pub(super) endpoint: Endpoint,
    pub(super) profile: Profile,
    pub(super) mark: Mark,
}

/// Why a row does not open.
pub(super) enum Closed {
    /// It is not what was sealed.
    Unreadable,
    /// Its provider's profile is not there.
    NoProfile,
}

/// What a row holds, by itself.
struct Read {
    plan: Plan,
    context: SealContext,
    token: Secret,
    access: Option<Secret>,
    client: ClientId,
    endpoint: Endpoint,
    provider: Name,
}

impl Read {
    fn of(core: &Core, import: &Import) -> Option<Self> {
        let context = import.plan.1.clone();
        if context.kind != SecretKind::Flow || context.tenant != import.tenant {
            return None;
        }
        let plan: Plan = serde_json::from_slice(core.open(&import.plan).ok()?.expose()).ok()?;
        let client = context.client?;
        let ids = (context.chain, context.family) == (Some(plan.target.chain), Some(plan.target.family));
        if plan.target.flow != import.id || client != import.client || !ids {
            return None;
        }
        let of_kind = |kind| SealContext { kind, ..context.clone() };
        let token = import.token.as_ref().filter(|token| token.1 == of_kind(SecretKind::Refresh))?;
        let access = import.access.as_ref().filter(|access| access.1 == of_kind(SecretKind::Access));
        let token = core.open(token).ok()?;
        let access = access.and_then(|access| core.open(access).ok());
        let endpoint = Endpoint::parse(presented_at(&context)?).ok()?;
        let provider = context.provider.clone()?;
        Some(Self { plan, context, token, access, client, endpoint, provider })
    }
}

impl Opened {
    /// Opens a row.
    pub(super) fn of(core: &Core, import: &Import) -> Result<Self, Closed> {
        let read = Read::of(core, import).ok_or(Closed::Unreadable)?;
        let Read { plan, context, token, access, client, endpoint, provider } = read;
        let profile = core.profile(&provider).ok_or(Closed::NoProfile)?.clone();
        let mark = mark_of(core, &token, &endpoint, &plan.client_id);
        Ok(Self { plan, context, token, access, client, endpoint, profile, mark })
    }

    /// What an answer to it is bound to.
    pub(super) fn answer_context(&self) -> SealContext {
        SealContext { kind: SecretKind::Answer, ..self.context.clone() }
    }

    /// The exchange, for what concludes it.
    pub(super) fn exchanged(&self, seen: ImportSeen) -> Exchanged {
        Exchanged {
            tenant: self.context.tenant,
            context: self.context.clone(),
            target: self.plan.target.clone(),
            by: By::Import {
                token: Secret::new(self.token.expose().to_vec()),
                account: self.plan.account.clone(),
                mark: self.mark,
                seen,
            },
        }
    }
}

/// An answer with the presentation that it answers: what a provider said of an earlier one says nothing of a later.
pub(super) fn answer_to(attempt: AttemptId, raw: &Secret) -> Secret {
    let attempt = attempt.to_string();
    let mut whole = Vec::with_capacity(attempt.len() + 1 + raw.len());
    whole.extend_from_slice(attempt.as_bytes());
    whole.push(b'\n');
    whole.extend_from_slice(raw.expose());
    Secret::new(whole)
}

/// The answer, where it answers this presentation.
pub(super) fn answer_of(attempt: Option<AttemptId>, whole: &Secret) -> Option<Secret> {
    let attempt = attempt?.to_string();
    let raw = whole.expose().strip_prefix(attempt.as_bytes())?.strip_prefix(b"\n")?;
    Some(Secret::new(raw.to_vec()))
}

/// The answer that is kept, whichever presentation it answers: a chain's own answers name none.
pub(crate) fn answer_in(kept: Secret) -> Secret {
    let line = kept.expose().split(|byte| *byte == b'\n').next().unwrap_or_default();
    let attempt = std::str::from_utf8(line).ok().and_then(|line| line.parse::<AttemptId>().ok());
    answer_of(attempt, &kept).unwrap_or(kept)
}

/// What the log knows a token by. Made of the keeper's keyed hash of it, which says nothing to whoever reads the log, and of
/// where and under which client id it is presented: elsewhere, or under another one, it is another question.
fn mark_of(core: &Core, token: &Secret, at: &Endpoint, client_id: &str) -> Mark {
    let hash = core.parts.keys.recognise(token);
    let text = format!("nightlatch import mark v1 {hash} {at} {client_id}");
    let sum = digest(&SHA256, text.as_bytes());
    let mut ten = [0; 10];
    ten.iter_mut().zip(sum.as_ref()).for_each(|(to, from)| *to = *from);
    let since = Timestamp::from_millis(0);
    Mark { chain: ChainId::new(since, ten), family: FamilyId::new(since, ten) }
}

//! What a presentation is made of, opened and checked against what it was asked for.
//!
//! Every row is something that anyone with the database may have written. What counts is what opens: the
//! context that a secret was wrapped with names tenant, chain, family, generation and connection, and the
//! endpoint that it may be presented to. A context that opens but belongs to another row is refused here.

use crate::{core::Core, error::KeeperError, token::Registration};
use nightlatch_catalog::profile::{Endpoint, Profile};
use nightlatch_custody::{CustodyError, Secret};
use nightlatch_domain::{
    chain::Client,
    ports::store::ChainView,
    sealed::{ClientAuth, SealContext, SecretKind, Wrapped},
};
use nightlatch_egress::Destination;

/// Why a chain's head is not presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// There is no refresh token.
    NoRefreshToken,
    /// A sealed row did not open, or belongs to another row.
    Unverified,
    /// The provider's profile is gone.
    NoProfile,
}

/// An opened refresh token with all that its presentation needs. Has no `Debug`.
pub(crate) struct Material {
    pub(crate) token: Secret,
    pub(crate) context: SealContext,
    pub(crate) endpoint: Endpoint,
    pub(crate) to: Destination,
    pub(crate) profile: Profile,
    pub(crate) auth: ClientAuth,
    pub(crate) client: Registered,
}

/// Our registration, opened: what its row says beside the seal is for people. Has no `Debug`.
pub(crate) struct Registered {
    pub(crate) client_id: String,
    pub(crate) auth: ClientAuth,
    pub(crate) secret: Option<Secret>,
}

impl Material {
    /// Opens the head's refresh token and the registration's secret.
    pub(crate) fn open(core: &Core, view: &ChainView) -> Result<Self, Unfit> {
        let refresh = view.head.refresh.as_ref().ok_or(Unfit::NoRefreshToken)?;
        let context = &refresh.1;
        if !belongs(context, view, SecretKind::Refresh) {
            return Err(Unfit::Unverified);
        }
        let token = core.open(refresh).map_err(|_| Unfit::Unverified)?;
        let endpoint = presented_at(context).ok_or(Unfit::Unverified)?;
        let endpoint = Endpoint::parse(endpoint).map_err(|_| Unfit::Unverified)?;
        let to = destination(&endpoint).map_err(|_| Unfit::Unverified)?;
        let profile = core.profile(&view.chain.provider).ok_or(Unfit::NoProfile)?.clone();
        let auth = context.client_auth.ok_or(Unfit::Unverified)?;
        let client = registered(core, &view.client, context)?;
        Ok(Self { token, context: context.clone(), endpoint, to, profile, auth, client })
    }

    /// Our registration, as a request needs it.
    pub(crate) fn registration(&self) -> Registration<'_> {
        self.client.with(self.auth)
    }
}

/// Where a refresh token is presented, by its seal.
pub(crate) fn presented_at(context: &SealContext) -> Option<&str> {
    context.refresh_endpoint.as_deref().or(context.token_endpoint.as_deref())
}

/// Whether a token's context is that of the very row it came with.
pub(crate) fn belongs(context: &SealContext, view: &ChainView, kind: SecretKind) -> bool {
    belongs_at(context, view, kind, view.head.number)
}

/// Likewise for what belongs to an earlier generation of the family.
pub(crate) fn belongs_at(context: &SealContext, view: &ChainView, kind: SecretKind, generation: u64) -> bool {
    let connection = context.connection.is_some_and(|own| view.connections.contains(&own));
    context.kind == kind
        && context.tenant == view.chain.tenant
        && context.chain == Some(view.chain.id)
        && context.family == Some(view.family.id)
        // What was sealed before families were counted names none.
        && context.family_number.is_none_or(|number| number == view.family.number)
        && context.generation == generation
        && context.provider.as_ref() == Some(&view.chain.provider)
        && context.client == Some(view.client.id)
        && view.chain.client == view.client.id
        && connection
}

const PREFIX_LEN: usize = size_of::<u32>();

impl Registered {
    /// As a request needs it that authenticates as its own seal says.
    pub(crate) fn with(&self, auth: ClientAuth) -> Registration<'_> {
        Registration { client_id: &self.client_id, auth, secret: self.secret.as_ref() }
    }

    /// What is sealed of a registration: the length of its id (32 bits, big-endian), the id, the secret. A
    /// public client has a seal as well: a refresh token that is presented under an id of somebody else's
    /// choice is a lost family.
    pub(crate) fn seal(client_id: &str, secret: Option<&Secret>) -> Result<Secret, KeeperError> {
        let too_long = |_| KeeperError::Registration("its client id is too long");
        let len = u32::try_from(client_id.len()).map_err(too_long)?;
        let secret = secret.map(Secret::expose).unwrap_or_default();
        let mut whole = Vec::with_capacity(PREFIX_LEN + client_id.len() + secret.len());
        whole.extend_from_slice(&len.to_be_bytes());
        whole.extend_from_slice(client_id.as_bytes());
        whole.extend_from_slice(secret);
        Ok(Secret::new(whole))
    }

    /// The secret of a stored registration, for whoever only must know it when it is seen.
    pub(crate) fn secret_of(core: &Core, kept: &(Wrapped, SealContext)) -> Option<Secret> {
        let auth = kept.1.client_auth?;
        Self::read(&core.open(kept).ok()?, auth)?.secret
    }

    fn read(opened: &Secret, auth: ClientAuth) -> Option<Self> {
        let (len, rest) = opened.expose().split_first_chunk::<PREFIX_LEN>()?;
        let (id, secret) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
        let client_id = String::from_utf8(id.to_vec()).ok()?;
        let secret = (!secret.is_empty()).then(|| Secret::new(secret.to_vec()));
        Some(Self { client_id, auth, secret })
    }
}

/// Opens a registration for use at the endpoints that `at` names.
pub(crate) fn registered(core: &Core, client: &Client, at: &SealContext) -> Result<Registered, Unfit> {
    let kept = client.secret.as_ref().ok_or(Unfit::Unverified)?;
    let context = &kept.1;
    let own = context.kind == SecretKind::ClientSecret
        && context.tenant == at.tenant
        && context.client == Some(client.id)
        && context.provider == at.provider
        && context.token_endpoint == at.token_endpoint
        && context.refresh_endpoint == at.refresh_endpoint;
    let auth = context.client_auth.filter(|_| own).ok_or(Unfit::Unverified)?;
    let opened = core.open(kept).map_err(|_| Unfit::Unverified)?;
    Registered::read(&opened, auth).ok_or(Unfit::Unverified)
}

/// Where an endpoint is dialled.
pub(crate) fn destination(endpoint: &Endpoint) -> Result<Destination, KeeperError> {
    Destination::new(endpoint.scheme(), endpoint.host(), endpoint.port())
        .map_err(|_| KeeperError::Custody(CustodyError::Refused))
}

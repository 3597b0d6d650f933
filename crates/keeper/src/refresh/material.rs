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
    sealed::{ClientAuth, SealContext, SecretKind},
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
    pub(crate) client_id: String,
    pub(crate) auth: ClientAuth,
    pub(crate) client_secret: Option<Secret>,
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
        let endpoint = context.token_endpoint.as_deref().ok_or(Unfit::Unverified)?;
        let endpoint = Endpoint::parse(endpoint).map_err(|_| Unfit::Unverified)?;
        let to = destination(&endpoint).map_err(|_| Unfit::Unverified)?;
        let profile = core.profile(&view.chain.provider).ok_or(Unfit::NoProfile)?.clone();
        let auth = context.client_auth.ok_or(Unfit::Unverified)?;
        let client_secret = client_secret(core, &view.client, context)?;
        let client_id = view.client.client_id.clone();
        Ok(Self { token, context: context.clone(), endpoint, to, profile, client_id, auth, client_secret })
    }

    /// Our registration, as a request needs it.
    pub(crate) fn registration(&self) -> Registration<'_> {
        Registration { client_id: &self.client_id, auth: self.auth, secret: self.client_secret.as_ref() }
    }
}

/// Whether a token's context is that of the very row it came with.
pub(crate) fn belongs(context: &SealContext, view: &ChainView, kind: SecretKind) -> bool {
    let connection = context.connection.is_some_and(|own| view.connections.contains(&own));
    context.kind == kind
        && context.tenant == view.chain.tenant
        && context.chain == Some(view.chain.id)
        && context.family == Some(view.family.id)
        && context.generation == view.head.number
        && context.provider.as_ref() == Some(&view.chain.provider)
        && context.client == Some(view.client.id)
        && view.chain.client == view.client.id
        && connection
}

/// Opens the secret of a registration for use at the endpoint that `at` names.
pub(crate) fn client_secret(core: &Core, client: &Client, at: &SealContext) -> Result<Option<Secret>, Unfit> {
    let Some(kept) = &client.secret else { return Ok(None) };
    let context = &kept.1;
    let own = context.kind == SecretKind::ClientSecret
        && context.tenant == at.tenant
        && context.client == Some(client.id)
        && context.token_endpoint == at.token_endpoint;
    if !own {
        return Err(Unfit::Unverified);
    }
    core.open(kept).map(Some).map_err(|_| Unfit::Unverified)
}

/// Where an endpoint is dialled.
pub(crate) fn destination(endpoint: &Endpoint) -> Result<Destination, KeeperError> {
    Destination::new(endpoint.scheme(), endpoint.host(), endpoint.port())
        .map_err(|_| KeeperError::Custody(CustodyError::Refused))
}

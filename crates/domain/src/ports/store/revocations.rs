//! Tokens that nobody uses any more and that still live at their provider.

use crate::{
    clock::Timestamp,
    id::{ChainId, ClientId, ConnectionId, FamilyId, RevocationId, TenantId},
    sealed::{SealContext, Wrapped},
};
use std::time::Duration;

/// So long after its flow's end a code that is being redeemed may still bring tokens. Past that whoever redeemed it is gone.
pub const REDEEMED_WITHIN: Duration = Duration::from_secs(1800);

/// A sealed token, or a raw answer with tokens in it, that is kept for one purpose only: to be revoked (RFC 7009).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The tenant.
    pub tenant: TenantId,
    /// The revocation's id.
    pub id: RevocationId,
    /// The chain that it was a token of; none for an answer whose account nobody came to know.
    pub chain: Option<ChainId>,
    /// What is to be revoked; its context names kind and endpoint.
    pub secret: (Wrapped, SealContext),
    /// How often that was tried.
    pub tries: u32,
    /// Before this it is not tried again.
    pub not_before: Timestamp,
}

/// Whose a token was, of which it is asked whether anybody may still live on what its revocation would end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whose {
    /// The tenant.
    pub tenant: TenantId,
    /// Our registration that it was given to.
    pub client: ClientId,
    /// The chain that it was a token of; none where nobody came to know its account.
    pub chain: Option<ChainId>,
    /// The connection that it was given for: its tool named the account.
    pub connection: Option<ConnectionId>,
    /// The newest family of that chain that the asker's own log knows.
    pub family: Option<FamilyId>,
}

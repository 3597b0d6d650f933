//! What an exchange is to become: written down and sealed when it began, before anything was sent anywhere.

use nightlatch_domain::{
    id::{ChainId, ConnectionId, FamilyId, FlowId, TenantId},
    ports::store::ImportSeen,
    sealed::SealContext,
    tool::Name,
};
use serde::{Deserialize, Serialize};

/// What a login or an import is to become. It decides; the row that it was sealed into is for people.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) flow: FlowId,
    pub(crate) tool: Name,
    /// None where the account is to give the name.
    pub(crate) name: Option<Name>,
    pub(crate) reconnect: Option<ConnectionId>,
    /// Ids that are used if this becomes something new.
    pub(crate) family: FamilyId,
    pub(crate) chain: ChainId,
    pub(crate) connection: ConnectionId,
}

/// An exchange whose answer is durable.
pub(crate) struct Exchanged {
    pub(crate) tenant: TenantId,
    /// What everything that comes of it is bound to.
    pub(crate) context: SealContext,
    pub(crate) target: Target,
    pub(crate) by: By,
}

/// What the log knows a token by that was brought in: ids that nothing else bears, made of the token itself. So it knows it
/// again whatever became of the database, and whoever brings it anew.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) chain: ChainId,
    pub(crate) family: FamilyId,
}

/// What was exchanged.
pub(crate) enum By {
    /// A code, for a human who waits.
    Login,
    /// A refresh token that another system held.
    Import {
        /// It: it lives on where the answer brings none.
        token: nightlatch_custody::Secret,
        /// The account that whoever brought it named.
        account: Option<String>,
        /// What the log knows it by.
        mark: Mark,
        /// Where its row stood: who finds it elsewhere ends nothing.
        seen: ImportSeen,
    },
}

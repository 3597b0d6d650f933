//! Bodies about refresh tokens that another system held.

use super::schema::dto;
use nightlatch_domain::{
    clock::Timestamp,
    id::{ClientId, ConnectionId, FlowId},
    sealed::Sealed,
    tool::Name,
};

dto! {
    /// Refresh tokens that are to become connections.
    ImportRequest {
        /// That the system which held them has stopped for good: two that refresh one token end the connection.
        old_system_stopped: bool,
        /// They, 500 at most. What is wrong with one stops no other.
        rows: Vec<ImportItem>,
    }

    /// One refresh token. Its seals name tool, client, name, account and host as they stand here.
    ImportItem {
        /// Where it stood in what was read: it comes back with the answer.
        line: u64,
        /// The tool.
        tool: Name,
        /// Our registration, which the token was given to.
        client: ClientId,
        /// The tenant, by name or id, where it is to be made sure of.
        tenant: Option<String>,
        /// The connection's name; the account gives it where it is absent.
        name: Option<Name>,
        /// Whose account it is, by the id or the label that the tool gives: another one is not connected.
        account: Option<String>,
        /// The base address, for a tool whose manifest leaves it open: `https://HOST[:PORT][/PREFIX]`.
        host: Option<String>,
        /// The refresh token, sealed to the intake key.
        token: Sealed,
        /// An access token that came with it, sealed likewise: it tells whose account it is before anything is spent.
        access: Option<Sealed>,
        /// Until when that one is good.
        access_until: Option<Timestamp>,
    }

    /// What was done with each, in the order in which they came.
    ImportAnswers {
        /// It.
        rows: Vec<ImportAnswer>,
    }

    /// What was done with one refresh token.
    ImportAnswer {
        /// Where it stood.
        line: u64,
        /// `accepted`, `known` (it was brought before) or `refused`.
        done: String,
        /// The flow that it is, unless it was refused.
        flow: Option<FlowId>,
        /// Why it was refused: a kebab-case word.
        reason: Option<String>,
        /// The same for people, with what to do next.
        detail: Option<String>,
    }

    /// Which imports are asked about.
    ImportsAsked {
        /// Their flows, 1000 at most.
        flows: Vec<FlowId>,
    }

    /// Where imports stand.
    ImportViews {
        /// Those that there are.
        imports: Vec<ImportView>,
    }

    /// Where an import stands.
    ImportView {
        /// Its flow.
        flow: FlowId,
        /// `waiting`, `presenting`, `checking` (whose account it is), `connected` or `failed`.
        state: String,
        /// The connection that it became.
        connection: Option<ConnectionId>,
        /// The account's id at the tool, where that is known.
        account: Option<String>,
        /// The account as people know it.
        label: Option<String>,
        /// Why it waits, or why it failed: an error code of the provider's or a word of ours.
        reason: Option<String>,
        /// The same for people, with what to do next.
        detail: Option<String>,
        /// When the keeper next acts, while it has not ended.
        due_at: Option<Timestamp>,
    }
}

//! Bodies about the installation itself: is it there, is it well, what is wrong.

use super::{connections::ConnectionView, schema::dto};
use nightlatch_domain::{
    clock::Timestamp,
    id::{TenantId, TicketId},
    sealed::SealingKey,
};
use std::fmt;

dto! {
    /// Nightlatch is there.
    Ping {
        /// The program's version.
        version: String,
        /// The process.
        pid: u32,
        /// The tenant that this socket speaks for.
        tenant: TenantId,
        /// The tenant's name.
        tenant_name: String,
        /// The base URL of the gateway.
        gateway_url: String,
        /// The gateway's key: `sha256//BASE64` of its public key, as curl's `--pinnedpubkey` takes it.
        gateway_pin: String,
        /// The base URL of the redirect listener.
        redirect_url: String,
    }

    /// Nightlatch will stop: running calls are let finish for a moment.
    Stopping {
        /// The process that stops.
        pid: u32,
    }

    /// The key that secrets are sealed to before they are handed in.
    IntakeKey {
        /// The tenant, which the seal names.
        tenant: TenantId,
        /// The key.
        key: SealingKey,
    }

    /// How everything is.
    HealthReport {
        /// Each connection.
        connections: Vec<ConnectionView>,
        /// What waits for a human, oldest first.
        tickets: Vec<TicketView>,
        /// What the ledger holds as alarms, newest first, of the last 30 days.
        alarms: Vec<AlarmView>,
        /// What this installation cannot do or say at the moment, in words for a human.
        warnings: Vec<String>,
    }

    /// One question to a human.
    TicketView {
        /// Its id.
        id: TicketId,
        /// What is asked for.
        kind: String,
        /// The connection, as `tool/name`.
        connection: String,
        /// Why.
        reason: String,
        /// When it was raised.
        raised_at: Timestamp,
        /// Where the database was put back, or no log vouches for it: since which era. Tickets of one era and reason are one
        /// question, and a human is told of them once.
        era: Option<u64>,
        /// The command that settles it.
        command: String,
    }

    /// Something that should not have happened.
    AlarmView {
        /// Which alarm, for example `reference-misused`.
        name: String,
        /// How often, within the records that were read.
        count: u64,
        /// When it was last raised.
        last_at: Timestamp,
        /// The record of the ledger that says so.
        seq: u64,
    }

    /// Why something was not done (RFC 9457 §3).
    ApiProblem {
        /// A stable URI, `https://nightlatch.dev/problems/…`.
        r#type: String,
        /// A short name.
        title: String,
        /// The HTTP status again.
        status: u16,
        /// What is wrong and what to do next.
        detail: String,
    }
}

impl ApiProblem {
    /// The kebab-case word at the end of `type`.
    #[must_use]
    pub fn slug(&self) -> &str {
        self.r#type.rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for ApiProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.detail)
    }
}

//! Every table, the counter row that orders what others must see, and transactions over all of it.

use super::table::{Kept, Table};
use crate::world::dice::Dice;
use nightlatch_domain::{
    budget::Spent,
    call::CallPlace,
    chain::{Attempt, Chain, Client, Family, Flow, Generation},
    clock::Timestamp,
    connection::{Connection, StaticSecret},
    grant::Grant,
    id::{
        AttemptId, CallId, ChainId, ClientId, ConnectionId, ContextId, EnrolmentId, FamilyId, FlowId,
        GrantId, KeeperId, PrincipalId, RevocationId, TaskId, TenantId, TicketId, WakeId,
    },
    import::Import,
    ports::store::{
        CallRow, Change, EntityId, FeedMark, Installation, Killed, LedgerHead, Recalled, Registered,
        Revocation, StoreError, ToolRow,
    },
    principal::{Agent, Enrolment, EnrolmentCode, Human, Tenant},
    sealed::{SealContext, Wrapped},
    task::{Task, WakeNote},
    ticket::Ticket,
    tool::Name,
};
use std::collections::BTreeMap;

/// Transactions that can still be taken back.
const TAKEN_BACK_MAX: u64 = 10_000;

/// A secret with its context, as it is stored.
pub(super) type Secret = (Wrapped, SealContext);

/// The counter row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counter {
    /// Changes of the directory.
    pub(super) number: u64,
    /// The last move, also one that is no change of the directory.
    pub(super) mark: FeedMark,
}

/// An enrolment code, and whether it was used.
#[derive(Debug, Clone)]
pub(super) struct CodeRow {
    pub(super) code: EnrolmentCode,
    pub(super) is_used: bool,
}

/// A connection, and the move under which its row was written: kills with a later number end it.
#[derive(Debug, Clone)]
pub(super) struct ConnectionRow {
    pub(super) connection: Connection,
    pub(super) noted: u64,
}

/// An import, and the move before which its row was written: kills with a later number end it.
#[derive(Debug, Clone)]
pub(super) struct ImportRow {
    pub(super) import: Import,
    pub(super) noted: u64,
}

/// A kept answer. It stands by itself, whatever becomes of its attempt's row.
#[derive(Debug, Clone)]
pub(super) struct AnswerRow {
    pub(super) chain: Option<ChainId>,
    pub(super) secret: Secret,
}

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident: $key:ty => $row:ty;)*) => {
        /// Every table.
        #[derive(Debug, Clone, Default)]
        pub(super) struct Tables {
            $($(#[$doc])* pub(super) $name: Table<$key, $row>,)*
        }

        impl Tables {
            fn each(&mut self, mut of: impl FnMut(&mut dyn Kept)) {
                $(of(&mut self.$name);)*
            }
        }
    };
}

tables! {
    installation: () => Installation;
    incarnation: () => u64;
    keepers: KeeperId => Registered;
    counter: () => Counter;
    feed: u64 => Change;
    marks: u64 => [u8; 16];
    ledger_head: () => LedgerHead;
    tenants: TenantId => Tenant;
    humans: (TenantId, PrincipalId) => Human;
    agents: (TenantId, PrincipalId) => Agent;
    tools: (TenantId, Name) => ToolRow;
    tasks: (TenantId, TaskId) => Task;
    wakes: (TenantId, WakeId) => WakeNote;
    enrolments: (TenantId, EnrolmentId) => Enrolment;
    codes: String => CodeRow;
    clients: (TenantId, ClientId) => Client;
    chains: (TenantId, ChainId) => Chain;
    families: (TenantId, FamilyId) => Family;
    generations: (TenantId, FamilyId, u64) => Generation;
    attempts: (TenantId, AttemptId) => Attempt;
    /// Attempts by what they present.
    presented: (TenantId, FamilyId, u64, AttemptId) => ();
    answers: (TenantId, AttemptId) => AnswerRow;
    flows: (TenantId, FlowId) => Flow;
    imports: (TenantId, FlowId) => ImportRow;
    contexts: (TenantId, Name, Name) => ContextId;
    connections: (TenantId, ConnectionId) => ConnectionRow;
    statics: (TenantId, ConnectionId, u64) => StaticSecret;
    grants: (TenantId, GrantId) => Grant;
    spent: (TenantId, GrantId) => Spent;
    tickets: (TenantId, TicketId) => Ticket;
    calls: CallPlace => CallRow;
    kills: (u8, u128, u128) => Killed;
    revocations: (TenantId, RevocationId) => Revocation;
    /// Until when each mandate was good that was acted on.
    mandates: (TenantId, CallId) => Timestamp;
}

/// The rows of one database.
pub(super) struct Rows {
    pub(super) tables: Tables,
    /// Not part of what is taken back: a history that lost a transaction draws other values after it.
    pub(super) dice: Dice,
    /// Second presentations that were declared, by provider. Likewise.
    pub(super) declared: BTreeMap<Name, Vec<AttemptId>>,
    /// How often a standby took over.
    pub(super) incarnation: u64,
    transaction: u64,
}

impl Rows {
    pub(super) fn new(dice: Dice) -> Self {
        Self { tables: Tables::default(), dice, declared: BTreeMap::new(), incarnation: 0, transaction: 0 }
    }

    /// All of it, or nothing where it fails.
    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.transaction += 1;
        let (own, horizon) = (self.transaction, self.transaction.saturating_sub(TAKEN_BACK_MAX));
        self.tables.each(|table| table.begin(own, horizon));
        let done = work(self);
        if done.is_err() {
            self.tables.each(|table| table.take_back(own));
        }
        done
    }

    /// The last transactions never happened.
    pub(super) fn drop_last(&mut self, transactions: u64) {
        let from = self.transaction.saturating_sub(transactions.min(TAKEN_BACK_MAX)) + 1;
        self.tables.each(|table| table.take_back(from));
        self.incarnation += 1;
    }

    pub(super) fn counter(&self) -> Counter {
        let begun = Counter { number: 0, mark: FeedMark { number: 0, random: [0; 16] } };
        self.tables.counter.get(&()).copied().unwrap_or(begun)
    }

    /// Moves the counter row without a change that the gateways follow.
    pub(super) fn go_on(&mut self) -> u64 {
        let number = self.counter().number;
        self.moved(number)
    }

    /// Moves the counter and notes a change; answers the move's number.
    pub(super) fn note(&mut self, tenant: TenantId, entity: EntityId) -> u64 {
        let number = self.counter().number + 1;
        self.tables.feed.put(number, Change { number, tenant, entity });
        self.moved(number)
    }

    fn moved(&mut self, number: u64) -> u64 {
        let mut random = [0; 16];
        self.dice.fill(&mut random);
        let mark = FeedMark { number: self.counter().mark.number + 1, random };
        self.tables.counter.put((), Counter { number, mark });
        self.tables.marks.put(mark.number, random);
        mark.number
    }

    /// What this history says of a move.
    pub(super) fn recall(&self, mark: FeedMark) -> Recalled {
        let last = self.counter().mark;
        if mark.number >= last.number {
            return if mark == last { Recalled::Held } else { Recalled::Other };
        }
        match self.tables.marks.get(&mark.number) {
            Some(random) if *random == mark.random => Recalled::Held,
            Some(_) => Recalled::Other,
            None => Recalled::TooOld,
        }
    }

    /// Ten random bytes for an id that the store draws.
    pub(super) fn ten(&mut self) -> [u8; 10] {
        let mut ten = [0; 10];
        self.dice.fill(&mut ten);
        ten
    }
}

/// The first so many.
pub(super) fn first<T>(rows: impl Iterator<Item = T>, limit: u32) -> Vec<T> {
    rows.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect()
}

/// The time of a row for sorting newest first.
pub(super) fn newest_first(at: Timestamp) -> std::cmp::Reverse<i64> {
    std::cmp::Reverse(at.millis())
}

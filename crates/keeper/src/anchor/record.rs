//! The lines of the anchor log, and what they add up to.
//!
//! A line is the first half of the SHA-256 of its JSON, a space, the JSON. The checksum is against torn
//! writes and rot, not against forgers: whoever can write this file is the keeper's own user.

use super::{presented::Presentations, rows::Rows};
use aws_lc_rs::digest::{SHA256, digest};
use nightlatch_domain::{
    call::MANDATE_MAX,
    clock::{Boot, Timestamp},
    id::{
        AttemptId, CallId, ChainId, ConnectionId, FamilyId, FlowId, InstallationId, KeeperId, OwnerId,
        TenantId,
    },
    ports::store::FeedMark,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// Owners of claims that this log drew are remembered up to this many. A claim that is older than so many others, and
/// still stands, is taken for somebody else's.
const OWNERS_KEPT: usize = 65_536;
/// Flows that were begun to be redeemed and never became a head are remembered up to this many.
const REDEEMS_KEPT: usize = 4096;

/// Where a log was made. A difference at start means that it was copied or the machine was cloned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub(super) installation: InstallationId,
    /// None in a log from before there was more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) keeper: Option<KeeperId>,
    pub(super) machine: String,
    /// The boot of the machine that the lines from here on were written in; none where the system did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) boot: Option<String>,
    pub(super) filesystem: u64,
    pub(super) inode: u64,
}

/// One presentation that may have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presentation {
    /// The tenant.
    pub tenant: TenantId,
    /// The chain.
    pub chain: ChainId,
    /// The family.
    pub family: FamilyId,
    /// The generation whose refresh token it is.
    pub generation: u64,
    /// The attempt.
    pub attempt: AttemptId,
    /// When it was anchored, on this machine's boot clock; none in lines that are older than that, and in another boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
}

/// The current generation of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The family.
    pub family: FamilyId,
    /// Its head.
    pub generation: u64,
}

/// Which presentation it is: of a generation, the first or the one retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(Rust, packed)]
struct Named {
    family: FamilyId,
    generation: u64,
    is_retry: bool,
}

impl Named {
    const fn of(one: &Presentation, is_retry: bool) -> Self {
        Self { family: one.family, generation: one.generation, is_retry }
    }

    fn found_in(self, facts: &Facts) -> Option<Presentation> {
        let of = if self.is_retry { &facts.again } else { &facts.presented };
        of.get(self.family, self.generation)
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub(super) enum Record {
    Identity(Identity),
    Present(Presentation),
    /// The one retry of a generation whose answer was lost.
    Again(Presentation),
    /// What a keeper that was forgotten may have presented of a head that was taken over.
    Taken(Presentation),
    /// Claims under these owners are this log's.
    Owners {
        owners: Vec<OwnerId>,
    },
    Void {
        attempt: AttemptId,
    },
    Head {
        chain: ChainId,
        head: Head,
    },
    Redeem {
        flow: FlowId,
        family: FamilyId,
    },
    Static {
        connection: ConnectionId,
        generation: u64,
    },
    Ended {
        connection: ConnectionId,
        /// None in lines from before there were eras.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tenant: Option<TenantId>,
    },
    Mandate {
        call: CallId,
        until: Timestamp,
    },
    MandatesSince {
        at: Timestamp,
    },
    DistrustAll,
    /// The log acts in this era, and in none before it.
    Era {
        era: u64,
    },
    /// The last move of the feed's counter row that was seen.
    Mark {
        mark: FeedMark,
    },
    /// The log knows the history of its installation.
    Vouched,
    /// The keepers beside whom this log acts.
    Keepers {
        keepers: Vec<KeeperId>,
    },
}

impl Record {
    pub(super) fn line(&self) -> Option<String> {
        let json = serde_json::to_string(self).ok()?;
        Some(format!("{} {json}\n", checksum(json.as_bytes())))
    }

    pub(super) fn read(line: &str) -> Option<Self> {
        let (sum, json) = line.split_once(' ')?;
        (sum == checksum(json.as_bytes())).then(|| serde_json::from_str(json).ok()).flatten()
    }
}

fn checksum(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(32);
    for byte in digest(&SHA256, bytes).as_ref().iter().take(16) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What the log says, all lines taken together. There may be a million chains: what stands once is not held twice.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) identity: Option<Identity>,
    pub(super) heads: Rows<ChainId, Head>,
    pub(super) presented: Presentations,
    pub(super) again: Presentations,
    pub(super) taken: Presentations,
    /// One that was withdrawn since names none.
    newest: Rows<ChainId, Named>,
    /// Ids grow with time: the oldest come first.
    pub(super) owners: BTreeSet<OwnerId>,
    pub(super) redeems: BTreeMap<FamilyId, FlowId>,
    pub(super) statics: BTreeMap<ConnectionId, u64>,
    pub(super) ended: BTreeMap<ConnectionId, Option<TenantId>>,
    /// Mandates that were acted on, and until when each is good.
    pub(super) mandates: BTreeMap<CallId, Timestamp>,
    /// Since when every one that was acted on is here.
    pub(super) mandates_since: Option<Timestamp>,
    pub(super) era: u64,
    pub(super) mark: Option<FeedMark>,
    pub(super) vouched: bool,
    pub(super) keepers: Vec<KeeperId>,
}

impl Facts {
    pub(super) fn apply(&mut self, record: Record) {
        match record {
            Record::Identity(identity) => {
                self.are_read_in(identity.boot.as_deref());
                self.identity = Some(identity);
            }
            Record::Present(one) => {
                self.presented.insert(one);
                self.newest.insert(one.chain, Named::of(&one, false));
            }
            Record::Again(one) => {
                self.again.insert(one);
                self.newest.insert(one.chain, Named::of(&one, true));
            }
            Record::Taken(one) => self.taken.insert(one),
            Record::Owners { owners } => {
                self.owners.extend(owners);
                while self.owners.len() > OWNERS_KEPT {
                    self.owners.pop_first();
                }
            }
            Record::Void { attempt } => {
                self.presented.void(attempt);
                self.again.void(attempt);
            }
            Record::Head { chain, head } => {
                // A family's redemption vouches once: later it would let an older family back in.
                self.redeems.remove(&head.family);
                self.heads.insert(chain, head);
            }
            Record::Redeem { flow, family } => {
                self.redeems.insert(family, flow);
            }
            Record::Static { connection, generation } => {
                self.statics.insert(connection, generation);
            }
            Record::Ended { connection, tenant } => {
                self.statics.remove(&connection);
                self.ended.insert(connection, tenant);
            }
            Record::Era { era } => self.era = self.era.max(era),
            Record::Mark { mark } => self.mark = Some(mark),
            Record::Vouched => self.vouched = true,
            Record::Keepers { keepers } => self.keepers = keepers,
            Record::Mandate { call, until } => {
                self.mandates.insert(call, until);
            }
            Record::MandatesSince { at } => self.mandates_since = Some(at),
            Record::DistrustAll => {
                self.heads.clear();
                self.redeems.clear();
                self.owners.clear();
                self.vouched = false;
            }
        }
    }

    /// What a boot clock said counts in the boot that it said it in alone.
    pub(super) fn are_read_in(&mut self, boot: Option<&str>) {
        let written_in = self.identity.as_ref().and_then(|identity| identity.boot.as_deref());
        if written_in.is_some() && written_in == boot {
            return;
        }
        let Self { presented, again, taken, .. } = self;
        [presented, again, taken].into_iter().for_each(Presentations::forget_boots);
    }

    /// The newest presentation of a chain.
    pub(super) fn newest_of(&self, chain: ChainId) -> Option<Presentation> {
        self.newest.get(&chain)?.found_in(self)
    }

    /// The newest presentation of each chain after that one.
    pub(super) fn known_after(&self, after: Option<ChainId>) -> impl Iterator<Item = Presentation> {
        self.newest.after(after).filter_map(|(_, named)| named.found_in(self))
    }

    /// Forgets what can no longer matter.
    pub(super) fn forget_the_past(&mut self) {
        let Self { heads, presented, again, taken, newest, redeems, mandates, .. } = self;
        taken.retain(|one| !heads.get(&one.chain).is_some_and(|head| is_below(head, one)));
        presented.retain(|one| matters(heads, newest, one, false));
        again.retain(|one| matters(heads, newest, one, true));
        while redeems.len() > REDEEMS_KEPT {
            redeems.pop_first();
        }
        // The newest was good no longer than a day from its use: what ended a day before its end is over by now.
        let over = mandates.values().max().map(|newest| newest.minus(MANDATE_MAX));
        mandates.retain(|_, until| over.is_none_or(|over| *until >= over));
    }

    /// The fewest lines that say all this, where nothing is of the past.
    pub(super) fn lines(&self) -> impl Iterator<Item = Record> {
        let head = |(chain, head): (&ChainId, &Head)| Record::Head { chain: *chain, head: *head };
        let owners: Vec<OwnerId> = self.owners.iter().copied().collect();
        let keepers = self.keepers.clone();
        let redeemed = |(family, flow): (&FamilyId, &FlowId)| Record::Redeem { flow: *flow, family: *family };
        let statics = self.statics.iter();
        let statics =
            statics.map(|(id, generation)| Record::Static { connection: *id, generation: *generation });
        let ended = self.ended.iter();
        let mandate = |(call, until): (&CallId, &Timestamp)| Record::Mandate { call: *call, until: *until };
        let identity = self.identity.clone().map(Record::Identity).into_iter();
        identity
            .chain(self.heads.iter().map(head))
            .chain(self.presented.iter().map(Record::Present))
            .chain(self.again.iter().map(Record::Again))
            .chain(self.taken.iter().map(Record::Taken))
            .chain((!owners.is_empty()).then_some(Record::Owners { owners }))
            .chain(self.redeems.iter().map(redeemed))
            .chain(statics)
            .chain(ended.map(|(id, tenant)| Record::Ended { connection: *id, tenant: *tenant }))
            .chain((self.era > 0).then_some(Record::Era { era: self.era }))
            .chain(self.mark.map(|mark| Record::Mark { mark }))
            .chain(self.vouched.then_some(Record::Vouched))
            .chain((!keepers.is_empty()).then_some(Record::Keepers { keepers }))
            .chain(self.mandates_since.map(|at| Record::MandatesSince { at }))
            .chain(self.mandates.iter().map(mandate))
    }
}

/// A presentation below its chain's head is history, but for the newest one: a database that does
/// not know it was rolled back.
fn matters(
    heads: &Rows<ChainId, Head>,
    newest: &Rows<ChainId, Named>,
    one: &Presentation,
    is_retry: bool,
) -> bool {
    let is_newest = newest.get(&one.chain) == Some(&Named::of(one, is_retry));
    is_newest || !heads.get(&one.chain).is_some_and(|head| is_below(head, one))
}

fn is_below(head: &Head, one: &Presentation) -> bool {
    head.family != one.family || one.generation < head.generation
}

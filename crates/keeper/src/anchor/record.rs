//! The lines of the anchor log, and what they add up to.
//!
//! A line is the first half of the SHA-256 of its JSON, a space, the JSON. The checksum is against torn
//! writes and rot, not against forgers: whoever can write this file is the keeper's own user.

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
    /// When it was anchored, on this machine's boot clock; none in lines that are older than that.
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

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub(super) enum Record {
    Identity(Identity),
    Present(Presentation),
    /// The one retry of a generation whose answer was lost.
    Again(Presentation),
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

/// What the log says, all lines taken together.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) identity: Option<Identity>,
    pub(super) heads: BTreeMap<ChainId, Head>,
    pub(super) presented: BTreeMap<(FamilyId, u64), Presentation>,
    pub(super) again: BTreeMap<(FamilyId, u64), Presentation>,
    pub(super) newest: BTreeMap<ChainId, Presentation>,
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
            Record::Identity(identity) => self.identity = Some(identity),
            Record::Present(one) => {
                self.presented.insert((one.family, one.generation), one);
                self.newest.insert(one.chain, one);
            }
            Record::Again(one) => {
                self.again.insert((one.family, one.generation), one);
                self.newest.insert(one.chain, one);
            }
            Record::Owners { owners } => {
                self.owners.extend(owners);
                while self.owners.len() > OWNERS_KEPT {
                    self.owners.pop_first();
                }
            }
            Record::Void { attempt } => {
                self.presented.retain(|_, one| one.attempt != attempt);
                self.again.retain(|_, one| one.attempt != attempt);
                self.newest.retain(|_, one| one.attempt != attempt);
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

    /// The fewest lines that say the same about everything that can still matter.
    pub(super) fn compact(&self) -> Vec<Record> {
        let mut records: Vec<Record> = self.identity.clone().map(Record::Identity).into_iter().collect();
        records.extend(self.heads.iter().map(|(chain, head)| Record::Head { chain: *chain, head: *head }));
        records.extend(self.presented.values().filter(|one| self.matters(one)).copied().map(Record::Present));
        records.extend(self.again.values().filter(|one| self.matters(one)).copied().map(Record::Again));
        let owners: Vec<OwnerId> = self.owners.iter().copied().collect();
        records.extend((!owners.is_empty()).then_some(Record::Owners { owners }));
        // Ids grow with time: the newest flows come first.
        let newest = self.redeems.iter().rev().take(REDEEMS_KEPT);
        records.extend(newest.map(|(family, flow)| Record::Redeem { flow: *flow, family: *family }));
        let statics = self.statics.iter();
        records.extend(
            statics.map(|(id, generation)| Record::Static { connection: *id, generation: *generation }),
        );
        let ended = self.ended.iter();
        records.extend(ended.map(|(id, tenant)| Record::Ended { connection: *id, tenant: *tenant }));
        records.extend((self.era > 0).then_some(Record::Era { era: self.era }));
        records.extend(self.mark.map(|mark| Record::Mark { mark }));
        records.extend(self.vouched.then_some(Record::Vouched));
        let keepers = self.keepers.clone();
        records.extend((!keepers.is_empty()).then_some(Record::Keepers { keepers }));
        records.extend(self.mandates_since.map(|at| Record::MandatesSince { at }));
        // The newest was good no longer than a day from its use: what ended a day before its end is over by now.
        let over = self.mandates.values().max().map(|newest| newest.minus(MANDATE_MAX));
        let kept = self.mandates.iter().filter(|(_, until)| over.is_none_or(|over| **until >= over));
        records.extend(kept.map(|(call, until)| Record::Mandate { call: *call, until: *until }));
        records
    }

    /// A presentation below its chain's head is history, but for the newest one: a database that does
    /// not know it was rolled back.
    fn matters(&self, one: &Presentation) -> bool {
        let newest = self.newest.get(&one.chain).is_some_and(|newest| newest.attempt == one.attempt);
        let below = |head: &Head| head.family != one.family || one.generation < head.generation;
        newest || !self.heads.get(&one.chain).is_some_and(below)
    }
}

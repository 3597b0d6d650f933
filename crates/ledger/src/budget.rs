//! What callers can cause as often as they like is written one by one up to a budget, then counted.
//!
//! Pure: time is an argument. An unproved caller is its source, an admitted one its agent and task. Refusals
//! have one budget, events one for each name. A window begins with the first record of its purse; in it, so
//! many are written as they come; what comes after them is counted by owner and word, and each count is one
//! record when its own window ends.
//!
//! Who finds no room is counted among the others. Sources cost nothing to make (127/8 has sixteen million), so
//! whoever proved nothing has room beside the admitted, and never theirs; of those there are no more than a
//! human enrolled, each with a few purses and words.

use crate::{
    facts::{EventFacts, Source},
    record::{Entry, Event, EventName, Refusal},
};
use nightlatch_domain::{
    clock::{Boot, Timestamp},
    id::{PrincipalId, TaskId, TenantId},
    problem::ProblemKind,
};
use std::{
    collections::{HashMap, hash_map},
    time::Duration,
};

/// How long a count runs before it is written.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);
/// Written one by one in a window, for a caller that proved nothing.
pub(crate) const UNPROVED_WRITTEN_MAX: u32 = 5;
/// Written one by one in a window, for an admitted agent's task: refusals, and events of each name.
pub(crate) const ADMITTED_WRITTEN_MAX: u32 = 60;
/// One message may tell of so many alike and no more: its number is the word of whoever was refused.
pub(crate) const TOLD_MAX: u64 = 10_000;
/// Purses of the unproved that are told apart. Full, this is 5 × 1 024 records of some 300 bytes a minute.
pub(crate) const OWNERS_MAX: usize = 1024;
/// Counts of the unproved that are told apart.
pub(crate) const COUNTS_MAX: usize = 4096;
/// Purses, and counts, of admitted tasks: more than anybody enrols, at some hundred bytes each.
pub(crate) const ADMITTED_MAX: usize = 65_536;

/// Whose records they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    Unproved(Source),
    Admitted(TenantId, PrincipalId, TaskId),
    /// Whoever finds no room.
    Others,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Word {
    Problem(ProblemKind),
    Event(EventName),
}

/// What refusals are written from, and what each event: an alarm is not drowned by what costs nothing.
type Purse = (Owner, Option<EventName>);

impl Word {
    const fn purse(self, owner: Owner) -> Purse {
        match self {
            Self::Problem(_) => (owner, None),
            Self::Event(event) => (owner, Some(event)),
        }
    }
}

/// A count that is ready to be written, or to be put back if it could not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Count {
    owner: Owner,
    word: Word,
    tally: Tally,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tally {
    since: Boot,
    first: Timestamp,
    last: Timestamp,
    count: u64,
}

struct Spent {
    since: Boot,
    written: u32,
}

/// The budgets of all owners, and what is being counted.
#[derive(Default)]
pub(crate) struct Budget {
    unproved: Share<OWNERS_MAX, COUNTS_MAX>,
    admitted: Share<ADMITTED_MAX, ADMITTED_MAX>,
}

/// The room of one kind of owner.
#[derive(Default)]
struct Share<const PURSES: usize, const COUNTS: usize> {
    spent: HashMap<Purse, Spent>,
    counts: HashMap<(Owner, Word), Tally>,
}

impl Budget {
    /// Whether a record that tells of `count` alike may be written by itself. If not, all of them were counted.
    pub(crate) fn spend(&mut self, owner: Owner, word: Word, count: u64, now: Timestamp, boot: Boot) -> bool {
        let tally = Tally { since: boot, first: now, last: now, count };
        match owner {
            Owner::Admitted(..) => self.admitted.spend(owner, word, tally, ADMITTED_WRITTEN_MAX),
            Owner::Unproved(_) | Owner::Others => {
                self.unproved.spend(owner, word, tally, UNPROVED_WRITTEN_MAX)
            }
        }
    }

    /// The counts whose window has ended.
    pub(crate) fn due(&mut self, boot: Boot) -> Vec<Count> {
        self.unproved.begin_anew(boot);
        self.admitted.begin_anew(boot);
        self.take(|tally| boot.since(tally.since) >= WINDOW)
    }

    /// All counts, for the end.
    pub(crate) fn rest(&mut self) -> Vec<Count> {
        self.take(|_| true)
    }

    /// Counts that could not be written.
    pub(crate) fn put_back(&mut self, counts: Vec<Count>) {
        for count in counts {
            match count.owner {
                Owner::Admitted(..) => self.admitted.add(count),
                Owner::Unproved(_) | Owner::Others => self.unproved.add(count),
            }
        }
    }

    fn take(&mut self, which: impl Fn(&Tally) -> bool + Copy) -> Vec<Count> {
        let mut taken = self.unproved.take(which);
        taken.extend(self.admitted.take(which));
        taken
    }
}

impl<const PURSES: usize, const COUNTS: usize> Share<PURSES, COUNTS> {
    fn spend(&mut self, owner: Owner, word: Word, tally: Tally, written_max: u32) -> bool {
        let (owner, purse) = self.known(owner, word, tally.since);
        let limit = if owner == Owner::Others { UNPROVED_WRITTEN_MAX } else { written_max };
        let spent = self.spent.entry(purse).or_insert(Spent { since: tally.since, written: 0 });
        if spent.written < limit {
            spent.written += 1;
            return true;
        }
        self.add(Count { owner, word, tally });
        false
    }

    fn begin_anew(&mut self, boot: Boot) {
        self.spent.retain(|_, spent| boot.since(spent.since) < WINDOW);
    }

    fn known(&mut self, owner: Owner, word: Word, boot: Boot) -> (Owner, Purse) {
        let purse = word.purse(owner);
        if let Some(spent) = self.spent.get(&purse) {
            if boot.since(spent.since) >= WINDOW {
                self.spent.remove(&purse);
            }
            return (owner, purse);
        }
        if self.spent.len() < PURSES { (owner, purse) } else { (Owner::Others, word.purse(Owner::Others)) }
    }

    fn add(&mut self, count: Count) {
        let mut key = (count.owner, count.word);
        if self.counts.len() >= COUNTS && !self.counts.contains_key(&key) {
            key.0 = Owner::Others;
        }
        match self.counts.entry(key) {
            hash_map::Entry::Vacant(room) => {
                room.insert(count.tally);
            }
            hash_map::Entry::Occupied(mut there) => there.get_mut().merge(&count.tally),
        }
    }

    fn take(&mut self, which: impl Fn(&Tally) -> bool) -> Vec<Count> {
        self.counts
            .extract_if(|_, tally| which(tally))
            .map(|((owner, word), tally)| Count { owner, word, tally })
            .collect()
    }
}

impl Tally {
    fn merge(&mut self, other: &Self) {
        self.since = self.since.min(other.since);
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.count = self.count.saturating_add(other.count);
    }
}

impl Count {
    /// The record of a count.
    pub(crate) fn entry(&self) -> Entry {
        let (tenant, agent, task) = match self.owner {
            Owner::Admitted(tenant, agent, task) => (Some(tenant), Some(agent), Some(task)),
            Owner::Unproved(_) | Owner::Others => (None, None, None),
        };
        match self.word {
            Word::Problem(problem) => Entry::Refusal(Refusal {
                tenant,
                agent,
                task,
                source: source_text(self.owner),
                count: self.tally.count,
                ..Refusal::bare(problem, self.tally.first, self.tally.last)
            }),
            Word::Event(event) => {
                let facts =
                    EventFacts { tenant, agent, task, count: self.tally.count, ..EventFacts::new(event) };
                Entry::Event(Event::of(facts))
            }
        }
    }
}

/// Where an unproved caller came from, as it stands in a record.
pub(crate) fn source_text(owner: Owner) -> Option<String> {
    match owner {
        Owner::Unproved(source) => Some(source.to_string()),
        Owner::Others => Some("others".to_owned()),
        Owner::Admitted(..) => None,
    }
}

#[cfg(test)]
mod tests;

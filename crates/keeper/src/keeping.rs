//! What next for a chain: one pure function from what is known of it to where a refresh begins, if one does.
//!
//! The machine knows how one refresh goes. This knows when there is one to begin, and with what: what a crash left,
//! what an overtaken holder brought in late, what may be presented a second time. It looks at **every attempt at
//! the head's generation**, not at the chain's state alone: a state is what somebody last wrote, and an attempt that
//! may have been sent stands whatever was written since.
//!
//! In this order: an answer that nobody read comes before everything (it may be the only copy of living tokens);
//! then the log, which outweighs the database; then what is unfinished; then the chain's own state.

use crate::{
    machine::{Entry, Moment, Outcome},
    schedule,
    second::{Intended, Presented, Second},
};
use nightlatch_domain::{
    chain::{AttemptState, ChainState},
    clock::{Boot, Timestamp},
    id::{AttemptId, FamilyId},
};
use std::time::Duration;

/// A profile that is gone comes back when an operator puts it back.
const NO_PROFILE_RETRY: Duration = Duration::from_secs(600);

/// Why somebody looks at a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Its timer is due, or something of it was left.
    Timer,
    /// This generation is dead or was refused by the tool.
    Instead {
        /// The family that was seen.
        family: FamilyId,
        /// Its generation.
        generation: u64,
        /// Whether its tool refused it, whatever the clocks say.
        refused: bool,
    },
}

/// All that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The chain's state.
    pub state: ChainState,
    /// Its timer.
    pub due_at: Option<Timestamp>,
    /// Whether a human was asked.
    pub asked: bool,
    /// Its family.
    pub family: FamilyId,
    /// The family's head.
    pub generation: u64,
    /// Until when the head's access token is good.
    pub access_until: Option<Timestamp>,
    /// Every attempt at the head's generation, oldest first.
    pub attempts: Vec<Seen>,
    /// Whether an answer beside the head, which brought tokens, was not tried yet.
    pub sibling: bool,
    /// Who holds it.
    pub holder: Holder,
    /// What this keeper's log says of the head.
    pub log: LogSays,
    /// Whether this keeper's log knows of a second presentation of the head's generation.
    pub again: bool,
    /// What the profile allows after a lost answer.
    pub second: Second,
    /// Whether what is stored can be presented.
    pub fit: Fit,
    /// Now.
    pub now: Moment,
    /// Now, by the store's own clock, where it has one.
    pub store_now: Option<Timestamp>,
}

/// An attempt at the head's generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The attempt.
    pub id: AttemptId,
    /// How far it came, by the database.
    pub state: AttemptState,
    /// What this keeper knows of it beside the database.
    pub own: Own,
    /// When it was intended, by whichever clock said less.
    pub intended_at: Timestamp,
    /// By whichever said more.
    pub intended_by: Timestamp,
}

/// What a keeper knows of an attempt beside the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// Its answer lies in this keeper's spool.
    Spooled,
    /// This keeper's log anchored it, at that time on this machine's boot clock where the log says so.
    Anchored(Option<Boot>),
    /// It was this keeper's, and its log did not anchor it or withdrew it: it was never sent.
    NotSent,
    /// It is another keeper's.
    Foreign,
}

/// Who holds a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// This keeper, and no task of it is at work.
    Left,
    /// Somebody whose claim was seen unchanged for a whole lease.
    Gone,
    /// Somebody who may be at work.
    Other,
}

/// What a keeper's own log says of a chain's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSays {
    /// It is the head, as far as the log knows.
    Fits,
    /// The log knows a later generation of this family: the database was put back.
    Behind {
        /// That generation.
        anchored: u64,
    },
    /// It cannot vouch for this head.
    Silent,
    /// It knows nothing of this chain: it began later, or was copied.
    Blank,
}

impl LogSays {
    /// Why a chain is left to a human where the log does not vouch for it. What no log contradicts a human may let out
    /// again by vouching for the log.
    #[must_use]
    pub const fn doubt(self) -> &'static str {
        match self {
            Self::Blank => UNVOUCHED,
            Self::Fits | Self::Behind { .. } | Self::Silent => MISMATCH,
        }
    }
}

/// The reason of a quarantine that begins because the log contradicts the database.
pub(crate) const MISMATCH: &str = "anchor-mismatch";
/// The reason of a quarantine that begins because nobody knows what was presented.
pub(crate) const UNVOUCHED: &str = "unvouched";
/// That of one that begins because the log which knew of the chain is lost. Only its human ends it.
pub(crate) const LOG_LOST: &str = "log-lost";

/// Whether what is stored can be presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// It opened, and belongs to this chain.
    Presentable,
    /// There is no refresh token.
    NoRefreshToken,
    /// It did not open, or belongs to another row.
    Unverified,
    /// The provider's profile is gone.
    NoProfile,
}

/// What next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing, and what the asker is told.
    Nothing(Outcome),
    /// A refresh begins.
    Begin(Begin),
}

/// A beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// Where.
    pub entry: Entry,
    /// The attempt that it takes up, or whose answer was lost.
    pub attempt: Option<AttemptId>,
    /// What may follow if the answer is lost.
    pub second: Second,
    /// When the first presentation was whose answer is lost; else when that attempt was.
    pub first: Option<Presented>,
    /// Where the chain stays if the attempt turns out to be none.
    pub rest: Option<ChainState>,
}

impl Begin {
    /// Whether a refresh token is presented.
    pub(crate) const fn presents(&self) -> bool {
        matches!(self.entry, Entry::Present | Entry::Again { .. })
    }
}

/// What next for a chain.
#[must_use]
pub fn next(known: &Known, wanted: Wanted) -> Next {
    if let Wanted::Instead { family, generation, .. } = wanted
        && (family, generation) != (known.family, known.generation)
    {
        return Next::Nothing(Outcome::Refreshed);
    }
    if known.state == ChainState::Refreshing && matches!(known.holder, Holder::Other | Holder::Nobody) {
        return Next::Nothing(Outcome::Superseded);
    }
    if let Some(next) = known.unread_answer() {
        return next;
    }
    match known.state {
        ChainState::Latched if known.sibling => known.tried_last(),
        ChainState::Latched | ChainState::Quarantined => Next::Nothing(Outcome::NeedsHuman),
        _ if known.log != LogSays::Fits => known.condemned(ChainState::Quarantined, known.log.doubt()),
        state => match known.unfinished() {
            Some(next) => next,
            None if state == ChainState::Uncertain => known.uncertain(wanted),
            None if state == ChainState::Refreshing => known.abandoned(),
            None => known.presentable(wanted),
        },
    }
}

impl Known {
    /// An answer that lies in the database unread, or in this keeper's spool. It leads out of every state: a holder
    /// that was overtaken may always bring its answer. Where the log is ahead of the database, only an answer that
    /// closes the gap is read.
    fn unread_answer(&self) -> Option<Next> {
        let closes = match self.log {
            LogSays::Fits => true,
            LogSays::Behind { anchored } => anchored == self.generation.saturating_add(1),
            LogSays::Silent | LogSays::Blank => false,
        };
        let unread = |one: &&Seen| match one.state {
            AttemptState::Answered => true,
            AttemptState::Intended | AttemptState::Uncertain => one.own == Own::Spooled,
            AttemptState::Committed | AttemptState::NotPresented | AttemptState::Refused => false,
        };
        let one = self.attempts.iter().find(unread).filter(|_| closes)?;
        let entry = if one.state == AttemptState::Answered { Entry::Answered } else { Entry::Spooled };
        match self.fit {
            Fit::Presentable => Some(Next::Begin(self.begin(entry, Some(one)))),
            // I4: only the profile says how its answer is read. It lies safe until an operator put that back.
            Fit::NoProfile => Some(Next::Nothing(Outcome::Waiting { until: None })),
            Fit::NoRefreshToken | Fit::Unverified => match self.state {
                ChainState::Latched | ChainState::Quarantined => None,
                _ => Some(self.condemned(ChainState::Quarantined, "unverified")),
            },
        }
    }

    /// A sibling that came when the head had been refused already.
    fn tried_last(&self) -> Next {
        let refused = self.refused().filter(|_| self.log == LogSays::Fits && self.fit == Fit::Presentable);
        refused.map_or(Next::Nothing(Outcome::NeedsHuman), |one| {
            Next::Begin(self.begin(Entry::Sibling, Some(one)))
        })
    }

    /// An intent that nobody finished.
    fn unfinished(&self) -> Option<Next> {
        let one = self.attempts.iter().find(|one| one.state == AttemptState::Intended)?;
        Some(match one.own {
            // The same intact log did not anchor it: it was never sent. Only its owner may say so.
            Own::NotSent => Next::Begin(self.begin(Entry::NeverSent, Some(one))),
            Own::Anchored(_) | Own::Spooled => Next::Begin(self.begin(Entry::Unanswered, Some(one))),
            Own::Foreign if self.holder == Holder::Gone => {
                Next::Begin(self.begin(Entry::Unanswered, Some(one)))
            }
            Own::Foreign => Next::Nothing(Outcome::Superseded),
        })
    }

    /// A claim that nobody carries, without an intent of its own: left as the attempts before it left the chain.
    fn abandoned(&self) -> Next {
        match (self.refused(), self.lost()) {
            (Some(_), _) => self.condemned(ChainState::Latched, "refused"),
            (None, Some(one)) => Next::Begin(self.begin(Entry::Unanswered, Some(one))),
            (None, None) => Next::Begin(self.begin(Entry::NeverSent, None)),
        }
    }

    /// An answer was lost: what may follow, the profile says.
    fn uncertain(&self, wanted: Wanted) -> Next {
        let Some(one) = self.lost() else { return self.abandoned() };
        let is_due = self.due_at.is_some_and(|due| due <= self.now.wall);
        let (second, first) = (self.second_left(), self.presented(one));
        let until = second.open_until(first.elapsed(self.now), self.now);
        let (wanted_now, refused) = match wanted {
            Wanted::Timer => (is_due, false),
            Wanted::Instead { refused, .. } => (true, refused),
        };
        let last = second.is_time_for_the_last(first, self.access_until, refused, self.now);
        if wanted_now && (until.is_some() || last) {
            let again = || Next::Begin(self.begin(Entry::Again { until }, Some(one)));
            return self.unfit().unwrap_or_else(again);
        }
        match self.due_at {
            Some(_) if is_due && second.is_in_doubt(first, self.now) => {
                Next::Nothing(Outcome::Waiting { until: None })
            }
            // The time in which it could quietly be presented again is over.
            Some(_) if is_due => Next::Begin(self.begin(Entry::Unanswered, Some(one))),
            Some(due) if !self.asked => Next::Nothing(Outcome::Waiting { until: Some(due) }),
            _ => Next::Nothing(Outcome::NeedsHuman),
        }
    }

    /// The head is presented for the first time, if nothing speaks against it.
    fn presentable(&self, wanted: Wanted) -> Next {
        if self.refused().is_some() || self.lost().is_some() {
            return self.abandoned();
        }
        match (self.state, wanted) {
            (ChainState::BackingOff, _)
                if self.due_at.is_some_and(|due| schedule::waits(due, self.now.wall)) =>
            {
                Next::Nothing(Outcome::Waiting { until: self.due_at })
            }
            (ChainState::Healthy, Wanted::Timer) if self.due_at.is_none_or(|due| due > self.now.wall) => {
                Next::Nothing(Outcome::Refreshed)
            }
            _ => self.unfit().unwrap_or_else(|| match self.called_none() {
                Some(one) => Next::Begin(self.begin(Entry::Answered, Some(one))),
                None => Next::Begin(self.begin(Entry::Present, None)),
            }),
        }
    }

    /// What this log anchored and another keeper read as no presentation: the log is told only by what this keeper
    /// reads itself.
    fn called_none(&self) -> Option<&Seen> {
        let anchored = |one: &&Seen| matches!(one.own, Own::Anchored(_) | Own::Spooled);
        self.attempts.iter().filter(anchored).find(|one| one.state == AttemptState::NotPresented)
    }

    fn unfit(&self) -> Option<Next> {
        match self.fit {
            Fit::Presentable => None,
            Fit::NoRefreshToken => Some(self.condemned(ChainState::Latched, "no-refresh-token")),
            Fit::Unverified => Some(self.condemned(ChainState::Quarantined, "unverified")),
            Fit::NoProfile => {
                let until = self.now.wall.plus(NO_PROFILE_RETRY);
                let entry = Entry::Postponed { until, reason: "profile-missing" };
                Some(Next::Begin(self.begin(entry, None)))
            }
        }
    }

    fn refused(&self) -> Option<&Seen> {
        self.attempts.iter().find(|one| one.state == AttemptState::Refused)
    }

    /// The first presentation whose answer is lost.
    fn lost(&self) -> Option<&Seen> {
        self.attempts.iter().find(|one| one.state == AttemptState::Uncertain)
    }

    /// What the profile allows, if the one retry is not spent: whatever was presented beside the first was it. One
    /// that turned out to be none did not spend it, nor one that a crash left before this keeper sent it.
    fn second_left(&self) -> Second {
        let never_sent = |one: &Seen| (one.state, one.own) == (AttemptState::Intended, Own::NotSent);
        let presented = |one: &&Seen| one.state != AttemptState::NotPresented && !never_sent(one);
        let spent = self.again || self.attempts.iter().filter(presented).count() > 1;
        if spent { Second::NEVER } else { self.second }
    }

    fn condemned(&self, state: ChainState, reason: &'static str) -> Next {
        Next::Begin(self.begin(Entry::Condemned { state, reason }, None))
    }

    fn begin(&self, entry: Entry, attempt: Option<&Seen>) -> Begin {
        let stands = |state| {
            let is_other = |one: &Seen| Some(one.id) != attempt.map(|own| own.id);
            self.attempts.iter().any(|one| one.state == state && is_other(one))
        };
        let rest = match self.state {
            ChainState::Quarantined => Some(ChainState::Quarantined),
            _ if stands(AttemptState::Refused) => Some(ChainState::Latched),
            _ if stands(AttemptState::Uncertain) || matches!(entry, Entry::Again { .. }) => {
                Some(ChainState::Uncertain)
            }
            _ => None,
        };
        let second = self.second_left();
        // Where an answer is lost, what may follow is counted from the first presentation, whatever came after it.
        let counted = self.lost().or(attempt);
        let first = counted.map(|one| self.presented(one));
        Begin { entry, attempt: attempt.map(|one| one.id), second, first, rest }
    }

    /// When an attempt was presented.
    fn presented(&self, one: &Seen) -> Presented {
        let boot = match one.own {
            Own::Anchored(boot) => boot,
            Own::Spooled | Own::NotSent | Own::Foreign => None,
        };
        // Its id was drawn by this keeper's wall clock, directly before.
        let sent = boot.map(|boot| Moment { wall: one.id.time(), boot });
        let intended = Intended { at: one.intended_at, by: one.intended_by, sent };
        Presented::reckoned(intended, self.now, self.store_now)
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

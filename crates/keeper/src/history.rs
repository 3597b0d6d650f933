//! Whether the database is the history that this keeper knows, and whose logs were held against it.
//!
//! A database that was put back from a copy, or whose standby took over without its last transactions, has forgotten
//! presentations that only logs know; and a log knows only its own keeper's. So a keeper remembers the last move of the
//! feed's counter row that it saw, and looks for it before each claim and each lease. Where it is not to be found the
//! **era** is raised, and nothing is claimed and nothing leased until every registered keeper has held its log against
//! the database in that era. A log that begins beside a database that is not new knows nothing: its keeper waits until
//! one that knows the history vouches for it, or a human does ([`humans`]).

pub(crate) mod humans;

use crate::{
    core::Core,
    error::KeeperError,
    recover::{self, Ends},
};
use nightlatch_domain::{
    id::KeeperId,
    ports::store::{FeedMark, Recalled, Registered, Standing},
};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// So many times a history that changes under the looker is looked at again.
const ROUNDS: u32 = 4;

/// What is known of the history.
#[derive(Debug, Default)]
pub(crate) struct History {
    era: AtomicU64,
    others: AtomicBool,
    /// Whether no other keeper may be: then none that the log saw is registered again.
    alone: AtomicBool,
    mark: Mutex<Option<FeedMark>>,
    /// Held by whoever raises or compares.
    turn: tokio::sync::Mutex<()>,
}

/// What a keeper has to do about a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the one that every log agrees with.
    Settled,
    /// Another keeper has yet to compare.
    Waits,
    /// Nobody vouched for this keeper's empty log yet.
    Unvouched,
    /// This keeper has yet to compare.
    Compare,
    /// It is another history than the one that was seen.
    Raise,
}

/// What a keeper knows by its own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// Who it is.
    pub(crate) keeper: KeeperId,
    /// The newest era in which its log acted.
    pub(crate) era: u64,
    /// Whether its log knows the history.
    pub(crate) vouched: bool,
}

/// What a keeper has to do.
pub(crate) fn judge(known: Known, standing: &Standing, recalled: Recalled) -> Verdict {
    let own = standing.keepers.iter().find(|row| row.keeper == known.keeper);
    let alone = standing.keepers.len() == 1;
    let is_other = match recalled {
        _ if standing.took_over => true,
        Recalled::Held => false,
        Recalled::Other => true,
        // Its own log knows all that a lone keeper did.
        Recalled::TooOld => !alone,
    };
    let Some(own) = own.filter(|_| !is_other && standing.era >= known.era) else { return Verdict::Raise };
    let is_behind = |row: &Registered| row.compared < standing.era;
    match () {
        () if is_behind(own) => Verdict::Compare,
        () if !alone && !known.vouched && !own.vouched => Verdict::Unvouched,
        () if standing.keepers.iter().any(is_behind) => Verdict::Waits,
        () => Verdict::Settled,
    }
}

impl Verdict {
    /// Whether anything may be claimed or leased; none where this keeper has to do something first.
    fn settled(self) -> Option<bool> {
        match self {
            Self::Settled => Some(true),
            Self::Waits | Self::Unvouched => Some(false),
            Self::Compare | Self::Raise => None,
        }
    }
}

impl History {
    /// The era in which this keeper acts.
    pub(crate) fn era(&self) -> u64 {
        self.era.load(Ordering::SeqCst)
    }

    /// Whether other keepers are registered: then this one's log does not know every head.
    pub(crate) fn has_others(&self) -> bool {
        self.others.load(Ordering::SeqCst)
    }

    /// The last move that was seen.
    pub(crate) fn mark(&self) -> Option<FeedMark> {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what stands, if nobody took in anything since `recalled` was looked for: what came later stays.
    fn see(&self, standing: &Standing, recalled: Option<FeedMark>) {
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        if *mark == recalled {
            *mark = Some(standing.mark);
            self.era.store(standing.era, Ordering::SeqCst);
            self.others.store(standing.keepers.len() > 1, Ordering::SeqCst);
        }
    }

    fn set_mark(&self, mark: Option<FeedMark>) {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = mark;
    }

    /// The database lost what this keeper wrote to it: the next look takes it for another history.
    pub(crate) fn doubt(&self) {
        self.set_mark(Some(FeedMark { number: u64::MAX, random: [0; 16] }));
    }
}

/// Registers this keeper, and takes up what its log remembers. What a start does first.
pub(crate) async fn begin(core: &Arc<Core>, is_own: bool, alone: bool) -> Result<(), KeeperError> {
    let keeper = core.anchor.keeper();
    core.history.alone.store(alone, Ordering::SeqCst);
    core.store().register(keeper, !is_own, alone).await?;
    let standing = core.store().standing().await?;
    // A log from before there were eras knows its history; so does one that begins with its database.
    let is_vouched = is_own || standing.keepers.iter().any(|row| row.keeper == keeper && row.vouched);
    if is_vouched && !core.anchor.is_vouched() {
        core.on_disk(|core| core.anchor.vouch()).await?;
    }
    if !is_own && core.anchor.era() < standing.era {
        core.on_disk(move |core| core.anchor.enter(standing.era)).await?;
    }
    core.history.set_mark(core.anchor.mark());
    core.history.others.store(standing.keepers.len() > 1, Ordering::SeqCst);
    core.history.era.store(standing.era.max(core.anchor.era()), Ordering::SeqCst);
    if alone && !is_vouched {
        // Nobody is left who knows what was presented of a database that is not new: nothing that was begun goes on.
        core.history.doubt();
    }
    settle(core).await?;
    Ok(())
}

/// Whether anything may be claimed or leased. Where that is for this keeper to bring about, it does.
pub(crate) async fn settle(core: &Arc<Core>) -> Result<bool, KeeperError> {
    if let Some(settled) = look(core).await?.1.settled() {
        return Ok(settled);
    }
    let _turn = core.history.turn.lock().await;
    for _ in 0..ROUNDS {
        let (standing, verdict) = look(core).await?;
        match verdict {
            Verdict::Settled | Verdict::Waits | Verdict::Unvouched => {
                return Ok(verdict == Verdict::Settled);
            }
            Verdict::Compare => compare(core, standing.era).await?,
            Verdict::Raise => raise(core, &standing).await?,
        }
    }
    Ok(false)
}

async fn look(core: &Arc<Core>) -> Result<(Standing, Verdict), KeeperError> {
    let mark = core.history.mark();
    // Both of one moment: what the history's state says is of the one that was seen, or of another.
    let (standing, recalled) = match mark {
        Some(mark) => core.store().standing_and_recall(mark).await?,
        None => (core.store().standing().await?, Recalled::Held),
    };
    let known = Known {
        keeper: core.anchor.keeper(),
        era: core.anchor.era().max(core.history.era()),
        vouched: core.anchor.is_vouched(),
    };
    let verdict = judge(known, &standing, recalled);
    if verdict.settled().is_some() {
        note_keepers(core, &standing).await?;
        core.history.see(&standing, mark);
    }
    Ok((standing, verdict))
}

/// Who is registered stands in the log before anything is done beside them: a database that was put back may not know
/// them, and their logs must be held against it too.
async fn note_keepers(core: &Arc<Core>, standing: &Standing) -> Result<(), KeeperError> {
    let keepers: Vec<KeeperId> = standing.keepers.iter().map(|row| row.keeper).collect();
    if core.anchor.keepers() != keepers {
        core.on_disk(move |core| core.anchor.note_keepers(keepers)).await?;
    }
    Ok(())
}

/// Begins an era that nobody acted in.
async fn raise(core: &Arc<Core>, standing: &Standing) -> Result<(), KeeperError> {
    tracing::warn!(
        era = standing.era,
        "the database is not the one that was seen: every log is held against it"
    );
    // Whoever is behind holds up every claim: from now on, and not only when the era is raised. An empty log has nothing to
    // compare, and vouches for itself no more than before.
    core.store().register(core.anchor.keeper(), !core.anchor.is_vouched(), false).await?;
    if !core.history.alone.load(Ordering::SeqCst) {
        for keeper in core.anchor.keepers() {
            core.store().register(keeper, false, false).await?;
        }
    }
    let above = standing.era.max(core.anchor.era()).max(core.history.era());
    let mut era = standing.era;
    while era <= above {
        core.store().raise_era(era).await?;
        era = core.store().standing().await?.era;
    }
    core.history.set_mark(Some(core.store().standing().await?.mark));
    Ok(())
}

/// Holds this keeper's log against the database. From its first line on nothing of an older era is presented by it.
async fn compare(core: &Arc<Core>, era: u64) -> Result<(), KeeperError> {
    let is_first = core.anchor.era() == 0;
    core.on_disk(move |core| core.anchor.enter(era)).await?;
    core.history.era.store(era, Ordering::SeqCst);
    if !is_first {
        // Whose wakes are noted in a database that was put back, nobody knows: all tasks sleep.
        core.wakes.end_all();
        core.store().end_all_wakes(core.now().wall).await?;
    }
    for (tenant, connection) in core.anchor.ended() {
        if core.store().connection(tenant, connection).await?.is_some() {
            core.store().remove_connection(tenant, connection, core.now().wall).await?;
        }
    }
    let ends = if is_first { Ends::AtRest } else { Ends::Whoever };
    recover::hold_heads_against_the_log(core, ends).await?;
    core.store().compared(core.anchor.keeper(), era).await?;
    Ok(())
}

/// What a keeper does now and then: remembers where the history is, and vouches for keepers that do not know it.
pub(crate) async fn tend(core: &Arc<Core>) -> Result<(), KeeperError> {
    if !settle(core).await? {
        return Ok(());
    }
    if let Some(mark) = core.history.mark().filter(|mark| core.anchor.mark() != Some(*mark)) {
        core.on_disk(move |core| core.anchor.remember(mark)).await?;
    }
    let standing = core.store().standing().await?;
    for row in standing.keepers.iter().filter(|row| core.anchor.is_vouched() && !row.vouched) {
        core.store().vouch(row.keeper).await?;
    }
    let own = standing.keepers.iter().find(|row| row.keeper == core.anchor.keeper());
    if own.is_some_and(|own| own.vouched) && !core.anchor.is_vouched() {
        core.on_disk(|core| core.anchor.vouch()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

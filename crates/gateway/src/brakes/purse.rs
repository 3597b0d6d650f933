//! Purse: what is left of a grant's budget in this gateway's hand.
//!
//! Before a call leaves, what it needs is taken out of what was reserved; where that is not enough, more is
//! reserved in the store first, a sixty-fourth of the budget at a time: one durable write for as many calls,
//! and no more than that is lost, to the agent, when the gateway ends. A call that did not leave gives back.
//!
//! Bytes are counted when a call ends. The one that spends the last of them goes to its end; what it took
//! beyond is written at once, and nothing more leaves.

use crate::quick::Quick;
use nightlatch_domain::{
    budget::{Budget, Spent},
    grant::Grant,
    id::{GrantId, TenantId},
    ports::store::BudgetStore,
    problem::{Problem, ProblemKind},
    tool::Effect,
};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::Mutex as Turn;

/// Of a budget, what is reserved at once.
const PART: u64 = 64;
/// The most that is reserved at once: calls, of either kind.
const CALLS_AT_ONCE_MAX: u64 = 1024;
/// And bytes.
const BYTES_AT_ONCE_MAX: u64 = 64 * 1024 * 1024;

/// The purses of this gateway: one for each grant with a budget that was used since the start.
pub(super) struct Purses {
    store: Arc<dyn BudgetStore>,
    all: Mutex<Quick<(TenantId, GrantId), Arc<Purse>>>,
}

/// What is in hand of one grant.
struct Purse {
    of: (TenantId, GrantId),
    store: Arc<dyn BudgetStore>,
    left: Mutex<Spent>,
    /// Who reserves; the others wait for what that brings.
    reserving: Turn<()>,
    /// Bytes that passed beyond what was reserved, and are not written yet.
    owed: AtomicU64,
}

impl Purses {
    pub(super) fn new(store: Arc<dyn BudgetStore>) -> Self {
        Self { store, all: Mutex::default() }
    }

    /// Takes out what a call needs; none where its grant has no budget.
    ///
    /// # Errors
    /// [`ProblemKind::BudgetExhausted`], whose field is the part that is used up; [`ProblemKind::Internal`] where
    /// nothing can be reserved: what cannot be counted does not leave.
    pub(super) async fn take(&self, grant: &Grant, effect: Effect) -> Result<Option<Taken>, Problem> {
        let Some(budget) = grant.budget else { return Ok(None) };
        let purse = self.purse((grant.tenant, grant.id));
        let needed = Spent::of_call(effect);
        if purse.take(needed).is_some() {
            let _turn = purse.reserving.lock().await;
            // Whoever had the turn before may have brought enough.
            if purse.take(needed).is_some() {
                purse.reserve(&budget, needed).await?;
                if let Some(lacking) = purse.take(needed) {
                    return Err(Problem::new(ProblemKind::BudgetExhausted).at_field(lacking));
                }
            }
        }
        Ok(Some(Taken { purse, back: Some(needed) }))
    }

    fn purse(&self, of: (TenantId, GrantId)) -> Arc<Purse> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || {
            let (store, left, reserving) = (Arc::clone(&self.store), Mutex::default(), Turn::default());
            Arc::new(Purse { of, store, left, reserving, owed: AtomicU64::new(0) })
        };
        Arc::clone(all.entry(of).or_insert_with(made))
    }
}

impl Purse {
    /// Takes out, or says what is lacking.
    fn take(&self, needed: Spent) -> Option<&'static str> {
        let mut left = self.left();
        let lacking = left.lacks(needed);
        if lacking.is_none() {
            // The byte that a call must find is not used up by finding it.
            *left = left.each(Spent { bytes: 0, ..needed }, u64::saturating_sub);
        }
        lacking
    }

    /// Reserves more, whoever has the turn. What passed beyond earlier reservations is written first.
    async fn reserve(&self, budget: &Budget, needed: Spent) -> Result<(), Problem> {
        self.settle().await?;
        let (ends, left) = (budget.ends(), *self.left());
        let more = at_once(ends).each(needed, u64::max);
        // Only what is lacking: a part of which there is enough loses nothing at a restart.
        let lacking = |left: u64, needed: u64, more: u64| if left < needed { more } else { 0 };
        let more = Spent {
            calls: lacking(left.calls, needed.calls, more.calls),
            writes: lacking(left.writes, needed.writes, more.writes),
            bytes: lacking(left.bytes, needed.bytes, more.bytes),
        };
        let (tenant, grant) = self.of;
        let given = self.store.reserve(tenant, grant, more, ends).await;
        let given = given.map_err(|_| Problem::new(ProblemKind::Internal))?;
        let mut left = self.left();
        *left = left.each(given, u64::saturating_add);
        Ok(())
    }

    /// Bytes that passed. What goes beyond the reservation is written by itself.
    fn passed(self: &Arc<Self>, bytes: u64) {
        let beyond = {
            let mut left = self.left();
            let beyond = bytes.saturating_sub(left.bytes);
            left.bytes = left.bytes.saturating_sub(bytes);
            beyond
        };
        if beyond == 0 {
            return;
        }
        self.owed.fetch_add(beyond, Ordering::AcqRel);
        let purse = Arc::clone(self);
        let write = async move {
            let _turn = purse.reserving.lock().await;
            if purse.settle().await.is_err() {
                tracing::error!("bytes that a grant has spent could not be written");
            }
        };
        // Without a runtime the gateway is ending, and the reservation stands for what passed.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(write);
        }
    }

    /// Writes what is owed, whoever has the turn; where that fails, it stays owed.
    async fn settle(&self) -> Result<(), Problem> {
        let bytes = self.owed.swap(0, Ordering::AcqRel);
        if bytes == 0 {
            return Ok(());
        }
        let (tenant, grant) = self.of;
        let (more, ends) = (Spent { bytes, ..Spent::default() }, Budget::default().ends());
        let written = self.store.reserve(tenant, grant, more, ends).await;
        if written.is_err() {
            self.owed.fetch_add(bytes, Ordering::AcqRel);
        }
        written.map(drop).map_err(|_| Problem::new(ProblemKind::Internal))
    }

    fn left(&self) -> MutexGuard<'_, Spent> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is reserved at once of a budget.
fn at_once(ends: Spent) -> Spent {
    let part = |end: u64, most: u64| (end / PART).clamp(1, most);
    Spent {
        calls: part(ends.calls, CALLS_AT_ONCE_MAX),
        writes: part(ends.writes, CALLS_AT_ONCE_MAX),
        bytes: part(ends.bytes, BYTES_AT_ONCE_MAX),
    }
}

/// What a call took out. It goes back where the call did not leave.
pub(super) struct Taken {
    purse: Arc<Purse>,
    back: Option<Spent>,
}

impl Taken {
    /// The call left, and so many bytes passed.
    pub(super) fn spent(mut self, bytes: u64) {
        self.back = None;
        self.purse.passed(bytes);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(back) = self.back {
            let mut left = self.purse.left();
            *left = left.each(Spent { bytes: 0, ..back }, u64::saturating_add);
        }
    }
}

#[cfg(test)]
mod tests;

//! Which calls use which generation of a token, so that one can be drained before it dies.
//!
//! Some providers kill the old access token with the refresh. Before one, the keeper asks that calls
//! which use the old one be let finish: no new call begins with it, and the answer waits for the running
//! ones, within a bound. A generation that a *later* lease names again was not refreshed after all, and is
//! used on; a lease that was asked for before the drain is not believed about it.

use crate::quick::Quick;
use nightlatch_domain::{
    id::{FamilyId, PrincipalId, TenantId},
    ports::{
        Boxed,
        gateway_keeper::{DrainNotice, Drains, LeaseBinding},
    },
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

type Token = (TenantId, FamilyId, u64);

/// The running calls, by the generation that they use and by the agent that made them.
#[derive(Default)]
pub(crate) struct Running {
    counts: Mutex<Counts>,
    ended: Notify,
}

#[derive(Default)]
struct Counts {
    tokens: Quick<Token, usize>,
    agents: Quick<(TenantId, PrincipalId), usize>,
    /// The generation of each family that was drained last, with the number of its notice.
    draining: Quick<(TenantId, FamilyId), (u64, u64)>,
    notices: u64,
}

/// A generation that no new call may begin with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Draining;

impl Running {
    /// The number of the last drain, to be read before a lease is asked for.
    pub(crate) fn notices(&self) -> u64 {
        self.counts().notices
    }

    /// Counts a call in for as long as the guard lives. Static secrets have no family and no drain.
    ///
    /// # Errors
    /// [`Draining`] where the lease was asked for before its generation was drained.
    pub(crate) fn enter(
        self: &Arc<Self>,
        binding: &LeaseBinding,
        asked_after: u64,
    ) -> Result<Entered, Draining> {
        let Some(family) = binding.family else { return Ok(Entered(None)) };
        let token = (binding.tenant, family, binding.generation);
        let mut counts = self.counts();
        let drained = counts.draining.get(&(token.0, token.1));
        if drained.is_some_and(|(generation, notice)| *generation == token.2 && *notice > asked_after) {
            return Err(Draining);
        }
        *counts.tokens.entry(token).or_default() += 1;
        Ok(Entered(Some((Arc::clone(self), token))))
    }

    /// Counts a call of an agent in; none where it has `max` under way.
    pub(crate) fn admit(
        self: &Arc<Self>,
        tenant: TenantId,
        agent: PrincipalId,
        max: usize,
    ) -> Option<Admitted> {
        let mut counts = self.counts();
        let running = counts.agents.entry((tenant, agent)).or_default();
        if *running >= max {
            return None;
        }
        *running += 1;
        Some(Admitted(Arc::clone(self), (tenant, agent)))
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_drain(&self, token: Token) {
        let mut counts = self.counts();
        counts.notices += 1;
        let notice = counts.notices;
        counts.draining.insert((token.0, token.1), (token.2, notice));
    }

    async fn drained(&self, token: Token) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if !self.counts().tokens.contains_key(&token) {
                return;
            }
            ended.await;
        }
    }
}

/// A call that uses a generation.
pub(crate) struct Entered(Option<(Arc<Running>, Token)>);

impl Drop for Entered {
    fn drop(&mut self) {
        let Some((running, token)) = self.0.take() else { return };
        leave(&mut running.counts().tokens, &token);
        running.ended.notify_waiters();
    }
}

/// A call of an agent.
pub(crate) struct Admitted(Arc<Running>, (TenantId, PrincipalId));

impl Drop for Admitted {
    fn drop(&mut self) {
        leave(&mut self.0.counts().agents, &self.1);
    }
}

fn leave<K: std::hash::Hash + Eq>(counts: &mut Quick<K, usize>, key: &K) {
    let Some(count) = counts.get_mut(key) else { return };
    *count -= 1;
    if *count == 0 {
        counts.remove(key);
    }
}

impl Drains for Running {
    fn drain(&self, notice: DrainNotice) -> Boxed<'_, ()> {
        Box::pin(async move {
            let token = (notice.tenant, notice.family, notice.generation);
            self.begin_drain(token);
            let within = Duration::from_millis(notice.within_millis);
            // Past the bound the refresh goes on; what still runs is cut by the provider, not by us.
            let _ = tokio::time::timeout(within, self.drained(token)).await;
        })
    }
}

#[cfg(test)]
mod tests;

//! What nobody lives on any more ends at its provider too (RFC 7009).
//!
//! - here: when there is something to do, and which providers are left alone;
//! - [`sweep`]: what kills ended gives its secrets up;
//! - [`ending`]: one token's end, from its row to the provider's word.
//!
//! A removal or a kill takes effect with its row; what follows at the provider is owed, and the row of a token says so
//! until the provider confirmed it or it is given up. A presentation is repeated without harm (RFC 7009 §2.2: a token that the
//! provider does not know is no error), so that a crash between the request and its confirmation only repeats it. Before each
//! the row's tries are counted up, and whoever counts presents: several keepers over one store are no more at a provider than
//! one.
//!
//! **Nothing that may be somebody's is revoked.** A provider may end with one token every token of its account under the
//! registration: no profile knows of one that does not. So a token waits while anybody lives on that account there, or may
//! come to live on it ([`KeeperStore::may_be_lived_on`](nightlatch_domain::ports::store::KeeperStore::may_be_lived_on)), and
//! while this keeper's log knows of a family that the database does not. What a database says that was put back counts only
//! once every log was held against it, as for a claim.

mod ending;
mod sweep;

use crate::{core::Core, history, machine::Moment, schedule::RETRY_AFTER_MAX};
use nightlatch_domain::{
    clock::Boot,
    id::{ChainId, RevocationId, TenantId},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use sweep::Swept;
use tokio::sync::{Notify, Semaphore, watch};

/// The longest sleep: a kill that another process wrote is noticed by then.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// The shortest, while there is more to do than one round does.
const PAUSE: Duration = Duration::from_millis(200);
/// Tokens that are looked at in one round.
const ROUND: u32 = 64;
/// Presentations at one provider at once: what lives is refreshed beside them.
const LANES_OF_HOST: usize = 2;
/// Presentations at once. Each holds one socket.
const AT_ONCE: usize = 8;
/// A provider that could not take one is left alone so long, then twice as long, and so on.
const HOLD_FIRST: Duration = Duration::from_secs(30);
const HOLD_MAX: Duration = Duration::from_secs(900);

/// So many rows' turns are remembered at most; beyond that all are counted anew.
const TURNS_MAX: usize = 65_536;

/// What is in memory of revocations. A restart forgets which providers are left alone, and what came of the turns; the rows'
/// own times and tries stay.
pub(crate) struct Revoking {
    hosts: Mutex<BTreeMap<String, Host>>,
    turns: Mutex<BTreeMap<RevocationId, Turns>>,
    places: Semaphore,
    /// An answer came to a chain that nobody lives on.
    is_left: AtomicBool,
    told: Notify,
}

/// What came of a row's turns: its tries count them all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Turns {
    /// It was refused.
    refused: u32,
    /// Its provider was left alone.
    passed: u32,
}

/// A provider, by its origin.
struct Host {
    lane: Arc<Semaphore>,
    held: Option<(Boot, Duration)>,
}

impl Default for Revoking {
    fn default() -> Self {
        Self {
            hosts: Mutex::default(),
            turns: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
            is_left: AtomicBool::new(false),
            told: Notify::new(),
        }
    }
}

impl Revoking {
    /// Something was removed.
    pub(crate) fn tell(&self) {
        self.told.notify_one();
    }

    fn hosts(&self) -> MutexGuard<'_, BTreeMap<String, Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane(&self, origin: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts();
        let fresh = || Host { lane: Arc::new(Semaphore::new(LANES_OF_HOST)), held: None };
        Arc::clone(&hosts.entry(origin.to_owned()).or_insert_with(fresh).lane)
    }

    fn is_held(&self, origin: &str, now: Moment) -> bool {
        let until = self.hosts().get(origin).and_then(|host| host.held);
        until.is_some_and(|(until, _)| now.boot < until)
    }

    /// A provider could not take a token.
    fn hold(&self, origin: &str, now: Moment, retry_after: Option<Duration>) {
        if let Some(host) = self.hosts().get_mut(origin) {
            let wait = host.held.map_or(HOLD_FIRST, |(_, wait)| (wait * 2).min(HOLD_MAX));
            let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
            host.held = Some((now.boot.plus(wait.max(asked)), wait));
        }
    }

    /// Counts what came of a row's turn; answers what came of all that this process saw.
    fn turned(&self, row: RevocationId, count: impl FnOnce(&mut Turns)) -> Turns {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() >= TURNS_MAX {
            turns.clear();
        }
        let own = turns.entry(row).or_default();
        count(own);
        *own
    }

    /// A row is no more.
    fn forget(&self, row: RevocationId) {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).remove(&row);
    }

    /// A provider took one, whatever it made of it.
    fn free(&self, origin: &str) {
        if let Some(host) = self.hosts().get_mut(origin) {
            host.held = None;
        }
    }
}

/// Runs until `stop` says so; what is being presented then is carried to its end.
pub(crate) async fn run(core: Arc<Core>, mut stop: watch::Receiver<bool>) {
    let mut swept = Swept::default();
    while !*stop.borrow() {
        let pause = round(&core, &mut swept).await;
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            () = core.revoking.told.notified() => {}
            () = core.pause(pause) => {}
        }
    }
}

/// Whether an answer came to a chain after its end: then it is not left lying until the next kill.
pub(crate) async fn look_after(core: &Core, tenant: TenantId, chain: ChainId) {
    if core.store().answers(tenant, chain).await.is_ok_and(|answers| !answers.is_empty()) {
        core.revoking.is_left.store(true, Ordering::SeqCst);
        core.revoking.tell();
    }
}

/// Does what is due, and says how long to sleep.
async fn round(core: &Arc<Core>, swept: &mut Swept) -> Duration {
    // A database that was put back says of the removed that they live, and of the living that they were removed.
    if !matches!(history::settle(core).await, Ok(true)) {
        return LOOK_AGAIN;
    }
    if let Err(error) = swept.sweep(core).await {
        tracing::warn!(%error, "the secrets of what was ended could not be taken yet");
    }
    let Ok(due) = core.store().revocations(core.now().wall, ROUND).await else { return LOOK_AGAIN };
    let is_full = u32::try_from(due.len()).is_ok_and(|due| due >= ROUND);
    // Those of a provider that hangs keep no other's waiting.
    let begun: Vec<_> = due.into_iter().map(|row| core.carried(ending::end(Arc::clone(core), row))).collect();
    for ended in begun {
        ended.await;
    }
    if is_full { PAUSE } else { LOOK_AGAIN }
}

#[cfg(test)]
mod tests {
    use super::Revoking;
    use crate::machine::Moment;
    use nightlatch_domain::clock::{Boot, Timestamp};
    use std::time::Duration;

    fn at(secs: u64) -> Moment {
        Moment { wall: Timestamp::from_millis(0), boot: Boot::from_millis(secs * 1000) }
    }

    #[test]
    fn a_provider_that_takes_nothing_is_left_alone_ever_longer_and_each_for_itself() {
        let revoking = Revoking::default();
        let held = |origin, secs| revoking.is_held(origin, at(secs));
        drop((revoking.lane("a"), revoking.lane("b")));
        revoking.hold("a", at(0), None);
        assert_eq!([held("a", 29), held("a", 30), held("b", 0)], [true, false, false]);
        revoking.hold("a", at(30), None);
        assert_eq!([held("a", 89), held("a", 90)], [true, false]);
        revoking.hold("a", at(90), Some(Duration::from_secs(1000)));
        assert_eq!([held("a", 1089), held("a", 1090)], [true, false]);
        revoking.free("a");
        // Nor does a provider say that it is to be left alone for ever.
        revoking.hold("a", at(1100), Some(Duration::from_secs(86_400)));
        assert_eq!([held("a", 4699), held("a", 4700)], [true, false]);
        revoking.free("a");
        revoking.hold("a", at(5000), None);
        assert_eq!([held("a", 5029), held("a", 5030)], [true, false]);
        assert_eq!(revoking.lane("a").available_permits(), 2);
    }
}

//! What is in trouble: provider hosts that ask us to wait, registrations that are refused, connections
//! whose 401s were looked into.
//!
//! All in memory, and all bounded by what the operator configured (hosts, registrations) or by the number
//! of connections. After a restart one chain tries and finds out again; that costs one request.

use crate::machine::Moment;
use nightlatch_domain::{
    clock::Boot,
    id::{ChainId, ClientId, ConnectionId, TicketId},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Semaphore;

/// The chain that tries a stopped registration has its result by then; if it has none, the next one tries.
const TRIAL: Duration = Duration::from_secs(60);
/// Likewise for the chain that tries a host which lost answers: as long as one exchange can take.
const HOST_TRIAL: Duration = Duration::from_secs(45);
/// A host that lost an answer is left alone so long, then twice as long, and so on: each lost answer may be
/// a lost family.
const LOST_FIRST: Duration = Duration::from_secs(60);
const LOST_MAX: Duration = Duration::from_secs(900);
/// Refreshes at one provider at once: as many answers an outage can swallow before it is noticed, and no
/// more of the keeper can a hanging provider occupy.
const REFRESHES_OF_HOST: usize = 8;
/// So many chains of one registration that are refused for good within so long are a surge.
const SURGE: usize = 3;
const SURGE_WINDOW: Duration = Duration::from_secs(60);
/// In a surge one chain tries after this, then after twice as long, and so on: each try may cost a chain.
const SURGE_WAIT_FIRST: Duration = Duration::from_secs(120);
const SURGE_WAIT_MAX: Duration = Duration::from_secs(3600);
/// The first look into a 401 of a connection is free; the next ones wait a minute, two, four …
const REPORT_FIRST: Duration = Duration::from_secs(60);
const REPORT_MAX: Duration = Duration::from_secs(3600);

#[derive(Debug, Default)]
pub(crate) struct Pace {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    hosts: BTreeMap<String, Held>,
    lanes: BTreeMap<String, Arc<Semaphore>>,
    clients: BTreeMap<ClientId, Stopped>,
    refusals: BTreeMap<ClientId, Vec<(ChainId, Boot)>>,
    reports: BTreeMap<ConnectionId, Report>,
}

/// A host that is left alone.
#[derive(Debug, Clone, Copy)]
struct Held {
    until: Boot,
    /// The wait after the next lost answer; none where no answer was lost.
    lost: Option<Duration>,
    /// Whether one chain is finding out.
    tried: bool,
}

/// A registration that its provider refuses, or under which it refuses one chain after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped {
    /// When one chain may find out whether it still does.
    pub(crate) until: Boot,
    /// The one incident.
    pub(crate) ticket: Option<TicketId>,
    /// In a surge, the wait after the next refusal; none where the registration itself is refused.
    surge: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Report {
    next: Boot,
    wait: Duration,
}

impl Pace {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The refreshes that one provider gets at once.
    pub(crate) fn lane(&self, origin: &str) -> Arc<Semaphore> {
        let mut inner = self.inner();
        let lane = inner.lanes.entry(origin.to_owned());
        Arc::clone(lane.or_insert_with(|| Arc::new(Semaphore::new(REFRESHES_OF_HOST))))
    }

    /// How long a provider's host is to be left alone. One that lost answers is tried by one chain when its
    /// time has come: what comes of it decides about the others.
    pub(crate) fn host_waits(&self, authority: &str, now: Moment) -> Option<Duration> {
        let mut inner = self.inner();
        let held = inner.hosts.get_mut(authority)?;
        let left = held.until.since(now.boot);
        if left.is_zero() && held.lost.is_some() {
            (held.until, held.tried) = (now.boot.plus(HOST_TRIAL), true);
        }
        Some(left).filter(|left| !left.is_zero())
    }

    /// A host asked us to wait, or could not be reached.
    pub(crate) fn hold_host(&self, authority: &str, now: Moment, wait: Duration) {
        let held = Held { until: now.boot.plus(wait), lost: None, tried: false };
        self.inner().hosts.insert(authority.to_owned(), held);
    }

    /// A host took a refresh token and gave no answer that can be read. Those that were under way already
    /// say nothing new.
    pub(crate) fn lose_host(&self, authority: &str, now: Moment) {
        let mut inner = self.inner();
        let known = inner.hosts.get(authority).copied();
        if known.is_some_and(|held| held.lost.is_some() && !held.tried && held.until > now.boot) {
            return;
        }
        let wait = known.and_then(|held| held.lost).unwrap_or(LOST_FIRST);
        let held = Held { until: now.boot.plus(wait), lost: Some((wait * 2).min(LOST_MAX)), tried: false };
        inner.hosts.insert(authority.to_owned(), held);
    }

    /// A host answered.
    pub(crate) fn free_host(&self, authority: &str) {
        self.inner().hosts.remove(authority);
    }

    /// Whether a registration is stopped. When its time has come it is not, for the first who asks: its
    /// result decides about the others, who see it stopped until then.
    pub(crate) fn client_stopped(&self, client: ClientId, now: Moment, may_try: bool) -> Option<Stopped> {
        let mut inner = self.inner();
        let stopped = inner.clients.get_mut(&client)?;
        if may_try && now.boot >= stopped.until {
            stopped.until = now.boot.plus(TRIAL);
            return None;
        }
        Some(*stopped)
    }

    /// A provider refused a registration.
    pub(crate) fn stop_client(&self, client: ClientId, now: Moment, ticket: Option<TicketId>) {
        let until = now.boot.plus(crate::schedule::CLIENT_RETRY);
        let mut inner = self.inner();
        let ticket = inner.clients.get(&client).and_then(|stopped| stopped.ticket).or(ticket);
        inner.clients.insert(client, Stopped { until, ticket, surge: None });
    }

    /// A provider refused a chain for good, under a registration that it took. Where it does that to one chain after
    /// another, something else is wrong than a grant that somebody took back: the registration's other chains are left
    /// alone, before each of them is refused as well, and one of them tries after a wait.
    pub(crate) fn refuse_chain(
        &self,
        client: ClientId,
        chain: ChainId,
        now: Moment,
        ticket: Option<TicketId>,
    ) {
        let mut inner = self.inner();
        let stopped = inner.clients.get(&client).copied();
        if let Some((stopped, wait)) = stopped.and_then(|stopped| Some((stopped, stopped.surge?))) {
            // Those that were under way already say nothing new; the one that tried does.
            if now.boot.plus(TRIAL) >= stopped.until {
                let surge = Some((wait * 2).min(SURGE_WAIT_MAX));
                let until = now.boot.plus(wait);
                inner.clients.insert(client, Stopped { until, surge, ..stopped });
            }
            return;
        }
        let refusals = inner.refusals.entry(client).or_default();
        refusals.retain(|(other, at)| *other != chain && now.boot.since(*at) < SURGE_WINDOW);
        refusals.push((chain, now.boot));
        if refusals.len() < SURGE {
            inner.clients.remove(&client);
            return;
        }
        inner.refusals.remove(&client);
        let until = now.boot.plus(SURGE_WAIT_FIRST);
        let surge = Some(SURGE_WAIT_FIRST * 2);
        inner.clients.insert(client, Stopped { until, ticket, surge });
    }

    /// A registration works, and a chain of it too.
    pub(crate) fn free_client(&self, client: ClientId) {
        let mut inner = self.inner();
        inner.clients.remove(&client);
        inner.refusals.remove(&client);
    }

    /// Whether a 401 of this connection is looked into now. An agent can provoke 401s as it likes: each
    /// look doubles the wait until the next.
    pub(crate) fn may_look_into(&self, connection: ConnectionId, now: Moment) -> bool {
        let mut inner = self.inner();
        let report = inner.reports.entry(connection).or_insert(Report { next: now.boot, wait: REPORT_FIRST });
        if now.boot < report.next {
            return false;
        }
        if now.boot.since(report.next) > REPORT_MAX {
            report.wait = REPORT_FIRST;
        }
        report.next = now.boot.plus(report.wait);
        report.wait = (report.wait * 2).min(REPORT_MAX);
        true
    }

    /// A human connected it again: the next 401 is looked into at once.
    pub(crate) fn forget_reports(&self, connection: ConnectionId) {
        self.inner().reports.remove(&connection);
    }
}

#[cfg(test)]
mod tests {
    use super::Pace;
    use crate::machine::Moment;
    use nightlatch_domain::{
        clock::{Boot, Timestamp},
        id::{ChainId, ClientId, ConnectionId},
    };
    use std::time::Duration;

    fn at(secs: u64) -> Moment {
        Moment { wall: Timestamp::from_millis(0), boot: Boot::from_millis(secs * 1000) }
    }

    #[test]
    fn looks_into_401s_grow_rare() {
        let (pace, id) = (Pace::default(), ConnectionId::new(Timestamp::from_millis(0), [1; 10]));
        let looks = (0..7200).filter(|secs| pace.may_look_into(id, at(*secs))).count();
        assert_eq!(looks, 7);
    }

    #[test]
    fn one_chain_tries_a_stopped_registration_and_the_others_wait() {
        let (pace, id) = (Pace::default(), ClientId::new(Timestamp::from_millis(0), [1; 10]));
        assert_eq!(pace.client_stopped(id, at(0), true), None);
        pace.stop_client(id, at(0), None);
        assert!(pace.client_stopped(id, at(3599), true).is_some());
        assert!(pace.client_stopped(id, at(3600), false).is_some());
        assert!(pace.client_stopped(id, at(3600), true).is_none());
        assert!(pace.client_stopped(id, at(3601), true).is_some());
        pace.free_client(id);
        assert_eq!(pace.client_stopped(id, at(3602), true), None);
    }

    #[test]
    fn a_third_chain_that_is_refused_within_a_minute_stops_its_registration() {
        let (pace, id) = (Pace::default(), ClientId::new(Timestamp::from_millis(0), [1; 10]));
        let refuse = |chain, secs| {
            let chain = ChainId::new(Timestamp::from_millis(0), [chain; 10]);
            pace.refuse_chain(id, chain, at(secs), None);
        };
        let stands = |secs, may_try| pace.client_stopped(id, at(secs), may_try).is_some();
        // Grants that people take back now and then, and one chain that is refused again.
        [(1, 0), (1, 1), (1, 2), (2, 70), (3, 140)].into_iter().for_each(|(chain, at)| refuse(chain, at));
        assert!(!stands(141, true));
        [(4, 150), (5, 160)].into_iter().for_each(|(chain, at)| refuse(chain, at));
        assert!(stands(160, true) && stands(279, true) && !stands(280, true) && stands(281, true));
        // The one that tried is refused as well: the next waits longer. Those under way before say nothing.
        refuse(6, 282);
        refuse(7, 283);
        assert!(stands(521, true) && !stands(522, true));
        pace.free_client(id);
        refuse(8, 523);
        assert!(!stands(524, true));
    }

    #[test]
    fn a_host_that_asked_for_time_gets_it() {
        let pace = Pace::default();
        pace.hold_host("a", at(0), Duration::from_secs(10));
        assert_eq!(pace.host_waits("a", at(4)), Some(Duration::from_secs(6)));
        assert_eq!((pace.host_waits("a", at(10)), pace.host_waits("b", at(0))), (None, None));
    }

    #[test]
    fn a_host_that_loses_answers_is_tried_by_one_and_ever_more_rarely() {
        let pace = Pace::default();
        (0..8).for_each(|_| pace.lose_host("a", at(0)));
        assert_eq!(pace.host_waits("a", at(0)), Some(Duration::from_secs(60)));
        assert_eq!(pace.host_waits("a", at(60)), None);
        assert_eq!(pace.host_waits("a", at(60)), Some(Duration::from_secs(45)));
        pace.lose_host("a", at(90));
        assert_eq!(pace.host_waits("a", at(90)), Some(Duration::from_secs(120)));
        pace.free_host("a");
        assert_eq!(pace.host_waits("a", at(90)), None);
        assert_eq!(pace.host_waits("a", at(90)), None);
    }

    #[test]
    fn a_hanging_provider_occupies_its_own_lane_only() {
        let pace = Pace::default();
        let (lane, other) = (pace.lane("a"), pace.lane("b"));
        let held: Vec<_> = std::iter::from_fn(|| lane.try_acquire().ok()).collect();
        assert_eq!((held.len(), pace.lane("a").available_permits()), (8, 0));
        assert_eq!(other.available_permits(), 8);
    }
}

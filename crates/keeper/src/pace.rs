//! What is in trouble: provider hosts that ask us to wait, registrations that are refused, connections
//! whose 401s were looked into.
//!
//! All in memory, and all bounded by what the operator configured (hosts, registrations) or by the number
//! of connections. After a restart one chain tries and finds out again; that costs one request.

use crate::machine::Moment;
use nightlatch_domain::{
    clock::Boot,
    id::{ClientId, ConnectionId, TicketId},
};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The chain that tries a stopped registration has its result by then; if it has none, the next one tries.
const TRIAL: Duration = Duration::from_secs(60);
/// The first look into a 401 of a connection is free; the next ones wait a minute, two, four …
const REPORT_FIRST: Duration = Duration::from_secs(60);
const REPORT_MAX: Duration = Duration::from_secs(3600);

#[derive(Debug, Default)]
pub(crate) struct Pace {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    hosts: HashMap<String, Boot>,
    clients: HashMap<ClientId, Stopped>,
    reports: HashMap<ConnectionId, Report>,
}

/// A registration that its provider refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped {
    /// When one chain may find out whether it still does.
    pub(crate) until: Boot,
    /// The one incident.
    pub(crate) ticket: Option<TicketId>,
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

    /// How long a provider's host is to be left alone.
    pub(crate) fn host_waits(&self, authority: &str, now: Moment) -> Option<Duration> {
        let until = self.inner().hosts.get(authority).copied()?;
        Some(until.since(now.boot)).filter(|left| !left.is_zero())
    }

    /// A host asked us to wait, or could not be reached.
    pub(crate) fn hold_host(&self, authority: &str, now: Moment, wait: Duration) {
        self.inner().hosts.insert(authority.to_owned(), now.boot.plus(wait));
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
        inner.clients.insert(client, Stopped { until, ticket });
    }

    /// A registration works.
    pub(crate) fn free_client(&self, client: ClientId) {
        self.inner().clients.remove(&client);
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
        id::{ClientId, ConnectionId},
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
    fn a_host_that_asked_for_time_gets_it() {
        let pace = Pace::default();
        pace.hold_host("a", at(0), Duration::from_secs(10));
        assert_eq!(pace.host_waits("a", at(4)), Some(Duration::from_secs(6)));
        assert_eq!((pace.host_waits("a", at(10)), pace.host_waits("b", at(0))), (None, None));
    }
}

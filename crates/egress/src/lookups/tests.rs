//! Proves that a lookup's place is its own until it has ended, and that nobody has all of them.

use super::{Asker, LookupLimits, Lookups, WEBHOOKS_MAX};
use crate::{EgressError, Resolve};
use nightlatch_domain::{
    clock::Timestamp,
    id::{PrincipalId, TenantId},
};
use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::timeout;

/// Never answers for `slow.example` and names below it, and counts how often it was asked for those.
#[derive(Default)]
struct Stuck(AtomicUsize);

impl Resolve for Stuck {
    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if host.ends_with("slow.example") {
            self.0.fetch_add(1, Ordering::SeqCst);
            loop {
                std::thread::park();
            }
        }
        Ok(vec![[192, 0, 2, 1].into()])
    }
}

fn lookups() -> (Arc<Stuck>, Arc<Lookups>) {
    let limits = LookupLimits {
        keeper: (3, 2),
        tools: (3, 2),
        webhooks: (3, 2),
        agents: (3, 2),
        place_within: Duration::from_millis(50),
    };
    let stuck = Arc::new(Stuck::default());
    (Arc::clone(&stuck), Arc::new(Lookups::new(stuck, limits)))
}

fn agent(number: u8) -> Asker {
    let at = Timestamp::from_millis(0);
    Asker::Agent(TenantId::new(at, [1; 10]), PrincipalId::new(at, [number; 10]))
}

/// Begins lookups that do not end, and leaves.
async fn begin(lookups: &Arc<Lookups>, stuck: &Stuck, asker: Asker, count: usize) {
    begin_for("slow.example", lookups, stuck, asker, count).await;
}

async fn begin_for(host: &str, lookups: &Arc<Lookups>, stuck: &Stuck, asker: Asker, count: usize) {
    for _ in 0..count {
        let (lookups, before) = (Arc::clone(lookups), stuck.0.load(Ordering::SeqCst));
        let host = host.to_owned();
        let asking = tokio::spawn(async move { lookups.resolve(asker, &host).await });
        while stuck.0.load(Ordering::SeqCst) == before {
            tokio::task::yield_now().await;
        }
        asking.abort();
    }
}

/// Whether there is no place; a lookup that has one must not hold the test up.
async fn is_full(lookups: &Lookups, asker: Asker, host: &str) -> bool {
    let found = timeout(Duration::from_secs(10), lookups.resolve(asker, host)).await;
    matches!(found, Ok(Err(error @ EgressError::LookupsFull(_))) if error.nothing_was_sent())
}

#[tokio::test]
async fn an_agent_whose_lookups_do_not_end_leaves_places_to_others_although_it_has_left() {
    let (stuck, lookups) = lookups();
    begin(&lookups, &stuck, agent(1), 2).await;
    assert!(is_full(&lookups, agent(1), "quick.example").await, "a third place for one");
    assert!(lookups.resolve(agent(2), "quick.example").await.is_ok());
    begin(&lookups, &stuck, agent(2), 1).await;
    assert!(is_full(&lookups, agent(3), "quick.example").await, "a fourth place for all");
    for asker in [Asker::Tool, Asker::Keeper, Asker::Webhook] {
        assert!(lookups.resolve(asker, "quick.example").await.is_ok(), "{asker:?}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_found_holds_up_no_other_host_of_tools_or_keeper() {
    for asker in [Asker::Tool, Asker::Keeper, Asker::Webhook] {
        let (stuck, lookups) = lookups();
        begin(&lookups, &stuck, asker, 2).await;
        assert!(is_full(&lookups, asker, "slow.example").await, "{asker:?}");
        assert!(lookups.resolve(asker, "quick.example").await.is_ok(), "{asker:?}");
    }
}

#[tokio::test]
async fn webhooks_whose_lookups_do_not_end_leave_places_to_tools_and_keeper() {
    let (stuck, lookups) = lookups();
    begin(&lookups, &stuck, Asker::Webhook, 2).await;
    for asker in [Asker::Tool, Asker::Keeper] {
        // One host has two places of a kind: a shared kind would have none left for it.
        let begun = begin(&lookups, &stuck, asker, 2);
        assert!(timeout(Duration::from_secs(10), begun).await.is_ok(), "{asker:?}");
        assert!(lookups.resolve(asker, "quick.example").await.is_ok(), "{asker:?}");
    }
}

#[tokio::test]
async fn however_many_webhooks_hosts_hang_another_is_looked_up() {
    let stuck = Arc::new(Stuck::default());
    let limits = LookupLimits { place_within: Duration::from_millis(50), ..LookupLimits::default() };
    let lookups = Arc::new(Lookups::new(Arc::clone(&stuck) as _, limits));
    // All that a configuration may name, but one; each asks for what its four messages ask for.
    for number in 1..WEBHOOKS_MAX {
        let host = format!("n{number}.slow.example");
        begin_for(&host, &lookups, &stuck, Asker::Webhook, limits.webhooks.1).await;
    }
    assert!(is_full(&lookups, Asker::Webhook, "n1.slow.example").await, "and one has no more than its own");
    assert!(lookups.resolve(Asker::Webhook, "quick.example").await.is_ok());
}

#[tokio::test]
async fn who_asks_no_more_is_forgotten() {
    let (_, lookups) = lookups();
    for number in 0..10 {
        assert!(lookups.resolve(agent(number), "quick.example").await.is_ok());
    }
    assert!(lookups.agents.each.lock().unwrap().len() <= 2);
}

//! What became of each family for which a human was asked, and whether anybody could have helped it.

use crate::{
    house::{Account, House},
    oracle::{self, End},
};
use nightlatch_custody::KeeperKeys;
use nightlatch_domain::{
    chain::{Attempt, AttemptState, ChainState},
    connection::Source,
    id::{AttemptId, FamilyId},
    ports::store::KeeperStore as _,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

/// The shortest grace of a simulated provider.
const SHORTEST_GRACE: Duration = Duration::from_secs(60);

/// What was lost.
#[derive(Debug, Default, Clone)]
pub(crate) struct Lost {
    /// Families whose answers all came, each as it was found: a fault.
    pub(crate) without_answer_lost: BTreeSet<String>,
    /// Families at a provider with a grace, of whose head one answer alone was lost: a fault.
    pub(crate) with_grace: BTreeSet<String>,
    /// The last presentation of each other one: no grace, or the answer of its one retry was lost as well.
    pub(crate) unavoidable: BTreeSet<AttemptId>,
    /// How often a human was asked about one generation.
    tickets: BTreeMap<(FamilyId, u64), u64>,
}

impl Lost {
    /// The most tickets about one lost answer.
    pub(crate) fn tickets_at_most(&self) -> u64 {
        self.tickets.values().copied().max().unwrap_or_default()
    }
}

/// Whoever is asked about, counted once.
#[derive(Default)]
pub(crate) struct Losses(Mutex<Lost>);

impl Losses {
    pub(crate) fn lost(&self) -> Lost {
        self.0.lock().expect("nobody panics with it").clone()
    }

    /// A ticket is looked at for the first time.
    pub(crate) async fn ask(&self, house: &House, keys: &KeeperKeys, account: &Account) {
        let Some(head) = self.judge(house, keys, account).await else { return };
        *self.0.lock().expect("nobody panics with it").tickets.entry(head).or_default() += 1;
    }

    /// Takes in what became of an account's family; its head, where a human is asked for it.
    pub(crate) async fn judge(
        &self,
        house: &House,
        keys: &KeeperKeys,
        account: &Account,
    ) -> Option<(FamilyId, u64)> {
        let (end, shown) = oracle::end_of(house, keys, account).await;
        let (head, state, presented) = presented(house, account).await?;
        let mut lost = self.0.lock().expect("nobody panics with it");
        match end {
            End::Lives | End::Removed => return None,
            End::Lost => drop(lost.without_answer_lost.insert(shown)),
            End::Asked => {
                let grace = house.tools[account.tool].issuer.books().temper().grace;
                let has_grace = grace > Duration::ZERO;
                // What a database that was put back lost is in quarantine.
                let may_retry = state != ChainState::Quarantined && presented.len() < 2;
                if has_grace && may_retry && !has_one_clock(house, grace, &presented) {
                    let presented: Vec<_> = presented.iter().map(|one| one.id).collect();
                    lost.with_grace.insert(format!("{shown}: {presented:?}"));
                } else {
                    lost.unavoidable.extend(presented.last().map(|one| one.id));
                }
            }
        }
        Some(head)
    }
}

/// Whether one clock alone says how long ago a lone keeper presented it, and nobody says which of two is wrong: its
/// machine was booted since, or its wall clock gained all of a grace but what the shortest one is.
fn has_one_clock(house: &House, grace: Duration, presented: &[Attempt]) -> bool {
    let [post] = &house.posts[..] else { return false };
    presented.iter().any(|one| {
        let (at, gained) = post.node.said(one.intended_at);
        let is_used_up = gained > Duration::ZERO && gained + SHORTEST_GRACE >= grace;
        is_used_up || post.node.booted() > at
    })
}

/// The head of an account's chain, and what was presented of it.
async fn presented(house: &House, account: &Account) -> Option<((FamilyId, u64), ChainState, Vec<Attempt>)> {
    let store = house.at_hand();
    let connection = store.connection(house.tenant, account.connection).await.expect("at hand")?;
    let Source::Chain { chain } = connection.source else { return None };
    let view = store.chain(house.tenant, chain).await.expect("at hand")?;
    let (family, head) = (view.family.id, view.head.number);
    let attempts = store.attempts(house.tenant, family, head).await.expect("at hand");
    let left = |state| !matches!(state, AttemptState::NotPresented | AttemptState::Intended);
    let presented = attempts.into_iter().filter(|one| one.generation == head && left(one.state));
    Some(((family, head), view.chain.state, presented.collect()))
}

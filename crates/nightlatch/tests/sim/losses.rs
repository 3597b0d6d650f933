//! What became of each family for which a human was asked, and whether anybody could have helped it.

use crate::{
    house::{Account, House},
    oracle::{self, End},
};
use nightlatch_custody::KeeperKeys;
use nightlatch_domain::{
    chain::{Attempt, AttemptState, ChainState},
    clock::{Clock as _, Timestamp},
    connection::Source,
    id::{AttemptId, FamilyId},
    ports::store::{ChainView, KeeperStore as _},
};
use nightlatch_simulator::world::issuer::{Again, Temper};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

/// The shortest grace of a simulated provider.
const SHORTEST_GRACE: Duration = Duration::from_secs(60);
/// Within this a sender that is at work notices that an answer is lost: half of the shortest grace, and a pause.
const NOTICES_WITHIN: Duration = Duration::from_secs(35);
/// And within this, from when it is at work again, its retry is at the provider.
const RETRIES_WITHIN: Duration = Duration::from_secs(20);

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
        let view = view(house, account).await?;
        let presented = presented(house, &view, view.head.number).await;
        let is_displaced = is_displaced(house, account, &view).await;
        let mut lost = self.0.lock().expect("nobody panics with it");
        match end {
            End::Lives | End::Removed => return None,
            End::Lost => drop(lost.without_answer_lost.insert(shown)),
            End::Asked => {
                let grace = temper(house, account).grace;
                // What a database that was put back lost is in quarantine.
                let may_retry = view.chain.state != ChainState::Quarantined && presented.len() < 2;
                let sent = sent(house, &presented);
                let ticket = view.chain.ticket.and_then(|id| house.database.written(&id.to_string()));
                let asked = ticket.map_or_else(|| house.office.now(), |(_, at)| at);
                let is_over = has_one_clock(house, grace, &sent, asked)
                    || is_hindered(house, grace, &sent)
                    || is_displaced;
                if grace > Duration::ZERO && may_retry && !is_over {
                    let presented: Vec<_> = presented.iter().map(|one| one.id).collect();
                    lost.with_grace.insert(format!("{shown}: {presented:?}"));
                } else {
                    lost.unavoidable.extend(presented.last().map(|one| one.id));
                }
            }
        }
        Some((view.family.id, view.head.number))
    }
}

fn temper(house: &House, account: &Account) -> Temper {
    house.tools[account.tool].issuer.books().temper().clone()
}

/// Whether one clock alone said how long ago a lone keeper had presented it when a human was asked, and nobody says which of
/// two was wrong: inside the grace its machine was booted, or its wall clock gained all of it but what a retry needs.
fn has_one_clock(house: &House, grace: Duration, presented: &[Sent], asked: Timestamp) -> bool {
    let [post] = &house.posts[..] else { return false };
    presented.iter().any(|sent| {
        let until = asked.min(sent.at.plus(grace));
        let is_used_up = post.node.gained(sent.at, until) + NOTICES_WITHIN + RETRIES_WITHIN >= grace;
        is_used_up || post.node.was_booted(sent.at, until)
    })
}

/// Whether the grace was as short as a claim, so that nobody took over inside it, and something kept its sender from work
/// when it could have noticed the loss, and until too little of the grace was left.
fn is_hindered(house: &House, grace: Duration, presented: &[Sent]) -> bool {
    grace <= SHORTEST_GRACE
        && presented.iter().any(|sent| {
            let hindrances = house.hindrances(&sent.by);
            let ends = sent.at.plus(grace);
            hindrances.into_iter().any(|(from, until)| {
                from <= sent.at.plus(NOTICES_WITHIN) && until > sent.at && until.plus(RETRIES_WITHIN) >= ends
            })
        })
}

/// Whether the head is the answer to a first presentation that came late, and was refused since the answer to the retry, by
/// which the provider had put another in its place, was lost as well.
async fn is_displaced(house: &House, account: &Account, view: &ChainView) -> bool {
    if temper(house, account).again != Again::LastWins {
        return false;
    }
    let is_refused = presented(house, view, view.head.number).await;
    let is_refused = is_refused.iter().any(|one| one.state == AttemptState::Refused);
    let before = presented(house, view, view.head.number.saturating_sub(1)).await;
    let own = before.iter().find(|one| Some(one.id) == view.head.attempt);
    let lost_later = |own: &Attempt| {
        before
            .iter()
            .any(|one| one.fence > own.fence && one.state == AttemptState::Uncertain && one.answer.is_none())
    };
    is_refused && own.is_some_and(lost_later)
}

/// Who sent something, and when by a clock that is right.
struct Sent {
    by: String,
    at: Timestamp,
}

fn sent(house: &House, attempts: &[Attempt]) -> Vec<Sent> {
    let written = attempts.iter().filter_map(|one| house.database.written(&one.id.to_string()));
    written.map(|(by, at)| Sent { by, at }).collect()
}

/// The chain that an account is connected by.
async fn view(house: &House, account: &Account) -> Option<ChainView> {
    let store = house.at_hand();
    let connection = store.connection(house.tenant, account.connection).await.expect("at hand")?;
    let Source::Chain { chain } = connection.source else { return None };
    store.chain(house.tenant, chain).await.expect("at hand")
}

/// What was presented of a generation of its family.
async fn presented(house: &House, view: &ChainView, generation: u64) -> Vec<Attempt> {
    let attempts = house.at_hand().attempts(house.tenant, view.family.id, generation).await.expect("at hand");
    let left = |state| !matches!(state, AttemptState::NotPresented | AttemptState::Intended);
    attempts.into_iter().filter(|one| one.generation == generation && left(one.state)).collect()
}

//! Who lives in the house: an agent for each account, and a human who answers tickets late.

use crate::{
    house::{Account, House, Post, binding},
    losses::Losses,
};
use nightlatch_custody::ReplicaKey;
use nightlatch_domain::{
    clock::Clock as _,
    connection::Source,
    id::{TicketId, WakeId},
    ports::{
        gateway_keeper::{Evidence, GatewayReply, GatewayRequest, KeeperRefusal, LeaseRequest, WakeProof},
        store::{ControlStore as _, KeeperStore as _},
        work::Work as _,
    },
    ticket::Ticket,
};
use nightlatch_simulator::world::Dice;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What people met.
#[derive(Default)]
pub(crate) struct Met {
    pub(crate) leases: AtomicU64,
    pub(crate) reconnected: AtomicU64,
    /// What was lost of whoever humans were asked about.
    pub(crate) losses: Losses,
    /// Why there was no lease, and what humans were asked for, each with how often.
    refused: Counts,
    tickets: Counts,
    seen: Mutex<BTreeSet<TicketId>>,
}

type Counts = Mutex<BTreeMap<String, u64>>;

impl Met {
    /// Why there was no lease.
    pub(crate) fn refused(&self) -> BTreeMap<String, u64> {
        self.refused.lock().expect("nobody panics with it").clone()
    }

    /// What humans were asked for.
    pub(crate) fn tickets(&self) -> BTreeMap<String, u64> {
        self.tickets.lock().expect("nobody panics with it").clone()
    }

    /// Counts each ticket once; the answer says whether it is the first time.
    pub(crate) fn see(&self, ticket: &Ticket) -> bool {
        let is_new = self.seen.lock().expect("nobody panics with it").insert(ticket.id);
        if is_new {
            count(&self.tickets, ticket.reason.clone());
        }
        is_new
    }
}

fn count(counts: &Counts, word: String) {
    *counts.lock().expect("nobody panics with it").entry(word).or_default() += 1;
}

/// A wake at one keeper.
struct Awake {
    wake: WakeId,
    replica: ReplicaKey,
}

/// An agent that asks for a lease a few times a day, as long as the world turns.
pub(crate) fn agent(house: &Arc<House>, account: Account, met: &Arc<Met>, mut dice: Dice) {
    let (house, met, office) = (Arc::clone(house), Arc::clone(met), house.office.clone());
    office.clone().spawn(Box::pin(async move {
        let mut awake: Vec<Option<Awake>> = house.posts.iter().map(|_| None).collect();
        loop {
            office.sleep(Duration::from_secs(dice.within(600..15_000))).await;
            let at = dice.place(house.posts.len());
            match lease(&house, &house.posts[at], &mut awake[at], &account).await {
                Ok(()) => drop(met.leases.fetch_add(1, Ordering::Relaxed)),
                Err(why) => count(&met.refused, why),
            }
        }
    }));
}

/// A lease, if the keeper at this post gives one; else why not.
async fn lease(
    house: &House,
    post: &Post,
    awake: &mut Option<Awake>,
    account: &Account,
) -> Result<(), String> {
    if awake.is_none() {
        *awake = wake(house, post).await;
    }
    let own = awake.as_ref().ok_or("no wake")?;
    let asked_at = house.world.now();
    let request = LeaseRequest {
        tenant: house.tenant,
        wake: own.wake,
        grant: account.grant,
        connection: account.connection,
        patience_millis: 20_000,
    };
    let lease = match post.gateway(GatewayRequest::Lease(request)).await.ok_or("the keeper is away")? {
        Ok(GatewayReply::Lease(lease)) => lease,
        Ok(other) => panic!("no lease: {other:?}"),
        Err(refusal) => {
            if refusal == KeeperRefusal::NotAwake {
                *awake = None;
            }
            return Err(refusal.to_string());
        }
    };
    house.judge.sees_lease(account.connection, asked_at);
    is_durable(house, account, lease.binding.generation).await;
    let (_, secret) = own.replica.open_lease(&lease).expect("sealed to this key");
    let token = String::from_utf8_lossy(secret.expose()).into_owned();
    let lives = house.tools[account.tool].issuer.books().account_of(&token, house.world.now()).is_some();
    if !lives {
        let (wake, generation) = (own.wake, lease.binding.generation);
        let told = GatewayRequest::Unauthorized {
            tenant: house.tenant,
            wake,
            connection: account.connection,
            generation,
        };
        let _ = post.gateway(told).await;
        return Err("401".to_owned());
    }
    Ok(())
}

/// I3: the generation whose access token anybody sees is one that the database holds.
async fn is_durable(house: &House, account: &Account, generation: u64) {
    let store = house.at_hand();
    let connection = store.connection(house.tenant, account.connection).await.expect("at hand");
    let Some(Source::Chain { chain }) = connection.map(|connection| connection.source) else { return };
    let view = store.chain(house.tenant, chain).await.expect("at hand");
    if view.is_some_and(|view| view.head.number < generation) {
        house
            .judge
            .finds(format!("I3: generation {generation} of {} is leased and not stored", account.login));
    }
}

async fn wake(house: &House, post: &Post) -> Option<Awake> {
    let ask = GatewayRequest::Challenge { tenant: house.tenant, task: house.task };
    let Ok(GatewayReply::Challenge(challenge)) = post.gateway(ask).await? else { return None };
    let replica = ReplicaKey::generate(&house.office).ok()?;
    let proof = WakeProof {
        tenant: house.tenant,
        agent: house.agent,
        task: house.task,
        wake: challenge.wake,
        nonce: challenge.nonce,
        replica_key: replica.sealing_key().clone(),
        evidence: Evidence::Stated { binding: binding(), verified_at: house.office.now() },
    };
    let wake = proof.wake;
    match post.gateway(GatewayRequest::Wake(proof)).await? {
        Ok(GatewayReply::Awake(_)) => Some(Awake { wake, replica }),
        _ => None,
    }
}

/// A human who looks at the inbox now and then, and reconnects what asks for it hours later.
pub(crate) fn human(house: &Arc<House>, accounts: Vec<Account>, met: &Arc<Met>, mut dice: Dice) {
    let (house, met, office) = (Arc::clone(house), Arc::clone(met), house.office.clone());
    office.clone().spawn(Box::pin(async move {
        let keys = house.keys();
        loop {
            office.sleep(Duration::from_secs(dice.within(300..40_000))).await;
            let tickets = house.at_hand().tickets(house.tenant).await.expect("at hand");
            for ticket in tickets {
                let is_new = met.see(&ticket);
                let Some(account) = accounts.iter().find(|one| one.connection == ticket.connection) else {
                    continue;
                };
                if is_new {
                    met.losses.ask(&house, &keys, account).await;
                }
                let post = &house.posts[dice.place(house.posts.len())];
                let again = Some(account.connection);
                let done = house.connect(post, account.tool, account.client, &account.login, again).await;
                if matches!(done, Some(Ok(_))) {
                    met.reconnected.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }));
}

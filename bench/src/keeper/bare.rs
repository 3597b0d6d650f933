//! What a refresh asks of the store, without a keeper: a claim, an intent, an answer, a commit, each durable before the next.
//!
//! It is what bounds a keeper from below, what commits beside a kill, and what looks for due work.

use crate::{Fault, Ground, quantiles};
use nightlatch_domain::{
    chain::{Attempt, AttemptState, Chain, ChainState, Client, Family, Generation},
    clock::Timestamp,
    connection::{Connection, Source},
    id::{AttemptId, ChainId, ClientId, ConnectionId, FamilyId, FlowId, InstallationId, OwnerId, TenantId},
    ports::store::{Claim, Committed, KeeperStore, Kill, NewConnection, NewHead, Seen, Settlement},
    sealed::{ClientAuth, SealContext, SecretKind, Wrapped},
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::Mutex, task::JoinSet, time::sleep};

/// Before anything is counted.
const WARM: Duration = Duration::from_secs(1);
/// Between two kills: each comes at another moment of the commits beside it.
const BETWEEN_KILLS: Duration = Duration::from_millis(7);
const PROVIDER: &str = "bench";
/// What was due was due so long ago, and what is not comes so late.
const FAR: Duration = Duration::from_secs(86_400);
/// A sealed token, and the sealed answer that brought it: as many characters as real ones take.
const SEALED: usize = 600;

pub(crate) struct Bare {
    ground: Arc<Ground>,
    tenant: TenantId,
    client: ClientId,
    era: u64,
    chains: Vec<Arc<Mutex<Place>>>,
    are_due: bool,
}

/// A chain as its one holder knows it.
#[derive(Clone, Copy)]
struct Place {
    chain: ChainId,
    family: FamilyId,
    fence: u64,
    head: u64,
}

impl Bare {
    pub(crate) async fn lay(ground: &Arc<Ground>, chains: usize, are_due: bool) -> Result<Self, Fault> {
        let (store, tenant, client) =
            (&ground.stores.keeper, ground.id(TenantId::new)?, ground.id(ClientId::new)?);
        store.installation(ground.id(InstallationId::new)?).await?;
        let registered = Client {
            tenant,
            id: client,
            provider: PROVIDER.parse()?,
            issuer: "https://issuer.example".to_owned(),
            client_id: "bench".to_owned(),
            auth: ClientAuth::None,
            secret: None,
            created_at: ground.now(),
        };
        store.put_client(registered).await?;
        let era = store.standing().await?.era;
        let ground = Arc::clone(ground);
        let mut bare = Self { ground, tenant, client, era, chains: Vec::new(), are_due };
        for number in 0..chains {
            let place = bare.connect(number).await?;
            bare.chains.push(Arc::new(Mutex::new(place)));
        }
        Ok(bare)
    }

    fn store(&self) -> &dyn KeeperStore {
        &*self.ground.stores.keeper
    }

    async fn connect(&self, number: usize) -> Result<Place, Fault> {
        let (chain, family) = (self.ground.id(ChainId::new)?, self.ground.id(FamilyId::new)?);
        let (tenant, now) = (self.tenant, self.ground.now());
        let rows = (
            Chain {
                tenant,
                id: chain,
                provider: PROVIDER.parse()?,
                issuer: "https://issuer.example".to_owned(),
                client: self.client,
                account: number.to_string(),
                family,
                families: 1,
                fence: 0,
                owner: None,
                state: ChainState::Healthy,
                access_until: Some(now),
                due_at: Some(self.due_at()),
                refreshed_at: None,
                failed_at: None,
                failures: 0,
                reason: None,
                ticket: None,
                created_at: now,
            },
            Family {
                tenant,
                id: family,
                chain,
                flow: self.ground.id(FlowId::new)?,
                number: 1,
                head: 1,
                created_at: now,
            },
            self.generation(family, 1, None),
        );
        let connection = Connection {
            tenant,
            id: self.ground.id(ConnectionId::new)?,
            tool: PROVIDER.parse()?,
            name: format!("c{number}").parse()?,
            account: Some(number.to_string()),
            account_label: Some(number.to_string()),
            source: Source::Chain { chain },
            hosts: Vec::new(),
            created_at: now,
            removed_at: None,
        };
        self.store().put_connection(NewConnection { connection, tokens: Some(rows), secret: None }).await?;
        Ok(Place { chain, family, fence: 0, head: 1 })
    }

    fn due_at(&self) -> Timestamp {
        let now = self.ground.now();
        if self.are_due { now.minus(FAR) } else { now.plus(FAR) }
    }

    fn generation(&self, family: FamilyId, number: u64, attempt: Option<AttemptId>) -> Generation {
        let now = self.ground.now();
        Generation {
            tenant: self.tenant,
            family,
            number,
            refresh: Some(self.sealed(SecretKind::Refresh, family, number)),
            access: self.sealed(SecretKind::Access, family, number),
            access_until: Some(now),
            refresh_until: None,
            attempt,
            created_at: now,
        }
    }

    fn sealed(&self, kind: SecretKind, family: FamilyId, generation: u64) -> (Wrapped, SealContext) {
        let wrapped = Wrapped { format: 1, data_key: "k".repeat(96), ciphertext: "c".repeat(SEALED) };
        let context = SealContext {
            tenant: self.tenant,
            kind,
            chain: None,
            family: Some(family),
            family_number: Some(1),
            connection: None,
            generation,
            provider: PROVIDER.parse().ok(),
            client: Some(self.client),
            token_endpoint: Some("https://issuer.example/token".to_owned()),
            refresh_endpoint: None,
            revocation_endpoint: None,
            client_auth: Some(ClientAuth::None),
            hosts: Vec::new(),
        };
        (wrapped, context)
    }

    /// So many chains are refreshed without end; how many commits were durable in so long.
    pub(crate) async fn refresh(self: Arc<Self>, at_once: usize, span: Duration) -> Result<Value, Fault> {
        let committers = Committers::begin(&self, at_once)?;
        sleep(WARM).await;
        let (before, began) = (committers.count(), Instant::now());
        sleep(span).await;
        let (refreshes, secs) = (committers.count() - before, began.elapsed().as_secs_f64());
        committers.end().await?;
        Ok(json!({ "refreshes": refreshes, "secs": secs }))
    }

    /// Kills chains one after the other, while others are refreshed without end. None of them is one that is refreshed.
    pub(crate) async fn kill(self: Arc<Self>, committers: usize, kills: usize) -> Result<Value, Fault> {
        let running = Committers::begin(&self, committers)?;
        sleep(WARM).await;
        let mut spans = Vec::with_capacity(kills);
        for place in self.chains.iter().skip(committers).take(kills) {
            let chain = place.lock().await.chain;
            sleep(BETWEEN_KILLS).await;
            let began = Instant::now();
            self.store().kill(Kill::Chain { tenant: self.tenant, chain }, self.ground.now()).await?;
            spans.push(began.elapsed());
            if self.store().chain(self.tenant, chain).await?.is_some() {
                return Err("a kill was confirmed, and its chain lives".into());
            }
        }
        running.end().await?;
        if spans.len() < kills {
            return Err(format!("there were {} chains to kill, not {kills}", spans.len()).into());
        }
        let (p50, _, most) = quantiles(spans);
        Ok(json!({ "p50_us": p50, "most_us": most }))
    }

    /// One look for what is due, and a claim of each that was found; then everything is as before.
    pub(crate) async fn look(self: Arc<Self>, chains: usize) -> Result<Value, Fault> {
        let began = Instant::now();
        let due = self.store().due(self.ground.now(), u32::try_from(chains)?).await?;
        let look = began.elapsed();
        let began = Instant::now();
        let mut claims = Vec::with_capacity(chains);
        let mut places = Vec::with_capacity(chains);
        for place in self.chains.iter().take(chains) {
            let mut place = place.lock().await;
            claims.push(self.claim(&mut place).await?);
            places.push(place.chain);
        }
        let claimed = began.elapsed();
        let found: std::collections::BTreeSet<ChainId> = due.into_iter().map(|(_, chain, _)| chain).collect();
        if found.len() != chains || !places.iter().all(|chain| found.contains(chain)) {
            return Err(format!("a look found {} of {chains} due chains", found.len()).into());
        }
        for claim in claims {
            if !self.store().settle(claim, self.as_it_was()).await? {
                return Err("a claim was lost".into());
            }
        }
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Ok(json!({ "look_us": micros(look), "claims_us": micros(claimed) }))
    }

    fn as_it_was(&self) -> Settlement {
        Settlement {
            attempt: None,
            unanswered: false,
            state: ChainState::Healthy,
            due_at: Some(self.due_at()),
            failures: 0,
            failed_at: None,
            reason: None,
            ticket: None,
        }
    }

    async fn claim(&self, place: &mut Place) -> Result<Claim, Fault> {
        let owner = self.ground.id(OwnerId::new)?;
        let seen = Seen { era: self.era, fence: place.fence, family: place.family, head: place.head };
        let claim =
            self.store().claim(self.tenant, place.chain, seen, owner, vec![ChainState::Healthy]).await?;
        place.fence += 1;
        claim.ok_or_else(|| "a claim was refused".into())
    }

    async fn refresh_once(&self, place: &mut Place) -> Result<(), Fault> {
        let claim = self.claim(place).await?;
        let Place { chain, family, fence, head } = *place;
        let id = self.ground.id(AttemptId::new)?;
        let now = self.ground.now();
        let attempt = Attempt {
            tenant: self.tenant,
            id,
            chain,
            family,
            generation: head,
            fence,
            owner: claim.owner,
            era: self.era,
            state: AttemptState::Intended,
            intended_at: now,
            intended_by: now,
            answer: None,
        };
        if !self.store().intend(claim, attempt).await? {
            return Err("an intent was refused".into());
        }
        self.store().answer(self.tenant, id, self.sealed(SecretKind::Answer, family, head)).await?;
        let generation = self.generation(family, head + 1, Some(id));
        let (due_at, refreshed_at) = (Some(self.due_at()), self.ground.now());
        let head = NewHead { attempt: id, adopts: None, generation, due_at, refreshed_at };
        match self.store().commit(claim, head).await? {
            Committed::Moved => {}
            other => return Err(format!("a commit was {other:?}").into()),
        }
        place.head += 1;
        Ok(())
    }
}

/// Chains that are refreshed without end.
struct Committers {
    over: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    running: JoinSet<Result<(), Fault>>,
}

impl Committers {
    fn begin(bare: &Arc<Bare>, at_once: usize) -> Result<Self, Fault> {
        let (over, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut running = JoinSet::new();
        for place in bare.chains.iter().take(at_once) {
            let (bare, place) = (Arc::clone(bare), Arc::clone(place));
            let (over, count) = (Arc::clone(&over), Arc::clone(&count));
            running.spawn(async move {
                let mut place = place.lock().await;
                while !over.load(Ordering::Relaxed) {
                    bare.refresh_once(&mut place).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            });
        }
        if running.len() < at_once {
            return Err(format!("{} chains were laid, not {at_once}", running.len()).into());
        }
        Ok(Self { over, count, running })
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    async fn end(mut self) -> Result<(), Fault> {
        self.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.running.join_next().await {
            ended??;
        }
        Ok(())
    }
}

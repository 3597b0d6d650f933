//! One refresh under way: carries out what the machine asks for, and reports.

use super::{
    brought::{self, Before},
    late::Late,
    material::Material,
    sealer::{NextSealers, Sealer},
    siblings,
};
use crate::{
    anchor::{Head, Presentation},
    core::Core,
    error::KeeperError,
    history,
    machine::{Action, Event, Outcome, Plan, Reading, State, Verdict, step},
    spool::{Asked, Slot, SpooledAnswer},
    token::{self, ANSWER_MAX_BYTES, Parsed, Presented},
};
use bytes::Bytes;
use http::Request;
use nightlatch_custody::{CustodyError, Secret};
use nightlatch_domain::{
    chain::{Attempt, AttemptState, ChainState},
    clock::{Boot, Timestamp},
    id::{AttemptId, ConnectionId, FamilyId, TicketId},
    ports::{
        gateway_keeper::DrainNotice,
        store::{ChainView, Claim, Committed, NewHead, Seen, Settlement},
        work::within,
    },
    sealed::{SealContext, SecretKind, Wrapped},
    ticket::{Ticket, TicketKind},
};
use nightlatch_egress::{Line, RawAnswer, SendError, SendWindow};
use nightlatch_ledger::{
    facts::{EventFacts, oauth_error},
    record::EventName,
};
use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Running calls get this long to finish where the old access token dies with the refresh.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// A wait that a provider's trouble imposes on its host is at least this long.
const HOST_WAIT_MIN: Duration = Duration::from_secs(1);

/// A refresh under way.
pub(crate) struct Run {
    core: Arc<Core>,
    view: ChainView,
    material: Option<Material>,
    plan: Plan,
    attempt: Option<AttemptId>,
    /// The attempt whose answer was lost, where this is the one retry.
    again_of: Option<AttemptId>,
    claim: Option<Claim>,
    /// The era in which it is claimed.
    era: u64,
    slot: Option<Arc<Slot>>,
    connection: Option<Box<dyn Line>>,
    request: Option<Request<Bytes>>,
    /// For the answer, and for the generation that it brings.
    sealers: (Option<Sealer>, Option<NextSealers>),
    answer: Option<(Wrapped, SealContext)>,
    raw: Option<Secret>,
    head: Option<NewHead>,
    /// Whether the provider's host could not be reached, or asked for time.
    host_in_trouble: bool,
    /// Whether the exchange listens on after the chain was left: the slot is its own then.
    listens_on: bool,
}

/// What a run takes up: an attempt that is begun, or one that is there.
pub(crate) struct Found {
    pub(crate) attempt: Option<AttemptId>,
    pub(crate) again_of: Option<AttemptId>,
    pub(crate) answer: Option<(Wrapped, SealContext)>,
}

/// The slot of a run that is over, where nothing needs it any more, and as what it is kept.
pub(crate) struct Left(Option<(Asked, Option<Kept>)>);

/// A family whose newest answer something is, and who lives on it.
struct Kept {
    family: FamilyId,
    connections: Vec<ConnectionId>,
}

impl Left {
    /// There is none, or it is left alone.
    pub(crate) const NOTHING: Self = Self(None);

    /// Keeps it, or forgets it.
    pub(crate) async fn put_away(self, core: &Arc<Core>) {
        let Some((asked, family)) = self.0 else { return };
        let put_away = core.on_disk(move |core| match family {
            Some(Kept { family, connections }) => {
                core.spool.keep(asked, family)?;
                // Nobody waited for this: its last connection may have been removed meanwhile.
                if connections.iter().all(|id| core.anchor.has_ended(*id)) {
                    core.spool.forget_family(family);
                }
                Ok(())
            }
            None => {
                core.spool.forget(asked);
                Ok(())
            }
        });
        if let Err(error) = put_away.await {
            tracing::warn!(%error, "an answer's slot could not be put away");
        }
    }
}

impl Run {
    /// A refresh that begins as its plan says.
    pub(crate) fn new(
        core: &Arc<Core>,
        view: ChainView,
        material: Option<Material>,
        plan: Plan,
        found: Found,
    ) -> Self {
        Self {
            core: Arc::clone(core),
            view,
            material,
            plan,
            attempt: found.attempt,
            again_of: found.again_of,
            claim: None,
            era: 0,
            slot: None,
            connection: None,
            request: None,
            sealers: (None, None),
            answer: found.answer,
            raw: None,
            head: None,
            host_in_trouble: false,
            listens_on: false,
        }
    }

    /// Steps until the machine is done; answers what is left of the slot as well.
    pub(crate) async fn carry_through(mut self) -> (Outcome, Left) {
        let (mut state, mut command) = step(&self.plan, State::Begun, Event::Begin, self.core.now());
        loop {
            if !command.after.is_zero() {
                self.core.pause(command.after).await;
            }
            self.core.parts.watch.before(&command.action).await;
            if let Action::Release(outcome) = command.action {
                return (outcome, self.left(outcome));
            }
            let event = self.carry_out(command.action).await.unwrap_or(Event::Failed);
            (state, command) = step(&self.plan, state, event, self.core.now());
        }
    }

    /// None where something of ours was out of reach.
    async fn carry_out(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Claim => self.claim().await,
            Action::Drain => Some(self.drain().await),
            Action::Prepare { send_by } => Some(self.prepare(send_by).await),
            Action::Intend => self.intend().await,
            Action::Anchor => self.anchor().await,
            Action::Send { send_by, settle_by, listen_until } => {
                Some(self.send(SendWindow { send_by, answer_by: listen_until }, settle_by).await)
            }
            Action::Spool => self.spool().await,
            Action::Insert => self.insert().await,
            Action::Read => self.read(),
            Action::Adopt => self.adopt().await,
            Action::Commit => self.commit().await,
            Action::Resolve => self.resolve().await,
            Action::AnchorHead => self.anchor_head().await,
            Action::Void => self.void().await,
            Action::Settle(verdict) => self.settle(verdict).await,
            Action::Withdraw => self.withdraw().await,
            Action::Release(_) => None,
        }
    }

    async fn claim(&mut self) -> Option<Event> {
        if !history::settle(&self.core).await.ok()? {
            return None;
        }
        self.era = self.core.history.era();
        // A claim is one try of one process: neither a restored database nor the next start mistakes it for another.
        let owner = self.core.fresh_owner().await?;
        let chain = &self.view.chain;
        let from = vec![chain.state];
        let seen = Seen {
            era: self.era,
            fence: chain.fence,
            family: self.view.family.id,
            head: self.view.head.number,
        };
        let store = self.core.store();
        self.claim = store.claim(chain.tenant, chain.id, seen, owner, from).await.ok()?;
        Some(if self.claim.is_some() { Event::Claimed } else { Event::NotClaimed })
    }

    async fn drain(&self) -> Event {
        let notice = DrainNotice {
            tenant: self.view.chain.tenant,
            family: self.view.family.id,
            generation: self.view.head.number,
            within_millis: u64::try_from(DRAIN_WITHIN.as_millis()).unwrap_or(u64::MAX),
        };
        // The gateway is bounded by its own word; this bounds the word.
        let parts = &self.core.parts;
        let _ = within(&*parts.work, DRAIN_WITHIN, parts.drains.drain(notice)).await;
        Event::Drained
    }

    /// Everything that may fail without harm happens here: the data keys, the slot, the request, the connection.
    async fn prepare(&mut self, send_by: Boot) -> Event {
        let failed = |reason| Event::NotPrepared { reason };
        let (Some(material), Some(asked)) = (&self.material, self.asked()) else {
            return failed("no-randomness");
        };
        let presented =
            Presented::Refresh { token: &material.token, extra: &material.profile.extra_refresh_params };
        let registration = material.registration();
        let body = material.profile.body;
        let Ok(request) = token::request(&material.endpoint, body, &registration, &presented) else {
            return failed("registration-incomplete");
        };
        self.request = Some(request);
        let context = &material.context;
        let answer = SealContext { kind: SecretKind::Answer, ..context.clone() };
        let next = NextSealers::of(&self.core, context, self.view.head.number + 1);
        let (Ok(answer), Ok(next)) = (Sealer::to(&self.core, answer), next) else {
            return failed("no-randomness");
        };
        self.sealers = (Some(answer), Some(next));
        // At once: of either nothing is left that harms anybody where the other fails.
        let reserved = self.core.on_disk(move |core| core.spool.reserve(asked));
        let (reserved, dialled) = tokio::join!(reserved, self.core.parts.wire.dial(&material.to, send_by));
        let Ok(slot) = reserved else { return failed("spool-unavailable") };
        self.slot = Some(Arc::new(slot));
        match dialled {
            Ok(connection) => {
                self.connection = Some(connection);
                Event::Prepared
            }
            Err(error) => {
                tracing::info!(%error, chain = %self.view.chain.id, "the provider could not be reached");
                self.host_in_trouble = true;
                failed("provider-unreachable")
            }
        }
    }

    async fn intend(&self) -> Option<Event> {
        let claim = self.claim?;
        // The store has its own clock say when as well, where it has one.
        let now = self.core.now().wall;
        let attempt = Attempt {
            tenant: claim.tenant,
            id: self.attempt?,
            chain: claim.chain,
            family: self.view.family.id,
            generation: self.view.head.number,
            fence: claim.fence,
            owner: claim.owner,
            era: self.era,
            state: AttemptState::Intended,
            intended_at: now,
            intended_by: now,
            answer: None,
        };
        let store = self.core.store();
        let made = match self.again_of {
            None => store.intend(claim, attempt).await.ok()?,
            Some(of) => store.intend_again(claim, attempt, of).await.ok()?,
        };
        Some(if made { Event::Intended } else { Event::NotIntended })
    }

    async fn anchor(&self) -> Option<Event> {
        let presentation = Presentation {
            tenant: self.view.chain.tenant,
            chain: self.view.chain.id,
            family: self.view.family.id,
            generation: self.view.head.number,
            attempt: self.attempt?,
            boot: Some(self.core.now().boot),
        };
        let (is_retry, era) = (self.again_of.is_some(), self.era);
        let anchored = self.core.on_disk(move |core| match is_retry {
            false => core.anchor.present(presentation, era),
            true => core.anchor.present_again(presentation, era),
        });
        Some(match anchored.await {
            Ok(()) => Event::Anchored,
            Err(KeeperError::PresentedBefore) => Event::PresentedBefore,
            Err(_) => Event::NotAnchored,
        })
    }

    /// The boot clock is checked and the first byte written by `egress`, with no await in between. The exchange is a
    /// task of its own: where no answer came by `settle_by` the chain is left, and it listens on.
    async fn send(&mut self, window: SendWindow, settle_by: Boot) -> Event {
        let (Some(connection), Some(request)) = (self.connection.take(), self.request.take()) else {
            return Event::NothingWritten;
        };
        let (Some(slot), Some(late)) = (self.slot.clone(), self.late()) else { return Event::NothingWritten };
        let mut listening = late.listen(slot, connection.send(request, ANSWER_MAX_BYTES, window));
        let patience = settle_by.since(self.core.now().boot);
        let Some(told) = listening.within(patience).await else {
            self.listens_on = listening.leave();
            return self.lose();
        };
        if let Some(by) = late_by(&told) {
            self.tell_late(by);
        }
        match told {
            Ok(answer) => {
                let at = self.core.now().wall;
                self.keep(token::raw(answer.status.as_u16(), &answer.headers, answer.body, at))
            }
            Err(SendError::NothingWritten(error)) => {
                tracing::info!(%error, chain = %self.view.chain.id, "nothing was presented");
                self.host_in_trouble = true;
                Event::NothingWritten
            }
            Err(error @ SendError::AfterFirstByte { .. }) => {
                tracing::warn!(%error, chain = %self.view.chain.id, "the answer of a refresh is lost");
                self.lose()
            }
        }
    }

    /// A byte may have left when another keeper could hold the chain already. It is told beside the exchange: its
    /// answer is not kept waiting.
    fn tell_late(&self, by: Duration) {
        let chain = self.view.chain.id;
        tracing::warn!(late_millis = by.as_millis(), %chain, "a refresh token left after its send deadline");
        self.core.late_sends.fetch_add(1, Ordering::Relaxed);
        let facts = EventFacts {
            tenant: Some(self.view.chain.tenant),
            connection: self.view.connections.first().copied(),
            attempt: self.attempt,
            ..EventFacts::new(EventName::LateSend)
        };
        let core = Arc::clone(&self.core);
        self.core.parts.work.spawn(Box::pin(async move { core.note(facts).await }));
    }

    fn lose(&self) -> Event {
        let to = self.material.as_ref().map(|material| material.to.authority()).unwrap_or_default();
        self.core.pace.lose_host(&to, self.core.now());
        Event::NoAnswer
    }

    fn late(&self) -> Option<Late> {
        Some(Late {
            core: Arc::clone(&self.core),
            tenant: self.view.chain.tenant,
            chain: self.view.chain.id,
            attempt: self.attempt?,
            context: self.answer_context()?,
        })
    }

    fn answer_context(&self) -> Option<SealContext> {
        let material = self.material.as_ref()?;
        Some(SealContext { kind: SecretKind::Answer, ..material.context.clone() })
    }

    /// Seals the answer at once; what cannot be sealed is not written anywhere.
    fn keep(&mut self, raw: Secret) -> Event {
        let sealed = self.sealers.0.take().and_then(|sealer| sealer.seal(&raw).ok());
        if sealed.is_none() {
            return Event::NoAnswer;
        }
        self.answer = sealed;
        self.raw = Some(raw);
        Event::Answered
    }

    async fn spool(&self) -> Option<Event> {
        let (slot, (answer, context), asked) = (self.slot.clone()?, self.answer.clone()?, self.asked()?);
        let kept = SpooledAnswer { tenant: self.view.chain.tenant, asked, answer, context };
        self.core.on_disk(move |_| slot.write(&kept)).await.ok()?;
        Some(Event::Spooled)
    }

    async fn insert(&self) -> Option<Event> {
        let (attempt, answer) = (self.attempt?, self.answer.clone()?);
        self.core.store().answer(self.view.chain.tenant, attempt, answer).await.ok()?;
        Some(Event::Inserted)
    }

    fn read(&mut self) -> Option<Event> {
        let (profile, to) = {
            let material = self.material.as_ref()?;
            (material.profile.clone(), material.to.authority())
        };
        let is_new = self.raw.is_some();
        let raw = match self.raw.take().map_or_else(|| self.open_answer(), Ok) {
            Ok(raw) => raw,
            Err(KeeperError::Custody(CustodyError::Refused)) => {
                return Some(Event::Read(Reading::Unclear { code: "answer-unreadable".to_owned() }));
            }
            Err(_) => return None,
        };
        let reading = match token::parse(&raw, &profile) {
            Parsed::Tokens(tokens) => {
                self.head = Some(self.brought(&tokens, None)?);
                Reading::Tokens
            }
            Parsed::Failed(reading) => reading,
        };
        self.host_in_trouble = matches!(reading, Reading::NotProcessed { .. });
        if is_new && is_of_nobody(&reading) {
            self.core.pace.lose_host(&to, self.core.now());
        }
        if !matches!(reading, Reading::NotProcessed { .. } | Reading::Unclear { .. }) {
            self.core.pace.free_host(&to);
        }
        if matches!(reading, Reading::Tokens) {
            self.core.pace.free_client(self.view.client.id);
        }
        Some(Event::Read(reading))
    }

    /// The answer that was found, if it is the answer to this very presentation.
    fn open_answer(&self) -> Result<Secret, KeeperError> {
        let own = |answer: &&(Wrapped, SealContext)| {
            super::material::belongs(&answer.1, &self.view, SecretKind::Answer)
        };
        let answer = self.answer.as_ref().filter(own);
        self.core.open(answer.ok_or(KeeperError::Custody(CustodyError::Refused))?)
    }

    /// An unused answer to an earlier presentation becomes the head, and is presented as one when its time comes.
    async fn adopt(&mut self) -> Option<Event> {
        let (tenant, family) = (self.view.chain.tenant, self.view.family.id);
        let since = siblings::since(self.view.head.number);
        let attempts = self.core.store().attempts(tenant, family, since).await.ok()?;
        let material = self.material.as_ref()?;
        let Some((id, tokens)) = siblings::first(&self.core, &self.view, material, &attempts) else {
            return Some(Event::NothingToAdopt);
        };
        let brought = self.brought(&tokens, Some(id))?;
        self.head = Some(NewHead { due_at: Some(self.core.now().wall), ..brought });
        Some(Event::Adopted)
    }

    fn brought(&mut self, tokens: &token::Tokens, adopts: Option<AttemptId>) -> Option<NewHead> {
        let (material, attempt) = (self.material.as_ref()?, self.attempt?);
        let before = Before {
            context: &material.context,
            refresh: Some(&material.token),
            refresh_until: self.view.head.refresh_until,
            attempt: Some(attempt),
            sealers: self.sealers.1.take(),
        };
        let number = self.view.head.number + 1;
        let (generation, due_at) =
            brought::generation(&self.core, &material.profile, before, tokens, number).ok()?;
        Some(NewHead { attempt, adopts, generation, due_at, refreshed_at: tokens.head.at })
    }

    async fn commit(&self) -> Option<Event> {
        let (claim, head) = (self.claim?, self.head.clone()?);
        Some(match self.core.store().commit(claim, head).await.ok()? {
            Committed::Moved => Event::Moved,
            Committed::Lost => Event::Lost,
            Committed::Removed => Event::Removed,
        })
    }

    async fn resolve(&self) -> Option<Event> {
        let adopted = self.head.as_ref().and_then(|head| head.adopts);
        let attempt = adopted.or(self.attempt)?;
        let attempt = self.core.store().attempt(self.view.chain.tenant, attempt).await.ok()?;
        if attempt.is_none() {
            self.doubt().await?;
        }
        let committed = attempt.is_some_and(|attempt| attempt.state == AttemptState::Committed);
        Some(Event::Resolved { committed })
    }

    /// The database does not know an attempt whose intent it had confirmed: it lost what was written to it. Its era is
    /// raised before anything is said of the chain, and the log leaves that to a human.
    async fn doubt(&self) -> Option<()> {
        tracing::error!(chain = %self.view.chain.id, "the database lost an intent that it had confirmed");
        self.core.history.doubt();
        history::settle(&self.core).await.ok().map(drop)
    }

    /// Whether the database still knows what is to be called lost.
    async fn is_known(&self, verdict: &Verdict) -> Option<bool> {
        let Some(attempt) = self.attempt.filter(|_| verdict.attempt == Some(AttemptState::Uncertain)) else {
            return Some(true);
        };
        Some(self.core.store().attempt(self.view.chain.tenant, attempt).await.ok()?.is_some())
    }

    async fn anchor_head(&self) -> Option<Event> {
        let chain = self.view.chain.id;
        let head = Head { family: self.view.family.id, generation: self.view.head.number + 1 };
        self.core.on_disk(move |core| core.anchor.set_head(chain, head)).await.ok()?;
        Some(Event::HeadAnchored)
    }

    async fn void(&self) -> Option<Event> {
        let attempt = self.attempt?;
        self.core.on_disk(move |core| core.anchor.void(attempt)).await.ok()?;
        Some(Event::Voided)
    }

    /// Whoever took the claim over holds this attempt for lost: it is told otherwise.
    async fn withdraw(&self) -> Option<Event> {
        if let Some(attempt) = self.attempt {
            self.core.store().withdraw(self.view.chain.tenant, attempt).await.ok()?;
        }
        Some(Event::Withdrawn)
    }

    async fn settle(&self, verdict: Verdict) -> Option<Event> {
        let claim = self.claim?;
        if !self.is_known(&verdict).await? {
            self.doubt().await?;
            return Some(Event::Settled(false));
        }
        let now = self.core.now();
        let ticket = if verdict.ask { Some(self.ticket(&verdict, now.wall)?) } else { None };
        let settlement = Settlement {
            attempt: verdict.attempt.and_then(|state| Some((self.attempt?, state))),
            unanswered: verdict.attempt == Some(AttemptState::Uncertain) && self.answer.is_none(),
            state: verdict.state,
            due_at: verdict.due_at,
            failures: verdict.failures,
            failed_at: verdict.failed.then_some(now.wall),
            reason: verdict.reason.clone().map(Cow::into_owned),
            ticket: ticket.clone(),
        };
        let left = self.core.store().settle(claim, settlement).await.ok()?;
        if left {
            self.remember(&verdict, ticket.map(|ticket| ticket.id)).await;
        }
        Some(Event::Settled(left))
    }

    fn ticket(&self, verdict: &Verdict, at: Timestamp) -> Option<Ticket> {
        Some(Ticket {
            tenant: self.view.chain.tenant,
            id: TicketId::new(at, self.core.ten().ok()?),
            kind: TicketKind::Reauthorize,
            connection: *self.view.connections.first()?,
            reason: verdict.reason.clone().unwrap_or_default().into_owned(),
            raised_at: at,
            settled_at: None,
            era: None,
        })
    }

    /// What a settlement means for others: the host, the registration, the people.
    async fn remember(&self, verdict: &Verdict, ticket: Option<TicketId>) {
        let now = self.core.now();
        if verdict.client_refused {
            self.core.pace.stop_client(self.view.client.id, now, ticket);
        } else if verdict.attempt == Some(AttemptState::Refused) {
            self.core.pace.refuse_chain(self.view.client.id, self.view.chain.id, now, ticket);
        } else if let (true, Some(material)) = (self.host_in_trouble, &self.material) {
            let wait = verdict.due_at.map_or(HOST_WAIT_MIN, |due| due.since(now.wall)).max(HOST_WAIT_MIN);
            self.core.pace.hold_host(&material.to.authority(), now, wait);
        }
        let event = match verdict.state {
            ChainState::Latched => EventName::RefreshLatched,
            ChainState::Uncertain if verdict.attempt == Some(AttemptState::Uncertain) => {
                EventName::RefreshUncertain
            }
            ChainState::Quarantined => EventName::ChainQuarantined,
            ChainState::Uncertain | ChainState::Healthy | ChainState::Refreshing | ChainState::BackingOff => {
                return;
            }
        };
        self.core
            .note(EventFacts {
                tenant: Some(self.view.chain.tenant),
                connection: self.view.connections.first().copied(),
                attempt: self.attempt.filter(|_| verdict.attempt.is_some()),
                ticket,
                reason: verdict.reason.clone().map(word),
                ..EventFacts::new(event)
            })
            .await;
    }

    /// The slot: kept as the family's newest answer where tokens came, and left alone while its answer is nowhere
    /// else or still awaited.
    fn left(&self, outcome: Outcome) -> Left {
        let is_needed = self.answer.is_some() && outcome == Outcome::Unavailable;
        let asked = self.asked().filter(|_| !is_needed && !self.listens_on);
        let keep = self.head.as_ref().is_some_and(|head| head.adopts.is_none());
        let (family, connections) = (self.view.family.id, self.view.connections.clone());
        let kept = keep.then_some(Kept { family, connections });
        Left(asked.map(|asked| (asked, kept)))
    }

    fn asked(&self) -> Option<Asked> {
        self.attempt.map(Asked::Attempt)
    }
}

/// How long after its deadline a request may have left, where it may have.
const fn late_by(sent: &Result<RawAnswer, SendError>) -> Option<Duration> {
    match sent {
        Ok(RawAnswer { late_by, .. }) | Err(SendError::AfterFirstByte { late_by, .. }) => *late_by,
        Err(SendError::NothingWritten(_)) => None,
    }
}

/// Whether an answer is none of a token endpoint that works: neither tokens nor an error of its own.
fn is_of_nobody(reading: &Reading) -> bool {
    let ours = |code: &str| code.starts_with("http-") || code == "access-token-missing";
    matches!(reading, Reading::Unclear { code } if ours(code))
}

/// A reason for the ledger: our own words as they are, a provider's only where it is registered.
fn word(reason: Cow<'static, str>) -> &'static str {
    match reason {
        Cow::Borrowed(own) => own,
        Cow::Owned(code) => oauth_error(&code),
    }
}

//! The corridor: every call walks through the same rooms in the same order, whichever door it came in by.
//!
//! ```text
//! admit ─► resolve ─► (read) ─► decide ─► brake ─► hold ─► record ─► attach ─► forward ─► scrub ─► record
//! ```
//!
//! Only where the request line does not say what is asked for, the body does, and is read ([`read`]).
//!
//! Two short ways end before `resolve`: what is sent to a provider's token endpoint is answered here
//! ([`token`]), and a host that no tool has is none of these rooms' business ([`reach`]).
//!
//! Whoever ends something must be able to rely on it: a call that waited is resolved and decided anew, by
//! the directory as it is then, before its intent and again before a lease is opened ([`confirm`]).
//! A call that outlives its caller ([`durable`]) is marked between hold and record, and begins no wake.
//!
//! There is one function that calls them, and no second path. What must not be skipped is a value that only
//! the step before makes: `attach` takes the decision (`Permit`), the ledger's entry (`Recorded`) and the
//! wake (`Awake` inside [`hold::Holding`]), and nothing else in this crate opens a lease.

mod admit;
mod attach;
mod body;
mod brake;
mod coding;
mod confirm;
mod decide;
mod durable;
mod forward;
mod hold;
mod reach;
mod read;
mod record;
mod resolve;
mod scrub;
mod token;
mod wash;
mod websocket;

use crate::{
    answer::{self, OutBody},
    brakes::{Brakes, Said},
    directory::Directory,
    doors::Addressed,
    limits::Limits,
    peer::Peer,
    running::{self, Running},
    sight::{Phase, Seen, Sight},
    turns::Turns,
    wakes::{Awake, Wakes},
};
pub(crate) use admit::Admitted;
use body::{Bounds, Downward};
pub(crate) use body::{Counted, InBody, Lifeline, Pulse, Watched, upward};
use brake::Braked;
use confirm::Confirmed;
pub(crate) use durable::{Durable, Given, Mark, Right};
use forward::{Forwarded, Sending};
use hold::Holding;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use nightlatch_domain::{
    clock::{Clock, Entropy, Timestamp},
    exchange::{Exchange, Upgrade},
    id::{CallId, GrantId, TaskId, TenantId},
    ports::{gateway_keeper::GatewayRequest, sight::Door},
    problem::{Problem, ProblemKind},
    tool::Effect,
};
use nightlatch_egress::{AnswerBody, Destination, Pool, PoolKey};
use nightlatch_ledger::{Ledger, Recorded, facts::EventFacts};
use nightlatch_policy::Decider;
use nightlatch_scrub::{Masks, coding::Coding, reveal::Detector};
pub(crate) use reach::{Look, Opening, Reach, Way};
use record::{Alarm, Closing, Noticed, Trail};
use resolve::{Resolved, Unresolved};
pub(crate) use resolve::{part_of, place_reference};
use std::sync::Arc;
use tokio::sync::Semaphore;
use wash::{Coded, Wash};
use websocket::Offer;
pub(crate) use websocket::Switching;
#[cfg(feature = "fuzzing")]
pub(crate) use websocket::{Side, said};

/// What the phases need.
pub(crate) struct Corridor {
    pub(crate) directory: Arc<Directory>,
    pub(crate) decider: Arc<Decider>,
    pub(crate) ledger: Ledger,
    pub(crate) wakes: Arc<Wakes>,
    pub(crate) running: Arc<Running>,
    pub(crate) brakes: Arc<Brakes>,
    pub(crate) sight: Arc<Sight>,
    pub(crate) pool: Pool,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) limits: Limits,
    /// Notes that run beside the calls they are about.
    pub(crate) asides: Arc<Semaphore>,
    /// Places for decoders whose window is large.
    pub(crate) large_windows: Arc<Semaphore>,
    /// Bodies that are held because a decision needs them.
    pub(crate) readings: Arc<Semaphore>,
    /// How often each task is let go where no tool is.
    pub(crate) openings: Turns<(TenantId, TaskId)>,
}

/// A call as a door hands it over.
pub(crate) struct Entry {
    pub(crate) call: CallId,
    pub(crate) at: Timestamp,
    pub(crate) door: Door,
    /// Where it wants to go, or why the door could not tell.
    pub(crate) addressed: Result<Addressed, Problem>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: InBody,
    /// The handshake of a WebSocket, where it asks for one.
    pub(crate) switching: Option<Switching>,
}

/// A refusal on its way to the agent, and whether the ledger has it already.
struct Refused {
    problem: Problem,
    shown: Shown,
    is_recorded: bool,
    /// Goes to the ledger after the refusal.
    alarm: Option<Alarm>,
}

/// How the agent is told.
enum Shown {
    /// As a problem.
    Problem,
    /// As a problem with the challenge of the manifest, or the plain one.
    Challenge(Option<String>),
    /// As a provider's token endpoint says it.
    InvalidGrant,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { problem, shown: Shown::Problem, is_recorded: false, alarm: None }
    }
}

fn boxed(problem: Problem) -> Box<Refused> {
    Box::new(problem.into())
}

/// Walks one call through.
pub(crate) async fn walk(corridor: &Corridor, peer: &Peer, entry: Entry) -> Response<OutBody> {
    walk_on(corridor, peer, entry, None).await
}

/// Walks one call through that outlives its caller.
pub(crate) async fn walk_durably(
    corridor: &Corridor,
    peer: &Peer,
    entry: Entry,
    durable: Durable<'_>,
) -> Response<OutBody> {
    walk_on(corridor, peer, entry, Some(durable)).await
}

async fn walk_on(
    corridor: &Corridor,
    peer: &Peer,
    entry: Entry,
    durable: Option<Durable<'_>>,
) -> Response<OutBody> {
    let call = entry.call;
    let seen = corridor.sight.begins((call, entry.at), entry.door, &entry.headers);
    let mut trail = Trail { seen: Some(seen), ..Trail::default() };
    match passage(corridor, peer, entry, durable, &mut trail).await {
        Ok(answer) => {
            // What did not leave was answered here.
            if let Some(seen) = trail.seen.take() {
                seen.ended(Some(answer.status().as_u16()), None, (0, 0));
            }
            answer
        }
        Err(refused) => answer_refused(corridor, peer, call, trail, refused).await,
    }
}

/// What a call would be that is accepted now and carried out later: resolved and decided, and nothing else. It is
/// resolved and decided anew when it is carried out.
///
/// # Errors
/// The refusal, recorded.
pub(crate) async fn weigh(
    corridor: &Corridor,
    peer: &Peer,
    (call, at): (CallId, Timestamp),
    addressed: Addressed,
    headers: &HeaderMap,
) -> Result<Exchange, Response<OutBody>> {
    let mut trail = Trail::default();
    match corridor.weighed(peer, (call, at), addressed, headers, &mut trail) {
        Ok(exchange) => Ok(exchange),
        Err(refused) => Err(answer_refused(corridor, peer, call, trail, *refused).await),
    }
}

async fn answer_refused(
    corridor: &Corridor,
    peer: &Peer,
    call: CallId,
    mut trail: Trail,
    refused: Refused,
) -> Response<OutBody> {
    if !refused.is_recorded {
        trail.enters(Phase::Record);
    }
    let seen = trail.seen.take();
    let mut problem = match refused.is_recorded {
        true => refused.problem,
        false => record::refusal(&corridor.ledger, peer, call, trail, refused.problem).await,
    };
    match seen {
        Some(seen) => seen.refused(&problem),
        // What left has its end noted with its outcome.
        None if refused.is_recorded => {}
        // What was only weighed.
        None => corridor.sight.refused_at_door(Some(Door::Call), &problem),
    }
    // Only now: what is written for a foreign reference and not for an unknown one delays neither answer.
    drop(refused.alarm);
    problem.call = Some(call);
    let mut answer = match (&refused.shown, problem.kind) {
        (Shown::InvalidGrant, ProblemKind::ReferenceUnknown) => token::invalid_grant(),
        _ => answer::problem(&problem),
    };
    if let (Shown::Challenge(challenge), ProblemKind::ReferenceMissing) = (&refused.shown, problem.kind) {
        answer::challenge(&mut answer, challenge.as_deref());
    }
    answer::name_call(answer.headers_mut(), call);
    answer
}

/// Records and answers a refusal that needed no corridor, under whoever is admitted. `door` is the one that it came
/// to, where that is known; `to` is where it was to go, where that was the caller's word.
pub(crate) async fn refuse(
    corridor: &Corridor,
    peer: &Peer,
    (call, door): (CallId, Option<Door>),
    problem: Problem,
    to: Option<&Destination>,
) -> Response<OutBody> {
    answer::problem(&note_refusal(corridor, peer, (call, door), problem, to).await)
}

/// Records such a refusal, and gives what is to be told.
pub(crate) async fn note_refusal(
    corridor: &Corridor,
    peer: &Peer,
    (call, door): (CallId, Option<Door>),
    problem: Problem,
    to: Option<&Destination>,
) -> Problem {
    let caller = admit::admit(peer, &corridor.directory.tables()).ok().map(|admitted| admitted.caller);
    let trail = Trail { caller, to: to.cloned(), ..Trail::default() };
    let mut problem = record::refusal(&corridor.ledger, peer, call, trail, problem).await;
    corridor.sight.refused_at_door(door, &problem);
    problem.call = Some(call);
    problem
}

/// Records that a peer had a tunnel and asked nothing in it. That is queued before this returns.
pub(crate) fn note_unasked(corridor: &Corridor, peer: &Peer, call: CallId, to: Option<&Destination>) {
    // Who is nobody by now has been refused as such.
    if let Ok(admitted) = admit::admit(peer, &corridor.directory.tables()) {
        let trail = Trail { caller: Some(admitted.caller), to: to.cloned(), ..Trail::default() };
        record::unasked(&corridor.ledger, call, &trail);
    }
}

async fn passage(
    corridor: &Corridor,
    peer: &Peer,
    entry: Entry,
    durable: Option<Durable<'_>>,
    trail: &mut Trail,
) -> Result<Response<OutBody>, Refused> {
    let began = corridor.clock.boot();
    let tables = corridor.directory.view()?;
    let admitted = admit::admit(peer, &tables)?;
    trail.caller = Some(admitted.caller.clone());
    let share = corridor.share(&admitted)?;
    trail.enters(Phase::Resolve);
    let Entry { call, at, addressed, mut headers, body, switching, .. } = entry;
    let mut addressed = addressed?;
    addressed.target.upgrade = switching.as_ref().map(|_| Upgrade::WebSocket);
    trail.tool = Some(addressed.tool.clone());
    let tools = token::tools(&tables, &admitted.caller, &addressed);
    if !tools.is_empty() {
        return corridor.answer_token(&admitted, &tools, (call, at), (&headers, body)).await;
    }
    let resolved = resolve::resolve(&admitted, &tables, addressed, &headers, call, at);
    let resolved = match resolved {
        Ok(resolved) => resolved,
        Err(unresolved) => return Err(corridor.unresolved(&admitted, call, unresolved)),
    };
    trail.exchange = Some(Arc::clone(&resolved.exchange));
    let (resolved, body) = corridor.read(resolved, &headers, body).await?;
    trail.is(&resolved.exchange);
    trail.enters(Phase::Decide);
    let assurance = corridor.wakes.assurance(&admitted.caller);
    let mut confirmed = corridor.decide(&admitted, resolved, assurance, (tables.number(), at), trail)?;
    trail.enters(Phase::Brake);
    let (braked, body) = corridor.brake(&admitted, &confirmed.resolved, &headers, body).await?;
    trail.enters(Phase::Hold);
    let holding = corridor.hold(&confirmed, durable.as_ref()).await?;
    let assurance = holding.awake.assurance();
    corridor.confirm(peer, &headers, &mut confirmed, assurance, trail)?;
    if let Some(durable) = &durable {
        durable.mark.mark(&confirmed.resolved.exchange).await?;
    }
    trail.enters(Phase::Record);
    let recorded = record::intent(&corridor.ledger, &confirmed.resolved, &holding.awake).await?;
    let still = corridor.confirm(peer, &headers, &mut confirmed, assurance, trail);
    headers.remove(&confirmed.resolved.field);
    trail.enters(Phase::Attach);
    let request_sha256 = durable.map(|durable| durable.request_sha256.to_owned());
    let headers = (headers, request_sha256);
    let (shares, seen) = ((share, braked), trail.seen.take());
    let leaving =
        Leaving { confirmed, still, holding, recorded, headers, body, switching, shares, seen, began };
    corridor.leave(leaving).await
}

/// A call that is decided, held and recorded.
struct Leaving {
    confirmed: Confirmed,
    /// Whether it still was when the intent had been written.
    still: Result<(), Problem>,
    holding: Holding,
    recorded: Recorded,
    /// And SHA-256 of what it was made from, where it outlives its caller.
    headers: (HeaderMap, Option<String>),
    body: InBody,
    switching: Option<Switching>,
    shares: (running::Admitted, Braked),
    seen: Option<Seen>,
    began: nightlatch_domain::clock::Boot,
}

impl Corridor {
    /// The call's place among those of its agent.
    pub(crate) fn share(&self, admitted: &Admitted) -> Result<running::Admitted, Problem> {
        let caller = &admitted.caller;
        let share = self.running.admit(caller.tenant, caller.agent, self.limits.calls_each_max);
        share.ok_or_else(|| Problem::new(ProblemKind::TooManyCalls).at_field("agent.at_once").retry_after(1))
    }

    fn weighed(
        &self,
        peer: &Peer,
        (call, at): (CallId, Timestamp),
        addressed: Addressed,
        headers: &HeaderMap,
        trail: &mut Trail,
    ) -> Result<Exchange, Box<Refused>> {
        let tables = self.directory.view().map_err(boxed)?;
        let admitted = admit::admit(peer, &tables).map_err(boxed)?;
        trail.caller = Some(admitted.caller.clone());
        trail.tool = Some(addressed.tool.clone());
        if !token::tools(&tables, &admitted.caller, &addressed).is_empty() {
            return Err(boxed(Problem::new(ProblemKind::NotSupported).at_field("path")));
        }
        let resolved = resolve::resolve(&admitted, &tables, addressed, headers, call, at);
        let resolved =
            resolved.map_err(|unresolved| Box::new(self.unresolved(&admitted, call, unresolved)))?;
        trail.exchange = Some(Arc::clone(&resolved.exchange));
        let assurance = self.wakes.assurance(&admitted.caller);
        let confirmed = self.decide(&admitted, resolved, assurance, (tables.number(), at), trail);
        Ok(Arc::unwrap_or_clone(confirmed.map_err(boxed)?.resolved.exchange))
    }

    async fn hold(&self, confirmed: &Confirmed, durable: Option<&Durable<'_>>) -> Result<Holding, Problem> {
        let exchange = &confirmed.resolved.exchange;
        let right = durable.map(|durable| durable.right);
        let held = hold::hold(&self.wakes, &self.running, exchange, confirmed.number, right).await;
        let held = held.map_err(|problem| problem.of_tool(&exchange.tool));
        if held.as_ref().is_err_and(|problem| problem.kind == ProblemKind::LeaseRefused) {
            self.aside(record::lease_refused(exchange)).await;
        }
        held
    }

    fn unresolved(&self, admitted: &Admitted, call: CallId, unresolved: Unresolved) -> Refused {
        match unresolved {
            Unresolved::Refused(problem) => (*problem).into(),
            Unresolved::Challenged(problem, challenge) => {
                Refused { shown: Shown::Challenge(challenge), ..(*problem).into() }
            }
            Unresolved::Foreign(problem, grant) => {
                let alarm = Alarm::new(&self.ledger, record::misuse(&admitted.caller, call, &grant));
                Refused { alarm: Some(alarm), ..(*problem).into() }
            }
        }
    }

    /// Notes an alarm beside the call, so that its time tells nothing; with many of them under way, in line.
    async fn aside(&self, facts: EventFacts) {
        let noted = self.ledger.event(facts);
        match Arc::clone(&self.asides).try_acquire_owned() {
            Ok(place) => drop(tokio::spawn(async move {
                let _place = place;
                if let Err(error) = noted.await {
                    tracing::error!(%error, "an alarm could not be recorded");
                }
            })),
            // A ledger that fails here fails the refusal that follows.
            Err(_) => drop(noted.await),
        }
    }

    /// From here on the ledger has its intent, and whatever happens is its outcome.
    async fn leave(&self, leaving: Leaving) -> Result<Response<OutBody>, Refused> {
        let Leaving { confirmed, still, holding, recorded, headers, body, switching, shares, seen, began } =
            leaving;
        let Confirmed { resolved, permit, .. } = confirmed;
        let exchange = &resolved.exchange;
        let prepared = match &still {
            Ok(()) => {
                let made_from = (&headers.0, headers.1.as_deref());
                attach::attach(&holding, permit, &recorded, exchange, made_from)
            }
            Err(problem) => Err(problem.clone()),
        };
        let mut closing = self.closing(exchange, recorded, began);
        (closing.shares, closing.seen) = (Some(shares), seen);
        let Holding { awake, kept, entered } = holding;
        closing.entered = Some(entered);
        let mut prepared = match prepared {
            Ok(prepared) => prepared,
            Err(problem) => {
                if still.is_ok() && problem.kind != ProblemKind::CredentialPending {
                    self.aside(record::lease_refused(exchange)).await;
                }
                return Err(told(closing, problem));
            }
        };
        closing.enters(Phase::Forward);
        let scrub = prepared.scrub.clone();
        let asked = coding::asked(&headers.0, self.large_windows.available_permits() > 0);
        prepared.head.headers.insert(header::ACCEPT_ENCODING, asked);
        let key = PoolKey { tenant: exchange.caller.tenant, grant: exchange.grant, wake: awake.wake() };
        let sending = match &switching {
            None => Ok(Sending::Body(upward(body, closing.sent.clone(), self.limits.body_idle))),
            Some(asked) => Offer::new(self.entropy.as_ref(), asked.protocols.clone()).map(Sending::Offer),
        };
        let forwarded = match sending {
            Ok(sending) => forward::forward(&self.pool, key, prepared, sending, exchange, &self.limits).await,
            Err(problem) => Err(problem),
        };
        let answer = match (forwarded, switching) {
            (Ok(Forwarded::Answer(answer)), _) => answer,
            (Ok(Forwarded::Switched(answer, protocol)), Some(switching)) => {
                closing.enters(Phase::Scrub);
                let said = Said::read(answer.status(), answer.headers(), self.clock.now());
                self.brakes.heard(exchange, said, self.clock.boot());
                let bounds = self.bounds(awake, exchange.grant);
                return Ok(self.switch(switching, (answer, protocol), &resolved, (scrub, bounds), closing));
            }
            // Nobody asked to switch.
            (Ok(Forwarded::Switched(..)), None) => {
                return Err(told(closing, Problem::new(ProblemKind::OutcomeUnknown).at_field("upgrade")));
            }
            (Err(problem), _) => return Err(told(closing, problem)),
        };
        closing.enters(Phase::Scrub);
        let said = Said::read(answer.status(), answer.headers(), self.clock.now());
        self.brakes.heard(exchange, said, self.clock.boot());
        if answer.status() == StatusCode::UNAUTHORIZED {
            closing.noticed.rejected = 1;
            self.wakes.drop_lease(&awake, exchange.grant, &kept);
            let binding = &kept.lease.binding;
            self.rejected(GatewayRequest::Unauthorized {
                tenant: binding.tenant,
                wake: binding.wake,
                connection: binding.connection,
                generation: binding.generation,
            });
        }
        let coded = match self.coded(&answer, exchange) {
            Ok(coded) => coded,
            Err(problem) => return Err(told(closing, problem)),
        };
        let bounds = self.bounds(awake, exchange.grant);
        self.show((answer, coded), &resolved, scrub, bounds, closing).map_err(|refused| *refused)
    }

    /// What takes the coding off an answer's body; none where it has none, or no body.
    fn coded(&self, answer: &Response<AnswerBody>, exchange: &Exchange) -> Result<Option<Coded>, Problem> {
        let coding = coding::of(answer.status(), answer.headers()).ok().flatten();
        let Some(coding) = coding.filter(|_| !answer.body().is_end_stream()) else { return Ok(None) };
        let window = match coding {
            Coding::Brotli => {
                let place = Arc::clone(&self.large_windows).try_acquire_owned();
                Some(place.map_err(|_| forward::unreadable(exchange, "content-encoding"))?)
            }
            Coding::Gzip | Coding::Deflate => None,
        };
        Ok(Some(Coded::new(coding, window)))
    }

    /// Tells the keeper that a credential was refused. It decides what that means; nobody waits for it.
    fn rejected(&self, notice: GatewayRequest) {
        let Ok(place) = Arc::clone(&self.asides).try_acquire_owned() else { return };
        let wakes = Arc::clone(&self.wakes);
        tokio::spawn(async move {
            let _place = place;
            // Where it cannot be told, the next 401 tells it.
            let _ = wakes.ask(notice).await;
        });
    }

    fn closing(
        &self,
        exchange: &Exchange,
        recorded: Recorded,
        began: nightlatch_domain::clock::Boot,
    ) -> Closing {
        Closing {
            ledger: self.ledger.clone(),
            clock: Arc::clone(&self.clock),
            began,
            of: (exchange.caller.tenant, exchange.call, exchange.connection),
            sent: Counted::new(self.ledger.body_digest()),
            received: Counted::new(self.ledger.body_digest()),
            status: None,
            problem: None,
            noticed: Noticed::default(),
            recorded: Some(recorded),
            entered: None,
            shares: None,
            seen: None,
        }
    }

    fn bounds(&self, awake: Arc<Awake>, grant: GrantId) -> Bounds {
        Bounds { awake, grant, idle: self.limits.body_idle, cut_after: self.limits.cut_after }
    }

    /// The tool's answer as the agent may see it. One that must reveal no new secret, and does in its head, is
    /// not shown.
    fn show(
        &self,
        (answer, coded): (Response<AnswerBody>, Option<Coded>),
        resolved: &Resolved,
        masks: Masks,
        bounds: Bounds,
        mut closing: Closing,
    ) -> Result<Response<OutBody>, Box<Refused>> {
        let (head, body) = answer.into_parts();
        let method = resolved.exchange.target.method.as_str();
        let is_coded = head.headers.contains_key(header::CONTENT_ENCODING);
        let about = (&masks, is_coded);
        let shown = forward::shown(head.status, &head.headers, method, &resolved.manifest, about);
        closing.note(head.status, &shown);
        let wash = match resolved.exchange.matched.effect {
            Effect::Credential => {
                if shown.revealed > 0 {
                    let problem = forward::unreadable(&resolved.exchange, "head");
                    return Err(Box::new(told(closing, problem)));
                }
                Wash::withholding(coded, masks)
            }
            _ => {
                let detector = wash::is_text(&head.headers);
                Wash::new(coded, masks, detector.then(|| Detector::new(self.limits.detected_bytes)))
            }
        };
        let body = Downward::new(body, wash, bounds, closing);
        let lifeline = body.lifeline();
        let mut answer = Response::new(body.boxed_unsync());
        *answer.status_mut() = head.status;
        *answer.headers_mut() = shown.head;
        answer.extensions_mut().insert(lifeline);
        answer::name_call(answer.headers_mut(), resolved.exchange.call);
        Ok(answer)
    }
}

/// A failure after the intent: its outcome is recorded, and there is no second entry.
fn told(mut closing: Closing, problem: Problem) -> Refused {
    closing.problem = Some(problem.kind);
    closing.close(0, 0);
    Refused { is_recorded: true, ..problem.into() }
}

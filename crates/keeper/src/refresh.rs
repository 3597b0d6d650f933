//! The shell around the machine: looks at a chain, decides where a refresh begins, and carries it out.
//!
//! Whoever wants a refresh says which generation it saw. A flight that finds another one at the head has
//! nothing to do: losers adopt. A chain that only a human can help is left before anything is dialled, so
//! that ten thousand impatient callers cost the provider nothing. What is begun, and where, `keeping` decides; this
//! only gathers what it decides by.

pub(crate) mod brought;
mod heal;
mod late;
pub(crate) mod material;
mod run;
pub(crate) mod sealer;
mod siblings;

pub(crate) use heal::{Healing, heal, outlives};
pub(crate) use run::{Found, Left, Run};

use crate::{
    anchor::{AnchorLog, Head, Presentation},
    core::Core,
    flights::{Boarded, Landing, Waiting},
    keeping::{Begin, Fit, Holder, Known, LOG_LOST, LogSays, MISMATCH, Next, Own, Seen, next},
    machine::{Entry, Outcome, Plan},
    revoking, schedule,
    second::Second,
    watched::Held,
};
use material::{Material, Unfit};
use nightlatch_catalog::profile::{Endpoint, OldAccess};
use nightlatch_domain::{
    chain::{Attempt, AttemptState, ChainState},
    clock::Timestamp,
    id::{ChainId, FamilyId, TenantId},
    ports::store::{ChainView, StoreError},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

pub(crate) use crate::keeping::Wanted;

/// Joins or starts the refresh of a chain. Dropping what is answered changes nothing.
pub(crate) fn refresh(core: &Arc<Core>, tenant: TenantId, chain: ChainId, wanted: Wanted) -> Waiting {
    match core.flights.board(chain) {
        Boarded::Joined(waiting) => waiting,
        Boarded::First(opened, waiting) => {
            let flying = Arc::clone(core);
            core.parts.work.spawn(Box::pin(async move {
                let core = flying;
                let mut landing = Landing::new(&core.flights, chain, opened);
                landing.follow().await;
                let (outcome, slot) = fly(&core, tenant, chain, wanted).await;
                if (wanted, outcome) == (Wanted::Timer, Outcome::Waiting { until: None }) {
                    // It stays due, and nothing is to be done about it: not looked at again at once.
                    core.pause(LOOK_AGAIN).await;
                }
                core.tell_contradictions().await;
                let landed = landing.land(outcome);
                if outcome == Outcome::Unavailable {
                    // Nothing moved. Whoever looked at once would fail at once, again and again.
                    core.failing.fetch_add(1, Ordering::Relaxed);
                } else {
                    core.failing.store(0, Ordering::Relaxed);
                    core.timers.notify_one();
                }
                // Nobody waits for it: the database has what lies in it. Where a crash comes first, the next start does it.
                slot.put_away(&core).await;
                drop(landed);
                if outcome == Outcome::Removed {
                    revoking::look_after(&core, tenant, chain).await;
                }
            }));
            waiting
        }
    }
}

async fn fly(core: &Arc<Core>, tenant: TenantId, chain: ChainId, wanted: Wanted) -> (Outcome, Left) {
    let glanced = match glance(core, tenant, chain, wanted).await {
        Ok(glanced) => glanced,
        Err(outcome) => return (outcome, Left::NOTHING),
    };
    let lane = core.pace.lane(&origin(&glanced.view));
    // First the provider's lane: whoever waits behind a provider that hangs occupies nothing else.
    let at_once = lane.try_acquire().ok().and_then(|lane| Some((lane, core.permits.try_acquire().ok()?)));
    let (_places, glanced) = match at_once {
        // Nothing was awaited since: what was seen is as new as if it were read now. That it is still so the claim asks.
        Some(places) => (places, Some(glanced)),
        None => {
            let Ok(lane) = lane.acquire().await else { return (Outcome::Unavailable, Left::NOTHING) };
            let Ok(permit) = core.permits.acquire().await else {
                return (Outcome::Unavailable, Left::NOTHING);
            };
            ((lane, permit), None)
        }
    };
    if core.stopping.load(Ordering::SeqCst) {
        return (Outcome::Unavailable, Left::NOTHING);
    }
    let looked = match glanced {
        Some(glanced) => weigh(core, glanced, wanted),
        None => look(core, tenant, chain, wanted).await,
    };
    match looked {
        Ok(looked) => looked.carry_out(core).await,
        Err(outcome) => (outcome, Left::NOTHING),
    }
}

/// Carries out what a dead process or an overtaken holder left of a chain. Nothing is presented.
pub(crate) async fn finish(core: &Arc<Core>, tenant: TenantId, chain: ChainId) -> Outcome {
    match look(core, tenant, chain, Wanted::Timer).await {
        Ok(looked) if looked.begin.presents() => Outcome::Waiting { until: None },
        Ok(looked) => {
            let (outcome, slot) = looked.carry_out(core).await;
            slot.put_away(core).await;
            outcome
        }
        Err(outcome) => outcome,
    }
}

/// A chain that was looked at, and where its refresh begins.
struct Looked {
    view: ChainView,
    material: Result<Material, Unfit>,
    attempts: Vec<Attempt>,
    begin: Begin,
}

/// Between two looks at what is due and cannot be helped.
const LOOK_AGAIN: Duration = Duration::from_secs(3);
/// So many generations of a chain are looked through for one of an earlier family.
const GENERATIONS_BACK: u32 = 64;

/// A chain that was glanced at.
struct Glanced {
    view: ChainView,
    attempts: Vec<Attempt>,
    known: Known,
}

/// What is known, and what follows from it; what the asker is told where that is nothing.
async fn look(core: &Arc<Core>, tenant: TenantId, chain: ChainId, wanted: Wanted) -> Result<Looked, Outcome> {
    weigh(core, glance(core, tenant, chain, wanted).await?, wanted)
}

/// What follows from a glance when the secrets are opened too.
fn weigh(core: &Core, glanced: Glanced, wanted: Wanted) -> Result<Looked, Outcome> {
    let Glanced { view, attempts, mut known } = glanced;
    let mut material = Material::open(core, &view);
    known.sibling = known.sibling
        && material.as_ref().is_ok_and(|it| siblings::first(core, &view, it, &attempts).is_some());
    known.fit = match &material {
        Ok(_) => Fit::Presentable,
        Err(Unfit::NoRefreshToken) => Fit::NoRefreshToken,
        Err(Unfit::Unverified) => Fit::Unverified,
        Err(Unfit::NoProfile) => Fit::NoProfile,
    };
    match next(&known, wanted) {
        Next::Nothing(outcome) => Err(outcome),
        Next::Begin(begin) => {
            // Only what is presented now is another token: what was presented before was what it was.
            if let (true, Ok(material)) = (begin.presents(), &mut material)
                && siblings::last_wins(&material.profile)
                && let Some(token) = siblings::displacing(core, &view, material, &attempts)
            {
                material.token = token;
            }
            Ok(Looked { view, material, attempts, begin })
        }
    }
}

/// The same without opening anything: enough to see that there is nothing to do.
async fn glance(
    core: &Arc<Core>,
    tenant: TenantId,
    chain: ChainId,
    wanted: Wanted,
) -> Result<Glanced, Outcome> {
    let unavailable = |_| Outcome::Unavailable;
    let view = core.store().chain(tenant, chain).await.map_err(unavailable)?.ok_or(Outcome::Removed)?;
    let last_wins = core.profile(&view.chain.provider).is_some_and(siblings::last_wins);
    let since = match view.chain.state {
        ChainState::Latched => siblings::since(view.head.number),
        // What became the head may have been displaced.
        _ if last_wins => view.head.number.saturating_sub(1),
        _ => view.head.number,
    };
    let attempts = core.store().attempts(tenant, view.family.id, since).await;
    let attempts = attempts.map_err(unavailable)?;
    let known = known(core, &view, &attempts).await.map_err(unavailable)?;
    match next(&known, wanted) {
        Next::Nothing(outcome) => Err(outcome),
        Next::Begin(_) => Ok(Glanced { view, attempts, known }),
    }
}

async fn known(core: &Arc<Core>, view: &ChainView, attempts: &[Attempt]) -> Result<Known, StoreError> {
    let mut seen = Vec::with_capacity(attempts.len());
    for attempt in attempts.iter().filter(|attempt| attempt.generation == view.head.number) {
        let own = own(core, attempt).await;
        let Attempt { id, state, intended_at, intended_by, .. } = *attempt;
        seen.push(Seen { id, state, own, intended_at, intended_by });
    }
    let log = log_says(core, view).await?;
    // Before the store is asked for its time: what its answer takes counts as passed.
    let now = core.now();
    // Only when an attempt was is reckoned by it.
    let store_now = if seen.is_empty() { None } else { core.store().clock().await? };
    Ok(Known {
        state: view.chain.state,
        due_at: view.chain.due_at,
        asked: view.chain.ticket.is_some(),
        family: view.family.id,
        generation: view.head.number,
        access_until: view.head.access_until,
        attempts: seen,
        sibling: !siblings::unused(attempts, view.head.number).is_empty(),
        holder: holder(core, view, attempts),
        log,
        again: knows_of_another(&core.anchor, view, attempts),
        second: core.profile(&view.chain.provider).map_or(Second::NEVER, Second::of),
        fit: Fit::Presentable,
        now,
        store_now,
    })
}

/// Whether the log knows of a presentation of the head that the database does not, or of the one retry.
fn knows_of_another(log: &AnchorLog, view: &ChainView, attempts: &[Attempt]) -> bool {
    let (family, head) = (view.family.id, view.head.number);
    let is_unknown = |one: Presentation| !attempts.iter().any(|attempt| attempt.id == one.attempt);
    let known = [log.presentation(family, head), log.taken(family, head)];
    log.retry(family, head).is_some() || known.into_iter().flatten().any(is_unknown)
}

/// What this keeper knows of an attempt beside the database.
async fn own(core: &Arc<Core>, attempt: &Attempt) -> Own {
    let log = &core.anchor;
    let of = |one: Option<Presentation>| one.filter(|one| one.attempt == attempt.id);
    let (family, generation) = (attempt.family, attempt.generation);
    let anchored = of(log.presentation(family, generation)).or(of(log.retry(family, generation)));
    let Some(anchored) = anchored else {
        return if log.drew(attempt.owner) { Own::NotSent } else { Own::Foreign };
    };
    let may_be_spooled = matches!(attempt.state, AttemptState::Intended | AttemptState::Uncertain);
    if may_be_spooled && core.spooled(attempt.id).await.is_some() {
        return Own::Spooled;
    }
    Own::Anchored(anchored.boot)
}

/// Who holds a chain. An intent under a chain that nobody claims is its owner's, who may still be at work.
fn holder(core: &Core, view: &ChainView, attempts: &[Attempt]) -> Holder {
    let chain = view.chain.id;
    let claim = match view.chain.state {
        ChainState::Refreshing => view.chain.owner.map(|owner| (view.chain.fence, owner)),
        _ => intent_of(attempts, view).map(|attempt| (attempt.fence, attempt.owner)),
    };
    match claim {
        None => Holder::Nobody,
        Some((_, owner)) if core.anchor.drew(owner) => Holder::Left,
        Some((fence, owner)) if core.has_watched(Held { chain, fence, owner }) => Holder::Gone,
        Some(_) => Holder::Other,
    }
}

fn intent_of<'a>(attempts: &'a [Attempt], view: &ChainView) -> Option<&'a Attempt> {
    let open = |one: &&Attempt| one.state == AttemptState::Intended && one.generation == view.head.number;
    attempts.iter().find(open)
}

impl Looked {
    async fn carry_out(self, core: &Arc<Core>) -> (Outcome, Left) {
        let Self { view, material, attempts, mut begin } = self;
        if let (true, Ok(material)) = (begin.presents(), &material)
            && let Some(postponed) = gate(core, &view, material, &begin)
        {
            begin.entry = postponed;
        }
        let found = found(core, &begin, attempts).await;
        let plan = plan(core, &view, begin);
        Run::new(core, view, material.ok(), plan, found).carry_through().await
    }
}

/// What the run takes up: the attempt that is begun with, or a new one.
async fn found(core: &Arc<Core>, begin: &Begin, attempts: Vec<Attempt>) -> Found {
    let taken = |id| attempts.into_iter().find(|attempt| attempt.id == id);
    match (&begin.entry, begin.attempt) {
        (Entry::Present, _) => Found { attempt: core.fresh_attempt(), again_of: None, answer: None },
        (Entry::Again { .. }, again_of) => Found { attempt: core.fresh_attempt(), again_of, answer: None },
        (Entry::Spooled, Some(id)) => {
            let spooled = core.spooled(id).await;
            Found { attempt: Some(id), again_of: None, answer: spooled.map(|it| (it.answer, it.context)) }
        }
        (_, Some(id)) => {
            Found { attempt: Some(id), again_of: None, answer: taken(id).and_then(|it| it.answer) }
        }
        (_, None) => Found { attempt: None, again_of: None, answer: None },
    }
}

/// What is known to be in trouble is left alone, but where a grace would be over by then.
fn gate(core: &Core, view: &ChainView, material: &Material, begin: &Begin) -> Option<Entry> {
    let now = core.now();
    let spread = Duration::from_millis(u64::from(core.jitter()) / 16);
    let until = |wait: Duration| now.wall.plus(wait.max(Duration::from_secs(1)) + spread);
    let has_time = |wait: Duration| match begin.entry {
        Entry::Again { until: Some(until) } => now.boot.plus(wait + spread) < until,
        _ => true,
    };
    if let Some(wait) = core.pace.host_waits(&material.to.authority(), now).filter(|wait| has_time(*wait)) {
        return Some(Entry::Postponed { until: until(wait), reason: "provider-waits" });
    }
    let stopped = core.pace.client_stopped(view.client.id, now, true)?;
    Some(Entry::Postponed { until: until(stopped.until.since(now.boot)), reason: "client-stopped" })
}

/// Whose lane a chain takes. Read from the row: a wrong one costs a place in a queue.
fn origin(view: &ChainView) -> String {
    let refresh = view.head.refresh.as_ref();
    let endpoint = refresh.and_then(|(_, context)| material::presented_at(context));
    let endpoint = endpoint.and_then(|endpoint| Endpoint::parse(endpoint).ok());
    endpoint.as_ref().map(Endpoint::origin).unwrap_or_default()
}

fn plan(core: &Core, view: &ChainView, begin: Begin) -> Plan {
    let dies =
        core.profile(&view.chain.provider).is_some_and(|profile| profile.old_access == OldAccess::Dies);
    let lives = view.head.access_until.is_none_or(|until| until > core.now().wall);
    Plan {
        entry: begin.entry,
        drain: dies && lives,
        failures: view.chain.failures,
        jitter: core.jitter(),
        second: begin.second,
        first: begin.first,
        rest: begin.rest,
        access_until: view.head.access_until,
    }
}

/// What the log says of a chain's head. Beside other keepers it need not know the head.
pub(crate) async fn log_says(core: &Core, view: &ChainView) -> Result<LogSays, StoreError> {
    // What a lost log knew, no other says: nor is an answer read that came before it was lost.
    if view.chain.state == ChainState::Quarantined && view.chain.reason.as_deref() == Some(LOG_LOST) {
        return Ok(LogSays::Silent);
    }
    // Another's log contradicts it: what this one does not know of may have been presented.
    if core.history.has_others()
        && view.chain.state == ChainState::Quarantined
        && view.chain.reason.as_deref() == Some(MISMATCH)
    {
        return Ok(LogSays::Silent);
    }
    Ok(match says_by_order(core, view).await? {
        LogSays::Fits if core.history.has_others() || is_anchored(&core.anchor, view) => LogSays::Fits,
        LogSays::Fits if core.anchor.head(view.chain.id).is_none() => LogSays::Blank,
        LogSays::Fits => LogSays::Silent,
        other => other,
    })
}

/// The same of a log that may be behind where another keeper went on, within the family or in a later one.
pub(crate) async fn says_by_order(core: &Core, view: &ChainView) -> Result<LogSays, StoreError> {
    let (family, head) = (view.family.id, view.head.number);
    Ok(match core.anchor.head(view.chain.id) {
        _ if is_anchored(&core.anchor, view) => LogSays::Fits,
        Some(anchored) if anchored.family == family && anchored.generation > head => {
            LogSays::Behind { anchored: known_up_to(&core.anchor, view, anchored) }
        }
        None => LogSays::Fits,
        Some(anchored) if anchored.family == family => LogSays::Fits,
        // A family that the database does not know came after what it knows.
        Some(anchored) if has_family(core, view, anchored.family).await? => LogSays::Fits,
        Some(_) => LogSays::Silent,
    })
}

/// The generation that a log knows of for certain, where it is ahead: what was presented of its head brought one more, unless
/// nothing came of it. An answer that leads only up to the head would have that presented again.
fn known_up_to(log: &AnchorLog, view: &ChainView, anchored: Head) -> u64 {
    let newest = log.newest_of(view.chain.id).filter(|newest| newest.family == anchored.family);
    let taken = log.taken(anchored.family, anchored.generation);
    let presented = newest.into_iter().chain(taken).map(|one| one.generation.saturating_add(1)).max();
    anchored.generation.max(presented.unwrap_or(0))
}

/// Whether the database knows a family of a chain.
pub(crate) async fn has_family(core: &Core, view: &ChainView, family: FamilyId) -> Result<bool, StoreError> {
    let known = core.store().generations(view.chain.tenant, view.chain.id, GENERATIONS_BACK).await?;
    Ok(known.iter().any(|one| one.family == family))
}

/// Whether the log vouches for a chain's head. Two differences are what a crash leaves between a commit and
/// its line in the log, and both are only accepted on the log's own word: a head one above the anchored
/// one whose presentation it knows, and a family whose redemption it knows.
pub(crate) fn is_anchored(log: &AnchorLog, view: &ChainView) -> bool {
    let head = Head { family: view.family.id, generation: view.head.number };
    match log.head(view.chain.id) {
        Some(anchored) if anchored == head => true,
        Some(anchored) if anchored.family == head.family && anchored.generation + 1 == head.generation => {
            let (family, generation) = (anchored.family, anchored.generation);
            let known = [log.presentation(family, generation), log.retry(family, generation)];
            known.into_iter().flatten().any(|known| view.head.attempt == Some(known.attempt))
        }
        _ => head.generation == 1 && log.flow_of(head.family) == Some(view.family.flow),
    }
}

/// How long a caller is told to wait for a chain that backs off.
pub(crate) fn wait_secs(core: &Core, until: Option<Timestamp>) -> u64 {
    let left = until.map_or(schedule::local_retry(0), |until| until.since(core.now().wall));
    left.as_secs().clamp(1, 3600)
}

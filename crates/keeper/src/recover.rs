//! What a start does before anything else: finishes what a dead process left.
//!
//! The log's lock says that nobody else works by this log, so what its own owners claimed is a dead process', and
//! is taken up at once; what others claimed is theirs, and watched (`timer`). The order matters: answers first (they
//! may be the only copy of living tokens), then attempts by what the log knows of them, then heads against the log.

use crate::{
    anchor::{Found as Log, Head},
    core::Core,
    enrol,
    error::KeeperError,
    keeping::{LOG_LOST, LogSays, MISMATCH},
    refresh::{Healing, finish, heal, is_anchored, log_says},
    spool::{Asked, SpooledAnswer},
};
use nightlatch_domain::{
    chain::{AttemptState, Chain, ChainState, FlowStep},
    clock::Timestamp,
    id::{ChainId, TenantId, TicketId},
    ports::store::{ChainView, StoreError},
    ticket::{Ticket, TicketKind},
};
use nightlatch_ledger::{facts::EventFacts, record::EventName};
use std::{collections::BTreeSet, sync::Arc};

/// Chains whose heads are held against the log at start; the others are when they are next used.
const HEADS_AT_START: u32 = 100_000;
/// Chains that are asked for at once.
const PAGE: u32 = 1000;
/// So often a chain that somebody else touched is looked at again.
const TRIES: u32 = 4;

/// Finishes what was left. Only then may anything new begin.
pub(crate) async fn recover(core: &Arc<Core>, log: Log, machine: &str) -> Result<(), KeeperError> {
    if let Log::Moved { reason } = log {
        tracing::warn!(
            reason,
            "the anchor log was moved: every rotating connection asks to be connected again"
        );
        let (installation, machine) = (core.installation.id, machine.to_owned());
        core.on_disk(move |core| core.anchor.settle_here(installation, &machine)).await?;
    }
    // A log that begins, or that was copied, does not know which mandates were acted on before.
    if log != Log::Own || !core.anchor.has_mandates() {
        let now = core.now().wall;
        core.on_disk(move |core| core.anchor.begin_mandates(now)).await?;
    }
    // Wakes live in memory: those of the process before ended with it, and nobody noted that.
    if !core.history.has_others() {
        core.store().end_all_wakes(core.now().wall).await?;
    }
    replay_spool(core).await?;
    finish_what_was_left(core).await?;
    hold_heads_against_the_log(core, Ends::AtRest).await?;
    put_answers_away(core).await?;
    // Whose account an answer is, the tool says, at its own pace: nobody waits for that.
    let (flows, own) = (core.store().open_flows().await?, Arc::clone(core));
    core.parts.work.spawn(Box::pin(async move {
        for flow in flows {
            enrol::resume(&own, flow).await;
        }
    }));
    Ok(())
}

/// Answers that the database does not have yet.
pub(crate) async fn replay_spool(core: &Arc<Core>) -> Result<(), KeeperError> {
    for spooled in core.on_disk(|core| core.spool.waiting()).await? {
        replay(core, spooled).await?;
    }
    Ok(())
}

fn is_awaited(state: AttemptState) -> bool {
    matches!(state, AttemptState::Intended | AttemptState::Uncertain)
}

async fn replay(core: &Arc<Core>, spooled: SpooledAnswer) -> Result<(), KeeperError> {
    let SpooledAnswer { tenant, asked, answer, context } = spooled;
    match asked {
        Asked::Attempt(id) => {
            let attempt = core.store().attempt(tenant, id).await?;
            if attempt.is_some_and(|attempt| attempt.answer.is_none() && is_awaited(attempt.state)) {
                core.store().answer(tenant, id, (answer, context)).await?;
            }
        }
        Asked::Flow(id) => {
            let (from, to) = (FlowStep::Redeeming, FlowStep::Answered);
            core.store().advance_flow(tenant, id, from, to, Some((answer, context))).await?;
        }
    }
    Ok(())
}

/// Slots whose answers were read, as a run that comes to its end leaves none. What the database does not know stays: it may
/// be what heals a head, or the only copy of what a flow brought.
async fn put_answers_away(core: &Arc<Core>) -> Result<(), KeeperError> {
    core.on_disk(|core| core.spool.forget_empty()).await?;
    for SpooledAnswer { tenant, asked, .. } in core.on_disk(|core| core.spool.waiting()).await? {
        let kept_for = match asked {
            Asked::Attempt(id) => match core.store().attempt(tenant, id).await? {
                Some(attempt) => match attempt.state {
                    AttemptState::Intended | AttemptState::Uncertain => continue,
                    _ if core.anchor.newest_of(attempt.chain).is_none_or(|newest| newest.attempt != id) => {
                        None
                    }
                    AttemptState::Answered => continue,
                    AttemptState::Committed => Some(attempt.family),
                    AttemptState::Refused | AttemptState::NotPresented => None,
                },
                None => continue,
            },
            Asked::Flow(id) if core.store().has_read_flow(tenant, id).await? => None,
            Asked::Flow(_) => continue,
        };
        core.on_disk(move |core| match kept_for {
            Some(family) => core.spool.keep(asked, family),
            None => {
                core.spool.forget(asked);
                Ok(())
            }
        })
        .await?;
    }
    Ok(())
}

/// What this log's owners claimed or intended, and answers that nobody read.
async fn finish_what_was_left(core: &Arc<Core>) -> Result<(), KeeperError> {
    let mut left: BTreeSet<(TenantId, ChainId)> = BTreeSet::new();
    let attempts = core.store().open_attempts().await?;
    left.extend(attempts.into_iter().map(|attempt| (attempt.tenant, attempt.chain)));
    left.extend(core.store().claimed().await?.into_iter().map(|chain| (chain.tenant, chain.id)));
    for (tenant, chain) in left {
        let outcome = finish(core, tenant, chain).await;
        tracing::info!(%chain, ?outcome, "a refresh that was cut off was looked at");
    }
    Ok(())
}

/// Which chains are left to a human where the log contradicts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// Those that nobody is at work on; the others are looked at by whoever is.
    AtRest,
    /// All: in a new era nobody holds a chain.
    Whoever,
}

impl Ends {
    fn may_end(self, chain: &Chain, says: LogSays) -> bool {
        match chain.state {
            ChainState::Healthy | ChainState::BackingOff => true,
            ChainState::Refreshing | ChainState::Uncertain => self == Self::Whoever,
            // An unread answer leads out of these: not where a log knows what was presented of it.
            ChainState::Latched | ChainState::Quarantined => {
                let is_said = chain.reason.as_deref().is_some_and(|why| [MISMATCH, LOG_LOST].contains(&why));
                let contradicts = !matches!(says, LogSays::Silent | LogSays::Blank);
                self == Self::Whoever && contradicts && !is_said
            }
        }
    }
}

/// Whether an answer that nobody read lies in the database, and brings it to where the log is.
async fn closes(core: &Core, view: &ChainView, says: LogSays) -> Result<bool, KeeperError> {
    let (head, family) = (view.head.number, view.family.id);
    if says != (LogSays::Behind { anchored: head.saturating_add(1) }) {
        return Ok(false);
    }
    let attempts = core.store().attempts(view.chain.tenant, family, head).await?;
    Ok(attempts.iter().any(|one| one.generation == head && one.state == AttemptState::Answered))
}

/// Leaves a chain to a human, whoever holds it; `false` where somebody was there since it was looked at.
pub(crate) async fn quarantine(
    core: &Arc<Core>,
    view: &ChainView,
    reason: &'static str,
) -> Result<bool, KeeperError> {
    // Nobody lives on it: then nobody can claim it either.
    let Some(connection) = view.connections.first().copied() else { return Ok(true) };
    let (tenant, chain, now) = (view.chain.tenant, view.chain.id, core.now().wall);
    let ticket = Ticket {
        tenant,
        id: TicketId::new(now, core.ten()?),
        kind: TicketKind::Reauthorize,
        connection,
        reason: reason.to_owned(),
        raised_at: now,
        settled_at: None,
        era: Some(core.history.era()),
    };
    let id = ticket.id;
    let is_done =
        core.store().quarantine((tenant, chain, view.chain.fence), reason.to_owned(), ticket).await?;
    if is_done {
        let facts = EventFacts {
            tenant: Some(tenant),
            connection: Some(connection),
            ticket: Some(id),
            reason: Some(reason),
            ..EventFacts::new(EventName::ChainQuarantined)
        };
        core.note(facts).await;
    }
    Ok(is_done)
}

/// Where they disagree nothing is presented; where a crash came between a commit and its line in the log,
/// the line is written now. In a new era all chains that there are are held, otherwise those that the log knows and those at
/// rest; page by page, since they may be a million.
pub(crate) async fn hold_heads_against_the_log(core: &Arc<Core>, ends: Ends) -> Result<(), KeeperError> {
    let mut after = None;
    if ends == Ends::Whoever {
        loop {
            let page = core.store().chains(after, PAGE).await?;
            let Some(last) = page.last().copied() else { return Ok(()) };
            after = Some(last);
            hold_all(core, page, ends).await?;
        }
    }
    let mut known = None;
    loop {
        let page = core.anchor.known_after(known, PAGE as usize);
        let Some((_, last)) = page.last().copied() else { break };
        known = Some(last);
        hold_all(core, page, ends).await?;
    }
    let due = core.store().due(Timestamp::from_millis(i64::MAX), HEADS_AT_START).await?;
    let unknown = due.into_iter().map(|(tenant, chain, _)| (tenant, chain));
    let unknown = unknown.filter(|(_, chain)| core.anchor.newest_of(*chain).is_none());
    hold_all(core, unknown.collect(), ends).await
}

async fn hold_all(core: &Arc<Core>, chains: Vec<(TenantId, ChainId)>, ends: Ends) -> Result<(), KeeperError> {
    for (tenant, chain) in chains {
        let mut tries = 0;
        while !hold(core, tenant, chain, ends).await? {
            tries += 1;
            if tries == TRIES {
                return Err(KeeperError::ChainMoved { chain });
            }
        }
    }
    Ok(())
}

/// Holds one chain against the log; `false` where somebody was there since it was looked at.
async fn hold(core: &Arc<Core>, tenant: TenantId, chain: ChainId, ends: Ends) -> Result<bool, KeeperError> {
    let view = match core.store().chain(tenant, chain).await {
        // Nobody can claim it or lease of it; the others do not wait for it.
        Err(error @ StoreError::Corrupt(_)) => {
            tracing::error!(%error, %chain, "a chain cannot be read, and is left alone");
            return Ok(true);
        }
        other => other?,
    };
    let Some(view) = view else { return Ok(true) };
    let says = log_says(core, &view).await?;
    if says == LogSays::Fits && knows_every_attempt(core, &view).await? {
        if is_anchored(&core.anchor, &view) {
            let head = Head { family: view.family.id, generation: view.head.number };
            if core.anchor.head(chain) != Some(head) {
                core.on_disk(move |core| core.anchor.set_head(chain, head)).await?;
            }
        }
        let now = core.now().wall;
        if core.is_of_the_future(view.head.created_at).await {
            core.store().hasten(tenant, chain, now).await?;
        }
        return Ok(true);
    }
    if !ends.may_end(&view.chain, says) || closes(core, &view, says).await? {
        return Ok(true);
    }
    let healing = if ends == Ends::Whoever { heal(core, &view).await? } else { Healing::Nothing };
    match healing {
        Healing::Done => Ok(true),
        Healing::Moved => Ok(false),
        Healing::Nothing => quarantine(core, &view, says.doubt()).await,
    }
}

/// Whether the database knows what was presented of its head, or after it, by this log and by those that it took over:
/// else it was rolled back. What was presented before a head, that head answers.
pub(crate) async fn knows_every_attempt(core: &Core, view: &ChainView) -> Result<bool, StoreError> {
    let (family, head) = (view.family.id, view.head.number);
    // A reconnect begins a new family; what became of the old one's attempts no longer matters.
    let newest = core.anchor.newest_of(view.chain.id);
    let newest = newest.filter(|known| known.family == family && known.generation >= head);
    for known in newest.into_iter().chain(core.anchor.taken(family, head)) {
        if core.store().attempt(known.tenant, known.attempt).await?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

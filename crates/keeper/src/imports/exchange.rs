//! One token's presentation, which is the proof that it is good.
//!
//! The order is that of every refresh. What can fail without harm comes first: whose account it is, by the access token
//! that came with it; the data key, the slot, the connection. Then the step is taken in the database and the token is
//! marked in the log, which knows it again whatever becomes of the database. Then it is sent. The answer lies sealed in
//! spool and database before it is read, and it stays there when a check fails.

use super::{
    brake::Turn,
    lost::{Follows, follows},
    plan::{Opened, answer_of, answer_to},
};
use crate::{
    anchor::Presentation,
    core::Core,
    enrol,
    error::KeeperError,
    history,
    machine::{ANSWER_WITHIN, Reading, SEND_WITHIN},
    probe::{self, Probed},
    refresh::{
        material::{destination, registered},
        sealer::Sealer,
    },
    schedule,
    second::{Presented as First, Second},
    spool::{Asked, Slot, SpooledAnswer},
    token::{self, ANSWER_MAX_BYTES, Parsed, Presented},
};
use nightlatch_custody::Secret;
use nightlatch_domain::{
    chain::{FlowOutcome, FlowStep},
    clock::{Boot, Timestamp},
    import::{Import, ImportProgress},
    ports::{
        control_keeper::{ControlRefusal, ControlReply},
        store::{ImportEnd, ImportSeen, StoreError},
    },
    sealed::{SealContext, Wrapped},
};
use nightlatch_egress::{Line, RawAnswer, SendError, SendWindow};
use nightlatch_ledger::{facts::EventFacts, record::EventName};
use std::{fmt::Display, sync::Arc, time::Duration};

/// Waits are spread by up to this, so that what waited together does not come back together.
const SPREAD: Duration = Duration::from_secs(4);

/// Ends a row of which nothing is presented, or whose answer is of no use.
pub(super) async fn end(core: &Core, import: &Import, reason: &str) {
    let outcome = FlowOutcome::Failed { reason: reason.to_owned() };
    match core.store().end_import(import.tenant, import.id, seen(import), outcome, ImportEnd::Failed).await {
        Ok(()) => tracing::info!(import = %import.id, reason, "an import came to nothing"),
        // Whoever took it on since goes on with it.
        Err(StoreError::Missing(_)) => {}
        // What the database does not take now, the next look ends.
        Err(error) => not_stored(core, import, &error),
    }
}

/// Leaves it until later, at the step where it stands.
pub(super) async fn later(core: &Core, import: &Import, reason: &str, wait: Duration, is_failure: bool) {
    let to = ImportProgress {
        due_at: at(core, wait),
        failures: import.progress.failures.saturating_add(u32::from(is_failure)),
        reason: Some(reason.to_owned()),
        ..import.progress.clone()
    };
    advance(core, import, to, None).await;
}

/// How long a failure of ours or of the provider's is waited for.
pub(super) fn back_off(core: &Core, import: &Import) -> Duration {
    schedule::back_off(import.progress.failures, None, core.jitter())
}

fn at(core: &Core, wait: Duration) -> Timestamp {
    let spread = SPREAD.saturating_mul(u32::from(core.jitter())) / u32::from(u16::MAX);
    core.now().wall.plus(wait.saturating_add(spread))
}

async fn advance(
    core: &Core,
    import: &Import,
    to: ImportProgress,
    answer: Option<(Wrapped, SealContext)>,
) -> bool {
    let seen = seen(import);
    match core.store().advance_import(import.tenant, import.id, seen, to, answer).await {
        Ok(done) => done,
        Err(error) => {
            not_stored(core, import, &error);
            false
        }
    }
}

fn seen(import: &Import) -> ImportSeen {
    ImportSeen { step: import.progress.step, attempt: import.progress.attempt }
}

/// Its row says what it said before: whoever looks at once finds it due again.
fn not_stored(core: &Core, import: &Import, error: &dyn Display) {
    tracing::warn!(%error, import = %import.id, "how far an import came could not be stored");
    core.imports.hold_up();
}

/// An import under way.
pub(super) struct Run {
    core: Arc<Core>,
    import: Import,
    opened: Opened,
}

/// What an answer told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// What is to be done is done, or waits for its time.
    Enough,
    /// Nothing of what became of the token.
    Nothing,
}

/// Everything that an exchange needs.
struct Ready {
    request: http::Request<bytes::Bytes>,
    sealer: Sealer,
    slot: Slot,
    line: Box<dyn Line>,
    /// Until when it may leave: taken once, so that no wait before it makes it longer.
    send_by: Boot,
}

impl Run {
    pub(super) const fn new(core: Arc<Core>, import: Import, opened: Opened) -> Self {
        Self { core, import, opened }
    }

    /// Takes an import on from where it stands. Its provider's lane is held.
    pub(super) async fn carry_on(mut self) {
        // What waited for its lane may have been taken on by another keeper.
        match self.core.store().import(self.import.tenant, self.import.id).await {
            Ok(Some(import)) => self.import = import,
            Ok(None) => return,
            Err(error) => return not_stored(&self.core, &self.import, &error),
        }
        match self.import.progress.step {
            FlowStep::Begun => self.first().await,
            FlowStep::Redeeming => self.take_up().await,
            FlowStep::Answered if self.conclude().await == Told::Nothing => {
                // The database has that answer. What still lies in its room is brought no second time.
                self.forget_slot().await;
                self.take_up().await;
            }
            FlowStep::Answered | FlowStep::Ended => {}
        }
    }

    /// From an answer that is in the database to a connection.
    pub(super) async fn conclude(&self) -> Told {
        let own = self.import.answer.as_ref();
        let own = own.filter(|(_, context)| *context == self.opened.answer_context());
        let whole = own.and_then(|answer| self.core.open(answer).ok());
        match whole.and_then(|whole| answer_of(self.import.progress.attempt, &whole)) {
            Some(raw) => self.read(&raw).await,
            None => {
                self.end("answer-unreadable").await;
                Told::Enough
            }
        }
    }

    const fn asked(&self) -> Asked {
        Asked::Flow(self.import.id)
    }

    fn seen(&self) -> ImportSeen {
        seen(&self.import)
    }

    async fn end(&self, reason: &str) {
        let refusal = ControlRefusal::FlowMismatch;
        match enrol::fail(&self.core, &self.opened.exchanged(self.seen()), reason, refusal).await {
            // Whoever took it on since goes on with it.
            Ok(_) | Err(ControlRefusal::FlowMismatch | ControlRefusal::Unknown { .. }) => {}
            Err(error) => not_stored(&self.core, &self.import, &error),
        }
    }

    /// The provider said no for good. What it said holds no tokens.
    async fn refused(&self, code: String) {
        let Import { tenant, id, .. } = self.import;
        let outcome = FlowOutcome::Failed { reason: code };
        match self.core.store().end_import(tenant, id, self.seen(), outcome, ImportEnd::Refused).await {
            Ok(()) => {}
            Err(StoreError::Missing(_)) => return,
            Err(error) => return not_stored(&self.core, &self.import, &error),
        }
        let facts = EventFacts::new(EventName::FlowFailed);
        let tool = Some(self.import.tool.clone());
        self.core.note(EventFacts { tenant: Some(tenant), tool, ..facts }).await;
    }

    /// Leaves it until later, at the step where it stands.
    async fn later(&self, reason: &str, wait: Duration, is_failure: bool) {
        later(&self.core, &self.import, reason, wait, is_failure).await;
    }

    /// It was no presentation: it begins anew later.
    async fn not_presented(&self, reason: &str, wait: Duration) {
        // The row says which presentation it is, and the log whether that is one of this very token.
        let known = self.core.anchor.presentation(self.opened.mark.family, 0);
        let own = self.import.progress.attempt.filter(|own| known.is_some_and(|known| known.attempt == *own));
        if let Some(attempt) = own {
            let void = self.core.on_disk(move |core| core.anchor.void(attempt)).await;
            if void.is_err() {
                // The log says that it was presented, and the log is believed.
                return self.later("anchor-log-unavailable", wait, true).await;
            }
        }
        let to = ImportProgress {
            due_at: self.at(wait),
            failures: self.import.progress.failures.saturating_add(1),
            reason: Some(reason.to_owned()),
            ..ImportProgress::begun(self.core.now().wall)
        };
        self.advance(to, None).await;
    }

    fn at(&self, wait: Duration) -> Timestamp {
        at(&self.core, wait)
    }

    fn back_off(&self) -> Duration {
        back_off(&self.core, &self.import)
    }

    async fn advance(&self, to: ImportProgress, answer: Option<(Wrapped, SealContext)>) -> bool {
        advance(&self.core, &self.import, to, answer).await
    }

    /// Our own disk or its keys refused.
    async fn disk_refused(&self) {
        self.later("disk-or-key-unavailable", self.back_off(), true).await;
    }

    /// Directly before a presentation: whether the history is still the one that every log agrees with, and the import one
    /// of its era. What came in between took its time.
    async fn may_present(&self) -> Result<(), Stale> {
        if !matches!(history::settle(&self.core).await, Ok(true)) {
            return Err(Stale::Unsettled);
        }
        if self.import.era == self.core.history.era() { Ok(()) } else { Err(Stale::OlderEra) }
    }

    async fn unsettled(&self) {
        self.later("history-unsettled", self.back_off(), false).await;
    }

    async fn first(mut self) {
        if self.core.anchor.presentation(self.opened.mark.family, 0).is_some()
            || self.core.anchor.head(self.opened.mark.chain).is_some()
        {
            return self.end("presented-before").await;
        }
        if self.import.era != self.core.history.era() {
            return self.end("database-put-back").await;
        }
        let core = Arc::clone(&self.core);
        let _turn = match core.imports.brakes.turn(self.opened.client, || core.now().boot).await {
            Turn::Now(turn) => turn,
            Turn::Waits(wait) => return self.later("others-refused", wait, false).await,
        };
        // What those before it found decides.
        let (origin, now) = (self.authority(), self.core.now());
        if let Some(wait) = self.core.pace.host_waits(&origin, now) {
            return self.later("provider-waits", wait, false).await;
        }
        if let Some(stopped) = self.core.pace.client_stopped(self.opened.client, now, true) {
            return self.later("client-stopped", stopped.until.since(now.boot), false).await;
        }
        if !self.is_the_named_account().await {
            return self.end("wrong-account").await;
        }
        let ready = match self.prepare(None).await {
            Ok(ready) => ready,
            Err(Unready::Later { reason, wait }) => return self.later(reason, wait, true).await,
            Err(Unready::SlotTaken) => return self.disk_refused().await,
        };
        if let Err(stale) = self.may_present().await {
            self.forget_slot().await;
            return match stale {
                Stale::Unsettled => self.unsettled().await,
                Stale::OlderEra => self.end("database-put-back").await,
            };
        }
        if !self.take(false).await {
            return self.forget_slot().await;
        }
        let marked = self.mark(false).await;
        if marked.is_ok() {
            return self.exchange(ready).await;
        }
        self.forget_slot().await;
        match marked {
            Err(KeeperError::PresentedBefore) => self.end("presented-before").await,
            Err(KeeperError::OlderEra) => self.end("database-put-back").await,
            // The next look finds that it was never sent.
            _ => self.log_refused().await,
        }
    }

    /// Whose account it is, as far as the access token tells that came with it. One that is refused tells nothing.
    async fn is_the_named_account(&self) -> bool {
        let (Some(named), Some(access)) = (&self.opened.plan.account, &self.opened.access) else {
            return true;
        };
        let now = self.core.now().wall;
        if self.opened.plan.access_until.is_some_and(|until| until <= now) {
            return true;
        }
        let manifest = self.core.manifest(self.import.tenant, &self.opened.plan.target.tool).await;
        let Ok(Some(manifest)) = manifest else { return true };
        match probe::of(&self.core, &manifest, &self.opened.context.hosts, access).await {
            Ok(Probed::Account { id, label }) => *named == id || named.eq_ignore_ascii_case(&label),
            _ => true,
        }
    }

    /// What a dead process left, or a network swallowed.
    async fn take_up(self) {
        match follows(&self.core, &self.import, &self.opened).await {
            Follows::Answered => self.bring_spooled().await,
            Follows::NotSent => {
                self.forget_slot().await;
                let failures = self.import.progress.failures;
                // What keeps it from being sent is still there, as far as anybody knows.
                let due_at = if failures > 0 { self.at(self.back_off()) } else { self.core.now().wall };
                let reason = self.import.progress.reason.clone();
                let to = ImportProgress { failures, reason, ..ImportProgress::begun(due_at) };
                self.advance(to, None).await;
            }
            Follows::Unreadable => self.disk_refused().await,
            Follows::AgainAfter(wait) => self.later("answer-lost", wait, false).await,
            Follows::Nothing => self.end("answer-lost").await,
            Follows::Again(inside) => {
                self.forget_slot().await;
                self.again(inside).await;
            }
        }
    }

    /// The one retry. To prepare takes its time, and by either clock the grace may be over then: nothing is spent yet.
    async fn again(mut self, inside: Option<First>) {
        let second = Second::of(&self.opened.profile);
        let until = |now| inside.map(|first| second.open_until(first.elapsed(now), now).unwrap_or(now.boot));
        let ready = match self.prepare(until(self.core.now())).await {
            Ok(ready) => ready,
            Err(Unready::Later { wait, .. }) => return self.later("answer-lost", wait, true).await,
            Err(Unready::SlotTaken) => return self.disk_refused().await,
        };
        if let Err(stale) = self.may_present().await {
            self.forget_slot().await;
            return match stale {
                Stale::Unsettled => self.unsettled().await,
                Stale::OlderEra => self.end("answer-lost").await,
            };
        }
        let now = self.core.now();
        if until(now).is_some_and(|until| until <= now.boot) {
            self.forget_slot().await;
            return self.later("answer-lost", Duration::ZERO, true).await;
        }
        if !self.take(true).await {
            return self.forget_slot().await;
        }
        let marked = self.mark(true).await;
        // What was written took its time too, and a machine that was stopped has a clock that stood still.
        let now = self.core.now();
        let is_over = until(now).is_some_and(|until| until <= now.boot);
        if marked.is_ok() && !is_over {
            return self.exchange(ready).await;
        }
        self.forget_slot().await;
        match marked {
            Ok(_) => self.end("answer-lost").await,
            Err(KeeperError::PresentedBefore | KeeperError::OlderEra) => self.end("answer-lost").await,
            _ => self.log_refused().await,
        }
    }

    async fn log_refused(&self) {
        self.later("anchor-log-unavailable", self.back_off(), true).await;
    }

    async fn bring_spooled(&self) {
        let asked = self.asked();
        let spooled = self.core.on_disk(move |core| core.spool.answer(asked)).await;
        let Ok(Some(SpooledAnswer { answer, context, .. })) = spooled else {
            return self.disk_refused().await;
        };
        let to = ImportProgress { step: FlowStep::Answered, ..self.import.progress.clone() };
        if self.advance(to, Some((answer, context))).await {
            self.keep_slot().await;
        }
    }

    fn authority(&self) -> String {
        destination(&self.opened.endpoint).map(|to| to.authority()).unwrap_or_default()
    }

    async fn prepare(&self, until: Option<Boot>) -> Result<Ready, Unready> {
        let unfit = |wait| Unready::Later { reason: "registration-unreadable", wait };
        let Import { tenant, .. } = self.import;
        let client = self.core.store().client(tenant, self.opened.client).await;
        let client = client.ok().flatten().ok_or_else(|| unfit(self.back_off()))?;
        let client = registered(&self.core, &client, &self.opened.context);
        let client = client.map_err(|_| unfit(self.back_off()))?;
        let auth = self.opened.context.client_auth.ok_or_else(|| unfit(self.back_off()))?;
        let profile = &self.opened.profile;
        let presented =
            Presented::Refresh { token: &self.opened.token, extra: &profile.extra_refresh_params };
        let request = token::request(&self.opened.endpoint, profile.body, &client.with(auth), &presented);
        let request = request.map_err(|_| unfit(self.back_off()))?;
        let local = |_| Unready::Later { reason: "disk-or-key-unavailable", wait: self.back_off() };
        let sealer = Sealer::to(&self.core, self.opened.answer_context()).map_err(local)?;
        let asked = self.asked();
        let slot = match self.core.on_disk(move |core| core.spool.reserve(asked)).await {
            Ok(slot) => slot,
            // A presentation that is over left its room behind, or an answer in it, which is brought first.
            Err(KeeperError::SlotTaken) => {
                self.clear_slot().await;
                return Err(Unready::SlotTaken);
            }
            Err(error) => return Err(local(error)),
        };
        let send_by = self.core.now().boot.plus(SEND_WITHIN);
        let send_by = until.map_or(send_by, |until| until.min(send_by));
        let Some(line) = self.dial(send_by).await else {
            self.forget_slot().await;
            return Err(Unready::Later { reason: "provider-unreachable", wait: self.back_off() });
        };
        Ok(Ready { request, sealer, slot, line, send_by })
    }

    async fn dial(&self, send_by: Boot) -> Option<Box<dyn Line>> {
        let to = destination(&self.opened.endpoint).ok()?;
        let dialled = self.core.parts.wire.dial(&to, send_by).await;
        if let Err(error) = &dialled {
            tracing::info!(%error, "the provider could not be reached");
            self.core.pace.hold_host(&to.authority(), self.core.now(), self.back_off());
        }
        dialled.ok()
    }

    /// Takes the step, so that nobody else does.
    async fn take(&mut self, again: bool) -> bool {
        let (attempt, owner) = (self.core.fresh_attempt(), self.core.fresh_owner().await);
        let (Some(attempt), Some(owner)) = (attempt, owner) else {
            self.log_refused().await;
            return false;
        };
        let now = self.core.now().wall;
        // What has passed since is never reckoned to be less by one clock that is ahead.
        let at = match self.core.store().clock().await {
            Ok(store) => store.map_or(now, |store| store.min(now)),
            Err(error) => {
                not_stored(&self.core, &self.import, &error);
                return false;
            }
        };
        let to = ImportProgress {
            step: FlowStep::Redeeming,
            attempt: Some(attempt),
            owner: Some(owner),
            again,
            presented_at: self.import.progress.presented_at.filter(|_| again).or(Some(at)),
            due_at: now,
            failures: self.import.progress.failures,
            reason: None,
        };
        let taken = self.advance(to.clone(), None).await;
        if taken {
            self.import.progress = to;
        }
        taken
    }

    /// Marks the token in the log as presented.
    async fn mark(&self, again: bool) -> Result<(), KeeperError> {
        let attempt = self.import.progress.attempt.ok_or(KeeperError::PresentedBefore)?;
        let (mark, era) = (self.opened.mark, self.import.era);
        let one = Presentation {
            tenant: self.import.tenant,
            chain: mark.chain,
            family: mark.family,
            generation: 0,
            attempt,
            boot: Some(self.core.now().boot),
        };
        let anchored = self.core.on_disk(move |core| {
            if again { core.anchor.present_again(one, era) } else { core.anchor.present(one, era) }
        });
        anchored.await
    }

    async fn exchange(mut self, ready: Ready) {
        let Ready { request, sealer, slot, line, send_by } = ready;
        let window = SendWindow { send_by, answer_by: self.core.now().boot.plus(ANSWER_WITHIN) };
        match line.send(request, ANSWER_MAX_BYTES, window).await {
            Ok(answer) => {
                if self.answered(answer, sealer, slot).await == Told::Nothing {
                    self.lost().await;
                }
            }
            Err(SendError::NothingWritten(_)) => {
                self.forget_slot().await;
                // After a lost answer the first presentation stands, whatever became of the second.
                if self.import.progress.again {
                    return self.end("answer-lost").await;
                }
                self.not_presented("provider-unreachable", self.back_off()).await;
            }
            Err(SendError::AfterFirstByte { .. }) => {
                self.forget_slot().await;
                self.lost().await;
            }
        }
    }

    async fn answered(&mut self, answer: RawAnswer, sealer: Sealer, slot: Slot) -> Told {
        let at = self.core.now().wall;
        let raw = token::raw(answer.status.as_u16(), &answer.headers, answer.body, at);
        let Some(attempt) = self.import.progress.attempt else { return Told::Nothing };
        let Ok(sealed) = sealer.seal(&answer_to(attempt, &raw)) else {
            // No cipher takes it: nothing that is no answer is that long.
            return Told::Nothing;
        };
        self.journal(slot, sealed).await;
        self.read(&raw).await
    }

    /// Until database or spool has it, and then until the database has it: the answer exists once.
    async fn journal(&mut self, slot: Slot, sealed: (Wrapped, SealContext)) {
        let slot = Arc::new(slot);
        let (answer, context) = sealed.clone();
        let spooled = SpooledAnswer { tenant: self.import.tenant, asked: self.asked(), answer, context };
        let to = ImportProgress { step: FlowStep::Answered, ..self.import.progress.clone() };
        let Import { tenant, id, .. } = self.import;
        for tries in 0.. {
            let (at, kept) = (Arc::clone(&slot), spooled.clone());
            if let Err(error) = self.core.on_disk(move |_| at.write(&kept)).await {
                tracing::warn!(%error, "an answer could not be spooled");
            }
            let stored =
                self.core.store().advance_import(tenant, id, self.seen(), to.clone(), Some(sealed.clone()));
            match stored.await {
                Ok(_) => break,
                Err(error) => tracing::warn!(%error, "an answer could not be stored; trying again"),
            }
            self.core.pause(schedule::local_retry(tries)).await;
        }
        self.import.progress = to;
        self.import.answer = Some(sealed);
        self.keep_slot().await;
    }

    /// What an answer says, which is durable by now.
    async fn read(&self, raw: &Secret) -> Told {
        let client = self.opened.client;
        let reading = match token::parse(raw, &self.opened.profile) {
            Parsed::Tokens(_) => {
                self.free();
                self.connect(raw).await;
                return Told::Enough;
            }
            Parsed::Failed(reading) => reading,
        };
        let again = self.import.progress.again;
        match reading {
            Reading::Permanent { code } => {
                self.core.pace.free_host(&self.authority());
                self.core.imports.brakes.refused(client, self.core.now().boot);
                self.drop_answer().await;
                self.refused(code).await;
            }
            // After a lost answer the first presentation stands.
            Reading::Client { .. } | Reading::NotProcessed { .. } if again => self.end("answer-lost").await,
            Reading::Client { code } => {
                self.core.pace.stop_client(client, self.core.now(), None);
                self.drop_answer().await;
                self.not_presented(&code, schedule::CLIENT_RETRY).await;
            }
            Reading::NotProcessed { code, retry_after } => {
                let wait = schedule::back_off(self.import.progress.failures, retry_after, self.core.jitter());
                self.core.pace.hold_host(&self.authority(), self.core.now(), wait);
                self.drop_answer().await;
                self.not_presented(&code, wait).await;
            }
            Reading::Unclear { .. } | Reading::Tokens => return Told::Nothing,
        }
        Told::Enough
    }

    fn free(&self) {
        self.core.pace.free_host(&self.authority());
        self.core.pace.free_client(self.opened.client);
        self.core.imports.brakes.proved(self.opened.client);
    }

    async fn connect(&self, raw: &Secret) {
        match enrol::conclude(&self.core, self.opened.exchanged(self.seen()), raw).await {
            Ok(ControlReply::FlowEnded { .. }) => {}
            Err(ControlRefusal::Unreachable) => {
                self.later("account-not-probed", self.back_off(), true).await;
            }
            // What a kill ended makes nothing. Where it has ended by itself, this writes nothing.
            Ok(_) | Err(ControlRefusal::Unknown { .. }) => end(&self.core, &self.import, "killed").await,
            Err(_) => self.later("store-unavailable", self.back_off(), true).await,
        }
    }

    /// Its answer is lost just now. The next look tries again, if that may be.
    async fn lost(&self) {
        self.core.pace.lose_host(&self.authority(), self.core.now());
        match follows(&self.core, &self.import, &self.opened).await {
            Follows::AgainAfter(wait) => self.later("answer-lost", wait, true).await,
            Follows::Again(_) => self.later("answer-lost", Duration::ZERO, true).await,
            Follows::Unreadable => self.disk_refused().await,
            Follows::Answered | Follows::NotSent | Follows::Nothing => self.end("answer-lost").await,
        }
    }

    async fn forget_slot(&self) {
        let asked = self.asked();
        let forgotten = self.core.on_disk(move |core| {
            core.spool.forget(asked);
            Ok(())
        });
        let _ = forgotten.await;
    }

    /// A slot that is there already, and whose presentation is over.
    async fn clear_slot(&self) {
        let asked = self.asked();
        let cleared = self.core.on_disk(move |core| {
            if core.spool.answer(asked)?.is_none() {
                core.spool.forget(asked);
            }
            Ok(())
        });
        let _ = cleared.await;
    }

    /// The database has the answer: the room that it did not need is given back.
    async fn keep_slot(&self) {
        let (asked, family) = (self.asked(), self.opened.plan.target.family);
        let _ = self.core.on_disk(move |core| core.spool.keep(asked, family)).await;
    }

    /// An answer without tokens: the database's copy is enough. It may not have left its room.
    async fn drop_answer(&self) {
        let (asked, family) = (self.asked(), self.opened.plan.target.family);
        let forgotten = self.core.on_disk(move |core| {
            core.spool.forget(asked);
            core.spool.forget_family(family);
            Ok(())
        });
        let _ = forgotten.await;
    }
}

/// Why an exchange is not begun.
enum Unready {
    Later {
        reason: &'static str,
        wait: Duration,
    },
    /// Its room is taken by what an earlier presentation left.
    SlotTaken,
}

/// Why nothing is presented now.
enum Stale {
    /// A log was not held against the database yet, or nobody knows.
    Unsettled,
    /// The database was put back since it was brought.
    OlderEra,
}

//! Webhooks: who is told of the end of a call, and that it happens.
//!
//! Where a message goes is the operator's word, and an agent only names it: an address of its own choice would be a way
//! out. What is told is thin ([`message`]): the receiver that wants the answer asks for it with an agent's key.
//! A message leaves at least once. It waits in the call's own row from the moment that the call was accepted, so there is
//! none between an end and its telling that a crash could take; each try is counted there, and the rule of tries is
//! [`Delivery`]. A panic is counted as a try, and ends no other. Each webhook has a worker and four places of its own, which tasks have in [`turns`]; calls wait for
//! none of them.

mod line;
mod message;
mod send;
mod turns;

use super::{recover, worker::kept};
use crate::{
    calls::{Calls, Ended},
    gateway::Shared,
};
use futures_util::FutureExt as _;
use line::{LOOKED_AT, LOOKED_AT_MAX, Line};
use nightlatch_custody::WebhookKey;
use nightlatch_domain::{
    call::{CallPlace, Delivery, DeliveryState, Heard},
    clock::Timestamp,
    id::CallId,
    ports::store::CallRow,
    tool::Name,
};
use nightlatch_egress::Destination;
use nightlatch_ledger::{
    facts::{EventFacts, HostName},
    record::EventName,
};
use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::{sync::Notify, task::JoinSet, time::sleep};

/// Messages of one webhook under way at once: one that is slow holds up its own.
const AT_ONCE: usize = 4;
/// How often it is looked whether a pause is over.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What panicked rests so long: a fault of ours fills no log and no processor.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// A webhook, as the operator configured it.
pub struct Webhook {
    /// What agents call it.
    pub name: Name,
    /// Where it is.
    pub to: Destination,
    /// Path and query there.
    pub path: String,
    /// What signs the messages to it.
    pub key: WebhookKey,
}

/// The webhooks of this gateway.
pub(crate) struct Hooks(BTreeMap<Name, Arc<Hook>>);

pub(super) struct Hook {
    webhook: Webhook,
    /// Something may be to be told.
    stirred: Notify,
}

impl Hooks {
    pub(crate) fn new(all: Vec<Webhook>) -> Self {
        let hook =
            |webhook: Webhook| (webhook.name.clone(), Arc::new(Hook { webhook, stirred: Notify::new() }));
        Self(all.into_iter().map(hook).collect())
    }

    /// Whether the operator has one of this name.
    pub(crate) fn has(&self, name: &Name) -> bool {
        self.0.contains_key(name)
    }

    /// The end of a call was kept of which it is to be told.
    pub(super) fn stir(&self, name: &Name) {
        if let Some(hook) = self.0.get(name) {
            hook.stirred.notify_one();
        }
    }
}

/// Tells for as long as it is polled.
pub(crate) async fn tell(shared: Arc<Shared>) {
    let mut workers = JoinSet::new();
    for hook in shared.calls.hooks.0.values() {
        workers.spawn(keep_telling(Arc::clone(&shared), Arc::clone(hook)));
    }
    // What is left of it is with the next start.
    let _ = unharmed(None, give_up_strangers(&shared)).await;
    while workers.join_next().await.is_some() {}
}

/// A worker that panicked begins anew, with what waits in the store.
async fn keep_telling(shared: Arc<Shared>, hook: Arc<Hook>) {
    loop {
        let _ = unharmed(Some(&hook), tell_one(&shared, &hook)).await;
        sleep(AFTER_PANIC).await;
    }
}

/// What came of some work; none where it panicked, which is said and ends nothing else. Its own words are not repeated.
async fn unharmed<T>(hook: Option<&Hook>, work: impl Future<Output = T>) -> Option<T> {
    let done = AssertUnwindSafe(work).catch_unwind().await.ok();
    if done.is_none() {
        let webhook = hook.map(|hook| tracing::field::display(&hook.webhook.name));
        tracing::error!(webhook, "what tells webhooks panicked; it goes on");
    }
    done
}

/// What waits for a webhook that the operator has no more is told to nobody, and that is said.
async fn give_up_strangers(shared: &Shared) {
    let calls = &shared.calls;
    let names = again(|| calls.store.untold_hooks(calls.owner.clone())).await;
    for name in names.into_iter().filter(|name| !calls.hooks.has(name)) {
        loop {
            let untold = again(|| {
                calls.store.untold_calls(calls.owner.clone(), name.clone(), LOOKED_AT, LOOKED_AT_MAX)
            })
            .await;
            if untold.is_empty() {
                break;
            }
            for (place, _) in untold {
                let Ok(row) = recover::row(calls, place).await else {
                    pass_over(shared, place).await;
                    continue;
                };
                if let Some(untold) = row.and_then(|row| Untold::of(calls, row)) {
                    settle(shared, None, &untold, (Heard::Never, "webhook-removed")).await;
                }
            }
        }
    }
}

/// The worker of one webhook.
async fn tell_one(shared: &Arc<Shared>, hook: &Arc<Hook>) {
    let calls = &shared.calls;
    let (mut errands, mut line) = (JoinSet::new(), Line::default());
    loop {
        let mut due_at = None;
        while errands.len() < AT_ONCE && !calls.is_closing() {
            let Some(place) = line.next(calls, &hook.webhook.name).await else {
                due_at = line.due_at();
                break;
            };
            let (shared, hook) = (Arc::clone(shared), Arc::clone(hook));
            errands.spawn(async move { run(&shared, &hook, place).await });
        }
        tokio::select! {
            () = hook.stirred.notified() => line.stir(),
            Some(Ok(call)) = errands.join_next() => line.let_go(call),
            () = is_due(calls, due_at) => {}
        }
    }
}

/// Waits for that time; for ever where there is none.
async fn is_due(calls: &Calls, due_at: Option<Timestamp>) {
    let Some(due_at) = due_at else { return std::future::pending().await };
    while calls.clock.now() < due_at {
        sleep(LOOK_EVERY).await;
    }
}

/// An errand, which comes to its end whatever becomes of it.
async fn run(shared: &Shared, hook: &Hook, place: CallPlace) -> CallId {
    if unharmed(Some(hook), tell_of(shared, hook, place)).await.is_none() {
        // What panics each time is not tried for ever either.
        let _ = unharmed(Some(hook), fail(shared, hook, place)).await;
        sleep(AFTER_PANIC).await;
    }
    place.call
}

/// Counts a try that nobody knows the end of.
async fn fail(shared: &Shared, hook: &Hook, place: CallPlace) {
    let Ok(row) = recover::row(&shared.calls, place).await else { return };
    if let Some(untold) = row.and_then(|row| Untold::of(&shared.calls, row)) {
        settle(shared, Some(hook), &untold, (Heard::Failed { retry_after: None }, "internal")).await;
    }
}

/// Tells of one call, once.
async fn tell_of(shared: &Shared, hook: &Hook, place: CallPlace) {
    let Ok(row) = recover::row(&shared.calls, place).await else {
        return pass_over(shared, place).await;
    };
    if let Some(untold) = row.and_then(|row| Untold::of(&shared.calls, row)) {
        let body = untold
            .ended
            .as_ref()
            .and_then(|ended| message::of(shared, &untold.row, ended, &hook.webhook.name));
        let heard = match body {
            Some(body) => send::send(shared, &hook.webhook, place.call, body).await,
            None => (Heard::Never, "row-unreadable"),
        };
        settle(shared, Some(hook), &untold, heard).await;
    }
}

/// A call that ended, and of which it is still to be told.
struct Untold {
    row: CallRow,
    delivery: Delivery,
    /// None where the row is not as it was written.
    ended: Option<Ended>,
}

impl Untold {
    fn of(calls: &Calls, row: CallRow) -> Option<Self> {
        let delivery = row.delivery.clone()?;
        let is_untold = row.state.is_final() && delivery.state == DeliveryState::Waiting;
        let ended = calls.ending(&row).ok().flatten();
        is_untold.then_some(Self { row, delivery, ended })
    }
}

/// What cannot be read is told to nobody, and holds up nothing that stands behind it.
async fn pass_over(shared: &Shared, place: CallPlace) {
    let calls = &shared.calls;
    record(
        shared,
        EventFacts {
            tenant: Some(place.tenant),
            call: Some(place.call),
            task: Some(place.task),
            reason: Some("row-unreadable"),
            ..EventFacts::new(EventName::WebhookGivenUp)
        },
    )
    .await;
    kept(|| calls.store.give_up_telling(place, calls.clock.now())).await;
}

async fn record(shared: &Shared, facts: EventFacts) {
    if let Err(error) = shared.corridor.ledger.event(facts).await {
        tracing::warn!(%error, "what became of a message to a webhook could not be recorded");
    }
}

/// Keeps what follows from a try. What is over is in the ledger first: at worst it is there twice.
async fn settle(
    shared: &Shared,
    hook: Option<&Hook>,
    Untold { row, delivery, ended }: &Untold,
    (heard, reason): (Heard, &'static str),
) {
    let calls = &shared.calls;
    let now = calls.clock.now();
    let after = delivery.after(heard, ended.as_ref().map_or(now, |ended| ended.at), now);
    let event = match after.state {
        DeliveryState::Waiting => None,
        DeliveryState::Delivered => Some((EventName::WebhookDelivered, None)),
        DeliveryState::GivenUp => Some((EventName::WebhookGivenUp, Some(reason))),
    };
    let (webhook, call) = (&delivery.hook, row.place.call);
    match heard {
        Heard::Taken => {}
        Heard::NotTried => {
            tracing::debug!(%webhook, %call, reason, "there was no room to tell a webhook; it comes again")
        }
        Heard::Failed { .. } | Heard::Never => {
            tracing::warn!(%webhook, %call, reason, "a webhook did not take a message")
        }
    }
    if let Some((event, reason)) = event {
        let facts = EventFacts {
            tenant: Some(row.place.tenant),
            call: Some(row.place.call),
            agent: calls.kept(row).ok().map(|kept| kept.settled.caller.agent),
            task: Some(row.place.task),
            host: hook.and_then(|hook| HostName::new(hook.webhook.to.host())),
            scheme: hook.map(|hook| hook.webhook.to.scheme()),
            port: hook.map(|hook| hook.webhook.to.port()),
            reason,
            ..EventFacts::new(event)
        };
        record(shared, facts).await;
    }
    kept(|| calls.store.tell_call(row.place, delivery.tries, after.clone())).await;
}

/// Asks the store until it answers.
async fn again<T, F>(ask: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, nightlatch_domain::ports::store::StoreError>>,
{
    recover::read(ask).await
}

//! The worker: takes what is due, one errand a call, and keeps what came of it.

use super::{
    Calls, Ending, Errand,
    attempt::{self, Tried},
    recover::{self, Unreadable},
};
use crate::gateway::Shared;
use nightlatch_domain::{
    call::{CallPlace, CallState, Next, Report},
    ports::store::StoreError,
    problem::{Problem, ProblemKind},
};
use std::{
    pin::pin,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{task::JoinSet, time::sleep};

/// How often pauses and deadlines are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often what is too old is forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Between two tries to keep what happened.
const KEEP_AGAIN: Duration = Duration::from_millis(500);

/// Works for as long as it is polled.
pub(crate) async fn work(shared: Arc<Shared>) {
    recover::recover(&shared).await;
    let (calls, wakes) = (&shared.calls, &shared.corridor.wakes);
    calls.ready.send_replace(true);
    let (mut errands, mut forgets_at) = (JoinSet::new(), calls.clock.boot());
    loop {
        // Listened to before anything is looked at: what begins meanwhile is not missed.
        let mut begins = pin!(wakes.begins());
        begins.as_mut().enable();
        for (place, errand) in calls.due(calls.clock.now(), |caller| wakes.running(caller).is_some()) {
            let shared = Arc::clone(&shared);
            errands.spawn(async move { run(&shared, place, errand).await });
        }
        if calls.clock.boot() >= forgets_at {
            forget(calls).await;
            forgets_at = calls.clock.boot().plus(FORGET_EVERY);
        }
        tokio::select! {
            () = begins => {}
            () = calls.stirred.notified() => {}
            Some(_) = errands.join_next() => {}
            () = sleep(LOOK_EVERY) => {}
        }
    }
}

async fn forget(calls: &Calls) {
    // What could not be forgotten now is with the next look.
    if let Err(error) = calls.store.forget_calls(calls.clock.now().minus(calls.limits.kept_for)).await {
        tracing::warn!(%error, "old calls could not be forgotten");
    }
}

async fn run(shared: &Shared, place: CallPlace, errand: Errand) {
    let calls = &shared.calls;
    match errand {
        Errand::Expire => expire(calls, place).await,
        Errand::Try => {
            let attempts = calls.with(place.call, |open| {
                open.tries = open.tries.saturating_add(1);
                open.progress.attempts
            });
            let Some(attempts) = attempts else { return };
            let tried = attempt::attempt(shared, place, attempts).await;
            conclude(calls, place, tried).await;
        }
    }
    calls.stirred.notify_one();
    calls.settled.notify_waiters();
}

/// Its deadline has passed: it is refused, for the last reason that it was not carried out.
async fn expire(calls: &Calls, place: CallPlace) {
    let reason = calls.with(place.call, |open| open.reason.clone()).flatten();
    let reason = reason.unwrap_or_else(|| ProblemKind::CallExpired.into());
    end(calls, place, &Ending::refused(&reason)).await;
}

/// What follows from what became of a try.
async fn conclude(calls: &Calls, place: CallPlace, tried: Tried) {
    let Tried { report, ending, problem, attempts } = tried;
    let known = calls.with(place.call, |open| (open.terms, open.tries, open.progress.attempts));
    let Some((terms, tries, before)) = known else { return };
    let counted = if matches!(report, Report::NotSent { .. }) { tries } else { attempts };
    let tool = problem.as_ref().and_then(|problem| problem.tool.clone());
    match (terms.next(counted, report, calls.clock.now()), ending) {
        (Next::Again { not_before }, _) => {
            // A call that was not marked stands in the store as it stood.
            if attempts != before {
                kept(|| calls.store.requeue_call(place, attempts, not_before)).await;
            }
            calls.with(place.call, |open| {
                (open.progress.attempts, open.progress.not_before) = (attempts, not_before);
                (open.reason, open.is_running) = (problem, false);
                open.told.send_replace(CallState::Queued);
            });
        }
        (Next::Done, Some(ending)) => end(calls, place, &ending).await,
        (Next::Refused, _) => {
            let problem = problem.unwrap_or_else(|| ProblemKind::Internal.into());
            end(calls, place, &Ending::refused(&problem)).await;
        }
        (Next::OutcomeUnknown | Next::Done, _) => end(calls, place, &Ending::unknown(tool.as_ref())).await,
    }
}

/// Ends a call, durably, before anybody is told.
pub(super) async fn end(calls: &Calls, place: CallPlace, ending: &Ending) {
    let webhook = OnceLock::new();
    kept(|| async {
        let row = match recover::row(calls, place).await {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(false),
            Err(Unreadable) => return calls.store.give_up_call(place, calls.clock.now()).await,
        };
        row.delivery.iter().for_each(|delivery| drop(webhook.set(delivery.hook.clone())));
        let at = calls.clock.now();
        let Ok(sealed) = calls.vault.seal_ending(place, &row.request_sha256, ending, at) else {
            // No entropy, for a moment; nothing else can fail here.
            return Err(StoreError::Unavailable);
        };
        calls.store.end_call(place, ending.state(), sealed, at).await
    })
    .await;
    if let Some(open) = calls.open().remove(&place.call) {
        open.told.send_replace(ending.state());
    }
    if let Some(webhook) = webhook.get() {
        calls.hooks.stir(webhook);
    }
}

/// What happened is kept, however long the store is out of reach. What it can never take is given up, and that is said.
pub(super) async fn kept<F>(write: impl Fn() -> F)
where
    F: Future<Output = Result<bool, StoreError>>,
{
    while let Err(error) = write().await {
        // Each of these writes names the step before it: one that was written after all is taken once.
        if !matches!(error, StoreError::Unavailable | StoreError::Unknown) {
            tracing::error!(%error, "what became of a call could not be kept");
            return;
        }
        tracing::warn!(%error, "what became of a call could not be kept; it is tried again");
        sleep(KEEP_AGAIN).await;
    }
}

/// Whether a problem may go away by itself.
pub(super) fn not_sent(problem: &Problem) -> Report {
    Report::NotSent {
        retryable: problem.kind.retryable(),
        retry_after: problem.retry_after_secs.map(Duration::from_secs),
    }
}

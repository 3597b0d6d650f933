//! Whose turn it is: imports whose time has come, as many at once as their provider gets.

use super::{
    Imports,
    exchange::{self, Run, Told},
    plan::{Closed, Opened},
};
use crate::{core::Core, history};
use nightlatch_domain::{chain::FlowStep, import::Import, ports::work::within};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::sync::watch;

/// Imports that are looked after at once; most of them wait for their provider's lane.
const FLYING_MAX: usize = 64;
/// When so many are left of them, more are begun.
pub(super) const FLYING_FEW: usize = FLYING_MAX / 2;
/// The shortest pause while there is something to do.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest while something waits for its time.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// And where nothing does: whoever takes some in tells it.
const LOOK_AT_ALL: Duration = Duration::from_secs(600);

/// Runs until `stop` says so, and then until what is under way has ended, or `finish_within` is over.
pub(crate) async fn run(core: Arc<Core>, mut stop: watch::Receiver<bool>, finish_within: Duration) {
    while !*stop.borrow() {
        let pause = round(&core).await;
        tokio::select! {
            biased;
            _ = stop.changed() => {}
            () = core.imports.told() => {}
            () = core.pause(pause) => {}
        }
        // What could not be written is due still. It is not tried anew at once, whoever tells of others.
        if core.imports.was_held_up() {
            tokio::select! {
                biased;
                _ = stop.changed() => {}
                () = core.pause(LOOK_AGAIN) => {}
            }
        }
    }
    let landed = async {
        while core.imports.flying() > 0 {
            core.imports.done.notified().await;
        }
    };
    if within(&*core.parts.work, finish_within, landed).await.is_none() {
        tracing::warn!("an import is still under way; the next start finishes it");
    }
}

impl Imports {
    /// Some were brought.
    pub(crate) fn tell(&self) {
        self.brought.notify_one();
    }

    async fn told(&self) {
        tokio::select! {
            () = self.brought.notified() => {}
            () = self.done.notified() => {}
        }
    }
}

async fn round(core: &Arc<Core>) -> Duration {
    // A token that another history says was never presented may have been.
    if !matches!(history::settle(core).await, Ok(true)) {
        return LOOK_AGAIN;
    }
    let now = core.now().wall;
    let limit = u32::try_from(FLYING_MAX * 2).unwrap_or(u32::MAX);
    let Ok(due) = core.store().due_imports(now, limit).await else { return LOOK_AGAIN };
    for import in due.into_iter().filter(|import| !waits_for_another(core, import)) {
        if core.imports.flying() >= FLYING_MAX {
            return LOOK_AGAIN;
        }
        if core.imports.board(import.id) {
            start(core, import);
        }
    }
    // What was seen just now is seen still, however long ago the last look was.
    core.imports.forget_others(core.now().boot);
    if core.imports.flying() > 0 {
        return LOOK_AGAIN;
    }
    match core.store().next_import().await {
        Ok(Some(next)) => next.since(now).clamp(PAUSE, LOOK_AGAIN),
        Ok(None) => LOOK_AT_ALL,
        Err(_) => LOOK_AGAIN,
    }
}

/// Another keeper presents it or concludes what came of it, or did and is gone: that is known once it was seen unchanged
/// for long enough.
fn waits_for_another(core: &Core, import: &Import) -> bool {
    let progress = &import.progress;
    let is_begun = matches!(progress.step, FlowStep::Redeeming | FlowStep::Answered);
    let (Some(owner), Some(attempt)) = (progress.owner, progress.attempt) else { return false };
    if !is_begun || core.anchor.drew(owner) {
        return false;
    }
    let now = core.now().boot;
    now.since(core.imports.seen_since(import.id, attempt, now)) < super::lost::OTHER_GONE
}

fn start(core: &Arc<Core>, import: Import) {
    let own = Arc::clone(core);
    core.parts.work.spawn(Box::pin(async move {
        let _landing = Landing(&own.imports, import.id);
        carry(&own, import).await;
        own.tell_contradictions().await;
    }));
}

/// It has landed, however its task ends.
struct Landing<'a>(&'a Imports, nightlatch_domain::id::FlowId);

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.0.land(self.1);
    }
}

async fn carry(core: &Arc<Core>, import: Import) {
    let opened = match Opened::of(core, &import) {
        Ok(opened) => opened,
        Err(Closed::Unreadable) => return exchange::end(core, &import, "import-unreadable").await,
        // The operator's file may come back: it is kept as it stands, answered ones above all.
        Err(Closed::NoProfile) => {
            let wait = exchange::back_off(core, &import);
            return exchange::later(core, &import, "profile-missing", wait, true).await;
        }
    };
    let origin = opened.endpoint.origin();
    let is_answered = import.progress.step == FlowStep::Answered;
    let run = Run::new(Arc::clone(core), import, opened);
    // Whose account an answer is, the tool says: its provider has nothing to do with that.
    if is_answered && run.conclude().await == Told::Enough {
        return;
    }
    let (lane, own) = (core.pace.lane(&origin), core.imports.lane(&origin));
    // First the lane of imports, so that they take no more than their part of the provider's.
    let Ok(_own) = own.acquire().await else { return };
    let Ok(_lane) = lane.acquire().await else { return };
    let Ok(_permit) = core.permits.acquire().await else { return };
    if !core.stopping.load(Ordering::SeqCst) {
        run.carry_on().await;
    }
}

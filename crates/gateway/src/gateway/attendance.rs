//! What runs over one connection, seen from beside it.
//!
//! hyper polls what can move. Whatever stands still (a reader that does not read, a connection that asks
//! nothing) must be noticed by somebody else, which is this: a look every quarter of a second.

use crate::{
    answer::OutBody,
    corridor::{Lifeline, Pulse},
    error::BodyError,
};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

/// How often what stands still is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// And how often where nothing is under way.
const QUIET_EVERY: Duration = Duration::from_secs(5);

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing has been asked for too long.
    Idle,
    /// An answer was ended and its reader takes no notice.
    Stuck,
}

/// The requests and answers of one connection.
pub(super) struct Attendance {
    seen: Mutex<Seen>,
    /// Rung when the first request comes after none was under way.
    begun: Notify,
    body_idle: Duration,
}

struct Seen {
    running: usize,
    quiet_since: Instant,
    lifelines: Vec<Lifeline>,
}

impl Attendance {
    pub(super) fn new(body_idle: Duration) -> Arc<Self> {
        let seen = Seen { running: 0, quiet_since: Instant::now(), lifelines: Vec::new() };
        Arc::new(Self { seen: Mutex::new(seen), begun: Notify::new(), body_idle })
    }

    /// Counts a request in, until its answer has passed.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        let mut seen = self.seen();
        if seen.running == 0 {
            self.begun.notify_one();
        }
        seen.running += 1;
        drop(seen);
        Running(Arc::clone(self))
    }

    /// Watches one more answer, and forgets those that have passed: their memory serves the next.
    pub(super) fn watch(&self, lifeline: Option<Lifeline>) {
        let mut seen = self.seen();
        seen.lifelines.retain(Lifeline::is_there);
        seen.lifelines.extend(lifeline);
    }

    /// Looks until something stands still. `idle` says how long the connection may ask nothing just now;
    /// none where something else bounds that.
    pub(super) async fn found(&self, idle: impl Fn() -> Option<Duration>) -> Found {
        loop {
            let idle = idle();
            if idle.is_none() && self.is_quiet() {
                // Nothing can stand still before something runs: thousands of sleeping agents cost hardly a look. Whose
                // key is enrolled no more is somebody's no more.
                let _ = timeout(QUIET_EVERY, self.begun.notified()).await;
            }
            sleep(LOOK_EVERY.min(self.body_idle).min(idle.unwrap_or(LOOK_EVERY))).await;
            let found = self.look(idle);
            if let Some(found) = found {
                return found;
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let seen = self.seen();
        seen.running == 0 && seen.lifelines.is_empty()
    }

    fn look(&self, idle: Option<Duration>) -> Option<Found> {
        let (now, mut seen) = (Instant::now(), self.seen());
        let mut is_stuck = false;
        seen.lifelines.retain_mut(|lifeline| {
            let pulse = lifeline.look(now);
            is_stuck |= pulse == Pulse::Stuck;
            pulse != Pulse::Gone
        });
        let is_idle = seen.running == 0
            && idle.is_some_and(|bound| now.saturating_duration_since(seen.quiet_since) >= bound);
        match (is_stuck, is_idle) {
            (true, _) => Some(Found::Stuck),
            (_, true) => Some(Found::Idle),
            _ => None,
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is under way.
pub(crate) struct Running(Arc<Attendance>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut seen = self.0.seen();
        seen.running -= 1;
        seen.quiet_since = Instant::now();
    }
}

/// An answer's body that counts as under way until it is gone.
pub(super) struct Attended {
    pub(super) body: OutBody,
    pub(super) _running: Running,
}

impl Body for Attended {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

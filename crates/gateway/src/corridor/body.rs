//! Bodies on their way through: counted, hashed, watched for standstill, and never gathered.
//!
//! One piece is in hand at a time, either way, so memory stays flat whatever passes. A body that breaks
//! off breaks off on the other side too: half of something is never made to look whole.

use super::{record::Closing, wash::Wash};
use crate::{error::BodyError, wakes::Awake};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use nightlatch_domain::id::GrantId;
use nightlatch_egress::{AnswerBody, SendBody};
use nightlatch_ledger::BodyDigest;
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

/// The agent's body as a call brings it: still coming in, or all of it in hand, because somebody had to read it
/// before the call could be judged.
pub(crate) enum InBody {
    /// On its way, and read by nobody.
    Incoming(Incoming),
    /// All of it.
    Whole(Bytes),
}

impl From<Incoming> for InBody {
    fn from(body: Incoming) -> Self {
        Self::Incoming(body)
    }
}

impl Body for InBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Incoming(body) => Pin::new(body).poll_frame(context),
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Incoming(body) => body.is_end_stream(),
            Self::Whole(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Incoming(body) => body.size_hint(),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
        }
    }
}

/// What has passed in one direction.
pub(crate) struct Tally {
    pub(crate) bytes: u64,
    pub(crate) digest: Option<BodyDigest>,
    pub(crate) complete: bool,
}

/// A tally that both the body and the record hold.
#[derive(Clone)]
pub(crate) struct Counted(Arc<Mutex<Tally>>);

impl Counted {
    pub(crate) fn new(digest: BodyDigest) -> Self {
        Self(Arc::new(Mutex::new(Tally { bytes: 0, digest: Some(digest), complete: false })))
    }

    /// Runs `change` on the tally.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Tally) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn add(&self, bytes: &[u8]) {
        self.with(|tally| {
            tally.bytes = tally.bytes.saturating_add(bytes.len() as u64);
            if let Some(digest) = &mut tally.digest {
                digest.update(bytes);
            }
        });
    }

    pub(crate) fn complete(&self) {
        self.with(|tally| tally.complete = true);
    }
}

/// A clock that is wound up by every movement, and runs only while something is waited for.
struct Standstill {
    bound: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Standstill {
    const fn new(bound: Duration) -> Self {
        Self { bound, sleep: None }
    }

    fn moved(&mut self) {
        if let Some(sleep) = &mut self.sleep {
            sleep.as_mut().reset(Instant::now() + self.bound);
        }
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let bound = self.bound;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(bound)));
        sleep.as_mut().poll(context).is_ready()
    }
}

/// The agent's body on its way to the tool.
struct Upward {
    body: InBody,
    counted: Counted,
    standstill: Standstill,
}

/// The agent's body, as the pool sends it.
pub(crate) fn upward(body: InBody, counted: Counted, idle: Duration) -> SendBody {
    if body.is_end_stream() {
        counted.complete();
    }
    Upward { body, counted, standstill: Standstill::new(idle) }.map_err(Into::into).boxed_unsync()
}

impl Body for Upward {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            return if self.standstill.is_over(context) {
                Poll::Ready(Some(Err(BodyError::Idle)))
            } else {
                Poll::Pending
            };
        };
        self.standstill.moved();
        Poll::Ready(match frame {
            None => {
                self.counted.complete();
                None
            }
            Some(Err(_)) => Some(Err(BodyError::BrokeOff)),
            Some(Ok(frame)) => Some(frame.into_data().map_err(|_| BodyError::Trailers).map(|data| {
                self.counted.add(&data);
                if self.body.is_end_stream() {
                    self.counted.complete();
                }
                Frame::data(data)
            })),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The tool's body on its way to the agent. Its connection watches it from beside, by a [`Lifeline`].
pub(crate) struct Downward(Arc<Mutex<Passing>>);

struct Passing {
    /// None once it was ended from beside.
    body: Option<AnswerBody>,
    wash: Wash,
    /// The tool has said all.
    drained: bool,
    over: bool,
    /// Why it was ended from beside, until the reader has been told.
    ended: Option<BodyError>,
    /// Closed when the body ends, whichever way.
    closing: Closing,
    moved: Instant,
    reader: Option<Waker>,
    bounds: Bounds,
}

/// What an answer may run on, and how long it may stand still.
pub(crate) struct Bounds {
    pub(crate) awake: Arc<Awake>,
    pub(crate) grant: GrantId,
    pub(crate) idle: Duration,
    pub(crate) cut_after: Duration,
}

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

impl Downward {
    pub(super) fn new(body: AnswerBody, wash: Wash, bounds: Bounds, closing: Closing) -> Self {
        let mut passing = Passing {
            body: Some(body),
            wash,
            drained: false,
            over: false,
            ended: None,
            closing,
            moved: Instant::now(),
            reader: None,
            bounds,
        };
        if passing.is_end_stream() {
            passing.close(true);
        }
        Self(Arc::new(Mutex::new(passing)))
    }

    /// What the connection watches it by.
    pub(crate) fn lifeline(&self) -> Lifeline {
        Lifeline::of(Arc::downgrade(&self.0) as _)
    }

    fn passing(&self) -> MutexGuard<'_, Passing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Passing {
    fn ends_with(&mut self, error: BodyError) -> Polled {
        self.over = true;
        self.close(false);
        Poll::Ready(Some(Err(error)))
    }

    /// Gives what the scrubber had held back, once.
    fn finish(&mut self) -> Polled {
        self.over = true;
        let rest = match self.wash.finish() {
            Ok(rest) => rest,
            Err(error) => return self.ends_with(error),
        };
        self.closing.received().add(&rest);
        self.close(true);
        Poll::Ready((!rest.is_empty()).then(|| Ok(Frame::data(rest))))
    }

    fn close(&mut self, complete: bool) {
        if complete {
            self.closing.received().complete();
        }
        let (masked, revealed) = self.wash.noticed();
        self.closing.close(masked, revealed);
    }

    /// One piece of data that is certain.
    fn pass(&mut self, certain: Bytes) -> Frame<Bytes> {
        self.closing.received().add(&certain);
        if self.is_end_stream() {
            self.close(true);
        }
        Frame::data(certain)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Polled {
        if let Some(error) = self.ended.take() {
            return Poll::Ready(Some(Err(error)));
        }
        while !self.over && self.body.is_some() {
            match self.wash.take() {
                Ok(Some(certain)) => return Poll::Ready(Some(Ok(self.pass(certain)))),
                Ok(None) if self.drained => return self.finish(),
                Ok(None) => {}
                Err(error) => return self.ends_with(error),
            }
            let Some(body) = &mut self.body else { break };
            let Poll::Ready(frame) = Pin::new(body).poll_frame(context) else {
                self.reader = Some(context.waker().clone());
                return Poll::Pending;
            };
            self.moved = Instant::now();
            match frame {
                None => {
                    self.drained = true;
                    self.wash.end();
                }
                Some(Err(_)) => return self.ends_with(BodyError::BrokeOff),
                // Trailers of an answer are nothing that any phase has looked at: they end here.
                Some(Ok(frame)) => frame.into_data().into_iter().for_each(|data| self.wash.push(data)),
            }
        }
        Poll::Ready(None)
    }

    /// What was ended from beside never looks as if it had come to its end.
    fn is_end_stream(&self) -> bool {
        let is_passed = self.wash.is_empty() && self.body.as_ref().is_some_and(Body::is_end_stream);
        self.ended.is_none() && (self.over || is_passed)
    }

    /// Masks have the length of what they cover, so a length that was announced still holds.
    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        let (Some(body), Some(held)) = (&self.body, self.wash.held_len()) else { return hint };
        let inner = body.size_hint();
        hint.set_lower(inner.lower().saturating_add(held));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

impl Body for Downward {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        self.passing().poll(context)
    }

    fn is_end_stream(&self) -> bool {
        self.passing().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.passing().size_hint()
    }
}

impl Drop for Downward {
    /// The agent went away before the end, or it has been closed already.
    fn drop(&mut self) {
        self.passing().close(false);
    }
}

impl Watched for Passing {
    fn is_served(&self) -> bool {
        self.bounds.awake.serves(self.bounds.grant)
    }

    fn moved(&self) -> Instant {
        self.moved
    }

    fn idle(&self) -> Duration {
        self.bounds.idle
    }

    fn cut_after(&self) -> Duration {
        self.bounds.cut_after
    }

    fn end(&mut self, error: BodyError) {
        (self.over, self.ended, self.body) = (true, Some(error), None);
        self.closing.cut();
        self.close(false);
        self.reader.take().into_iter().for_each(Waker::wake);
    }
}

/// An answer's body on its way, seen from beside.
pub(crate) trait Watched: Send {
    /// Whether what it runs on still serves.
    fn is_served(&self) -> bool;
    /// When it moved last.
    fn moved(&self) -> Instant;
    /// How long it may stand still.
    fn idle(&self) -> Duration;
    /// How long it may run on after what it ran on has ended.
    fn cut_after(&self) -> Duration;
    /// Ends it: the other side closes now, the reader is told when it asks.
    fn end(&mut self, error: BodyError);
}

/// How long a reader that can be told of an end has to take it.
const TOLD_WITHIN: Duration = Duration::from_millis(100);

/// An answer as its connection sees it. hyper polls a body only while its reader reads; what stands still,
/// and what may no longer run, is ended from here.
#[derive(Clone)]
pub(crate) struct Lifeline {
    passing: Weak<Mutex<dyn Watched>>,
    /// Since when its wake or grant no longer serves.
    unserved: Option<Instant>,
    /// Since when it is ended.
    cut: Option<Instant>,
}

/// How an answer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// It has passed or was let go.
    Gone,
    /// It runs, or was ended just now.
    Runs,
    /// It was ended and is held on to: its reader does not read.
    Stuck,
}

impl Lifeline {
    pub(crate) const fn of(passing: Weak<Mutex<dyn Watched>>) -> Self {
        Self { passing, unserved: None, cut: None }
    }

    /// Whether there is still an answer. One that is gone keeps its memory for as long as it is listed.
    pub(crate) fn is_there(&self) -> bool {
        self.passing.strong_count() > 0
    }

    /// Ends the answer if it is time to.
    pub(crate) fn look(&mut self, now: Instant) -> Pulse {
        let Some(passing) = self.passing.upgrade() else { return Pulse::Gone };
        let passing = &mut *passing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cut) = self.cut {
            return if now < cut + TOLD_WITHIN { Pulse::Runs } else { Pulse::Stuck };
        }
        if !passing.is_served() {
            self.unserved.get_or_insert(now);
        }
        let is_unserved = self.unserved.is_some_and(|since| now >= since + passing.cut_after());
        let error = match (is_unserved, now >= passing.moved() + passing.idle()) {
            (true, _) => BodyError::Ended,
            (_, true) => BodyError::Idle,
            _ => return Pulse::Runs,
        };
        passing.end(error);
        self.cut = Some(now);
        Pulse::Runs
    }
}

#[cfg(test)]
impl Counted {
    /// A tally that hashes nothing.
    pub(crate) fn undigested() -> Self {
        Self(Arc::new(Mutex::new(Tally { bytes: 0, digest: None, complete: false })))
    }
}

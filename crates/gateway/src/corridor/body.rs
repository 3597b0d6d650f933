//! Bodies on their way through: counted, hashed, watched for standstill, and never gathered.
//!
//! One piece is in hand at a time, either way, so memory stays flat whatever passes. A body that breaks
//! off breaks off on the other side too: half of something is never made to look whole.

use super::{record::Closing, scrub::Scrubber};
use crate::error::BodyError;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use nightlatch_egress::{AnswerBody, SendBody};
use nightlatch_ledger::BodyDigest;
use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep};

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

/// A clock that is wound up by every movement.
struct Standstill {
    bound: Duration,
    sleep: Pin<Box<Sleep>>,
}

impl Standstill {
    fn new(bound: Duration) -> Self {
        Self { bound, sleep: Box::pin(tokio::time::sleep(bound)) }
    }

    fn moved(&mut self) {
        let until = Instant::now() + self.bound;
        self.sleep.as_mut().reset(until);
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.sleep.as_mut().poll(context).is_ready()
    }
}

/// The agent's body on its way to the tool.
struct Upward {
    body: Incoming,
    counted: Counted,
    standstill: Standstill,
}

/// The agent's body, as the pool sends it.
pub(crate) fn upward(body: Incoming, counted: Counted, idle: Duration) -> SendBody {
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

/// The tool's body on its way to the agent.
pub(crate) struct Downward {
    body: AnswerBody,
    scrubber: Scrubber,
    standstill: Standstill,
    over: bool,
    /// Closed when the body ends, whichever way.
    closing: Closing,
}

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

impl Downward {
    pub(crate) fn new(body: AnswerBody, scrubber: Scrubber, idle: Duration, closing: Closing) -> Self {
        let mut downward = Self { body, scrubber, standstill: Standstill::new(idle), over: false, closing };
        if downward.is_end_stream() {
            downward.close(true);
        }
        downward
    }

    fn ends_with(&mut self, error: BodyError) -> Polled {
        self.over = true;
        if error == BodyError::Idle {
            self.closing.cut();
        }
        self.close(false);
        Poll::Ready(Some(Err(error)))
    }

    /// Gives what the scrubber had held back, once.
    fn finish(&mut self) -> Polled {
        self.over = true;
        let rest = self.scrubber.finish();
        self.closing.received().add(&rest);
        self.close(true);
        Poll::Ready((!rest.is_empty()).then(|| Ok(Frame::data(rest))))
    }

    fn close(&mut self, complete: bool) {
        if complete {
            self.closing.received().complete();
        }
        self.closing.close(self.scrubber.masked());
    }

    /// One piece of data; none where all of it is held back.
    fn pass(&mut self, data: Bytes) -> Option<Frame<Bytes>> {
        let certain = self.scrubber.push(data);
        self.closing.received().add(&certain);
        if self.is_end_stream() {
            self.close(true);
        }
        (!certain.is_empty()).then(|| Frame::data(certain))
    }
}

impl Body for Downward {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        while !self.over {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
                return if self.standstill.is_over(context) {
                    self.ends_with(BodyError::Idle)
                } else {
                    Poll::Pending
                };
            };
            self.standstill.moved();
            let passed = match frame {
                None => return self.finish(),
                Some(Err(_)) => return self.ends_with(BodyError::BrokeOff),
                // Trailers of an answer are nothing that any phase has looked at: they end here.
                Some(Ok(frame)) => frame.into_data().ok().and_then(|data| self.pass(data)),
            };
            if let Some(frame) = passed {
                return Poll::Ready(Some(Ok(frame)));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.over || (self.body.is_end_stream() && self.scrubber.is_empty())
    }

    /// Masks have the length of what they cover, so a length that was announced still holds.
    fn size_hint(&self) -> SizeHint {
        let (inner, held) = (self.body.size_hint(), self.scrubber.held_len());
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(held));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

impl Drop for Downward {
    /// The agent went away before the end, or it has been closed already.
    fn drop(&mut self) {
        self.closing.close(self.scrubber.masked());
    }
}

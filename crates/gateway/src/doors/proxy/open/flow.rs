//! The answer of a host on its way to the agent. Nobody reads or counts it; what watches it from beside ends it with
//! the wake, or where it stands still.

use crate::{
    corridor::{Lifeline, Opening, Watched},
    error::BodyError,
    limits::Limits,
};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{task::AbortHandle, time::Instant};

/// What an answer under way keeps.
pub(super) struct Kept {
    pub(super) opening: Opening,
    pub(super) _driver: Driver,
}

/// Ends the connection when it is dropped.
pub(super) struct Driver(pub(super) AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer's body. Its connection watches it from beside, by a [`Lifeline`].
pub(super) struct Flow(Arc<Mutex<Passing>>);

struct Passing {
    /// None once it was ended from beside.
    body: Option<(Incoming, Kept)>,
    /// Why it was, until the reader has been told.
    ended: Option<BodyError>,
    moved: Instant,
    reader: Option<Waker>,
    idle: Duration,
    cut_after: Duration,
}

impl Flow {
    pub(super) fn new(body: Incoming, kept: Kept, limits: &Limits) -> Self {
        Self(Arc::new(Mutex::new(Passing {
            body: Some((body, kept)),
            ended: None,
            moved: Instant::now(),
            reader: None,
            idle: limits.body_idle,
            cut_after: limits.cut_after,
        })))
    }

    pub(super) fn lifeline(&self) -> Lifeline {
        Lifeline::of(Arc::downgrade(&self.0) as _)
    }

    fn passing(&self) -> MutexGuard<'_, Passing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched for Passing {
    fn is_served(&self) -> bool {
        self.body.as_ref().is_some_and(|(_, kept)| !kept.opening.awake.is_over())
    }

    fn moved(&self) -> Instant {
        self.moved
    }

    fn idle(&self) -> Duration {
        self.idle
    }

    fn cut_after(&self) -> Duration {
        self.cut_after
    }

    fn end(&mut self, error: BodyError) {
        (self.body, self.ended) = (None, Some(error));
        self.reader.take().into_iter().for_each(Waker::wake);
    }
}

impl Body for Flow {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let passing = &mut *self.passing();
        if let Some(error) = passing.ended.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let Some((body, _)) = &mut passing.body else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(context) else {
            passing.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        passing.moved = Instant::now();
        Poll::Ready(frame.map(|frame| match frame.map(Frame::into_data) {
            Ok(Ok(data)) => Ok(Frame::data(data)),
            // No phase has looked at them.
            Ok(Err(_)) => Err(BodyError::Trailers),
            Err(_) => Err(BodyError::BrokeOff),
        }))
    }

    /// What was ended from beside never looks as if it had come to its end.
    fn is_end_stream(&self) -> bool {
        let passing = self.passing();
        passing.ended.is_none() && passing.body.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.passing().body.as_ref().map(|(body, _)| body.size_hint()).unwrap_or_default()
    }
}

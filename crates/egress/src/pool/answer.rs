//! The body of an answer, which gives its connection back when it was read to its end.

use super::{Inner, line::Line};
use crate::outgoing::Progress;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::{
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

/// A streaming body. Dropped before its end, it takes an HTTP/1.1 connection with it: what is left on
/// that connection would be read as the next answer.
pub struct AnswerBody {
    incoming: Incoming,
    line: Option<Line>,
    pool: Weak<Inner>,
    progress: Arc<Progress>,
}

impl AnswerBody {
    pub(crate) fn new(incoming: Incoming, line: Line, pool: Weak<Inner>, progress: Arc<Progress>) -> Self {
        let mut body = Self { incoming, line: Some(line), pool, progress };
        if body.incoming.is_end_stream() {
            body.give_back();
        }
        body
    }

    /// The body of an answer over a connection that goes back to no shelf: it is cut at the end.
    pub(crate) fn once(incoming: Incoming, line: Line) -> Self {
        Self::new(incoming, line, Weak::new(), Arc::default())
    }

    /// Gives the connection back, where the request's body has come to its end too; else it is cut.
    fn give_back(&mut self) {
        let Some(line) = self.line.take() else { return };
        let (Some(pool), true) = (self.pool.upgrade(), self.progress.has_ended()) else { return };
        if let Some((sender, live)) = line.put_down() {
            if sender.is_shared() {
                return; // its own handle stands on the shelf
            }
            let now = pool.clock().boot();
            pool.shelves().put(sender, live, now, pool.limits());
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        match &frame {
            Some(Err(_)) => drop(self.line.take()),
            None => self.give_back(),
            Some(Ok(_)) if self.incoming.is_end_stream() => self.give_back(),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

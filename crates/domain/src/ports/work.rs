//! Tasks and waits of one process: what a room needs of a runtime, and nothing of which one it is.
//!
//! A room that starts tasks, waits and blocks only through here runs under a real runtime, and as well under
//! one thread with a clock that somebody turns: there the same seed gives the same order of everything.

use super::Boxed;
use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

/// The runtime of this process.
pub trait Work: Send + Sync {
    /// Starts a task of its own, which is carried to its end while the process lives, whoever waits for it.
    fn spawn(&self, task: Boxed<'static, ()>);
    /// Done when `span` has passed since this was called; nothing follows from its being exact.
    fn sleep(&self, span: Duration) -> Boxed<'static, ()>;
    /// Runs what blocks beside the tasks, from now on: it is carried through, whoever stops waiting.
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> Boxed<'static, ()>;
}

/// How long somebody waits in all, counted from when it began, however many waits there are.
pub struct Patience {
    /// None when it has ended.
    left: Option<Boxed<'static, ()>>,
}

impl Patience {
    /// Begins now.
    #[must_use]
    pub fn of(work: &dyn Work, span: Duration) -> Self {
        Self { left: Some(work.sleep(span)) }
    }

    /// What `what` brings; none where the patience ends first. What is there at once comes in any case.
    pub async fn lasts<T>(&mut self, what: impl Future<Output = T> + Send) -> Option<T> {
        let mut what = pin!(what);
        poll_fn(|cx| {
            if let Poll::Ready(brought) = what.as_mut().poll(cx) {
                return Poll::Ready(Some(brought));
            }
            let is_over = self.left.as_mut().is_none_or(|left| left.as_mut().poll(cx).is_ready());
            if is_over {
                self.left = None;
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }
}

/// What `what` brings within `span`; none where it does not.
pub async fn within<T>(work: &dyn Work, span: Duration, what: impl Future<Output = T> + Send) -> Option<T> {
    Patience::of(work, span).lasts(what).await
}

#[cfg(test)]
mod tests {
    //! Patience counts every wait together, ends once, and never holds back what is there.

    use super::{Boxed, Patience, Work, within};
    use std::{
        future::{Future, pending, poll_fn, ready},
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
        task::{Context, Poll, Waker},
        time::Duration,
    };

    /// A clock that is turned by hand; everything is polled by hand too.
    #[derive(Default)]
    struct Hand(Arc<AtomicU64>);

    impl Hand {
        fn forward(&self, secs: u64) {
            self.0.fetch_add(secs, Ordering::SeqCst);
        }
    }

    impl Work for Hand {
        fn spawn(&self, _: Boxed<'static, ()>) {}
        fn sleep(&self, span: Duration) -> Boxed<'static, ()> {
            let (now, until) = (Arc::clone(&self.0), self.0.load(Ordering::SeqCst) + span.as_secs());
            Box::pin(poll_fn(move |_| {
                if now.load(Ordering::SeqCst) >= until { Poll::Ready(()) } else { Poll::Pending }
            }))
        }
        fn blocking(&self, _: Box<dyn FnOnce() + Send>) -> Boxed<'static, ()> {
            Box::pin(ready(()))
        }
    }

    fn once<T>(what: impl Future<Output = T>) -> Poll<T> {
        pin!(what).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn patience_counts_all_waits_together_and_ends_once() {
        let hand = Hand::default();
        let mut patience = Patience::of(&hand, Duration::from_secs(10));
        assert_eq!(once(patience.lasts(pending::<()>())), Poll::Pending);
        hand.forward(9);
        assert_eq!(once(patience.lasts(hand.sleep(Duration::from_secs(1)))), Poll::Pending);
        hand.forward(1);
        assert_eq!(once(patience.lasts(pending::<()>())), Poll::Ready(None));
        assert_eq!(once(patience.lasts(pending::<()>())), Poll::Ready(None));
    }

    #[test]
    fn what_is_there_comes_though_the_time_is_over() {
        let hand = Hand::default();
        let mut patience = Patience::of(&hand, Duration::ZERO);
        assert_eq!(once(patience.lasts(ready(1))), Poll::Ready(Some(1)));
        assert_eq!(once(patience.lasts(pending::<()>())), Poll::Ready(None));
        assert_eq!(once(patience.lasts(ready(1))), Poll::Ready(Some(1)));
        assert_eq!(once(within(&hand, Duration::ZERO, ready(1))), Poll::Ready(Some(1)));
        assert_eq!(once(within(&hand, Duration::ZERO, pending::<()>())), Poll::Ready(None));
    }
}

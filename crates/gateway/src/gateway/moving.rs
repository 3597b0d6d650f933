//! A socket that is not waited for without end: whoever does not read is cut.
//!
//! A body that is watched only when it is polled is not watched at all while its reader stands still,
//! because then nobody polls it. So the bound lies here, under TLS, where what the kernel does not take is
//! seen. A connection that is given up takes its unsent bytes along (a reset instead of an ordinary end):
//! they belong to a call that ended.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Says that a connection was given up.
#[derive(Clone, Default)]
pub(crate) struct GivenUp(Arc<AtomicBool>);

impl GivenUp {
    pub(crate) fn say(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A socket whose writes make progress within a bound, or fail.
pub(crate) struct Moving<S> {
    stream: S,
    bound: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
    given_up: GivenUp,
    /// Lets the socket forget what it has not sent.
    forget: fn(&S),
}

impl<S> Moving<S> {
    pub(crate) const fn new(stream: S, bound: Duration, given_up: GivenUp, forget: fn(&S)) -> Self {
        Self { stream, bound, waiting: None, given_up, forget }
    }

    /// What a write came to; while it waits, the clock runs.
    fn bounded<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waiting = None;
            return polled;
        }
        let bound = self.bound;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(bound)));
        waiting.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Moving<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Moving<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.bounded(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.bounded(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(context);
        self.bounded(context, polled)
    }
}

impl<S> Drop for Moving<S> {
    fn drop(&mut self) {
        if self.given_up.0.load(Ordering::Relaxed) {
            (self.forget)(&self.stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{GivenUp, Moving};
    use std::{io::ErrorKind, time::Duration};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::timeout,
    };

    #[tokio::test]
    async fn a_write_that_nobody_takes_fails_within_the_bound() {
        let (mut reader, stream) = duplex(1);
        let mut moving = Moving::new(stream, Duration::from_millis(20), GivenUp::default(), |_| {});
        let mut taken = [0; 4];
        let (written, read) = tokio::join!(moving.write_all(b"fine"), reader.read_exact(&mut taken));
        assert!(written.is_ok() && read.is_ok());
        let stuck = timeout(Duration::from_secs(5), moving.write_all(b"stuck")).await;
        assert_eq!(stuck.expect("the write is waited for").unwrap_err().kind(), ErrorKind::TimedOut);
    }
}

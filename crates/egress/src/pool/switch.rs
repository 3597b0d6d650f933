//! A connection that has switched protocols (RFC 9110 §7.8): bytes both ways, until either side ends.
//!
//! It was made for one request, speaks HTTP/1.1 (nothing else can switch), and never stands on a shelf. To the pool
//! it stays what it was: it counts among what is open, and closing its grant, wake or tenant ends it at once.

use super::line::{Leaves, Live};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
};

/// The bytes of a connection after its switch.
pub struct Switched {
    stream: TokioIo<Upgraded>,
    /// Comes when the pool cuts the connection; none once it has.
    cut: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Held, so that the pool can cut it.
    _live: Arc<Live>,
    /// Strikes it off the books when it is dropped.
    _leaves: Arc<Leaves>,
}

impl Switched {
    pub(super) fn new(
        upgraded: Upgraded,
        live: Arc<Live>,
        leaves: Arc<Leaves>,
        mut cut: watch::Receiver<bool>,
    ) -> Self {
        // A sender that is gone means the same.
        let cut = Box::pin(async move { drop(cut.wait_for(|cut| *cut).await) });
        Self { stream: TokioIo::new(upgraded), cut: Some(cut), _live: live, _leaves: leaves }
    }

    /// Fails where the connection was cut; else the caller is woken when it is.
    fn poll_cut(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let is_cut = self.cut.as_mut().is_none_or(|cut| cut.as_mut().poll(context).is_ready());
        if is_cut {
            self.cut = None;
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl AsyncRead for Switched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Switched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

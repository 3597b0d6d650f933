//! The reader around a stream: hyper reads from here what may pass, and nothing else.
//!
//! What comes is read straight into hyper's own buffer and judged there; it is copied only where it must wait: the
//! beginning of a head, or bytes behind a head that asks for another protocol. A fault in a head is handed to hyper as
//! a [stand-in](STAND_IN), a request that no reader of ours would let pass from outside. So its refusal is an answer
//! like any other: after those of the requests before it, recorded, typed, and the last on its connection. A fault in a
//! body ends that body as broken: its head has long been on its way.

use super::{Bounds, Fault, Reader};
use bytes::{Buf as _, BytesMut};
use http::{Method, Request, Response, StatusCode};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What hyper reads in place of what was refused. `*` comes through from nobody else.
const STAND_IN: &[u8] = b"REFUSED * HTTP/1.1\r\n\r\n";
/// What is read and forgotten behind a fault, while its refusal is on its way: a socket that is closed over unread
/// bytes takes back what was sent. Past this much, whoever still sends does not read.
const FORGOTTEN_MAX_BYTES: usize = 1024 * 1024;

/// What reader and service tell each other.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(super) fault: OnceLock<Fault>,
    is_open: AtomicBool,
}

impl Gate {
    /// The fault that a request stands for, if it is no request.
    pub(crate) fn fault_of<B>(&self, request: &Request<B>) -> Option<Fault> {
        self.fault.get().copied().filter(|_| request.uri().path() == "*")
    }

    /// Lets through what comes behind a request, where its answer switches to another protocol.
    pub(crate) fn answered<B>(&self, method: &Method, answer: &Response<B>) {
        let is_tunnel = method == Method::CONNECT && answer.status().is_success();
        if is_tunnel || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.is_open.store(true, Ordering::Release);
        }
    }
}

/// A stream of which only what the reader lets pass can be read.
pub(crate) struct Strict<S> {
    stream: S,
    reader: Reader,
    gate: Arc<Gate>,
    /// What came and has not passed.
    pub(super) held: BytesMut,
    /// How much of it may, from its beginning.
    sound: usize,
    /// Once a fault was handed on: how much was read behind it.
    forgotten: Option<usize>,
    held_max_bytes: usize,
}

impl<S: AsyncRead + Unpin> Strict<S> {
    pub(crate) fn new(stream: S, bounds: Bounds, gate: Arc<Gate>) -> Self {
        let (reader, held) = (Reader::new(bounds), BytesMut::new());
        let held_max_bytes = bounds.head_max_bytes;
        Self { stream, reader, gate, held, sound: 0, forgotten: None, held_max_bytes }
    }

    /// Gives what waits and may pass; whether there was any.
    fn hand_over(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let count = self.sound.min(buffer.remaining());
        buffer.put_slice(self.held.get(..count).unwrap_or_default());
        self.held.advance(count);
        self.sound -= count;
        if self.held.is_empty() {
            // What waited is rare; the memory for it is not kept.
            self.held = BytesMut::new();
        }
        count > 0
    }

    /// Reads once. What may pass of it is left in `buffer`, the rest is held; false at the stream's end.
    fn fill(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let came = buffer.filled().get(before..).unwrap_or_default();
        if came.is_empty() {
            return Poll::Ready(Ok(false));
        }
        let mut passed = 0;
        if self.held.is_empty() {
            passed = self.reader.read(came);
            self.held.extend_from_slice(came.get(passed..).unwrap_or_default());
        } else {
            self.held.extend_from_slice(came);
            self.sound = self.reader.read(&self.held);
        }
        buffer.set_filled(before + passed);
        Poll::Ready(Ok(true))
    }

    /// Hands a fault on; behind it there is nothing to read.
    fn fail(
        &mut self,
        fault: Fault,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if fault.is_of_body() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault.field())));
        }
        let Some(forgotten) = &mut self.forgotten else {
            // The service looks for it as soon as hyper has read the stand-in.
            let _ = self.gate.fault.set(fault);
            self.held = BytesMut::from(STAND_IN);
            (self.sound, self.forgotten) = (STAND_IN.len(), Some(0));
            self.hand_over(buffer);
            return Poll::Ready(Ok(()));
        };
        while *forgotten < FORGOTTEN_MAX_BYTES {
            let before = buffer.filled().len();
            let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
            let came = buffer.filled().len() - before;
            buffer.set_filled(before);
            if polled.is_pending() || came == 0 {
                break;
            }
            *forgotten += came;
        }
        // The answer, which is under way, ends the connection.
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Strict<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        loop {
            if this.reader.is_asked() && this.gate.is_open.load(Ordering::Acquire) {
                this.reader.let_through();
                this.sound = this.held.len();
            }
            if buffer.remaining() == 0 || this.hand_over(buffer) || buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            if let Some(fault) = this.reader.fault() {
                return this.fail(fault, context, buffer);
            }
            // Only what waits for an answer grows so far; that answer is what comes next.
            if this.held.len() > this.held_max_bytes {
                return Poll::Pending;
            }
            if !ready!(this.fill(context, buffer))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Strict<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

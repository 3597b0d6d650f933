//! Proves what the keeper relies on below the surface: one write, the deadline at it, the socket's options.

use super::{FirstByte, exchange, give_up_after};
use crate::stream::Stream;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use nightlatch_domain::clock::{Boot, Clock, Timestamp};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// Stands still at 1 s after the machine's start.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }
    fn boot(&self) -> Boot {
        Boot::from_millis(1000)
    }
}

/// Counts writes and answers with a fixed text once it was written to.
struct Counted {
    writes: Arc<AtomicUsize>,
    answer: &'static [u8],
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.writes.load(Ordering::SeqCst) == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        into.put_slice(std::mem::take(&mut self.answer));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn run(send_by: u64) -> (bool, usize, bool) {
    let (writes, wrote) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let io = FirstByte {
        stream: Counted { writes: Arc::clone(&writes), answer },
        clock: Arc::new(Still),
        send_by: Boot::from_millis(send_by),
        wrote: Arc::clone(&wrote),
    };
    let body = Full::new(Bytes::from("grant_type=refresh_token".repeat(100)));
    let request = Request::post("/token").header("host", "a.example").body(body).unwrap();
    let answered = exchange(io, request, 100).await.is_ok();
    (answered, writes.load(Ordering::SeqCst), wrote.load(Ordering::SeqCst))
}

#[tokio::test]
async fn head_and_body_go_down_in_one_write() {
    assert_eq!(run(1001).await, (true, 1, true));
}

#[tokio::test]
async fn at_the_send_deadline_no_byte_goes_down() {
    assert_eq!(run(1000).await, (false, 0, false));
}

#[tokio::test]
async fn the_kernel_gives_up_with_the_send_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = Stream::Plain(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
    give_up_after(&stream, Duration::from_millis(1234)).unwrap();
    assert_eq!(rustix::net::sockopt::tcp_user_timeout(stream.socket()).unwrap(), 1234);
    give_up_after(&stream, Duration::ZERO).unwrap();
    assert_eq!(rustix::net::sockopt::tcp_user_timeout(stream.socket()).unwrap(), 1);
}

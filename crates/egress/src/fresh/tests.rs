//! Proves what the keeper relies on below the surface: one write, the deadline at it, the socket's options.

use super::{FirstByte, Mark, exchange, give_up_after};
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
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

/// Stands still at 1 s after the machine's start, until a write makes it jump.
struct Still(AtomicU64);

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }
    fn boot(&self) -> Boot {
        Boot::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Counts writes and answers with a fixed text once it was written to. Each write takes a while.
struct Counted {
    writes: Arc<AtomicUsize>,
    clock: Arc<Still>,
    write_takes_millis: u64,
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
        self.clock.0.fetch_add(self.write_takes_millis, Ordering::SeqCst);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Whether an answer came, how many writes there were, whether a byte may have left, and how late.
type Ran = (bool, usize, bool, Option<Duration>);

async fn run(send_by: u64, write_takes_millis: u64) -> Ran {
    let (writes, mark) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mark::default()));
    let clock = Arc::new(Still(AtomicU64::new(1000)));
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let stream =
        Counted { writes: Arc::clone(&writes), clock: Arc::clone(&clock), write_takes_millis, answer };
    let send_by = Boot::from_millis(send_by);
    let io = FirstByte { stream, clock, send_by, mark: Arc::clone(&mark) };
    let body = Full::new(Bytes::from("grant_type=refresh_token".repeat(100)));
    let request = Request::post("/token").header("host", "a.example").body(body).unwrap();
    let answered = exchange(io, request, 100).await.is_ok();
    let late_by = mark.late_by.get().copied().flatten();
    (answered, writes.load(Ordering::SeqCst), mark.wrote.load(Ordering::SeqCst), late_by)
}

#[tokio::test]
async fn head_and_body_go_down_in_one_write() {
    assert_eq!(run(1001, 0).await, (true, 1, true, None));
}

#[tokio::test]
async fn at_the_send_deadline_no_byte_goes_down() {
    assert_eq!(run(1000, 0).await, (false, 0, false, None));
}

#[tokio::test]
async fn a_pause_between_check_and_write_is_told() {
    assert_eq!(run(1500, 499).await, (true, 1, true, None));
    assert_eq!(run(1500, 500).await, (true, 1, true, Some(Duration::ZERO)));
    assert_eq!(run(1500, 2500).await, (true, 1, true, Some(Duration::from_secs(2))));
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

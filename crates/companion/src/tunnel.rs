//! Bytes between a program and a stream of the gateway, both ways, until both sides are done.
//!
//! A side that has nothing more to send is told to the other, which may go on: half of a tunnel is still one. But
//! TCP does not say whether a program that sends no more still listens, so once one side is done the other must
//! move; else every program that is gone could hold a place for good.

use std::{io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::sleep,
};

/// One buffer each way: a record of TLS.
const BUFFER_BYTES: usize = 16 * 1024;

/// Carries until both sides are done, either broke, or one is done and the other silent for `quiet_max`.
pub(crate) async fn carry(
    local: &mut TcpStream,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    quiet_max: Duration,
) -> io::Result<()> {
    let (from_program, to_program) = local.split();
    let (from_gateway, to_gateway) = tokio::io::split(stream);
    let (up_done, down_done) = (watch::Sender::new(false), watch::Sender::new(false));
    let up = one_way(from_program, to_gateway, &up_done, quiet(&down_done, quiet_max));
    let down = one_way(from_gateway, to_program, &down_done, quiet(&up_done, quiet_max));
    tokio::try_join!(up, down).map(|_| ())
}

async fn one_way<Q: Future<Output = ()>>(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    done: &watch::Sender<bool>,
    quiet: impl Fn() -> Q,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read?,
            () = quiet() => return Err(io::ErrorKind::TimedOut.into()),
        };
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        to.write_all(bytes).await?;
        to.flush().await?;
    }
    done.send_replace(true);
    to.shutdown().await
}

/// Ends so long after the other side is done.
fn quiet(
    other: &watch::Sender<bool>,
    quiet_max: Duration,
) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
    let other = other.subscribe();
    move || {
        let mut other = other.clone();
        Box::pin(async move {
            // A sender that is gone has ended the whole.
            let _ = other.wait_for(|done| *done).await;
            sleep(quiet_max).await;
        })
    }
}

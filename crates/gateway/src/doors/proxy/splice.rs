//! Bytes passed through between an agent and a host that no tool has. Nobody here can read them, and nothing of
//! ours is among them.

use crate::{corridor::Opening, gateway::Ends, limits::Limits};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    time::{Instant, sleep},
};

/// One piece in hand, each way.
const PIECE_BYTES: usize = 16 * 1024;
/// How often it is looked whether it may still run.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What ends a splice besides its two sides.
pub(super) struct Until<'a> {
    pub(super) opening: &'a Opening,
    pub(super) limits: &'a Limits,
    pub(super) ends: Ends,
}

/// When anything moved last.
type Moved = Arc<Mutex<Instant>>;

/// Passes bytes both ways, `first` before all others, until both sides have ended, nothing moves for too long,
/// the wake is over, or the gateway closes.
pub(super) async fn run(
    agent: impl AsyncRead + AsyncWrite + Unpin,
    host: impl AsyncRead + AsyncWrite + Unpin,
    first: &[u8],
    until: Until<'_>,
) {
    let moved: Moved = Arc::new(Mutex::new(Instant::now()));
    let ((mut from_agent, mut to_agent), (mut from_host, mut to_host)) = (split(agent), split(host));
    let up = async {
        to_host.write_all(first).await?;
        pass(&mut from_agent, &mut to_host, &moved).await
    };
    let down = pass(&mut from_host, &mut to_agent, &moved);
    tokio::select! {
        // One side that breaks off ends both.
        _ = async { tokio::try_join!(up, down) } => {}
        () = until.comes(&moved) => {}
    }
}

async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    moved: &Moved,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = from.read(&mut piece).await?;
        let Some(read) = piece.get(..count).filter(|read| !read.is_empty()) else {
            return to.shutdown().await;
        };
        to.write_all(read).await?;
        to.flush().await?;
        *moved.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Until<'_> {
    async fn comes(mut self, moved: &Moved) {
        let idle = self.limits.body_idle;
        let standing = async {
            loop {
                sleep(LOOK_EVERY.min(idle)).await;
                let last = *moved.lock().unwrap_or_else(PoisonError::into_inner);
                if self.opening.awake.is_over() || last.elapsed() >= idle {
                    return;
                }
            }
        };
        tokio::select! {
            () = standing => {}
            // A sender that is gone means the same.
            _ = self.ends.closing.wait_for(|closing| *closing) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Moved, pass};
    use std::sync::{Arc, Mutex};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::Instant,
    };

    #[tokio::test]
    async fn everything_passes_in_order_and_an_end_is_handed_on() {
        let (mut writer, mut from) = duplex(64);
        let (mut to, mut reader) = duplex(64);
        let moved: Moved = Arc::new(Mutex::new(Instant::now()));
        let sent: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
        let write = async {
            writer.write_all(&sent).await.unwrap();
            drop(writer);
        };
        let mut received = Vec::new();
        let read = async { reader.read_to_end(&mut received).await.unwrap() };
        let (passed, (), _) = tokio::join!(pass(&mut from, &mut to, &moved), write, read);
        assert!(passed.is_ok() && received == sent);
    }
}

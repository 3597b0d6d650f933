//! The local listener: each connection is judged, answered or joined to a tunnel, and none is understood.
//!
//! One task a connection. It first asks whose it is and what it wants, with little time and few places; then the
//! gateway; then it is joined to a stream of the gateway ([`tunnel`]). A side that broke breaks the other.

use crate::{
    answer::{Answer, ESTABLISHED},
    error::CompanionError,
    guard::Guard,
    head::{self, Head, HeadFault, Wanted},
    limits::Limits,
    line::Line,
    reports::Reports,
    tunnel,
};
use bytes::BytesMut;
use hyper_util::rt::TokioIo;
use nightlatch_domain::{
    companion::{LocalRefusal, PLAIN_HTTP_AUTHORITY},
    problem::{Problem, ProblemKind},
};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};

/// Between two attempts to accept where the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many callers of other users are told that they are refused; the others are only closed.
const STRANGERS_MAX: usize = 16;

/// What all connections share.
pub(crate) struct Front {
    pub(crate) line: Arc<Line>,
    pub(crate) guard: Guard,
    pub(crate) reports: Arc<Reports>,
    pub(crate) limits: Limits,
    heads: Arc<Semaphore>,
    strangers: Semaphore,
    pub(crate) tunnels: Arc<Semaphore>,
}

impl Front {
    pub(crate) fn new(line: Arc<Line>, guard: Guard, reports: Arc<Reports>, limits: Limits) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        let (heads, tunnels) = (places(limits.heads_max), places(limits.tunnels_max));
        let strangers = Semaphore::new(STRANGERS_MAX);
        Self { line, guard, reports, limits, heads, strangers, tunnels }
    }

    /// Serves until it is dropped; its connections end with it.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            // A place first: who comes too many waits in the kernel's queue.
            let Ok(place) = Arc::clone(&self.heads).acquire_owned().await else { return };
            while connections.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((local, remote)) => {
                    let front = Arc::clone(&self);
                    connections.spawn(async move { front.attend(local, remote, place).await });
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    async fn attend(&self, mut local: TcpStream, remote: SocketAddr, place: impl Send) {
        let answer = match self.judge(&mut local, remote).await {
            Ok((head, read)) => {
                drop(place);
                let Err(answer) = self.join(&mut local, head, read).await else { return };
                answer
            }
            // Another user of this machine takes no place of this one's; few are answered at once, and no more.
            Err(problem) if problem.kind == ProblemKind::PeerRefused => {
                drop(place);
                if let Ok(_place) = self.strangers.try_acquire() {
                    Answer::problem(&problem).send(&mut local).await;
                }
                return;
            }
            // Who is refused keeps its place until it has its answer: so there are never more than there are places.
            Err(problem) => Answer::problem(&problem),
        };
        answer.send(&mut local).await;
    }

    /// Who it is, what it wants, and whether it showed the password.
    async fn judge(&self, local: &mut TcpStream, remote: SocketAddr) -> Result<(Head, BytesMut), Problem> {
        let own = local.local_addr().map_err(|_| ProblemKind::PeerRefused)?;
        self.guard.check_peer(own, remote).await.map_err(|refusal| self.refused(refusal))?;
        let read = timeout(self.limits.head_within, read_head(local, self.limits.head_max_bytes)).await;
        let (head, read) = read.unwrap_or(Err(HeadFault::TooLarge)).map_err(problem_of)?;
        let shown = head.authorization.as_ref().map(|value| value.as_slice());
        self.guard.check_password(shown).map_err(|refusal| self.refused(refusal))?;
        Ok((head, read))
    }

    fn refused(&self, refusal: LocalRefusal) -> Problem {
        self.reports.note(refusal);
        Problem::new(match refusal {
            LocalRefusal::ProxyPassword => ProblemKind::ProxyPassword,
            LocalRefusal::PeerUid => ProblemKind::PeerRefused,
        })
    }

    /// Joins the program to a stream of the gateway until both are done. `read` is all that came so far.
    async fn join(&self, local: &mut TcpStream, head: Head, read: BytesMut) -> Result<(), Answer> {
        let busy = || Answer::problem(&Problem::new(ProblemKind::TooManyCalls).retry_after(1));
        let _place = self.tunnels.try_acquire().map_err(|_| busy())?;
        let authority = match &head.wanted {
            Wanted::Tunnel(authority) => authority.as_str(),
            Wanted::PlainHttp => PLAIN_HTTP_AUTHORITY,
        };
        let answer = self.line.tunnel(authority).await.map_err(|error| unreachable(&error))?;
        if !answer.status().is_success() {
            let (head, body) = answer.into_parts();
            return Err(Answer::relayed(head.status, &head.headers, body).await);
        }
        let stream = hyper::upgrade::on(answer).await;
        let mut stream = TokioIo::new(stream.map_err(|_| unreachable(&CompanionError::Lost))?);
        let passed = pass(local, &mut stream, &head, &read).await;
        drop((head, read));
        if passed.is_err() || tunnel::carry(local, stream, self.limits.quiet_max).await.is_err() {
            // What broke there must not look here as if it had come to its end.
            let _ = local.set_zero_linger();
        }
        Ok(())
    }
}

/// Says that the tunnel stands, and passes on what came before it did.
async fn pass(
    local: &mut TcpStream,
    stream: &mut (impl AsyncWrite + Unpin),
    head: &Head,
    read: &[u8],
) -> io::Result<()> {
    let early = match head.wanted {
        Wanted::Tunnel(_) => {
            local.write_all(ESTABLISHED).await?;
            read.get(head.length..).unwrap_or_default()
        }
        Wanted::PlainHttp => read,
    };
    stream.write_all(early).await?;
    stream.flush().await
}

/// Reads until the first head is whole.
async fn read_head(local: &mut TcpStream, max_bytes: usize) -> Result<(Head, BytesMut), HeadFault> {
    let mut read = BytesMut::with_capacity(1024);
    loop {
        if let Some(head) = head::read(&read)? {
            return Ok((head, read));
        }
        if read.len() >= max_bytes {
            return Err(HeadFault::TooLarge);
        }
        match local.read_buf(&mut read).await {
            Ok(0) | Err(_) => return Err(HeadFault::Malformed("end")),
            Ok(_) => {}
        }
    }
}

fn problem_of(fault: HeadFault) -> Problem {
    match fault {
        HeadFault::Malformed(field) => Problem::new(ProblemKind::BadRequest).at_field(field),
        HeadFault::OriginForm => ProblemKind::ProxyOnly.into(),
        HeadFault::CrossSite => ProblemKind::CrossSite.into(),
        HeadFault::TooLarge => ProblemKind::TooLarge.into(),
    }
}

fn unreachable(_: &CompanionError) -> Answer {
    Answer::problem(&Problem::new(ProblemKind::GatewayUnreachable).retry_after(1))
}

//! The local listener: each connection is judged, answered or joined to a tunnel, and none is understood.
//!
//! One task a connection. It first asks whose it is and what it wants, with little time and few places; then the
//! gateway; then it is joined to a stream of the gateway ([`tunnel`]). A side that broke breaks the other.

use crate::{
    answer::{Answer, ESTABLISHED},
    calls::Calls,
    error::CompanionError,
    guard::Guard,
    head::{self, Head, HeadFault, Own, Wanted},
    limits::Limits,
    line::Line,
    reports::Reports,
    tunnel,
};
use bytes::{Bytes, BytesMut};
use hyper_util::rt::TokioIo;
use nightlatch_domain::{
    companion::{LocalRefusal, PLAIN_HTTP_AUTHORITY, is_nobodys_host},
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

/// Requests to the companion itself at once, until each was taken: one may hold 384 KiB of a question and 8 MiB of an
/// answer. And it is a stream of the gateway, beside the tunnels' and those of the companion's own questions.
const OWN_MAX: usize = 4;
/// A durable call's request: the gateway takes no longer one.
const OWN_MAX_BYTES: usize = 384 * 1024;
/// And how long it may take to come.
const OWN_WITHIN: Duration = Duration::from_secs(30);

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
    calls: Calls,
    own: Semaphore,
    pub(crate) tunnels: Arc<Semaphore>,
}

impl Front {
    pub(crate) fn new(line: Arc<Line>, guard: Guard, reports: Arc<Reports>, limits: Limits) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        let (heads, tunnels) = (places(limits.heads_max), places(limits.tunnels_max));
        let (strangers, own) = (Semaphore::new(STRANGERS_MAX), Semaphore::new(OWN_MAX));
        let calls = Calls::new(Arc::clone(&line));
        Self { line, guard, reports, limits, heads, strangers, calls, own, tunnels }
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
            Ok((Head { wanted: Wanted::Own(own), length, .. }, read)) => {
                return self.own(&mut local, own, read.get(length..).unwrap_or_default(), place).await;
            }
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

    /// Answers a request that is addressed to the companion. `early` is what came of its body so far. A place is held
    /// until the answer was taken, the head's own where there is no other: who does not read has one and no more.
    async fn own(&self, local: &mut TcpStream, own: Own, early: &[u8], heads_place: impl Send) {
        let Ok(_place) = self.own.try_acquire() else {
            let busy = Problem::new(ProblemKind::TooManyCalls).retry_after(1);
            return Answer::problem(&busy).send(local).await;
        };
        drop(heads_place);
        let answer = match timeout(OWN_WITHIN, body(local, own.length, early)).await {
            Ok(Ok(body)) => self.calls.answer(own, body).await,
            Ok(Err(problem)) => Answer::problem(&problem),
            Err(_) => Answer::problem(&Problem::new(ProblemKind::BadRequest).at_field("body")),
        };
        answer.send(local).await;
    }

    /// Joins the program to a stream of the gateway until both are done. `read` is all that came so far.
    async fn join(&self, local: &mut TcpStream, head: Head, read: BytesMut) -> Result<(), Answer> {
        let busy = || Answer::problem(&Problem::new(ProblemKind::TooManyCalls).retry_after(1));
        let _place = self.tunnels.try_acquire().map_err(|_| busy())?;
        let authority = match &head.wanted {
            // Whoever tunnels does not reach the companion's own door, and nobody else has a name there.
            Wanted::Tunnel(authority) if is_nobodys(authority) => {
                return Err(Answer::problem(&ProblemKind::CompanionOnly.into()));
            }
            Wanted::Tunnel(authority) => authority.as_str(),
            Wanted::PlainHttp => PLAIN_HTTP_AUTHORITY,
            Wanted::Own(_) => return Err(Answer::problem(&ProblemKind::NotFound.into())),
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
        Wanted::PlainHttp | Wanted::Own(_) => read,
    };
    stream.write_all(early).await?;
    stream.flush().await
}

/// A body of this length, of which a part came with the head.
async fn body(local: &mut TcpStream, length: usize, early: &[u8]) -> Result<Bytes, Problem> {
    let bad = || Problem::new(ProblemKind::BadRequest).at_field("body");
    if length > OWN_MAX_BYTES {
        return Err(ProblemKind::TooLarge.into());
    }
    // What is more than was announced is nobody's.
    let rest = length.checked_sub(early.len()).ok_or_else(bad)?;
    let mut body = Vec::with_capacity(length);
    body.extend_from_slice(early);
    let read = local.take(rest as u64).read_to_end(&mut body).await.map_err(|_| bad())?;
    if read == rest { Ok(body.into()) } else { Err(bad()) }
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

fn is_nobodys(authority: &str) -> bool {
    authority.rsplit_once(':').is_some_and(|(host, _)| is_nobodys_host(host))
}

fn unreachable(_: &CompanionError) -> Answer {
    Answer::problem(&Problem::new(ProblemKind::GatewayUnreachable).retry_after(1))
}

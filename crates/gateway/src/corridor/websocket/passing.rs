//! A WebSocket while it runs: two directions side by side, a piece in hand each way, until one of its ends comes.
//!
//! What is read is passed on before more is read, so a side that reads slowly holds up the other one and costs
//! nothing. What ends an answer ends a WebSocket, by the same rule ([`Lifeline`]). Whoever was cut off is told why in
//! a close frame, where one can stand: half of a message is never made to look whole.

use super::{
    downward::{self, Downward},
    frame::{Head, Opcode},
    upward::{self, Keys, Upward},
};
use crate::{
    corridor::{
        body::{Bounds, Lifeline, Watched},
        record::Closing,
    },
    error::BodyError,
    gateway::Ends,
};
use bytes::{BufMut as _, BytesMut};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use nightlatch_domain::clock::{Entropy, random};
use nightlatch_egress::Switched;
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    time::{Instant, sleep, timeout},
};

/// One piece in hand, each way: what a TLS record holds.
const PIECE_BYTES: usize = 16 * 1024;
/// How often it is looked whether it may still run.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long an agent has to take the last frame.
const TOLD_WITHIN: Duration = Duration::from_millis(100);

/// Masking keys from the system's generator.
pub(super) struct Fresh(pub(super) Arc<dyn Entropy>);

impl Keys for Fresh {
    fn next(&mut self) -> Result<[u8; 4], upward::Stopped> {
        random(self.0.as_ref()).map_err(|_| upward::Stopped::NoEntropy)
    }
}

/// A WebSocket that both sides agreed to. Dropped at any point, it records its outcome.
pub(super) struct Passing {
    up: Upward<Fresh>,
    down: Downward,
    standing: Arc<Mutex<Standing>>,
    closing: Closing,
    /// None while it runs.
    over: Option<Over>,
}

/// Why it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// Both sides have closed.
    Closed,
    /// The agent is gone.
    AgentGone,
    /// The tool is gone, or broke the protocol.
    ToolFailed,
    /// The agent broke the protocol.
    AgentFailed,
    /// We can do no more.
    WeFailed,
    /// It may no longer run, or stood still.
    Ended(BodyError),
    /// The gateway closes.
    GatewayCloses,
}

impl Over {
    /// What the agent is told (§7.4.1, and IANA's registry of close codes), where it is there to be told.
    const fn close(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Closed | Self::AgentGone => None,
            Self::AgentFailed => Some((1002, "a frame was not as RFC 6455 has it")),
            Self::ToolFailed => Some((1014, "the tool ended the connection")),
            Self::WeFailed => Some((1011, "the gateway cannot go on")),
            Self::Ended(BodyError::Idle) => Some((1008, "nothing moved for too long")),
            Self::Ended(_) => Some((1008, "what this ran under has ended; do not retry")),
            Self::GatewayCloses => Some((1001, "the gateway closes; connect again later")),
        }
    }
}

impl Passing {
    pub(super) fn new(up: Upward<Fresh>, down: Downward, bounds: Bounds, closing: Closing) -> Self {
        let standing = Standing { bounds, moved: Instant::now(), ended: None };
        Self { up, down, standing: Arc::new(Mutex::new(standing)), closing, over: None }
    }

    /// Runs it to its end. The agent's side stands once its 101 was written, `within` a bound.
    pub(super) async fn run(mut self, upgrade: OnUpgrade, tool: Switched, ends: Ends, within: Duration) {
        let Ok(Ok(agent)) = timeout(within, upgrade).await else { return };
        let (mut from_agent, mut to_agent) = split(TokioIo::new(agent));
        let (mut from_tool, mut to_tool) = split(tool);
        let (standing, is_whole) = (Arc::clone(&self.standing), AtomicBool::new(true));
        let (upward, downward) = (&mut self.up, &mut self.down);
        let over = {
            let up =
                carry(&mut from_agent, &mut to_tool, (&standing, None), |read, out| upward.pass(read, out));
            let down = carry(&mut from_tool, &mut to_agent, (&standing, Some(&is_whole)), |read, out| {
                downward.pass(read, out)
            });
            let both = async { tokio::try_join!(with(up, of_agent), with(down, of_tool)) };
            tokio::select! {
                both = both => both.map_or_else(|over| over, |_| Over::Closed),
                over = ended(&standing, ends.clone()) => over,
            }
        };
        let over = self.judged(over);
        self.over = Some(over);
        let can_be_told = is_whole.load(Ordering::Relaxed) && self.down.is_between();
        let agent = from_agent.unsplit(to_agent);
        if !told(agent, over.close().filter(|_| can_be_told)).await {
            ends.given_up.iter().for_each(|given_up| given_up.say());
        }
    }

    fn is_served(&self) -> bool {
        lock(&self.standing).is_served()
    }

    /// What ends a wake or a grant closes its connections too, and may be seen by that first.
    fn judged(&self, over: Over) -> Over {
        match over {
            Over::ToolFailed | Over::AgentGone if !self.is_served() => Over::Ended(BodyError::Ended),
            over => over,
        }
    }
}

impl Drop for Passing {
    /// Dropped while it runs, it ended with the connection around it.
    fn drop(&mut self) {
        let over = self.over.unwrap_or_else(|| self.judged(Over::AgentGone));
        if matches!(over, Over::Ended(_)) {
            self.closing.cut();
        }
        self.closing.close(self.down.masked(), 0);
    }
}

/// Why one direction stopped.
enum Broken<E> {
    Read,
    Write,
    Step(E),
}

fn of_agent(broken: Broken<upward::Stopped>) -> Over {
    match broken {
        Broken::Read => Over::AgentGone,
        Broken::Write => Over::ToolFailed,
        Broken::Step(upward::Stopped::Fault(fault)) => {
            tracing::debug!(%fault, "an agent broke the WebSocket protocol");
            Over::AgentFailed
        }
        Broken::Step(stopped @ upward::Stopped::NoEntropy) => {
            tracing::error!(%stopped, "a WebSocket cannot go on");
            Over::WeFailed
        }
    }
}

fn of_tool(broken: Broken<downward::Stopped>) -> Over {
    match broken {
        Broken::Read => Over::ToolFailed,
        Broken::Write => Over::AgentGone,
        Broken::Step(downward::Stopped::Fault(fault)) => {
            tracing::debug!(%fault, "a tool broke the WebSocket protocol");
            Over::ToolFailed
        }
        Broken::Step(stopped @ downward::Stopped::Length) => {
            tracing::error!(%stopped, "a WebSocket cannot go on");
            Over::WeFailed
        }
    }
}

/// Waits for one direction, and says what its failure means.
async fn with<E>(
    direction: impl Future<Output = Result<(), Broken<E>>>,
    of: fn(Broken<E>) -> Over,
) -> Result<(), Over> {
    direction.await.map_err(of)
}

/// Carries one direction until its side has closed. Whoever asks is told whether a write is under way.
async fn carry<E>(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    (standing, is_whole): (&Mutex<Standing>, Option<&AtomicBool>),
    mut step: impl FnMut(&mut BytesMut, &mut BytesMut) -> Result<bool, E>,
) -> Result<(), Broken<E>> {
    let (mut read, mut out) = (BytesMut::new(), BytesMut::new());
    let note = |whole| is_whole.into_iter().for_each(|is_whole| is_whole.store(whole, Ordering::Relaxed));
    loop {
        // What is left over from before is less than a head or a control frame.
        read.reserve(PIECE_BYTES);
        match from.read_buf(&mut (&mut read).limit(PIECE_BYTES)).await {
            Ok(0) | Err(_) => return Err(Broken::Read),
            Ok(_) => {}
        }
        let stepped = step(&mut read, &mut out);
        if !out.is_empty() {
            note(false);
            to.write_all(&out).await.map_err(|_| Broken::Write)?;
            to.flush().await.map_err(|_| Broken::Write)?;
            note(true);
            out.clear();
        }
        lock(standing).moved = Instant::now();
        if stepped.map_err(Broken::Step)? {
            return Ok(());
        }
    }
}

/// Comes when it may no longer run, stood still for too long, or the gateway closes.
async fn ended(standing: &Arc<Mutex<Standing>>, mut ends: Ends) -> Over {
    let mut lifeline = Lifeline::of(Arc::downgrade(standing) as _);
    let every = LOOK_EVERY.min(lock(standing).idle());
    let looks = async {
        loop {
            sleep(every).await;
            lifeline.look(Instant::now());
            if let Some(error) = lock(standing).ended {
                return Over::Ended(error);
            }
        }
    };
    tokio::select! {
        over = looks => over,
        // A sender that is gone means the same.
        _ = ends.closing.wait_for(|closing| *closing) => Over::GatewayCloses,
    }
}

/// Ends the agent's side, with a close frame where there is one to send. Whether it took that.
async fn told(mut agent: impl AsyncWrite + Unpin, close: Option<(u16, &str)>) -> bool {
    let mut frame = BytesMut::new();
    if let Some((code, reason)) = close {
        let len = 2 + reason.len() as u64;
        Head { fin: true, opcode: Opcode::Close, len, mask: None }.write(&mut frame);
        frame.put_u16(code);
        frame.put_slice(reason.as_bytes());
    }
    let taken = async {
        agent.write_all(&frame).await?;
        agent.shutdown().await
    };
    matches!(timeout(TOLD_WITHIN, taken).await, Ok(Ok(())))
}

fn lock(standing: &Mutex<Standing>) -> MutexGuard<'_, Standing> {
    standing.lock().unwrap_or_else(PoisonError::into_inner)
}

/// It, seen from beside.
struct Standing {
    bounds: Bounds,
    moved: Instant,
    /// Why it was ended.
    ended: Option<BodyError>,
}

impl Watched for Standing {
    fn is_served(&self) -> bool {
        self.bounds.awake.serves(self.bounds.grant)
    }

    fn moved(&self) -> Instant {
        self.moved
    }

    fn idle(&self) -> Duration {
        self.bounds.idle
    }

    fn cut_after(&self) -> Duration {
        self.bounds.cut_after
    }

    fn end(&mut self, error: BodyError) {
        self.ended.get_or_insert(error);
    }
}

//! What stands between the keeper and the world: its way out, its ledger, its gateways, and who watches its steps.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use nightlatch_domain::{
    clock::{Boot, Clock as _},
    id::AttemptId,
    ports::{
        Boxed,
        gateway_keeper::{DrainNotice, Drains},
        work::within,
    },
};
use nightlatch_egress::{Destination, EgressError, Line, LostAnswer, RawAnswer, SendError, SendWindow, Wire};
use nightlatch_keeper::{
    Notes, Watch,
    machine::{Action, Verdict},
};
use nightlatch_ledger::{LedgerError, facts::EventFacts, record::EventName};
use nightlatch_simulator::world::{
    Dice, Process,
    message::{Ask, Reply},
    net::{Link, Net},
    store::Database,
};
use std::{
    io::ErrorKind,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

/// The keeper's way out, over the simulated network.
pub(crate) struct OverNet {
    pub(crate) net: Net,
    pub(crate) process: Process,
}

impl Wire for OverNet {
    fn dial<'a>(
        &'a self,
        to: &'a Destination,
        deadline: Boot,
    ) -> Boxed<'a, Result<Box<dyn Line>, EgressError>> {
        Box::pin(async move {
            let host = to.host().to_owned();
            let span = deadline.since(self.process.boot());
            match within(&self.process, span, self.net.dial(&self.process, &to.authority())).await {
                None => Err(EgressError::ConnectTimeout(host)),
                Some(Err(_)) => Err(EgressError::Unreachable { host, kind: ErrorKind::ConnectionRefused }),
                Some(Ok(link)) => {
                    Ok(Box::new(OverLink { link, process: self.process.clone(), host }) as Box<dyn Line>)
                }
            }
        })
    }
}

struct OverLink {
    link: Link,
    process: Process,
    host: String,
}

impl Line for OverLink {
    fn send(
        self: Box<Self>,
        request: Request<Bytes>,
        answer_max_bytes: usize,
        window: SendWindow,
    ) -> Boxed<'static, Result<RawAnswer, SendError>> {
        Box::pin(async move {
            // Check and write are one step: nothing of this process comes between.
            let now = self.process.boot();
            if now >= window.send_by {
                return Err(SendError::NothingWritten(EgressError::ConnectTimeout(self.host)));
            }
            let answer = self.link.send(asked(request).bytes(), window.send_by.since(now));
            let lost = |reason| SendError::AfterFirstByte { reason, status: None, late_by: None };
            let came = within(&self.process, window.answer_by.since(now), answer).await;
            let bytes = came.ok_or(lost(LostAnswer::TimedOut))?.map_err(|_| lost(LostAnswer::BrokenOff))?;
            let reply = Reply::read(&bytes).ok_or(lost(LostAnswer::BrokenOff))?;
            if reply.body.len() > answer_max_bytes {
                return Err(lost(LostAnswer::TooLarge));
            }
            answered(reply).ok_or(lost(LostAnswer::BrokenOff))
        })
    }
}

fn asked(request: Request<Bytes>) -> Ask {
    let (head, body) = request.into_parts();
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    Ask {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: body.to_vec(),
    }
}

fn answered(reply: Reply) -> Option<RawAnswer> {
    let mut headers = HeaderMap::new();
    for (name, value) in &reply.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        headers.insert(name, HeaderValue::from_str(value).ok()?);
    }
    let status = StatusCode::from_u16(reply.status).ok()?;
    Some(RawAnswer { status, headers, body: reply.body, late_by: None })
}

/// What a ledger said of refresh tokens that left after their send deadline.
pub(crate) type LateSends = Arc<Mutex<Vec<AttemptId>>>;

/// A ledger that is the world's log.
pub(crate) struct Told {
    pub(crate) process: Process,
    pub(crate) late_sends: LateSends,
}

impl Notes for Told {
    fn note(&self, facts: EventFacts) -> Boxed<'_, Result<(), LedgerError>> {
        let process = &self.process;
        process.world().note(format_args!("{} tells of {:?}", process.node().name(), facts.event));
        if facts.event == EventName::LateSend {
            self.late_sends.lock().expect("nobody panics with it").extend(facts.attempt);
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Nothing runs at a gateway when a refresh begins.
pub(crate) struct NothingRuns;

impl Drains for NothingRuns {
    fn drain(&self, _: DrainNotice) -> Boxed<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// How often a keeper is killed right before a step of a refresh, in a million.
pub(crate) type KilledAtStep = Arc<AtomicU32>;

/// How many transactions the standby lacks that takes over when the next head has moved, as the keeper that moved it dies;
/// none where none does.
pub(crate) type TakesOver = Arc<AtomicU64>;

/// Writes each step down, and kills the keeper before some.
pub(crate) struct Steps {
    pub(crate) process: Process,
    pub(crate) killed: KilledAtStep,
    pub(crate) takes_over: TakesOver,
    pub(crate) database: Database,
    pub(crate) dice: Mutex<Dice>,
}

impl Watch for Steps {
    fn before(&self, action: &Action) -> Boxed<'_, ()> {
        let world = self.process.world();
        world.note(format_args!("{} steps to {}", self.process.node().name(), word(action)));
        if *action == Action::AnchorHead {
            let lacking = self.takes_over.swap(0, Ordering::Relaxed);
            if lacking > 0 {
                self.database.fail_over(lacking);
                self.process.node().kill();
                return Box::pin(std::future::pending());
            }
        }
        let odds = self.killed.load(Ordering::Relaxed);
        if self.dice.lock().expect("nobody panics with it").strikes(odds) {
            self.process.node().kill();
            return Box::pin(std::future::pending());
        }
        Box::pin(std::future::ready(()))
    }
}

/// A step as it is read in a log.
fn word(action: &Action) -> String {
    match action {
        Action::Settle(Verdict { state, reason, .. }) => {
            format!("Settle {state:?} {}", reason.as_deref().unwrap_or_default())
        }
        other => format!("{other:?}"),
    }
}

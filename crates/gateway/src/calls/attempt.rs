//! One try: the request is made again from the bytes in the seal and walks through the corridor like any other.

use super::{Asked, Calls, Ending, Kept, ToolAnswer, limits::CallLimits, worker::not_sent};
use crate::{
    answer::{OutBody, Told},
    corridor::{self, Durable, Entry, Given, InBody, Lifeline, Mark, Right, place_reference},
    doors::local::Names,
    gateway::Shared,
    peer::{Peer, Through},
};
use bytes::BytesMut;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use nightlatch_domain::{
    call::{CallPlace, CallState, Report},
    exchange::Exchange,
    ports::{Boxed, sight::Door, store::CallRow},
    problem::{Problem, ProblemKind},
    tool::Effect,
};
use nightlatch_ledger::facts::Source;
use std::{
    net::Ipv4Addr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, interval, timeout};

/// How often an answer that comes in is looked at: the end of its wake cuts it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What became of a try.
pub(super) struct Tried {
    pub(super) report: Report,
    /// The tool's answer.
    pub(super) ending: Option<Ending>,
    /// Why it was not carried out, or is not known.
    pub(super) problem: Option<Problem>,
    /// How often the call was marked by now.
    pub(super) attempts: u32,
}

/// Tries a call that was marked `attempts` times so far.
pub(super) async fn attempt(shared: &Shared, place: CallPlace, attempts: u32) -> Tried {
    let read = shared.calls.row(place).await;
    let read = read.and_then(|row| Ok((shared.calls.kept(&row)?, right(shared, &row)?, row.request_sha256)));
    let (kept, right, request_sha256) = match read {
        Ok(read) => read,
        Err(problem) => return refused(problem, attempts),
    };
    let marking = Marking {
        calls: &shared.calls,
        place,
        attempts,
        repeatable: kept.settled.repeatable,
        marked: AtomicBool::new(false),
    };
    let gathered = match entry(shared, place, &kept) {
        Ok(entry) => {
            let durable = Durable { right: &right, request_sha256: &request_sha256, mark: &marking };
            let answer = corridor::walk_durably(&shared.corridor, &peer(&kept), entry, durable).await;
            gather(answer, &shared.calls.limits).await
        }
        Err(problem) => Gathered::Refused(problem),
    };
    let gathered = let_go(shared, place, &right, gathered);
    let attempts = attempts + u32::from(marking.marked.load(Ordering::SeqCst));
    match gathered {
        Gathered::Answered(answer) => {
            Tried { report: Report::Answered, ending: Some(Ending::Done(answer)), problem: None, attempts }
        }
        Gathered::Refused(problem) if problem.kind.perhaps_sent() => {
            Tried { report: Report::PerhapsSent, ending: None, problem: Some(problem), attempts }
        }
        Gathered::Refused(problem) => refused(problem, attempts),
        Gathered::BrokeOff => Tried { report: Report::PerhapsSent, ending: None, problem: None, attempts },
    }
}

fn refused(problem: Problem, attempts: u32) -> Tried {
    let report = match problem.kind {
        // The call is not at fault: it waits for its agent.
        ProblemKind::MandateRejected => Report::NotSent { retryable: true, retry_after: None },
        _ => not_sent(&problem),
    };
    Tried { report, ending: None, problem: Some(problem), attempts }
}

/// The wake of its task that runs, or else the mandate that the call was given.
fn right(shared: &Shared, row: &CallRow) -> Result<Right, Problem> {
    let settled = shared.calls.kept(row)?.settled;
    if shared.corridor.wakes.running(&settled.caller).is_some() {
        return Ok(Right::Wake);
    }
    let Some(signed) = shared.calls.signed(row)? else { return Ok(Right::Wake) };
    let mandate = shared.calls.mandate(row, &settled, signed.not_after);
    let signed = (signed.public_key_spki, signed.signature);
    Ok(Right::Mandate(Given { mandate, signed, used: OnceLock::new() }))
}

/// A mandate is good once: its wake ends with the try, and it is not tried again.
fn let_go(shared: &Shared, place: CallPlace, right: &Right, gathered: Gathered) -> Gathered {
    let Right::Mandate(given) = right else { return gathered };
    let is_rejected =
        matches!(&gathered, Gathered::Refused(problem) if problem.kind == ProblemKind::MandateRejected);
    if let Some(awake) = given.used.get() {
        shared.corridor.wakes.end(awake);
    }
    if is_rejected || given.used.get().is_some() {
        shared.calls.with(place.call, |open| open.mandate = None);
    }
    gathered
}

/// The peer that was admitted when the call was accepted. Whether it still is, the corridor asks.
fn peer(kept: &Kept) -> Peer {
    Peer {
        binding: Some(kept.settled.caller.binding.clone()),
        public_key: None,
        // It is counted by this only where nobody is admitted by that key any more.
        source: Source::Address(Ipv4Addr::LOCALHOST.into()),
        server_name: None,
        names: Arc::new(Names::new(&[], None)),
        through: Through::Listener,
    }
}

/// The request as a door hands it over, from the same bytes by the same reader as when it was accepted.
fn entry(shared: &Shared, place: CallPlace, kept: &Kept) -> Result<Entry, Problem> {
    let asked = Asked::read(&kept.request, &shared.calls.limits)?;
    let headers = headers(shared, kept, &asked)?;
    let (addressed, body) = (Ok(asked.addressed), InBody::Whole(asked.body));
    let (call, at, door) = (place.call, shared.corridor.clock.now(), Door::Call);
    Ok(Entry { call, at, door, addressed, headers, body, switching: None })
}

fn headers(shared: &Shared, kept: &Kept, asked: &Asked) -> Result<HeaderMap, Problem> {
    let mut headers = asked.headers.clone();
    if let Some(reference) = &asked.reference {
        let tables = shared.corridor.directory.view()?;
        place_reference(&kept.settled.caller, &tables, &asked.addressed, reference, &mut headers)?;
    }
    Ok(headers)
}

/// The mark of one try.
struct Marking<'a> {
    calls: &'a Calls,
    place: CallPlace,
    attempts: u32,
    repeatable: bool,
    marked: AtomicBool,
}

impl Mark for Marking<'_> {
    fn mark<'a>(&'a self, exchange: &'a Exchange) -> Boxed<'a, Result<(), Problem>> {
        Box::pin(async move {
            // What was accepted as a read would be repeated after a crash; it must still be one.
            if self.repeatable && exchange.matched.effect != Effect::Read {
                return Err(Problem::new(ProblemKind::PolicyDenied).at_field("effect"));
            }
            match self.calls.store.mark_call(self.place, self.attempts).await {
                Ok(true) => {
                    self.marked.store(true, Ordering::SeqCst);
                    let marked = |open: &mut super::Open| open.told.send_replace(CallState::Attempting);
                    self.calls.with(self.place.call, marked);
                    Ok(())
                }
                // Somebody else has moved it: what they did is not known here.
                Ok(false) => Err(ProblemKind::OutcomeUnknown.into()),
                Err(error) => Err(super::unavailable(&error)),
            }
        })
    }
}

/// What came back.
enum Gathered {
    Answered(ToolAnswer),
    Refused(Problem),
    BrokeOff,
}

/// Takes an answer in, up to its bound in bytes and time.
async fn gather(answer: Response<OutBody>, limits: &CallLimits) -> Gathered {
    let (mut head, body) = answer.into_parts();
    if let Some(Told(problem)) = head.extensions.remove() {
        return Gathered::Refused(problem);
    }
    let lifeline = head.extensions.remove();
    match timeout(limits.answer_within, collected(body, lifeline, limits.result_max_bytes)).await {
        Ok(Some((bytes, cut))) => Gathered::Answered(tool_answer(head.status, &head.headers, &bytes, cut)),
        Ok(None) | Err(_) => Gathered::BrokeOff,
    }
}

fn tool_answer(status: StatusCode, headers: &HeaderMap, body: &[u8], cut: bool) -> ToolAnswer {
    let mut headers = headers.clone();
    headers.remove(crate::answer::CALL);
    ToolAnswer::new(status, &headers, body, cut)
}

/// The body, and whether there was more of it; none where it broke off.
async fn collected(
    mut body: OutBody,
    mut lifeline: Option<Lifeline>,
    max_bytes: usize,
) -> Option<(BytesMut, bool)> {
    let (mut bytes, mut looks) = (BytesMut::new(), interval(LOOK_EVERY));
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            _ = looks.tick() => {
                lifeline.as_mut().map(|lifeline| lifeline.look(Instant::now()));
                continue;
            }
        };
        match frame {
            None => return Some((bytes, false)),
            Some(Err(_)) => return None,
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                let room = max_bytes - bytes.len();
                bytes.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
                if data.len() > room {
                    return Some((bytes, true));
                }
            }
        }
    }
}

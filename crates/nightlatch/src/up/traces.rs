//! Traces: what the gateway tells of single calls, as OpenTelemetry spans to the operator's collector.
//!
//! The gateway follows the calls that are asked for here, by their ids alone: the last seven bytes of an id are random,
//! and a call is in the sample where they are high enough (as OpenTelemetry's probability sampling has it), so the
//! choice costs nothing and all tries of a durable call have the same. What was followed goes into a queue that no call
//! waits for. A task of its own takes it from there; while the collector is slow the queue fills, and what finds no
//! place is counted and gone, as is what the collector does not take. Nothing is sent twice: the record of calls is the
//! ledger, and traces are a picture of it.
//!
//! The messages are those of the `opentelemetry-proto` crate, made and sent here. The project's exporter
//! (`opentelemetry-otlp`) reads endpoint, headers and compression from the environment, says of what was dropped or
//! rejected nothing but a log line, and without an HTTP client of its own choice pauses a thread of the runtime.

mod collector;
mod spans;

use crate::config::Otel;
use bytes::Bytes;
use collector::Collector;
use nightlatch_domain::{
    clock::{Clock, Entropy, random},
    id::CallId,
};
use nightlatch_gateway::sight::{Follow, Followed};
use prost::Message as _;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};

/// Calls that wait for the collector: about two megabytes.
const QUEUE_MAX_CALLS: usize = 4096;
/// Calls of one request: writing it takes a millisecond or two, and some 300 KiB.
const BATCH_MAX_CALLS: usize = 256;
/// How long a call waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// How long the end of the program waits for the last request.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// What became of spans, as metrics name it.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// The collector took them.
    Taken,
    /// The queue was full.
    QueueFull,
    /// The collector was out of reach, did not answer, or said no.
    NotTaken,
    /// The collector took the request, and not these.
    Rejected,
}

impl Fate {
    const WORDS: [&str; 4] = ["taken", "queue-full", "not-taken", "rejected"];
}

/// How many spans came to which end.
#[derive(Debug, Default)]
pub(crate) struct Fates([AtomicU64; Fate::WORDS.len()]);

impl Fates {
    fn count(&self, fate: Fate, spans: u64) {
        if let Some(count) = self.0.get(fate as usize) {
            count.fetch_add(spans, Ordering::Relaxed);
        }
    }

    pub(crate) fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Fate::WORDS.into_iter().zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

/// The calls that are to be traced.
pub(crate) struct Sample {
    threshold: u64,
    queue: mpsc::Sender<Followed>,
    fates: Arc<Fates>,
}

impl Follow for Sample {
    fn follows(&self, call: CallId) -> bool {
        is_sampled(call, self.threshold)
    }

    fn ended(&self, followed: Box<Followed>) {
        let spans = spans::count(&followed);
        if self.queue.try_send(*followed).is_err() {
            self.fates.count(Fate::QueueFull, spans);
        }
    }
}

/// The bits of an id that are all random, and one more than the greatest number that they make.
const RANDOM_BITS: u64 = 1 << 56;

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "56 bits are a little more than a double holds, and a part of them is within them"
)]
fn threshold(sample: f64) -> u64 {
    ((1.0 - sample) * RANDOM_BITS as f64) as u64
}

fn is_sampled(call: CallId, threshold: u64) -> bool {
    let [.., a, b, c, d, e, f, g] = spans::trace_id(call);
    u64::from_be_bytes([0, a, b, c, d, e, f, g]) >= threshold
}

/// What sends them.
pub(crate) struct Exporter {
    running: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    fates: Arc<Fates>,
    to: String,
}

/// Begins to send; nothing where the operator wants none.
pub(crate) fn begin(
    otel: Option<Otel>,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Option<(Arc<Sample>, Exporter)> {
    let otel = otel.filter(|otel| otel.sample > 0.0)?;
    let (queue, queued) = mpsc::channel(QUEUE_MAX_CALLS);
    let (stop, stopped) = oneshot::channel();
    let fates = Arc::new(Fates::default());
    let (threshold, to) = (threshold(otel.sample), otel.to.to_string());
    let line = Line {
        collector: Collector::new(otel, Arc::clone(clock)),
        entropy: Arc::clone(entropy),
        fates: Arc::clone(&fates),
        is_good: true,
    };
    let running = tokio::spawn(line.run(queued, stopped));
    let sample = Arc::new(Sample { threshold, queue, fates: Arc::clone(&fates) });
    Some((sample, Exporter { running, stop, fates, to }))
}

impl Exporter {
    pub(crate) fn fates(&self) -> Arc<Fates> {
        Arc::clone(&self.fates)
    }

    /// Where traces go, for people.
    pub(crate) fn to(&self) -> &str {
        &self.to
    }

    /// Sends what is queued, if the collector takes it at once.
    pub(crate) async fn close(self) {
        let _ = self.stop.send(());
        // What is late is lost with the program, and nothing depends on it.
        let _ = timeout(CLOSE_WITHIN, self.running).await;
    }
}

/// The line to the collector.
struct Line {
    collector: Collector,
    entropy: Arc<dyn Entropy>,
    fates: Arc<Fates>,
    is_good: bool,
}

impl Line {
    async fn run(mut self, mut queued: mpsc::Receiver<Followed>, mut stopped: oneshot::Receiver<()>) {
        let mut batch = Vec::new();
        loop {
            let is_last = tokio::select! {
                biased;
                _ = &mut stopped => true,
                count = queued.recv_many(&mut batch, BATCH_MAX_CALLS) => count == 0,
            };
            if is_last {
                break;
            }
            tokio::select! {
                _ = &mut stopped => break,
                () = gather(&mut queued, &mut batch) => {}
            }
            self.send(std::mem::take(&mut batch)).await;
        }
        // One more turn for what is left.
        queued.close();
        while queued.recv_many(&mut batch, BATCH_MAX_CALLS).await > 0 {
            self.send(std::mem::take(&mut batch)).await;
        }
        self.send(batch).await;
    }

    async fn send(&mut self, calls: Vec<Followed>) {
        if calls.is_empty() {
            return;
        }
        let spans = calls.iter().map(spans::count).sum();
        let taken = match self.written(calls).await {
            Some(written) => self.collector.take(written).await.map_err(|error| error.to_string()),
            None => Err("the spans could not be written".to_owned()),
        };
        match &taken {
            Ok(rejected) => {
                let rejected = (*rejected).min(spans);
                self.fates.count(Fate::Rejected, rejected);
                self.fates.count(Fate::Taken, spans - rejected);
            }
            Err(_) => self.fates.count(Fate::NotTaken, spans),
        }
        self.note(taken.err().as_deref());
    }

    /// Written where it holds up no call.
    async fn written(&self, calls: Vec<Followed>) -> Option<Bytes> {
        let first = u64::from_be_bytes(random(self.entropy.as_ref()).ok()?);
        let write = move || Bytes::from(spans::request(&calls, first).encode_to_vec());
        spawn_blocking(write).await.ok()
    }

    /// Says when the line breaks and when it is good again, and not what happened in between.
    fn note(&mut self, error: Option<&str>) {
        match error {
            Some(error) if self.is_good => {
                tracing::warn!(error, "traces are not taken; they are counted and dropped until they are");
            }
            None if !self.is_good => tracing::info!("traces are taken again"),
            _ => {}
        }
        self.is_good = error.is_none();
    }
}

/// Waits a moment for more calls, or until there are enough.
async fn gather(queued: &mut mpsc::Receiver<Followed>, batch: &mut Vec<Followed>) {
    let more = async {
        while batch.len() < BATCH_MAX_CALLS {
            let wanted = BATCH_MAX_CALLS - batch.len();
            if queued.recv_many(batch, wanted).await == 0 {
                return;
            }
        }
    };
    tokio::select! {
        () = more => {}
        () = sleep(LINGER) => {}
    }
}

#[cfg(test)]
mod tests;

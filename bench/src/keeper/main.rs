//! The keeper as `cargo xtask bench keeper` measures it: the one that ships, over a real store, asked through its own ports.
//!
//! ```text
//! nightlatch-bench-keeper STORE FOLDER PORT…   one command a line of JSON in, one line of JSON out
//! ```
//!
//! It begins with {"access_secs"}: how long the issuer's tokens are to live. STORE is `sqlite`, for a database in FOLDER, or where a PostgreSQL database is. Each PORT is an address of the issuer. It is
//! a program of its own, with the allocator of the program that ships, so that its memory is a keeper's and nothing else's.
//!
//! ```text
//! {"start": {}}                            → {"secs"}: the keeper runs
//! {"connect": {"chains"}}                  → {}: so many accounts more were connected, each on a chain of its own
//! {"refresh": {"at_once", "millis"}}       → {"refreshes", "secs"}: calls without end, each of which finds its token dead
//! {"wait": {"calls"}}                      → {"p50_us", "p99_us"}: what waiting for a refresh takes beside the issuer
//! {"heads": {}}                            → {"moved"}: how often a head was moved, by the database
//! {"memory": {}}                           → {"kib", "peak_kib"}: of this process
//! {"anchor": {"chains"}}                   → {}: the log of a keeper that does not run knows so many copies of its one chain
//! {"lay": {"chains", "are_due"}}           → {}: chains that nobody presents, for the store alone
//! {"store": {"at_once", "millis"}}         → {"refreshes", "secs"}: what a refresh asks of the store, and nothing else
//! {"kill": {"committers", "kills"}}        → {"p50_us", "most_us"}: kills beside chains that are refreshed without end
//! {"due": {"chains"}}                      → {"look_us", "claims_us"}: a look for so many due chains, and a claim of each
//! ```
//!
//! What needs no keeper (`lay` to `due`) is asked of a process that started none. It ends with its standard input.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a program that measures has a clock, and its output is lines"
)]

mod bare;
mod calls;
mod clock;
mod copies;
mod people;
mod providers;
mod running;
mod stores;

use bare::Bare;
use calls::Calls;
use clock::SinceStart;
use nightlatch_custody::entropy::SystemEntropy;
use nightlatch_domain::clock::{Clock, Entropy, NoEntropy, Timestamp, random};
use running::Running;
use serde_json::{Value, json};
use std::{
    error::Error,
    fmt::Debug,
    io::BufRead as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use stores::Stores;

/// What went wrong: whoever runs a benchmark reads it once. Nothing here recovers, so nothing is told apart.
type Fault = Box<dyn Error + Send + Sync>;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.as_slice() {
        [store, folder, ports @ ..] => obey(store, folder.as_ref(), ports),
        _ => Err("usage: nightlatch-bench-keeper STORE FOLDER PORT…".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("nightlatch-bench-keeper: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn obey(store: &str, folder: &Path, ports: &[String]) -> Result<(), Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ports = ports.iter().map(|port| port.parse()).collect::<Result<Vec<u16>, _>>()?;
    let mut bench = runtime.block_on(Bench::open(store, folder, ports))?;
    println!("{}", json!({ "access_secs": calls::LIFE.as_secs() }));
    for line in std::io::stdin().lock().lines() {
        let command: Value = serde_json::from_str(&line?)?;
        let answer = runtime.block_on(bench.carry_out(&command));
        println!("{}", answer.unwrap_or_else(|fault| json!({ "fault": fault.to_string() })));
    }
    runtime.block_on(bench.end())
}

/// What everything stands on.
struct Ground {
    folder: PathBuf,
    stores: Stores,
    clock: Arc<SinceStart>,
    entropy: Arc<SystemEntropy>,
    /// Where the issuer answers.
    ports: Vec<u16>,
}

impl Ground {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// An id of now.
    fn id<T>(&self, make: fn(Timestamp, [u8; 10]) -> T) -> Result<T, NoEntropy> {
        Ok(make(self.now(), random(&*self.entropy as &dyn Entropy)?))
    }
}

struct Bench {
    ground: Arc<Ground>,
    running: Option<Running>,
    calls: Option<Arc<Calls>>,
    bare: Option<Arc<Bare>>,
}

impl Bench {
    async fn open(store: &str, folder: &Path, ports: Vec<u16>) -> Result<Self, Fault> {
        let (clock, entropy) = (Arc::new(SinceStart::default()), Arc::new(SystemEntropy::new()));
        let stores = Stores::open(store, folder, clock.now()).await?;
        let ground = Ground { folder: folder.to_owned(), stores, clock, entropy, ports };
        Ok(Self { ground: Arc::new(ground), running: None, calls: None, bare: None })
    }

    async fn carry_out(&mut self, command: &Value) -> Result<Value, Fault> {
        let (what, facts) =
            command.as_object().and_then(|one| one.iter().next()).ok_or("a command is an object of one")?;
        let number = |name: &str| {
            let number =
                facts.get(name).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
            number.ok_or(format!("`{name}` is missing"))
        };
        let millis = || Ok::<_, String>(Duration::from_millis(u64::try_from(number("millis")?).unwrap_or(0)));
        match what.as_str() {
            "start" => self.start().await,
            "connect" => self.connect(number("chains")?).await,
            "refresh" => self.calls()?.refresh(number("at_once")?, millis()?).await,
            "wait" => self.calls()?.wait(number("calls")?).await,
            "heads" => self.ground.stores.heads_moved().await,
            "memory" => memory(),
            "anchor" => copies::anchor(&self.ground, number("chains")?).await,
            "lay" => {
                let are_due = facts.get("are_due").and_then(Value::as_bool).unwrap_or_default();
                let bare = Bare::lay(&self.ground, number("chains")?, are_due).await?;
                self.bare = Some(Arc::new(bare));
                Ok(json!({}))
            }
            "store" => self.bare()?.refresh(number("at_once")?, millis()?).await,
            "kill" => self.bare()?.kill(number("committers")?, number("kills")?).await,
            "due" => self.bare()?.look(number("chains")?).await,
            other => Err(format!("`{other}` is no command").into()),
        }
    }

    async fn start(&mut self) -> Result<Value, Fault> {
        let began = Instant::now();
        self.running = Some(Running::start(&self.ground).await?);
        Ok(json!({ "secs": began.elapsed().as_secs_f64() }))
    }

    async fn connect(&mut self, chains: usize) -> Result<Value, Fault> {
        let running = self.running.as_ref().ok_or("no keeper runs")?;
        let (ground, gateway) = (&self.ground, Arc::clone(&running.gateway));
        let people = people::People::settle(ground, running).await?;
        let counted = Arc::clone(&running.counted);
        let connected = people.connect(ground, running, chains).await?;
        self.calls = Some(Arc::new(people.awake(ground, gateway, counted, connected).await?));
        Ok(json!({}))
    }

    fn calls(&self) -> Result<Arc<Calls>, Fault> {
        Ok(Arc::clone(self.calls.as_ref().ok_or("nothing is connected")?))
    }

    fn bare(&self) -> Result<Arc<Bare>, Fault> {
        Ok(Arc::clone(self.bare.as_ref().ok_or("no chains were laid")?))
    }

    async fn end(&mut self) -> Result<(), Fault> {
        match self.running.take() {
            Some(running) => running.end().await,
            None => Ok(()),
        }
    }
}

/// Of this process, as proc(5), `status`, says it.
fn memory() -> Result<Value, Fault> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
    };
    Ok(json!({ "kib": kib("VmRSS:"), "peak_kib": kib("VmHWM:") }))
}

/// A refusal as it is.
fn refused(refusal: impl Debug) -> Fault {
    format!("{refusal:?}").into()
}

/// The one in the middle, and the one that a hundredth is above; in whole microseconds.
fn quantiles(mut spans: Vec<Duration>) -> (u64, u64, u64) {
    spans.sort_unstable();
    let at = |percent: usize| {
        let span = spans.get((spans.len() * percent / 100).min(spans.len().saturating_sub(1)));
        span.map_or(0, |span| u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
    };
    (at(50), at(99), at(100))
}

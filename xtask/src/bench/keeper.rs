//! `bench keeper`: what a keeper can do, on SQLite and on PostgreSQL, on this disk and on one that takes a millisecond longer.
//!
//! The keeper is the one that ships, with its real shell, log, spool, store and wire, as a program of its own; it is asked for
//! leases through its own port, and presents to an issuer on loopback, over plain HTTP, that answers at once. A **refresh** is
//! everything from the claim to the anchored head, durable at each step. What the store alone does of it is measured as well:
//! it bounds the keeper from below, and it is what `store` figures elsewhere can be held against.
//!
//! A keeper has at most 8 refreshes with one origin and 64 in all under way. So the issuer has 32 origins, and of 256 calls at
//! once 192 wait for a place. The timer is off: nothing is refreshed but what a call waits for.
//!
//! No refresh may be lost or presented twice: the issuer refuses whatever is not the newest token, and the heads that the
//! database moved are counted against the refreshes that the issuer granted. A difference fails the run.

mod results;
mod stage;

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{
    figures::Median,
    load::{Issuer, number},
    programs::{self, Folder},
};
use crate::machine::{self, Fault, Outcome};
use stage::{Disk, Engine, Stage};

/// What is measured, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    /// How long refreshes are counted.
    slice_millis: u64,
    /// Calls that wait for a refresh of their own.
    waits: usize,
    kills: usize,
    /// Chains beside the due ones.
    few: usize,
    many: usize,
    /// Looks for due work.
    looks: usize,
}

pub(super) const WHOLE: Sizes =
    Sizes { slice_millis: 8000, waits: 1000, kills: 101, few: 10_000, many: 1_000_000, looks: 25 };
/// Shows that everything works; nothing of it is written down.
pub(super) const QUICK: Sizes =
    Sizes { slice_millis: 500, waits: 20, kills: 5, few: 100, many: 1000, looks: 3 };

/// Refreshes at once.
const AT_ONCE: [usize; 3] = [1, 32, 256];
/// Chains of a keeper whose refreshes are counted: calls go through them in turn.
const CHAINS: usize = 512;
/// Addresses of the issuer.
const ORIGINS: usize = 32;
/// What the issuer takes over an answer that somebody waits for.
const DELAY: Duration = Duration::from_millis(20);
/// Chains that are refreshed beside a kill.
const COMMITTERS: usize = 16;
/// Chains that are due beside few or many.
const DUE: usize = 256;
/// By then the allocator has given back what a start needed for a while.
const SETTLED_AFTER: Duration = Duration::from_secs(20);

/// What a run found, by engine and disk.
#[derive(Debug, Default)]
struct Found {
    /// Refreshes a second of the whole keeper, by how many at once.
    keeper: BTreeMap<String, BTreeMap<usize, f64>>,
    /// The same of the store alone.
    store: BTreeMap<String, BTreeMap<usize, f64>>,
    /// p50 and p99, in microseconds.
    waits: BTreeMap<String, (u64, u64)>,
    /// p50 and the longest, in microseconds.
    kills: BTreeMap<String, (u64, u64)>,
    /// By engine: looks, and looks with claims, among few and among many.
    due: BTreeMap<String, Due>,
    memory: Memory,
}

/// Medians in microseconds, among few chains and among many.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Due {
    look_us: (f64, f64),
    work_us: (f64, f64),
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Memory {
    chains: usize,
    start_secs: f64,
    /// At its most, which is while it starts.
    peak_kib: u64,
    /// While it refreshes.
    kib: u64,
}

pub(super) fn run(sizes: Sizes) -> Outcome {
    let programs = machine::stage("keeper: build", || programs::build_keeper("dist"))?;
    let folder = Folder::make()?;
    let mut found = Found::default();
    for disk in [Disk::Plain, Disk::Slow] {
        let mut stage = machine::stage(&format!("keeper: set the stage ({disk})"), || {
            Stage::set(&programs, &folder, disk, ORIGINS)
        })?;
        for engine in Engine::BOTH {
            let what = |what: &str| format!("keeper: {} ({})", what, stage::name(engine, disk));
            machine::stage(&what("refreshes"), || refreshes(&mut stage, engine, sizes, &mut found))?;
            machine::stage(&what("the store alone"), || store_alone(&mut stage, engine, sizes, &mut found))?;
        }
        if disk == Disk::Plain {
            for engine in Engine::BOTH {
                machine::stage(&format!("keeper: many chains ({engine})"), || {
                    many(&mut stage, engine, sizes, &mut found)
                })?;
            }
        }
    }
    results::print(&found)?;
    if sizes == WHOLE { programs::write("keeper", &results::results(&found)) } else { Ok(()) }
}

/// The whole keeper.
fn refreshes(stage: &mut Stage, engine: Engine, sizes: Sizes, found: &mut Found) -> Outcome {
    let name = stage.name(engine);
    let mut keeper = stage.keeper(engine, "keeper")?;
    keeper.ask("start", &json!({}))?;
    let before = stage.issuer.tally()?.0;
    stage.issuer.answers(keeper.access_secs, Duration::ZERO)?;
    keeper.ask("connect", &json!({ "chains": CHAINS }))?;
    for at_once in AT_ONCE {
        let done = keeper.ask("refresh", &json!({ "at_once": at_once, "millis": sizes.slice_millis }))?;
        found.keeper.entry(name.clone()).or_default().insert(at_once, a_second(&done));
    }
    stage.issuer.answers(keeper.access_secs, DELAY)?;
    let waited = keeper.ask("wait", &json!({ "calls": sizes.waits }))?;
    found.waits.insert(name.clone(), (number(&waited, "p50_us"), number(&waited, "p99_us")));
    let moved = number(&keeper.ask("heads", &json!({}))?, "moved");
    keeper.close()?;
    none_lost(&name, &mut stage.issuer, before, moved)
}

/// Every token that the issuer gave is a head, and none was presented twice.
fn none_lost(name: &str, issuer: &mut Issuer, before: u64, moved: u64) -> Outcome {
    let (granted, refused) = issuer.tally()?;
    if (moved, refused) == (granted - before, 0) {
        return Ok(());
    }
    let granted = granted - before;
    Err(Fault::one(format!(
        "keeper: {name}: the issuer granted {granted} refreshes and refused {refused} tokens; {moved} became heads"
    )))
}

fn store_alone(stage: &mut Stage, engine: Engine, sizes: Sizes, found: &mut Found) -> Outcome {
    let name = stage.name(engine);
    let mut bare = stage.keeper(engine, "store")?;
    let most = AT_ONCE.into_iter().max().unwrap_or_default().max(COMMITTERS + sizes.kills);
    bare.ask("lay", &json!({ "chains": most, "are_due": false }))?;
    for at_once in AT_ONCE {
        let done = bare.ask("store", &json!({ "at_once": at_once, "millis": sizes.slice_millis }))?;
        found.store.entry(name.clone()).or_default().insert(at_once, a_second(&done));
    }
    let killed = bare.ask("kill", &json!({ "committers": COMMITTERS, "kills": sizes.kills }))?;
    found.kills.insert(name, (number(&killed, "p50_us"), number(&killed, "most_us")));
    bare.close()
}

fn a_second(done: &Value) -> f64 {
    let secs = done.get("secs").and_then(Value::as_f64).unwrap_or_default();
    number(done, "refreshes") as f64 / secs.max(f64::EPSILON)
}

/// Due work among few chains and among many; and a keeper that keeps many.
fn many(stage: &mut Stage, engine: Engine, sizes: Sizes, found: &mut Found) -> Outcome {
    for (place, chains) in [("few", sizes.few), ("many", sizes.many)] {
        original(stage, engine, place)?;
        stage.copy_chains(engine, place, chains)?;
    }
    if engine == Engine::Sqlite {
        found.memory = machine::stage("keeper: memory", || memory(stage, engine, sizes))?;
    }
    let mut both = [stage.keeper(engine, "few")?, stage.keeper(engine, "many")?];
    for keeper in &mut both {
        keeper.ask("lay", &json!({ "chains": DUE, "are_due": true }))?;
        // Once, so that what is asked for is where it will be.
        keeper.ask("due", &json!({ "chains": DUE }))?;
    }
    let mut series = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    for _ in 0..sizes.looks {
        for (keeper, (looks, works)) in both.iter_mut().zip(&mut series) {
            let said = keeper.ask("due", &json!({ "chains": DUE }))?;
            let (look, claims) = (number(&said, "look_us") as f64, number(&said, "claims_us") as f64);
            looks.push(look);
            works.push(look + claims);
        }
    }
    let middle =
        |values: &Vec<f64>| Median::of(values.clone()).map(|median| median.middle).unwrap_or_default();
    let [(few_look, few_work), (many_look, many_work)] = series;
    let due = Due {
        look_us: (middle(&few_look), middle(&many_look)),
        work_us: (middle(&few_work), middle(&many_work)),
    };
    found.due.insert(engine.to_string(), due);
    let [few, many] = both;
    few.close()?;
    many.close()?;
    stage.discard(engine, &["few", "many"])
}

/// A chain that was connected and refreshed once, of which copies can be made.
fn original(stage: &mut Stage, engine: Engine, place: &str) -> Outcome {
    let mut keeper = stage.keeper(engine, place)?;
    keeper.ask("start", &json!({}))?;
    stage.issuer.answers(keeper.access_secs, Duration::ZERO)?;
    keeper.ask("connect", &json!({ "chains": 1 }))?;
    keeper.ask("wait", &json!({ "calls": 1 }))?;
    keeper.close()
}

/// Starts a keeper of many chains, each of which it refreshed once, and lets it refresh others.
fn memory(stage: &mut Stage, engine: Engine, sizes: Sizes) -> Outcome<Memory> {
    let mut log = stage.keeper(engine, "many")?;
    log.ask("anchor", &json!({ "chains": sizes.many }))?;
    log.close()?;
    let mut keeper = stage.keeper(engine, "many")?;
    let started = keeper.ask("start", &json!({}))?;
    std::thread::sleep(SETTLED_AFTER);
    stage.issuer.answers(keeper.access_secs, Duration::ZERO)?;
    keeper.ask("connect", &json!({ "chains": ORIGINS * 2 }))?;
    keeper.ask("refresh", &json!({ "at_once": ORIGINS, "millis": sizes.slice_millis }))?;
    let held = keeper.ask("memory", &json!({}))?;
    keeper.close()?;
    Ok(Memory {
        chains: sizes.many,
        start_secs: started.get("secs").and_then(Value::as_f64).unwrap_or_default(),
        peak_kib: number(&held, "peak_kib"),
        kib: number(&held, "kib"),
    })
}

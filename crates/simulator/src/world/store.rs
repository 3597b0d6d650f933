//! The store in memory: one database for all, and what goes wrong between it and a process.
//!
//! What it promises is what every store promises, and the suite of every store is run over it. What it adds
//! is what a database at the end of a network does: it is not reached, it is reached and its answer is lost
//! (the write may or may not stand), its standby takes over without the last transactions, and a human puts
//! yesterday's copy back. A request that was sent is carried out whatever becomes of its sender; of one whose
//! sender died on the way, the seed says.
//!
//! Where the real ones keep every attempt for ever, this one forgets those that were committed long ago: a
//! simulated year has no room for them.

mod calls;
mod claims;
mod connect;
mod imports;
mod kills;
mod people;
mod planes;
mod rows;
mod standing;
mod table;

use super::{
    engine::World,
    process::{Process, wall},
};
use nightlatch_domain::{
    chain::Attempt,
    clock::Timestamp,
    id::AttemptId,
    ports::{
        store::{StoreError, Stored},
        work::Work,
    },
    tool::Name,
};
use rows::{Rows, Tables};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{oneshot, watch};

/// One way to the database, in microseconds.
const WAY_MICROS: Range<u64> = 100..4000;
/// How long it takes to find that nobody is reached.
const UNREACHED: Duration = Duration::from_secs(1);

/// How often something happens to a request, in a million.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreOdds {
    /// It does not arrive, and the sender knows.
    pub unavailable: u32,
    /// Its answer is lost: the sender does not know whether it was carried out. Of writes half were not.
    pub lost_answer: u32,
    /// It takes seconds.
    pub slow: u32,
}

/// A database. Cheap to clone: every clone is the same one.
#[derive(Clone)]
pub struct Database {
    world: World,
    rows: Arc<Mutex<Rows>>,
    odds: Arc<Mutex<StoreOdds>>,
    /// Machines that do not reach it.
    cut_off: Arc<Mutex<BTreeSet<String>>>,
    number: Arc<watch::Sender<u64>>,
    /// By how many milliseconds its clock is wrong, where it has one.
    clock_off: Arc<Mutex<Option<i64>>>,
    /// Which machine first wrote an attempt or a ticket, and when by a clock that is right.
    written: Arc<Mutex<BTreeMap<String, (String, Timestamp)>>>,
}

/// What a database held at one moment.
pub struct Copy(Tables);

impl Database {
    /// An empty database.
    #[must_use]
    pub fn new(world: &World) -> Self {
        Self {
            world: world.clone(),
            rows: Arc::new(Mutex::new(Rows::new(world.dice()))),
            odds: Arc::default(),
            cut_off: Arc::default(),
            number: Arc::new(watch::Sender::new(0)),
            clock_off: Arc::default(),
            written: Arc::default(),
        }
    }

    /// It has a clock of its own, as a server has and a file has not.
    #[must_use]
    pub fn with_clock(self) -> Self {
        *held(&self.clock_off) = Some(0);
        self
    }

    /// Its clock jumps, where it has one.
    pub fn jump(&self, by_millis: i64) {
        if let Some(off) = held(&self.clock_off).as_mut() {
            *off = off.saturating_add(by_millis);
        }
        self.world.note(format_args!("the clock of the database jumps by {by_millis} ms"));
    }

    /// Which machine first wrote an attempt or a ticket, and when by a clock that is right.
    #[must_use]
    pub fn written(&self, id: &str) -> Option<(String, Timestamp)> {
        held(&self.written).get(id).cloned()
    }

    fn now(&self) -> Option<Timestamp> {
        held(&self.clock_off).map(|off| wall(&self.world, off))
    }

    /// With what its own clock says beside its keeper's.
    fn timed(&self, attempt: Attempt) -> Attempt {
        let Some(now) = self.now() else { return attempt };
        let (intended_at, intended_by) = (attempt.intended_at.min(now), attempt.intended_by.max(now));
        Attempt { intended_at, intended_by, ..attempt }
    }

    /// How often something happens to a request from now on.
    pub fn set_odds(&self, odds: StoreOdds) {
        *held(&self.odds) = odds;
    }

    /// Whether a machine reaches it from now on.
    pub fn cut_off(&self, machine: &str, is_cut_off: bool) {
        let mut machines = held(&self.cut_off);
        if is_cut_off {
            machines.insert(machine.to_owned())
        } else {
            machines.remove(machine)
        };
        drop(machines);
        self.world.note(format_args!("{machine} and the database: cut off {is_cut_off}"));
    }

    /// Its standby takes over, without the last so many transactions.
    pub fn fail_over(&self, transactions: u64) {
        self.world.note(format_args!("the database fails over without {transactions} transactions"));
        held(&self.rows).drop_last(transactions);
        self.tell();
    }

    /// Each second presentation to a provider that was ever declared before it left, whatever was lost since.
    #[must_use]
    pub fn declared(&self, provider: &Name) -> Vec<AttemptId> {
        held(&self.rows).declared.get(provider).cloned().unwrap_or_default()
    }

    /// Whether somebody lives on an account at a provider.
    #[must_use]
    pub fn lives_on(&self, provider: &Name, account: &str) -> bool {
        kills::lives_on(&held(&self.rows), provider, account)
    }

    /// A copy, as a backup makes it.
    #[must_use]
    pub fn copy(&self) -> Copy {
        Copy(held(&self.rows).tables.clone())
    }

    /// Puts a copy in place of what is there.
    pub fn put_back(&self, copy: &Copy) {
        self.world.note("the database is put back from a copy");
        held(&self.rows).tables = copy.0.clone();
        self.tell();
    }

    /// The database as a process reaches it.
    #[must_use]
    pub fn session(&self, process: &Process) -> Session {
        let work: Arc<dyn Work> = Arc::new(process.clone());
        Session { database: self.clone(), work, process: Some(process.clone()) }
    }

    /// The database as one that is at hand: never late, never out of reach.
    #[must_use]
    pub fn at_hand(&self, work: Arc<dyn Work>) -> Session {
        Session { database: self.clone(), work, process: None }
    }

    /// Tells those who follow the feed.
    fn tell(&self) {
        let number = held(&self.rows).counter().number;
        self.number.send_if_modified(|known| std::mem::replace(known, number) != number);
    }

    fn carry_out<T>(
        &self,
        request: impl FnOnce(&mut Rows) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let done = request(&mut held(&self.rows));
        self.tell();
        done
    }
}

/// A database as one process reaches it: every plane's part of it.
#[derive(Clone)]
pub struct Session {
    database: Database,
    work: Arc<dyn Work>,
    /// None where it is at hand.
    process: Option<Process>,
}

/// What becomes of a request on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Carried,
    Unreached,
    /// And whether it was carried out.
    AnswerLost {
        is_done: bool,
    },
}

impl Session {
    /// Remembers who wrote something first, and when.
    fn writes(&self, id: &str) {
        let Some(process) = &self.process else { return };
        let (machine, now) = (process.node().name(), wall(&self.database.world, 0));
        held(&self.database.written).entry(id.to_owned()).or_insert((machine, now));
    }

    fn read<T: Send + 'static>(
        &self,
        request: impl FnOnce(&Rows) -> Result<T, StoreError> + Send + 'static,
    ) -> Stored<'_, T> {
        // What is read is not carried out half: an answer that is lost is as good as never asked for.
        self.request("", move |rows| request(rows))
    }

    fn write<T: Send + 'static>(
        &self,
        name: &'static str,
        request: impl FnOnce(&mut Rows) -> Result<T, StoreError> + Send + 'static,
    ) -> Stored<'_, T> {
        self.request(name, move |rows| rows.write(request))
    }

    /// Sends a request now. It is on its way, whoever waits for it.
    fn request<T: Send + 'static>(
        &self,
        name: &'static str,
        request: impl FnOnce(&mut Rows) -> Result<T, StoreError> + Send + 'static,
    ) -> Stored<'_, T> {
        let Some(process) = &self.process else {
            let done = self.database.carry_out(request);
            return Box::pin(std::future::ready(done));
        };
        if !process.lives() {
            return Box::pin(std::future::pending());
        }
        let (answered, waits) = oneshot::channel();
        let (database, process) = (self.database.clone(), process.clone());
        let (fate, way) = self.fate(name, process.node().name());
        self.database.world.after(way, move |world| {
            let left_before = process.lives() || held(&database.rows).dice.below(2) == 0;
            let is_done =
                left_before && !matches!(fate, Fate::Unreached | Fate::AnswerLost { is_done: false });
            let done = is_done.then(|| database.carry_out(request));
            let answer = match (fate, done) {
                (Fate::Carried, Some(done)) => done,
                (Fate::AnswerLost { .. }, _) => Err(lost(name)),
                _ => Err(StoreError::Unavailable),
            };
            if !name.is_empty() {
                let word = answer.as_ref().map_or_else(ToString::to_string, |_| "done".to_owned());
                world.note(format_args!("{} {name}: {word}, carried out {is_done}", process.node().name()));
            }
            world.after(way, move |_| {
                let _ = answered.send(answer);
            });
        });
        Box::pin(async move { waits.await.unwrap_or(Err(StoreError::Unavailable)) })
    }

    fn fate(&self, name: &str, machine: String) -> (Fate, Duration) {
        if held(&self.database.cut_off).contains(&machine) {
            return (Fate::Unreached, UNREACHED);
        }
        let odds = *held(&self.database.odds);
        let dice = &mut held(&self.database.rows).dice;
        let mut way = Duration::from_micros(dice.within(WAY_MICROS));
        if dice.strikes(odds.slow) {
            way += Duration::from_millis(dice.within(500..9000));
        }
        if dice.strikes(odds.unavailable) {
            return (Fate::Unreached, way);
        }
        if dice.strikes(odds.lost_answer) {
            let is_done = name.is_empty() || dice.below(2) == 0;
            return (Fate::AnswerLost { is_done }, way);
        }
        (Fate::Carried, way)
    }
}

/// What a sender knows whose answer was lost: of a read, nothing that matters.
fn lost(name: &str) -> StoreError {
    if name.is_empty() { StoreError::Unavailable } else { StoreError::Unknown }
}

impl fmt::Debug for Database {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Database(move {})", held(&self.rows).counter().mark.number)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Session({:?}, {:?})", self.database, self.process)
    }
}

impl fmt::Debug for Copy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Copy(..)")
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

//! Machines, their clocks, and the lives of the process on each.

use super::{
    dice::Dice,
    engine::{Alarm, World},
};
use nightlatch_domain::{
    clock::{Boot, Clock, Entropy, NoEntropy, Timestamp},
    ports::{Boxed, work::Work},
};
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// Wall time at the world's first moment: 2026-01-01T00:00:00Z.
const WALL_BEGINS: i64 = 1_767_225_600_000;
/// What a machine had been up for at the world's first moment: not zero, so that nothing rests on that.
const BOOT_BEGINS: u64 = 77_000;
/// The end of what has none yet.
const ENDLESS: Timestamp = Timestamp::from_millis(i64::MAX);
/// How long work that blocks takes, in microseconds.
const BLOCKING_MICROS: std::ops::Range<u64> = 30..3000;

/// One machine as the executor sees it.
#[derive(Debug)]
pub(super) struct NodeRow {
    name: String,
    /// Counts the processes that began here.
    pub(super) life: u64,
    pub(super) up: bool,
    pub(super) paused: bool,
    /// Tasks that could go on, did the node not stand still.
    pub(super) held: Vec<u64>,
    /// Counts the boots.
    boot: u64,
    /// The moment at which the boot clock read zero, in microseconds; before the world where it is negative.
    booted_at: i64,
    /// When it was booted again, here and below by a wall clock that is right.
    boots: Vec<Timestamp>,
    /// Since when and until when it did nothing; the last may have no end yet.
    still: Vec<(Timestamp, Timestamp)>,
    /// By how many milliseconds its wall clock is ahead, from each of these moments on.
    ahead: Vec<(Timestamp, i64)>,
    /// Whether its generator gives nothing.
    drained: bool,
    dice: Dice,
}

impl NodeRow {
    /// From now on it does nothing.
    fn stands_still(&mut self, now: Timestamp) {
        if self.still.last().is_none_or(|(_, until)| *until < ENDLESS) {
            self.still.push((now, ENDLESS));
        }
    }

    /// It goes on.
    fn goes_on(&mut self, now: Timestamp) {
        if let Some((_, until)) = self.still.last_mut().filter(|(_, until)| *until == ENDLESS) {
            *until = now;
        }
    }

    /// By how many milliseconds its wall clock is ahead now.
    fn ahead(&self) -> i64 {
        self.ahead.last().map_or(0, |(_, ahead)| *ahead)
    }
}

/// A machine. At most one process runs on it.
#[derive(Clone)]
pub struct Node {
    world: World,
    number: usize,
}

/// One life of a node's process: its time, its tasks, its randomness.
#[derive(Clone)]
pub struct Process {
    node: Node,
    life: u64,
}

impl World {
    /// A machine that is up, with no process on it yet.
    #[must_use]
    pub fn node(&self, name: &str) -> Node {
        let mut inner = self.inner();
        let dice = inner.dice.fork();
        inner.nodes.push(NodeRow {
            name: name.to_owned(),
            life: 0,
            up: false,
            paused: false,
            held: Vec::new(),
            boot: 1,
            booted_at: -i64::try_from(BOOT_BEGINS * 1000).unwrap_or(0),
            boots: Vec::new(),
            still: Vec::new(),
            ahead: vec![(Timestamp::from_millis(i64::MIN), 0)],
            drained: false,
            dice,
        });
        Node { world: self.clone(), number: inner.nodes.len() - 1 }
    }
}

impl Node {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        self.row(|row| row.name.clone())
    }

    /// What tells this boot of it from every other one.
    #[must_use]
    pub fn boot(&self) -> String {
        self.row(|row| format!("{}-{}", row.name, row.boot))
    }

    /// The world that it is in.
    #[must_use]
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// Begins a process; one that ran is killed.
    #[must_use]
    pub fn start(&self) -> Process {
        self.kill();
        let now = wall(&self.world, 0);
        let life = self.row(|row| {
            row.goes_on(now);
            row.life += 1;
            row.up = true;
            row.paused = false;
            row.life
        });
        self.world.note(format_args!("{} starts, life {life}", self.name()));
        Process { node: self.clone(), life }
    }

    /// Ends the process, wherever it stands (SIGKILL). What it wrote stays written, synced or not.
    pub fn kill(&self) {
        if !self.row(|row| std::mem::replace(&mut row.up, false)) {
            return;
        }
        let now = wall(&self.world, 0);
        self.row(|row| {
            row.paused = false;
            row.held.clear();
            row.stands_still(now);
        });
        self.world.note(format_args!("{} is killed", self.name()));
        self.world.drop_tasks(self.number);
    }

    /// The boot clock begins anew, as after a power cut. The process must be gone by then.
    pub(super) fn reboot(&self) {
        self.kill();
        let now = i64::try_from(self.world.now().0).unwrap_or(i64::MAX);
        let by_wall = wall(&self.world, 0);
        self.row(|row| {
            row.boot += 1;
            row.booted_at = now;
            row.boots.push(by_wall);
        });
    }

    /// Stops the process where it stands (SIGSTOP, a frozen virtual machine). Its clocks go on.
    pub fn pause(&self) {
        if self.row(|row| row.up && !std::mem::replace(&mut row.paused, true)) {
            let now = wall(&self.world, 0);
            self.row(|row| row.stands_still(now));
            self.world.note(format_args!("{} is paused", self.name()));
        }
    }

    /// Lets it go on.
    pub fn resume(&self) {
        if self.row(|row| std::mem::replace(&mut row.paused, false)) {
            let now = wall(&self.world, 0);
            self.row(|row| row.goes_on(now));
            self.world.note(format_args!("{} goes on", self.name()));
            self.world.release(self.number);
        }
    }

    /// Whether a process runs here, paused or not.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.row(|row| row.up)
    }

    /// Whether it stands still.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.row(|row| row.paused)
    }

    /// Its wall clock jumps. The boot clock does not.
    pub fn jump(&self, by_millis: i64) {
        let now = wall(&self.world, 0);
        self.row(|row| row.ahead.push((now, row.ahead().saturating_add(by_millis))));
        self.world.note(format_args!("the clock of {} jumps by {by_millis} ms", self.name()));
    }

    /// By how much its wall clock ran ahead, between two moments and at the most, of what it said at the first.
    #[must_use]
    pub fn gained(&self, from: Timestamp, until: Timestamp) -> Duration {
        self.row(|row| {
            let begun = row.ahead.partition_point(|(since, _)| *since <= from).saturating_sub(1);
            let meanwhile = row.ahead.get(begun..).unwrap_or_default();
            let meanwhile =
                meanwhile.iter().take_while(|(since, _)| *since <= until).map(|(_, ahead)| *ahead);
            let first = meanwhile.clone().next().unwrap_or_default();
            let most = meanwhile.max().unwrap_or_default();
            Duration::from_millis(most.abs_diff(first))
        })
    }

    /// Whether it was booted between two moments.
    #[must_use]
    pub fn was_booted(&self, from: Timestamp, until: Timestamp) -> bool {
        self.row(|row| row.boots.iter().any(|at| (from..=until).contains(at)))
    }

    /// Since when and until when no process ran here, or it stood still.
    #[must_use]
    pub fn stood_still(&self) -> Vec<(Timestamp, Timestamp)> {
        self.row(|row| row.still.clone())
    }

    /// Whether its generator of random bytes gives none from now on.
    pub fn drain(&self, is_drained: bool) {
        self.row(|row| row.drained = is_drained);
    }

    fn row<T>(&self, read: impl FnOnce(&mut NodeRow) -> T) -> T {
        let mut inner = self.world.inner();
        // A node is never taken out of the list that its number is a place of.
        #[expect(clippy::expect_used, reason = "a node's number is given by the list itself")]
        let row = inner.nodes.get_mut(self.number).expect("a node of this world");
        read(row)
    }
}

impl Process {
    /// The machine.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// The world.
    #[must_use]
    pub const fn world(&self) -> &World {
        &self.node.world
    }

    /// Whether this life goes on. Whatever a process was given does nothing once it does not.
    #[must_use]
    pub fn lives(&self) -> bool {
        self.world().inner().lives(self.node.number, self.life)
    }

    /// Whether both are the same life of the same machine.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.node.number == other.node.number && self.life == other.life
    }
}

impl Work for Process {
    fn spawn(&self, task: Boxed<'static, ()>) {
        self.world().begin(self.node.number, self.life, task);
    }

    fn sleep(&self, span: Duration) -> Boxed<'static, ()> {
        let until = self.world().now().plus(span).0;
        Box::pin(Rest { process: self.clone(), until, alarm: None })
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> Boxed<'static, ()> {
        let (done, waiting) = tokio::sync::oneshot::channel();
        let takes = self.node.row(|row| row.dice.within(BLOCKING_MICROS));
        let rest = self.sleep(Duration::from_micros(takes));
        self.spawn(Box::pin(async move {
            rest.await;
            work();
            let _ = done.send(());
        }));
        Box::pin(async move {
            let _ = waiting.await;
        })
    }
}

/// What a wall clock says that is wrong by so many milliseconds.
pub(super) fn wall(world: &World, off_millis: i64) -> Timestamp {
    let millis = i64::try_from(world.now().0 / 1000).unwrap_or(i64::MAX);
    Timestamp::from_millis(WALL_BEGINS.saturating_add(millis).saturating_add(off_millis))
}

impl Clock for Process {
    fn now(&self) -> Timestamp {
        wall(self.world(), self.node.row(|row| row.ahead()))
    }

    fn boot(&self) -> Boot {
        let now = i64::try_from(self.world().now().0).unwrap_or(i64::MAX);
        let micros = now.saturating_sub(self.node.row(|row| row.booted_at));
        Boot::from_millis(u64::try_from(micros / 1000).unwrap_or(0))
    }
}

impl Entropy for Process {
    fn fill(&self, out: &mut [u8]) -> Result<(), NoEntropy> {
        self.node.row(|row| {
            if row.drained {
                return Err(NoEntropy);
            }
            row.dice.fill(out);
            Ok(())
        })
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Node({})", self.name())
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Process({}, life {})", self.node.name(), self.life)
    }
}

/// Waits for a moment.
struct Rest {
    process: Process,
    until: u64,
    alarm: Option<Alarm>,
}

impl Future for Rest {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.process.world().now().0 >= self.until {
            return Poll::Ready(());
        }
        let alarm = self.process.world().wake_at(self.until, context.waker().clone());
        self.alarm = Some(alarm);
        Poll::Pending
    }
}

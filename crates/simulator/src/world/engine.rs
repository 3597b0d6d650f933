//! The executor: events in virtual time, tasks that are polled one at a time, and nothing else that moves.
//!
//! A task runs as long as it likes in no time at all; time passes only when no task can go on, to the next
//! event of the queue. Events of one moment and tasks that could all go on are taken in an order that the
//! seed settles. A task of a node that is down is dropped, one of a paused node is left alone until it
//! goes on.
//!
//! **Locks.** One lock holds everything but the list of what was woken. Nothing of anybody else's (a
//! future, a waker, an act) is called or dropped under either.

use super::{
    dice::Dice,
    log::Log,
    process::{NodeRow, Process},
};
use nightlatch_domain::ports::{Boxed, work::Work};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Wake, Waker},
    time::Duration,
};

/// Microseconds since the world began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub(super) u64);

impl Moment {
    /// The world's first moment.
    pub const BEGIN: Self = Self(0);

    /// So long after this.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero where it is not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0 / 1_000_000;
        let (days, hours, minutes) = (secs / 86_400, secs / 3600 % 24, secs / 60 % 60);
        write!(out, "{days}d {hours:02}:{minutes:02}:{:02}.{:06}", secs % 60, self.0 % 1_000_000)
    }
}

/// Where an event stands in the queue: its moment, the seed's word about that moment, and who came first.
type Place = (u64, u64, u64);

enum Event {
    Wake(Waker),
    Act(Box<dyn FnOnce(&World) + Send>),
}

struct Task {
    node: usize,
    /// None while it is being polled.
    future: Option<Boxed<'static, ()>>,
    queued: bool,
}

pub(super) struct Inner {
    pub(super) now: u64,
    pub(super) dice: Dice,
    drawn: u64,
    events: BTreeMap<Place, Event>,
    ready: Vec<u64>,
    tasks: BTreeMap<u64, Task>,
    pub(super) nodes: Vec<NodeRow>,
    log: Log,
}

struct Shared {
    inner: Mutex<Inner>,
    woken: Mutex<Vec<u64>>,
}

/// The world. Cheap to clone: every clone is the same one.
#[derive(Clone)]
pub struct World(Arc<Shared>);

struct TaskWaker {
    shared: std::sync::Weak<Shared>,
    task: u64,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if let Some(shared) = self.shared.upgrade() {
            shared.woken.lock().unwrap_or_else(PoisonError::into_inner).push(self.task);
        }
    }
}

impl World {
    /// The world of a seed, at its first moment, with nobody in it.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let inner = Inner {
            now: 0,
            dice: Dice::new(seed),
            drawn: 0,
            events: BTreeMap::new(),
            ready: Vec::new(),
            tasks: BTreeMap::new(),
            nodes: Vec::new(),
            log: Log::new(),
        };
        Self(Arc::new(Shared { inner: Mutex::new(inner), woken: Mutex::new(Vec::new()) }))
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment(self.inner().now)
    }

    /// A stream of chance of one's own, settled by the seed and by who asked before.
    #[must_use]
    pub fn dice(&self) -> Dice {
        self.inner().dice.fork()
    }

    /// Writes a line into the log.
    pub fn note(&self, line: impl fmt::Display) {
        let line = format!("{} {line}", self.now());
        self.inner().log.note(line);
    }

    /// How many lines the log has, and a number that two logs share only where they have the same lines.
    #[must_use]
    pub fn digest(&self) -> (u64, u64) {
        self.inner().log.digest()
    }

    /// The last lines of the log.
    #[must_use]
    pub fn last_lines(&self, lines: usize) -> Vec<String> {
        self.inner().log.last(lines)
    }

    /// Does something at a moment, or at once where that has passed. No process's end takes it back.
    pub fn at(&self, moment: Moment, act: impl FnOnce(&Self) + Send + 'static) {
        self.inner().put(moment.0, Event::Act(Box::new(act)));
    }

    /// Does something after a while.
    pub fn after(&self, span: Duration, act: impl FnOnce(&Self) + Send + 'static) {
        let moment = self.now().plus(span);
        self.at(moment, act);
    }

    /// Takes one step: polls one task, or, where none can go on, lets time pass to the next event. `false`
    /// where nothing is left that could ever happen.
    #[must_use]
    pub fn step(&self) -> bool {
        if let Some(task) = self.next_task() {
            self.poll(task);
            return true;
        }
        let next = {
            let mut inner = self.inner();
            let next = inner.events.pop_first();
            if let Some(((at, ..), _)) = &next {
                inner.now = inner.now.max(*at);
            }
            next
        };
        match next {
            None => return false,
            Some((_, Event::Wake(waker))) => waker.wake(),
            Some((_, Event::Act(act))) => act(self),
        }
        true
    }

    /// Steps until that moment. Time is there afterwards, even where nothing happened.
    pub fn run_until(&self, moment: Moment) {
        while self.next_moment().is_some_and(|next| next <= moment) {
            if !self.step() {
                break;
            }
        }
        let mut inner = self.inner();
        inner.now = inner.now.max(moment.0);
    }

    /// Steps for so long.
    pub fn run_for(&self, span: Duration) {
        self.run_until(self.now().plus(span));
    }

    /// When the next step is; none where there is none.
    #[must_use]
    pub fn next_moment(&self) -> Option<Moment> {
        self.admit();
        let inner = self.inner();
        if !inner.ready.is_empty() {
            return Some(Moment(inner.now));
        }
        inner.events.first_key_value().map(|((at, ..), _)| Moment((*at).max(inner.now)))
    }

    /// Carries a process's work through and answers what came of it; none where the process ended before,
    /// or nothing is left that could happen.
    pub fn finish<T: Send + 'static>(
        &self,
        process: &Process,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (done, mut waiting) = tokio::sync::oneshot::channel();
        process.spawn(Box::pin(async move {
            let _ = done.send(work.await);
        }));
        loop {
            if let Ok(done) = waiting.try_recv() {
                return Some(done);
            }
            if !process.lives() || !self.step() {
                return None;
            }
        }
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task of one life of a node; it is dropped unpolled where that life is over.
    pub(super) fn begin(&self, node: usize, life: u64, future: Boxed<'static, ()>) {
        let mut inner = self.inner();
        if !inner.lives(node, life) {
            drop(inner);
            drop(future);
            return;
        }
        let task = inner.draw();
        inner.tasks.insert(task, Task { node, future: Some(future), queued: true });
        inner.ready.push(task);
    }

    /// Takes every task of a node away. They are dropped when the lock is free.
    pub(super) fn drop_tasks(&self, node: usize) {
        let dropped: Vec<Task> = {
            let mut inner = self.inner();
            let of_node: Vec<u64> =
                inner.tasks.iter().filter(|(_, task)| task.node == node).map(|(id, _)| *id).collect();
            of_node.iter().filter_map(|id| inner.tasks.remove(id)).collect()
        };
        drop(dropped);
    }

    /// Wakes somebody at a moment; the answer takes it back.
    pub(super) fn wake_at(&self, moment: u64, waker: Waker) -> Alarm {
        Alarm { world: self.clone(), place: self.inner().put(moment, Event::Wake(waker)) }
    }

    /// Puts what was woken where the seed can choose from it.
    fn admit(&self) {
        let woken = std::mem::take(&mut *self.0.woken.lock().unwrap_or_else(PoisonError::into_inner));
        let mut inner = self.inner();
        for id in woken {
            if let Some(task) = inner.tasks.get_mut(&id)
                && !task.queued
            {
                task.queued = true;
                inner.ready.push(id);
            }
        }
    }

    fn next_task(&self) -> Option<u64> {
        self.admit();
        let mut inner = self.inner();
        while !inner.ready.is_empty() {
            let of = inner.ready.len();
            let place = if of == 1 { 0 } else { inner.dice.place(of) };
            let id = inner.ready.swap_remove(place);
            let Some(node) = inner.tasks.get(&id).map(|task| task.node) else { continue };
            match inner.nodes.get_mut(node) {
                Some(row) if row.paused => row.held.push(id),
                _ => return Some(id),
            }
        }
        None
    }

    /// A paused node goes on: what waited may be polled again.
    pub(super) fn release(&self, node: usize) {
        let mut inner = self.inner();
        let held = inner.nodes.get_mut(node).map(|row| std::mem::take(&mut row.held)).unwrap_or_default();
        inner.ready.extend(held);
    }

    fn poll(&self, id: u64) {
        let taken = {
            let mut inner = self.inner();
            inner.tasks.get_mut(&id).and_then(|task| {
                task.queued = false;
                task.future.take()
            })
        };
        let Some(mut future) = taken else { return };
        let waker = Waker::from(Arc::new(TaskWaker { shared: Arc::downgrade(&self.0), task: id }));
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let mut inner = self.inner();
        // A process that ended within this step took its tasks with it, this one's place too.
        match inner.tasks.get_mut(&id) {
            Some(task) if polled.is_pending() => task.future = Some(future),
            _ => {
                let rest = (inner.tasks.remove(&id), future);
                drop(inner);
                drop(rest);
            }
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "World(at {})", self.now())
    }
}

impl Inner {
    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.drawn
    }

    fn put(&mut self, at: u64, event: Event) -> Place {
        let place = (at.max(self.now), self.dice.number(), self.draw());
        self.events.insert(place, event);
        place
    }

    /// Whether a node still has the life of which somebody speaks.
    pub(super) fn lives(&self, node: usize, life: u64) -> bool {
        self.nodes.get(node).is_some_and(|row| row.life == life && row.up)
    }
}

/// A waking that is taken back when it is dropped.
pub(super) struct Alarm {
    world: World,
    place: Place,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let taken_back = self.world.inner().events.remove(&self.place);
        drop(taken_back);
    }
}

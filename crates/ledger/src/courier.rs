//! The courier: what was queued in one turn of the runtime is written as one bundle.
//!
//! Waking a thread is a system call and a switch, far more than an entry costs. Calls that run at once queue their
//! entries within one turn; the courier lets that turn end and takes all of them. What waits for no disk it writes
//! itself, which is a copy into the kernel's memory; everything else, and all that comes while that is under way, goes to
//! the writing thread. So does everything for [a while](SLOW_FOR) after a write that took [long](SLOW): a disk that
//! stalls its writers keeps a thread waiting, and not the runtime. What nobody waits for (an outcome, a finding) waits for
//! the next bundle, or [a moment](LINGER): it costs no waking of its own while calls come. What was queued lies in
//! memory until then, as it did in the channel: nothing has been promised of it. If the runtime ends, or never was,
//! each command goes by itself.

use crate::{
    meters::Meters,
    pen::{Command, Quill, held},
};
use std::{
    sync::{
        Arc, Mutex, Weak,
        mpsc::{SendError, Sender},
    },
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

/// How long what nobody waits for may lie here. A crash in this time loses it, and its intent says that it happened.
const LINGER: Duration = Duration::from_millis(2);

/// A write that is only a copy takes microseconds.
const SLOW: Duration = Duration::from_millis(5);
/// How long the thread writes everything after one that was slow.
const SLOW_FOR: Duration = Duration::from_secs(5);

/// The writing thread has ended.
pub(crate) struct Gone;

/// Where commands are left for the writing thread.
pub(crate) struct Desk {
    waiting: Mutex<Waiting>,
    bells: Arc<Bells>,
    meters: Arc<Meters>,
}

/// What calls the courier.
#[derive(Default)]
struct Bells {
    /// Somebody waits.
    now: Notify,
    /// Nobody does.
    soon: Notify,
}

impl Bells {
    async fn rung(&self) {
        let soon = async {
            self.soon.notified().await;
            sleep(LINGER).await;
        };
        tokio::select! {
            () = self.now.notified() => {}
            () = soon => {}
        }
    }
}

struct Waiting {
    commands: Vec<Command>,
    to: Sender<Vec<Command>>,
    /// Whether a courier will come for them.
    is_served: bool,
}

impl Desk {
    /// A desk before that thread, served by a task of this runtime for as long as it lives, which writes with `quill`
    /// where it can.
    pub(crate) fn open(
        to: Sender<Vec<Command>>,
        meters: Arc<Meters>,
        quill: Option<Arc<dyn Quill>>,
    ) -> Arc<Self> {
        let waiting = Mutex::new(Waiting { commands: Vec::new(), to, is_served: true });
        let desk = Arc::new(Self { waiting, bells: Arc::default(), meters });
        let (bells, round) = (Arc::clone(&desk.bells), Round(Arc::downgrade(&desk)));
        let mut own = quill.map(|quill| Own { quill, slow_until: None });
        tokio::spawn(async move {
            loop {
                bells.rung().await;
                // To the end of the line: whoever else is ready queues first.
                tokio::task::yield_now().await;
                let Some(desk) = round.0.upgrade() else { return };
                if desk.deliver(own.as_mut()).is_err() {
                    return;
                }
            }
        });
        desk
    }

    /// Leaves a command that somebody waits for; it goes over in the order in which it came.
    ///
    /// # Errors
    /// [`Gone`], where nobody will carry it out.
    pub(crate) fn leave(&self, command: Command) -> Result<(), Gone> {
        self.put(command, &self.bells.now)
    }

    /// Leaves a command that nobody waits for, in the same order.
    ///
    /// # Errors
    /// As [`Desk::leave`].
    pub(crate) fn leave_aside(&self, command: Command) -> Result<(), Gone> {
        self.put(command, &self.bells.soon)
    }

    /// While its courier lives, nobody else sends the thread anything: so what is written here overtakes nothing.
    fn deliver(&self, own: Option<&mut Own>) -> Result<(), Gone> {
        let Some(own) = own else { return held(&self.waiting).hand_over(&self.meters) };
        let commands = std::mem::take(&mut held(&self.waiting).commands);
        if commands.is_empty() {
            return Ok(());
        }
        match own.write(commands) {
            Ok(()) => Ok(()),
            Err(commands) => held(&self.waiting).send(commands, &self.meters),
        }
    }

    fn put(&self, command: Command, bell: &Notify) -> Result<(), Gone> {
        let mut waiting = held(&self.waiting);
        self.meters.is_left();
        waiting.commands.push(command);
        if !waiting.is_served {
            return waiting.hand_over(&self.meters);
        }
        bell.notify_one();
        Ok(())
    }
}

impl Waiting {
    fn hand_over(&mut self, meters: &Meters) -> Result<(), Gone> {
        let commands = std::mem::take(&mut self.commands);
        self.send(commands, meters)
    }

    fn send(&mut self, commands: Vec<Command>, meters: &Meters) -> Result<(), Gone> {
        if commands.is_empty() {
            return Ok(());
        }
        meters.are_sent(commands.len());
        let handed = self.to.send(commands);
        // From now on whoever leaves something hears of it; whoever waits hears by the answer that never comes.
        handed.map_err(|SendError(_)| self.is_served = false).map_err(|()| Gone)
    }
}

/// The courier's own pen.
struct Own {
    quill: Arc<dyn Quill>,
    slow_until: Option<Instant>,
}

impl Own {
    fn write(&mut self, commands: Vec<Command>) -> Result<(), Vec<Command>> {
        let began = Instant::now();
        if self.slow_until.is_some_and(|until| began < until) {
            return Err(commands);
        }
        self.quill.at_once(commands)?;
        self.slow_until = slow_until(began, Instant::now());
        Ok(())
    }
}

/// Until when the thread writes everything after a write that began and ended then.
fn slow_until(began: Instant, ended: Instant) -> Option<Instant> {
    (ended.saturating_duration_since(began) > SLOW).then(|| ended + SLOW_FOR)
}

/// With the last handle goes what was left; then the thread finds its channel closed, and ends.
impl Drop for Desk {
    fn drop(&mut self) {
        let _ = held(&self.waiting).hand_over(&self.meters);
        self.bells.now.notify_one();
    }
}

/// The courier's round. It ends with the runtime too: then every command goes by itself.
struct Round(Weak<Desk>);

impl Drop for Round {
    fn drop(&mut self) {
        let Some(desk) = self.0.upgrade() else { return };
        let mut waiting = held(&desk.waiting);
        waiting.is_served = false;
        let _ = waiting.hand_over(&desk.meters);
    }
}

#[cfg(test)]
mod tests {
    //! Commands of one turn go over together, in order; none is left behind by the end of a runtime or of the desk.

    use super::{Desk, SLOW, SLOW_FOR, slow_until};
    use crate::pen::{Command, Quill};
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, channel},
    };
    use tokio::{sync::oneshot, time::Instant};

    fn leave(desk: &Desk) -> bool {
        desk.leave(Command::Head(oneshot::channel().0)).is_ok()
    }

    fn bundles(commands: &Receiver<Vec<Command>>) -> Vec<usize> {
        commands.try_iter().map(|bundle| bundle.len()).collect()
    }

    #[tokio::test]
    async fn what_is_left_in_one_turn_goes_over_as_one_bundle() {
        let (to, commands) = channel();
        let desk = Desk::open(to, Arc::default(), None);
        assert!(leave(&desk) && leave(&desk) && leave(&desk));
        assert!(bundles(&commands).is_empty(), "it waits for the turn to end");
        let bundle = tokio::task::spawn_blocking(move || commands.recv().unwrap()).await.unwrap();
        assert_eq!(bundle.len(), 3);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_goes_with_the_next_that_is_waited_for_or_by_itself() {
        let (to, commands) = channel();
        let desk = Desk::open(to, Arc::default(), None);
        let aside = || desk.leave_aside(Command::Head(oneshot::channel().0)).is_ok();
        assert!(aside() && aside() && leave(&desk));
        let (bundle, commands) =
            tokio::task::spawn_blocking(move || (commands.recv().unwrap(), commands)).await.unwrap();
        assert_eq!(bundle.len(), 3);
        assert!(aside());
        let bundle = tokio::task::spawn_blocking(move || commands.recv().unwrap()).await.unwrap();
        assert_eq!(bundle.len(), 1);
    }

    #[test]
    fn the_end_of_the_runtime_leaves_nothing_behind_and_keeps_nobody_waiting() {
        let (to, commands) = channel();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let desk = runtime.block_on(async { Desk::open(to, Arc::default(), None) });
        assert!(leave(&desk) && leave(&desk));
        drop(runtime);
        assert_eq!(bundles(&commands), [2]);
        assert!(leave(&desk));
        assert_eq!(bundles(&commands), [1]);
        drop(commands);
        assert!(!leave(&desk));
    }

    #[tokio::test]
    async fn the_end_of_the_desk_hands_over_what_was_left_and_closes() {
        let (to, commands) = channel();
        let desk = Desk::open(to, Arc::default(), None);
        assert!(leave(&desk));
        drop(desk);
        assert_eq!(bundles(&commands), [1]);
        let ended = tokio::task::spawn_blocking(move || commands.recv().is_err());
        assert!(ended.await.unwrap());
    }

    /// Takes everything, the first time slowly if it is to.
    struct Hand {
        taken: AtomicUsize,
        is_slow: bool,
    }

    impl Quill for Hand {
        fn at_once(&self, commands: Vec<Command>) -> Result<(), Vec<Command>> {
            let (began, first) =
                (Instant::now(), self.taken.fetch_add(commands.len(), Ordering::SeqCst) == 0);
            while self.is_slow && first && began.elapsed() <= SLOW {}
            Ok(())
        }
    }

    async fn taken_of_two(is_slow: bool) -> (usize, Vec<usize>) {
        let hand = Arc::new(Hand { taken: AtomicUsize::new(0), is_slow });
        let (to, commands) = channel();
        let desk = Desk::open(to, Arc::default(), Some(Arc::clone(&hand) as _));
        for _ in 0..2 {
            assert!(leave(&desk));
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
        (hand.taken.load(Ordering::SeqCst), bundles(&commands))
    }

    #[tokio::test]
    async fn what_the_courier_can_write_itself_does_not_go_to_the_thread() {
        assert_eq!(taken_of_two(false).await, (2, vec![]));
    }

    #[test]
    fn however_long_a_write_took_the_thread_writes_for_a_while_after_it() {
        let began = Instant::now();
        assert_eq!(slow_until(began, began + SLOW), None);
        for took in [SLOW * 2, SLOW_FOR, SLOW_FOR * 10] {
            assert_eq!(slow_until(began, began + took), Some(began + took + SLOW_FOR));
        }
    }

    #[tokio::test]
    async fn after_a_write_that_took_long_the_thread_writes() {
        assert_eq!(taken_of_two(true).await, (1, vec![1]));
    }
}

//! One plane's post office: it writes letters and waits for their answers, reads what comes, and knows who is there.
//!
//! What comes is read by one loop, each letter once; what it asks for is answered in a task of its own. A letter that
//! nobody takes out soon is taken back, and whoever asked may ask another: it is certain that nobody saw it. One that
//! was taken out and not answered may have been acted on, and is told apart. Whoever has no place for a request says so at
//! once, and has not acted on it: the loop waits for nobody, since what it reads are answers too.
//!
//! A process that the others did not hear for long counts as gone, and is told nothing more. It notices that by itself,
//! by the beats that did not go through, and sooner than they do.

use super::roll::{BEATS_EVERY, Roll, SILENT_MAX};
use nightlatch_custody::{
    Secret,
    link::{End, Known, Seen},
};
use nightlatch_domain::{
    clock::{Boot, Clock},
    id::PeerId,
    ports::{
        Boxed,
        mailbox::{Letter, Mailbox, Posted, Role},
        store::StoreError,
    },
    tool::Name,
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OnceCell, Semaphore, oneshot, watch},
    task::AbortHandle,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

/// A process that lives takes its letters out within milliseconds. One that did not within this is asked for nothing.
const TAKEN_WITHIN: Duration = Duration::from_millis(1500);
/// Nobody acts on a letter that is older.
const LETTER_LIVES: Duration = Duration::from_secs(60);
/// How often it is looked who is there.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Between two looks into the mailbox where nothing wakes.
const COLLECT_EVERY: Duration = Duration::from_secs(1);
/// After a look that failed.
const COLLECT_AGAIN: Duration = Duration::from_millis(250);
/// Letters that are taken out at once.
const COLLECTED_MAX: u32 = 64;
/// Requests that are answered at once.
const ANSWERING_MAX: usize = 512;
/// And so many of control's, which no others take the place of: by them a human takes things away.
const ANSWERING_CONTROL_MAX: usize = 64;
/// The answer of whoever did not act on a request, and will not. No desk answers nothing.
const NOT_NOW: &[u8] = b"";
/// What is remembered of a process that is gone is forgotten when no letter of its can be timely any more.
const FORGET_AFTER: Duration = Duration::from_secs(900);
/// How often old letters are thrown away.
const THROW_AWAY_EVERY: Duration = Duration::from_secs(30);

/// Who answers what comes.
pub(super) trait Desk: Send + Sync {
    /// The answer; none where there is nothing to answer to that sender.
    fn answer(&self, from: &Known, says: &Secret) -> Boxed<'_, Option<Vec<u8>>>;

    /// Whether that sender is answered only by a process that the others hear.
    fn must_be_heard_by(&self, _from: &Known) -> bool {
        false
    }

    /// The others did not hear this process for so long that they may have taken it for gone.
    fn was_silent(&self) {}
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unheard {
    /// It is certain that nobody saw the letter.
    Untaken,
    /// It is certain that nobody acted on it; whom it was for lives, as far as can be seen.
    Busy,
    /// Somebody may have acted on it.
    Unanswered,
}

/// The post office of one plane of this process.
pub(super) struct Office {
    mailbox: Arc<dyn Mailbox>,
    end: End,
    clock: Arc<dyn Clock>,
    roll: Mutex<Roll>,
    seen: Mutex<HashMap<PeerId, (Seen, Boot)>>,
    asked: Mutex<HashMap<u64, (PeerId, oneshot::Sender<Secret>)>>,
    next: AtomicU64,
    /// None until this plane is built.
    desk: watch::Sender<Option<Arc<dyn Desk>>>,
    answering: Arc<Semaphore>,
    answering_control: Arc<Semaphore>,
    /// Whether its card was shown, or never will be.
    shown: OnceCell<()>,
    /// When it began to say, the last time that it went through, that it lives.
    heard: Mutex<Boot>,
    /// How often it was silent for long.
    silences: AtomicU64,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Office {
    /// Looks who is there and begins to read what comes. Nothing comes before this process [`arrives`](Self::arrive).
    pub(super) async fn open(mailbox: Arc<dyn Mailbox>, end: End, clock: Arc<dyn Clock>) -> Arc<Self> {
        let office = Arc::new(Self {
            heard: Mutex::new(clock.boot()),
            mailbox,
            end,
            clock,
            roll: Mutex::default(),
            seen: Mutex::default(),
            asked: Mutex::default(),
            next: AtomicU64::new(1),
            desk: watch::Sender::new(None),
            answering: Arc::new(Semaphore::new(ANSWERING_MAX)),
            answering_control: Arc::new(Semaphore::new(ANSWERING_CONTROL_MAX)),
            shown: OnceCell::new(),
            silences: AtomicU64::new(0),
            tasks: Mutex::default(),
        });
        office.look().await;
        let tasks = [
            tokio::spawn(Arc::clone(&office).read_all()).abort_handle(),
            tokio::spawn(Arc::clone(&office).stay()).abort_handle(),
        ];
        held(&office.tasks).extend(tasks);
        office
    }

    /// Shows this process's card, once: from then on others ask it, and believe what it asks.
    ///
    /// # Errors
    /// The store's, where the card cannot be shown.
    pub(super) async fn arrive(&self) -> Result<(), StoreError> {
        let shown = self.shown.get_or_try_init(|| async {
            let asked_at = self.clock.boot();
            self.mailbox.arrive(self.end.card().clone()).await?;
            *held(&self.heard) = asked_at;
            Ok(())
        });
        shown.await.copied()
    }

    /// From now on `desk` answers, also what came before.
    pub(super) fn answer_by(&self, desk: Arc<dyn Desk>) {
        self.desk.send_replace(Some(desk));
    }

    /// Reads nothing more and takes the card away. Once is enough.
    pub(super) async fn close(&self) {
        let tasks = std::mem::take(&mut *held(&self.tasks));
        if tasks.is_empty() {
            return;
        }
        tasks.iter().for_each(AbortHandle::abort);
        // What is still under way shows it no more.
        let _ = self.shown.set(());
        if let Err(error) = self.mailbox.leave(self.end.card().peer).await {
            tracing::warn!(%error, "the others are not told that this process ends; they will find out");
        }
    }

    /// This process.
    pub(super) fn own(&self) -> PeerId {
        self.end.card().peer
    }

    /// Everybody of a role who lives.
    pub(super) fn living(&self, role: Role) -> Vec<Known> {
        held(&self.roll).living(role)
    }

    /// Whether a process lives.
    pub(super) fn lives(&self, peer: PeerId) -> bool {
        held(&self.roll).lives(peer)
    }

    /// Everybody of a role who said within `span` that they live.
    pub(super) fn heard_within(&self, role: Role, span: Duration) -> Vec<Known> {
        held(&self.roll).heard_within(role, span)
    }

    /// The names of a role by which somebody said within `span` that they live; whose key signed their cards is not asked.
    /// None where there are too many to know.
    pub(super) fn names_within(&self, role: Role, span: Duration) -> Option<Vec<Name>> {
        held(&self.roll).names_within(role, span)
    }

    /// Asks one process, and waits for its answer.
    ///
    /// # Errors
    /// [`Unheard`].
    pub(super) async fn ask(&self, to: &Known, says: &[u8], within: Duration) -> Result<Secret, Unheard> {
        // Nobody believes a letter of a process that it does not see.
        self.arrive().await.map_err(|_| Unheard::Busy)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let expires_at = self.clock.now().plus(LETTER_LIVES.min(within));
        let letter = self.end.write(to, (number, None), expires_at, says);
        let letter = letter.map_err(|error| {
            tracing::error!(%error, "a letter could not be written");
            Unheard::Untaken
        })?;
        let place = letter.place;
        let (tell, mut told) = oneshot::channel();
        held(&self.asked).insert(number, (to.peer(), tell));
        let _forgets = Forgets(self, number);
        match self.mailbox.post(letter).await {
            Ok(Posted::Lies) | Err(StoreError::Unknown) => {}
            Ok(Posted::Absent) => return Err(Unheard::Untaken),
            Ok(Posted::Full) | Err(_) => return Err(Unheard::Busy),
        }
        let answers = async {
            if let Ok(answer) = timeout(TAKEN_WITHIN, &mut told).await {
                return answer.map_err(|_| Unheard::Unanswered);
            }
            if self.mailbox.withdraw(place).await == Ok(true) {
                return Err(Unheard::Untaken);
            }
            loop {
                match timeout(LOOK_EVERY, &mut told).await {
                    Ok(answer) => return answer.map_err(|_| Unheard::Unanswered),
                    Err(_) if held(&self.roll).lives(to.peer()) => {}
                    Err(_) => return Err(Unheard::Unanswered),
                }
            }
        };
        let answer = timeout(within, answers).await.unwrap_or(Err(Unheard::Unanswered))?;
        if answer.expose() == NOT_NOW { Err(Unheard::Busy) } else { Ok(answer) }
    }

    /// Says that this process lives, looks who else does, and throws away what is old.
    async fn stay(self: Arc<Self>) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut beats_at, mut throws_at) = (self.clock.boot(), self.clock.boot());
        loop {
            ticks.tick().await;
            let now = self.clock.boot();
            if self.shown.initialized() && now >= beats_at {
                self.beat().await;
                beats_at = now.plus(BEATS_EVERY);
            }
            self.look().await;
            if now >= throws_at {
                self.throw_away().await;
                throws_at = now.plus(THROW_AWAY_EVERY);
            }
        }
    }

    /// Reads and says nothing more, as a process that was killed.
    #[cfg(test)]
    pub(super) fn die(&self) {
        held(&self.tasks).drain(..).for_each(|task| task.abort());
    }

    async fn beat(&self) {
        let asked_at = self.clock.boot();
        let beaten = match self.mailbox.beat(self.own()).await {
            // A database that was put back knows nothing of this process: whoever looked meanwhile did not see it.
            Ok(false) => {
                self.was_silent();
                self.mailbox.arrive(self.end.card().clone()).await
            }
            other => other.map(|_| ()),
        };
        // Also where it went through, but late: nothing is answered before that is made good.
        if self.is_silent() {
            self.was_silent();
        }
        match beaten {
            Ok(()) => *held(&self.heard) = asked_at,
            Err(error) => tracing::warn!(%error, "the others cannot be told that this process lives"),
        }
    }

    /// Whether the others may have taken this process for gone. What they watched cannot be longer than what passed here.
    fn is_silent(&self) -> bool {
        self.clock.boot().since(*held(&self.heard)) >= SILENT_MAX
    }

    fn was_silent(&self) {
        self.silences.fetch_add(1, Ordering::SeqCst);
        if let Some(desk) = self.desk.borrow().as_ref() {
            desk.was_silent();
        }
    }

    /// Looks now who is there, and answers whether it could be seen; it is looked once a second besides.
    pub(super) async fn look(&self) -> bool {
        let asked_at = self.clock.boot();
        match self.mailbox.present().await {
            Ok(present) => {
                held(&self.roll).look(present, |card| self.end.known(card), asked_at);
                true
            }
            Err(error) => {
                tracing::debug!(%error, "it cannot be seen who is there");
                false
            }
        }
    }

    async fn throw_away(&self) {
        let before = self.clock.now().minus(LETTER_LIVES);
        let _ = self.mailbox.throw_away(before).await;
        let gone = held(&self.roll).gone();
        for peer in gone.into_iter().filter(|peer| *peer != self.own()) {
            let _ = self.mailbox.leave(peer).await;
        }
        let now = self.clock.boot();
        let roll = held(&self.roll);
        held(&self.seen)
            .retain(|peer, (_, used)| roll.known(*peer).is_some() || now.since(*used) < FORGET_AFTER);
    }

    async fn read_all(self: Arc<Self>) {
        loop {
            let wait = u64::try_from(COLLECT_EVERY.as_millis()).unwrap_or(u64::MAX);
            self.mailbox.arrived(self.own(), wait).await;
            match self.mailbox.collect(self.own(), COLLECTED_MAX).await {
                Ok(letters) => {
                    for letter in letters {
                        self.read(letter).await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "letters cannot be read");
                    sleep(COLLECT_AGAIN).await;
                }
            }
        }
    }

    async fn read(self: &Arc<Self>, letter: Letter) {
        let Some(from) = self.writer(letter.place.from).await else {
            tracing::warn!(from = %letter.place.from, "a letter of nobody who is known is thrown away");
            return;
        };
        let says = {
            let mut seen = held(&self.seen);
            let (seen, used) =
                seen.entry(from.peer()).or_insert_with(|| (Seen::default(), self.clock.boot()));
            *used = self.clock.boot();
            self.end.read(&from, &letter, self.clock.now(), seen)
        };
        let says = match says {
            Ok(says) => says,
            Err(error) => {
                tracing::warn!(%error, from = %from.name(), role = %from.role(),
                    "a letter is refused: forged, repeated or too old");
                return;
            }
        };
        match letter.answers {
            Some(number) => self.hand_over(from.peer(), number, says),
            None => self.begin_answer(from, letter.place.number, says).await,
        }
    }

    /// Who wrote a letter. One who came a moment ago is looked for once.
    async fn writer(&self, peer: PeerId) -> Option<Known> {
        let known = held(&self.roll).known(peer);
        if known.is_some() {
            return known;
        }
        self.look().await;
        held(&self.roll).known(peer)
    }

    /// Only who was asked answers.
    fn hand_over(&self, from: PeerId, number: u64, says: Secret) {
        let mut asked = held(&self.asked);
        if asked.get(&number).is_some_and(|(whom, _)| *whom == from)
            && let Some((_, told)) = asked.remove(&number)
        {
            let _ = told.send(says);
        }
    }

    async fn begin_answer(self: &Arc<Self>, from: Known, number: u64, says: Secret) {
        let places = if from.role() == Role::Control { &self.answering_control } else { &self.answering };
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            tracing::warn!(from = %from.name(), role = %from.role(), "too much is asked at once");
            self.send_answer(&from, number, NOT_NOW).await;
            return;
        };
        let office = Arc::clone(self);
        tokio::spawn(async move {
            let _place = place;
            if let Some(answer) = office.answer(&from, &says).await {
                office.send_answer(&from, number, &answer).await;
            }
        });
    }

    /// What the desk answers, once there is one; none that it came to while the others may not have heard this process.
    async fn answer(&self, from: &Known, says: &Secret) -> Option<Vec<u8>> {
        let mut desk = self.desk.subscribe();
        let built = timeout(LETTER_LIVES, desk.wait_for(Option::is_some)).await.ok()?.ok()?.clone();
        let desk = built?;
        if !desk.must_be_heard_by(from) {
            return desk.answer(from, says).await;
        }
        let silences = self.silences.load(Ordering::SeqCst);
        if self.is_silent() {
            return Some(NOT_NOW.to_vec());
        }
        let answer = desk.answer(from, says).await;
        let was_heard = self.silences.load(Ordering::SeqCst) == silences && !self.is_silent();
        was_heard.then_some(answer).flatten()
    }

    async fn send_answer(&self, to: &Known, answers: u64, says: &[u8]) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let expires_at = self.clock.now().plus(LETTER_LIVES);
        let posted = match self.end.write(to, (number, Some(answers)), expires_at, says) {
            Ok(letter) => self.mailbox.post(letter).await,
            Err(error) => {
                tracing::error!(%error, "an answer could not be written");
                return;
            }
        };
        if !matches!(posted, Ok(Posted::Lies)) {
            tracing::warn!(?posted, to = %to.name(), "an answer could not be posted");
        }
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        held(&self.tasks).drain(..).for_each(|task| task.abort());
    }
}

/// Nobody waits for that answer any more.
struct Forgets<'a>(&'a Office, u64);

impl Drop for Forgets<'_> {
    fn drop(&mut self) {
        held(&self.0.asked).remove(&self.1);
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;

//! A wake stays with its keeper; when that one is gone it is proved anew at another; what must be done once is asked once.

use super::Keepers;
use crate::{
    adapters::SystemClock,
    serve::{
        desks::KeeperDesk,
        office::Office,
        roll::SILENT_MAX,
        testing::{House, NOW},
    },
};
use nightlatch_domain::{
    clock::{Boot, Clock, Timestamp},
    id::{InstallationId, KeeperId, PeerId, PrincipalId, TaskId, TenantId, WakeId},
    ports::{
        Boxed,
        control_keeper::{
            ControlRefusal, ControlReply, ControlRequest, KeeperForControl, KeeperRoll, KeeperSeen,
        },
        gateway_keeper::{Challenge, GatewayReply, GatewayRequest, KeeperForGateway, KeeperRefusal},
        mailbox::{Card, Letter, LetterPlace, Mailbox, Posted, Present, Role},
        store::{Registered, StoreError, Stored},
    },
};
use nightlatch_store::SqliteStore;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

static DRAWN: AtomicU8 = AtomicU8::new(1);

/// A keeper that notes what it is asked.
#[derive(Default)]
struct Noting {
    asked: Mutex<Vec<&'static str>>,
    is_full: bool,
    /// It takes this in and never answers.
    hangs: Option<&'static str>,
    /// Who it is, and who else is registered.
    roll: Option<KeeperRoll>,
}

impl Noting {
    fn note(&self, word: &'static str) {
        self.asked.lock().unwrap().push(word);
    }

    fn asked(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

impl KeeperForGateway for Noting {
    fn ask(&self, request: GatewayRequest) -> Boxed<'_, Result<GatewayReply, KeeperRefusal>> {
        let reply = match request {
            GatewayRequest::Challenge { .. } => {
                self.note("challenge");
                if self.hangs == Some("challenge") {
                    return Box::pin(std::future::pending());
                }
                let wake = wake(DRAWN.fetch_add(1, Ordering::SeqCst));
                let (nonce, expires_at) = (String::new(), NOW);
                Ok(GatewayReply::Challenge(Challenge { wake, nonce, expires_at }))
            }
            GatewayRequest::Sleep { .. } => {
                self.note("sleep");
                Ok(GatewayReply::Done)
            }
            GatewayRequest::Unauthorized { .. } => {
                self.note("unauthorized");
                Ok(GatewayReply::Done)
            }
            GatewayRequest::Enrol { .. } => {
                self.note("enrol");
                if self.hangs == Some("enrol") {
                    return Box::pin(std::future::pending());
                }
                Err(KeeperRefusal::CodeRejected)
            }
            _ => Err(KeeperRefusal::Unavailable),
        };
        Box::pin(std::future::ready(reply))
    }
}

impl KeeperForControl for Noting {
    fn ask(&self, request: ControlRequest) -> Boxed<'_, Result<ControlReply, ControlRefusal>> {
        let reply = match request {
            ControlRequest::EndWakes { .. } if self.is_full => Err(ControlRefusal::Unavailable),
            ControlRequest::EndWakes { .. } => {
                self.note("end-wakes");
                Ok(ControlReply::Done)
            }
            ControlRequest::Keepers if self.hangs == Some("keepers") => {
                return Box::pin(std::future::pending());
            }
            ControlRequest::Keepers => {
                self.roll.clone().map(ControlReply::Keepers).ok_or(ControlRefusal::Unavailable)
            }
            ControlRequest::Forget { .. } => {
                self.note("forget");
                Ok(ControlReply::Forgotten { behind: true, quarantined: 0 })
            }
            _ => Err(ControlRefusal::Unavailable),
        };
        Box::pin(std::future::ready(reply))
    }
}

fn wake(n: u8) -> WakeId {
    WakeId::new(SystemClock.now(), [n; 10])
}

struct Place {
    house: House,
}

impl Place {
    async fn office(&mut self, role: Role) -> Arc<Office> {
        let store = Arc::new(SqliteStore::open(&self.house.database(), NOW).unwrap());
        let office = Office::open(store, self.house.end(role), Arc::new(SystemClock)).await;
        office.arrive().await.unwrap();
        office
    }

    async fn keeper(&mut self, noting: &Arc<Noting>) -> Arc<Office> {
        let store = Arc::new(SqliteStore::open(&self.house.database(), NOW).unwrap());
        self.keeper_over(noting, store, Arc::new(SystemClock)).await
    }

    async fn keeper_over(
        &mut self,
        noting: &Arc<Noting>,
        mailbox: Arc<dyn Mailbox>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Office> {
        let office = Office::open(mailbox, self.house.end(Role::Keeper), clock).await;
        let ends = Arc::clone(noting);
        office.answer_by(Arc::new(KeeperDesk {
            installation: InstallationId::new(NOW, [9; 10]),
            for_gateways: Arc::clone(noting) as _,
            for_control: Arc::clone(noting) as _,
            end_wakes: Box::new(move || ends.note("all-end")),
        }));
        office.arrive().await.unwrap();
        office
    }
}

fn challenge() -> GatewayRequest {
    GatewayRequest::Challenge { tenant: TenantId::new(NOW, [1; 10]), task: TaskId::new(NOW, [1; 10]) }
}

fn unauthorized(wake: WakeId) -> GatewayRequest {
    let connection = nightlatch_domain::id::ConnectionId::new(NOW, [1; 10]);
    GatewayRequest::Unauthorized { tenant: TenantId::new(NOW, [1; 10]), wake, connection, generation: 1 }
}

fn end_wakes() -> ControlRequest {
    ControlRequest::EndWakes { tenant: TenantId::new(NOW, [1; 10]), task: TaskId::new(NOW, [1; 10]) }
}

async fn begun(keepers: &Keepers) -> WakeId {
    match KeeperForGateway::ask(keepers, challenge()).await.unwrap() {
        GatewayReply::Challenge(challenge) => challenge.wake,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wake_stays_with_its_keeper_and_is_proved_anew_when_that_one_is_gone() {
    let mut place = Place { house: House::new() };
    let notes = [Arc::<Noting>::default(), Arc::default()];
    let offices = [place.keeper(&notes[0]).await, place.keeper(&notes[1]).await];
    let keepers = Keepers::new(place.office(Role::Gateway).await);
    assert_eq!(keepers.installation().await, InstallationId::new(NOW, [9; 10]));

    let wake = begun(&keepers).await;
    assert_eq!(KeeperForGateway::ask(&keepers, unauthorized(wake)).await, Ok(GatewayReply::Done));
    let asked = notes.each_ref().map(|note| note.asked());
    let (of, other) = if asked[0].is_empty() { (1, 0) } else { (0, 1) };
    assert_eq!(
        (asked[of].as_slice(), asked[other].as_slice()),
        (["challenge", "unauthorized"].as_slice(), [].as_slice())
    );

    // It dies without a word: its card stays, and nobody takes its letters out.
    offices[of].die();
    assert_eq!(KeeperForGateway::ask(&keepers, unauthorized(wake)).await, Err(KeeperRefusal::NotAwake));
    let sleeps = async || {
        let sleep = GatewayRequest::Sleep { tenant: TenantId::new(NOW, [1; 10]), wake };
        KeeperForGateway::ask(&keepers, sleep).await
    };
    assert_eq!(sleeps().await, Err(KeeperRefusal::Unavailable), "it may be slow, and have the wake");
    let is_silent = async {
        while keepers.office.lives(offices[of].own()) {
            // tidy: sleeps because it polls.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(2 * SILENT_MAX, is_silent).await.unwrap();
    assert_eq!(sleeps().await, Ok(GatewayReply::Done), "who is silent has no wakes");
    let wake = begun(&keepers).await;
    assert_eq!(KeeperForGateway::ask(&keepers, unauthorized(wake)).await, Ok(GatewayReply::Done));
    assert_eq!(notes[other].asked(), ["challenge", "unauthorized"]);
    // A wake that no keeper began here is nobody's.
    let unknown = unauthorized(WakeId::new(NOW, [99; 10]));
    assert_eq!(KeeperForGateway::ask(&keepers, unknown).await, Err(KeeperRefusal::NotAwake));
    assert_eq!(notes[of].asked(), [""; 0], "the dead one was asked nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_be_done_once_is_asked_of_one_keeper() {
    let mut place = Place { house: House::new() };
    let notes = [Arc::<Noting>::default(), Arc::default()];
    let offices = [place.keeper(&notes[0]).await, place.keeper(&notes[1]).await];
    let keepers = Keepers::new(place.office(Role::Gateway).await);
    let binding = nightlatch_domain::principal::Binding::Uid { uid: 1 };
    let enrol = || GatewayRequest::Enrol { code_sha256: String::new(), binding: binding.clone() };
    assert_eq!(KeeperForGateway::ask(&keepers, enrol()).await, Err(KeeperRefusal::CodeRejected));
    let asked = notes.each_ref().map(|note| note.asked().len());
    assert_eq!(asked.iter().sum::<usize>(), 1);
    // The one that answers first is gone: the other is asked, once.
    offices[usize::from(asked[0] == 0)].die();
    assert_eq!(KeeperForGateway::ask(&keepers, enrol()).await, Err(KeeperRefusal::CodeRejected));
    assert_eq!(notes.each_ref().map(|note| note.asked().len()).iter().sum::<usize>(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_keeper_may_have_done_is_asked_of_no_other() {
    let mut place = Place { house: House::new() };
    let notes = [Arc::new(Noting { hangs: Some("enrol"), ..Noting::default() }), Arc::default()];
    let offices = [place.keeper(&notes[0]).await, place.keeper(&notes[1]).await];
    let keepers = Keepers::new(place.office(Role::Gateway).await);
    // The one that hangs is asked first.
    *super::held(&keepers.current) = Some(offices[0].own());
    let binding = nightlatch_domain::principal::Binding::Uid { uid: 1 };
    let enrol = GatewayRequest::Enrol { code_sha256: String::new(), binding };
    let asked = async { KeeperForGateway::ask(&keepers, enrol).await };
    let ends = async {
        while notes[0].asked.lock().unwrap().is_empty() {
            // tidy: sleeps because it polls.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        offices[0].close().await;
    };
    let (answer, ()) = tokio::join!(asked, ends);
    assert_eq!(answer, Err(KeeperRefusal::Unavailable));
    assert_eq!((notes[0].asked(), notes[1].asked()), (vec!["enrol"], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_sleeps_only_when_every_keeper_says_so() {
    let mut place = Place { house: House::new() };
    let notes = [Arc::<Noting>::default(), Arc::default()];
    let _offices = [place.keeper(&notes[0]).await, place.keeper(&notes[1]).await];
    let keepers = Keepers::new(place.office(Role::Control).await);
    assert_eq!(KeeperForControl::ask(&keepers, end_wakes()).await, Ok(ControlReply::Done));
    assert_eq!(notes.each_ref().map(|note| note.asked()), [["end-wakes"], ["end-wakes"]]);
    let full = Arc::new(Noting { is_full: true, ..Noting::default() });
    let _third = place.keeper(&full).await;
    assert_eq!(KeeperForControl::ask(&keepers, end_wakes()).await, Err(ControlRefusal::Unavailable));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plane_is_answered_only_what_its_role_may_ask() {
    let mut place = Place { house: House::new() };
    let note = Arc::<Noting>::default();
    let _office = place.keeper(&note).await;
    // Control asks what a gateway may ask, a gateway what control may.
    let control = Keepers::new(place.office(Role::Control).await);
    let gateway = Keepers::new(place.office(Role::Gateway).await);
    let within = Duration::from_secs(3);
    let keeper = control.in_turn().pop().unwrap();
    let as_gateway = super::written(&super::OfGateway::Ask(Box::new(challenge())));
    assert!(control.office.ask(&keeper, &as_gateway, within).await.is_err());
    assert!(gateway.office.ask(&keeper, &super::written(&end_wakes()), within).await.is_err());
    assert_eq!(note.asked(), [""; 0]);
    assert!(gateway.office.ask(&keeper, &as_gateway, within).await.is_ok());
    assert_eq!(note.asked(), ["challenge"]);
}

/// A gateway that decides on what was stored when the test says so.
struct Slow(watch::Receiver<bool>);

impl nightlatch_control::Settled for Slow {
    fn settled(&self) -> Boxed<'_, ()> {
        let mut said = self.0.clone();
        Box::pin(async move {
            let _ = said.wait_for(|said| *said).await;
        })
    }
}

impl nightlatch_domain::ports::gateway_keeper::Drains for Slow {
    fn drain(&self, _: nightlatch_domain::ports::gateway_keeper::DrainNotice) -> Boxed<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_is_confirmed_when_every_gateway_says_so() {
    use crate::serve::desks::{AllSettled, GatewayDesk};
    let mut place = Place { house: House::new() };
    let (say, said) = watch::channel(true);
    let (say_late, said_late) = watch::channel(false);
    let mut gateways = Vec::new();
    for said in [said, said_late] {
        let (office, slow) = (place.office(Role::Gateway).await, Arc::new(Slow(said)));
        office.answer_by(Arc::new(GatewayDesk { drains: Arc::clone(&slow) as _, settled: slow }));
        gateways.push(office);
    }
    let all = AllSettled(place.office(Role::Control).await);
    let waits = Duration::from_secs(5);
    let settled = nightlatch_control::Settled::settled(&all);
    assert!(tokio::time::timeout(waits, settled).await.is_err(), "one did not say so");
    say_late.send_replace(true);
    let settled = nightlatch_control::Settled::settled(&all);
    assert!(tokio::time::timeout(waits, settled).await.is_ok());
    assert!(*say.borrow());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_nothing_is_asked_of_another_keeper_where_one_is_stuck() {
    let mut place = Place { house: House::new() };
    let notes = [Arc::new(Noting { hangs: Some("challenge"), ..Noting::default() }), Arc::default()];
    let offices = [place.keeper(&notes[0]).await, place.keeper(&notes[1]).await];
    let keepers = Keepers::new(place.office(Role::Gateway).await);
    *super::held(&keepers.current) = Some(offices[0].own());
    // Well before the call that waits for it is given up.
    let wake = tokio::time::timeout(Duration::from_secs(10), begun(&keepers)).await.unwrap();
    assert_eq!(KeeperForGateway::ask(&keepers, unauthorized(wake)).await, Ok(GatewayReply::Done));
    assert_eq!((notes[0].asked(), notes[1].asked()), (vec!["challenge"], vec!["challenge", "unauthorized"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_given_up_while_one_lives_who_does_not_say_who_it_is() {
    let mut place = Place { house: House::new() };
    let [stays, goes] = [1, 2].map(|n| KeeperId::new(NOW, [n; 10]));
    let seen = |keeper| KeeperSeen {
        row: Registered { keeper, compared: 1, vouched: true },
        at_work: false,
        name: None,
    };
    let roll = KeeperRoll { own: stays, era: 2, keepers: vec![seen(stays), seen(goes)] };
    let answers = Arc::new(Noting { roll: Some(roll), ..Noting::default() });
    let busy = Arc::new(Noting { hangs: Some("keepers"), ..Noting::default() });
    let _office = place.keeper(&answers).await;
    let slow = place.keeper(&busy).await;
    let keepers = Keepers::new(place.office(Role::Control).await);
    let human = (TenantId::new(NOW, [1; 10]), PrincipalId::new(NOW, [1; 10]));
    let forget = |keeper| KeeperForControl::ask(&keepers, ControlRequest::Forget { keeper, human });
    assert_eq!(forget(goes).await, Err(ControlRefusal::Unavailable), "it may be the one that is busy");
    assert_eq!((answers.asked(), busy.asked()), (Vec::new(), Vec::new()));
    assert_eq!(forget(stays).await, Err(ControlRefusal::KeeperAtWork));
    // It is gone, and says so.
    slow.close().await;
    assert_eq!(forget(goes).await, Ok(ControlReply::Forgotten { behind: true, quarantined: 0 }));
    assert_eq!(answers.asked(), ["forget"]);
}

/// What becomes of a word that a process lives.
#[derive(Clone, Copy, PartialEq)]
enum Word {
    Passes,
    IsLost,
    IsHeldUp,
}

/// A database that is out of reach for a keeper's word that it lives, and for nothing else.
struct Muffled {
    rows: SqliteStore,
    word: watch::Receiver<Word>,
}

impl Mailbox for Muffled {
    fn arrive(&self, card: Card) -> Stored<'_, ()> {
        self.rows.arrive(card)
    }
    fn beat(&self, peer: PeerId) -> Stored<'_, bool> {
        let mut word = self.word.clone();
        Box::pin(async move {
            let word = *word.wait_for(|word| *word != Word::IsHeldUp).await.unwrap();
            if word == Word::IsLost { Err(StoreError::Unavailable) } else { self.rows.beat(peer).await }
        })
    }
    fn leave(&self, peer: PeerId) -> Stored<'_, ()> {
        self.rows.leave(peer)
    }
    fn present(&self) -> Stored<'_, Vec<Present>> {
        self.rows.present()
    }
    fn post(&self, letter: Letter) -> Stored<'_, Posted> {
        self.rows.post(letter)
    }
    fn collect(&self, to: PeerId, limit: u32) -> Stored<'_, Vec<Letter>> {
        self.rows.collect(to, limit)
    }
    fn withdraw(&self, letter: LetterPlace) -> Stored<'_, bool> {
        self.rows.withdraw(letter)
    }
    fn throw_away(&self, expired_before: Timestamp) -> Stored<'_, u64> {
        self.rows.throw_away(expired_before)
    }
    fn arrived(&self, to: PeerId, within_millis: u64) -> Boxed<'_, ()> {
        self.rows.arrived(to, within_millis)
    }
}

/// The machine's clocks, later by what the test says.
#[derive(Default)]
struct Later(AtomicU64);

impl Later {
    fn forward(&self, span: Duration) {
        self.0.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for Later {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
    fn boot(&self) -> Boot {
        SystemClock.boot().plus(Duration::from_millis(self.0.load(Ordering::SeqCst)))
    }
}

/// A keeper whose word can be lost, and a gateway that has a wake of it.
struct Muffling {
    place: Place,
    notes: Arc<Noting>,
    word: watch::Sender<Word>,
    clock: Arc<Later>,
    keeper: Arc<Office>,
    gateway: Keepers,
    wake: WakeId,
}

impl Muffling {
    async fn new() -> Self {
        let mut place = Place { house: House::new() };
        let notes = Arc::<Noting>::default();
        let (word, told) = watch::channel(Word::Passes);
        let rows = SqliteStore::open(&place.house.database(), NOW).unwrap();
        let clock = Arc::<Later>::default();
        let mailbox = Arc::new(Muffled { rows, word: told });
        let keeper = place.keeper_over(&notes, mailbox, Arc::clone(&clock) as _).await;
        let gateway = Keepers::new(place.office(Role::Gateway).await);
        let wake = begun(&gateway).await;
        assert_eq!(KeeperForGateway::ask(&gateway, unauthorized(wake)).await, Ok(GatewayReply::Done));
        notes.asked();
        Self { place, notes, word, clock, keeper, gateway, wake }
    }

    /// Waits until it has ended its wakes.
    async fn ended(&self) {
        let ended = async {
            while !self.notes.asked.lock().unwrap().contains(&"all-end") {
                // tidy: sleeps because it polls.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), ended).await.unwrap();
    }

    async fn is_answered_again(&self) {
        let answered = async {
            while KeeperForGateway::ask(&self.gateway, challenge()).await.is_err() {
                // tidy: sleeps because it polls.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), answered).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_nobody_hears_ends_its_wakes_and_answers_no_gateway() {
    let mut world = Muffling::new().await;
    let control = Keepers::new(world.place.office(Role::Control).await);
    world.word.send_replace(Word::IsLost);
    world.clock.forward(SILENT_MAX);
    // Others may take it for gone: a sleep that it was not told of would be none.
    let asked = KeeperForGateway::ask(&world.gateway, unauthorized(world.wake)).await;
    assert_eq!(asked, Err(KeeperRefusal::Unavailable));
    assert_eq!(
        KeeperForGateway::ask(&world.gateway, challenge()).await,
        Err(KeeperRefusal::Unavailable),
        "nothing begins either"
    );
    world.ended().await;
    assert!(world.notes.asked().iter().all(|word| *word == "all-end"), "its desk was asked nothing");
    // What control takes away is taken away all the same.
    assert_eq!(KeeperForControl::ask(&control, end_wakes()).await, Ok(ControlReply::Done));
    world.word.send_replace(Word::Passes);
    world.is_answered_again().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_that_comes_late_and_a_card_that_was_lost_end_wakes_too() {
    let world = Muffling::new().await;
    let just = Duration::from_millis(1);
    // It begins to say so in time, and is heard when others may have taken it for gone.
    world.word.send_replace(Word::IsHeldUp);
    world.clock.forward(SILENT_MAX / 2);
    let begins = async {
        while world.word.receiver_count() < 2 {
            // tidy: sleeps because it polls.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), begins).await.unwrap();
    assert_eq!(world.notes.asked(), [""; 0]);
    world.clock.forward(SILENT_MAX / 2 + just);
    world.word.send_replace(Word::Passes);
    world.ended().await;
    world.is_answered_again().await;
    world.notes.asked();
    // Whoever looks while the card is gone does not see it.
    let rows = SqliteStore::open(&world.place.house.database(), NOW).unwrap();
    rows.leave(world.keeper.own()).await.unwrap();
    world.ended().await;
    world.is_answered_again().await;
}

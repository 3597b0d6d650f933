//! A wake stays with its keeper; when that one is gone it is proved anew at another; what must be done once is asked once.

use super::Keepers;
use crate::{
    adapters::SystemClock,
    serve::{
        desks::KeeperDesk,
        office::Office,
        testing::{House, NOW},
    },
};
use nightlatch_domain::{
    id::{InstallationId, TaskId, TenantId, WakeId},
    ports::{
        Boxed,
        control_keeper::{ControlRefusal, ControlReply, ControlRequest, KeeperForControl},
        gateway_keeper::{Challenge, GatewayReply, GatewayRequest, KeeperForGateway, KeeperRefusal},
        mailbox::Role,
    },
};
use nightlatch_store::SqliteStore;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU8, Ordering},
};

static DRAWN: AtomicU8 = AtomicU8::new(1);

/// A keeper that notes what it is asked.
#[derive(Default)]
struct Noting {
    asked: Mutex<Vec<&'static str>>,
    is_full: bool,
    /// It takes an enrolment in and never answers.
    hangs: bool,
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
                if self.hangs {
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
            _ => Err(ControlRefusal::Unavailable),
        };
        Box::pin(std::future::ready(reply))
    }
}

fn wake(n: u8) -> WakeId {
    WakeId::new(nightlatch_domain::clock::Clock::now(&SystemClock), [n; 10])
}

struct Place {
    house: House,
}

impl Place {
    async fn office(&mut self, role: Role) -> Arc<Office> {
        let store = Arc::new(SqliteStore::open(&self.house.database(), NOW).unwrap());
        Office::open(store, self.house.end(role), Arc::new(SystemClock)).await.unwrap()
    }

    async fn keeper(&mut self, noting: &Arc<Noting>) -> Arc<Office> {
        let office = self.office(Role::Keeper).await;
        let installation = InstallationId::new(NOW, [9; 10]);
        office.answer_by(Arc::new(KeeperDesk {
            installation,
            for_gateways: Arc::clone(noting) as _,
            for_control: Arc::clone(noting) as _,
        }));
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
    let sleep = GatewayRequest::Sleep { tenant: TenantId::new(NOW, [1; 10]), wake };
    assert_eq!(KeeperForGateway::ask(&keepers, sleep).await, Ok(GatewayReply::Done), "it has no wakes");
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
    let notes = [Arc::new(Noting { hangs: true, ..Noting::default() }), Arc::default()];
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
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
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
    keepers.office.look().await;
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
    let within = std::time::Duration::from_secs(3);
    let keeper = control.in_turn().pop().unwrap();
    let as_gateway = super::written(&super::OfGateway::Ask(Box::new(challenge())));
    assert!(control.office.ask(&keeper, &as_gateway, within).await.is_err());
    assert!(gateway.office.ask(&keeper, &super::written(&end_wakes()), within).await.is_err());
    assert_eq!(note.asked(), [""; 0]);
    assert!(gateway.office.ask(&keeper, &as_gateway, within).await.is_ok());
    assert_eq!(note.asked(), ["challenge"]);
}

/// A gateway that decides on what was stored when the test says so.
struct Slow(tokio::sync::watch::Receiver<bool>);

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
    let (say, said) = tokio::sync::watch::channel(true);
    let (say_late, said_late) = tokio::sync::watch::channel(false);
    let mut gateways = Vec::new();
    for said in [said, said_late] {
        let (office, slow) = (place.office(Role::Gateway).await, Arc::new(Slow(said)));
        office.answer_by(Arc::new(GatewayDesk { drains: Arc::clone(&slow) as _, settled: slow }));
        gateways.push(office);
    }
    let all = AllSettled(place.office(Role::Control).await);
    let waits = std::time::Duration::from_secs(5);
    let settled = nightlatch_control::Settled::settled(&all);
    assert!(tokio::time::timeout(waits, settled).await.is_err(), "one did not say so");
    say_late.send_replace(true);
    let settled = nightlatch_control::Settled::settled(&all);
    assert!(tokio::time::timeout(waits, settled).await.is_ok());
    assert!(*say.borrow());
}

//! Letters between two processes over one database, with whoever writes that database in between.

use super::{ANSWERING_MAX, Desk, Office, Unheard};
use crate::{
    adapters::SystemClock,
    serve::testing::{House, NOW},
};
use nightlatch_custody::{
    Secret,
    link::{End, Known},
};
use nightlatch_domain::{
    clock::Clock as _,
    ports::{
        Boxed,
        mailbox::{Letter, Mailbox, Posted, Role},
    },
};
use nightlatch_store::SqliteStore;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::time::sleep;

const WITHIN: Duration = Duration::from_secs(20);

/// Says what it was told, and who told it; counts.
#[derive(Default)]
struct Echo {
    told: AtomicUsize,
}

impl Desk for Echo {
    fn answer(&self, from: &Known, says: &Secret) -> Boxed<'_, Option<Vec<u8>>> {
        self.told.fetch_add(1, Ordering::SeqCst);
        let answer = [from.role().as_str().as_bytes(), b": ", says.expose()].concat();
        Box::pin(std::future::ready(Some(answer)))
    }
}

struct World {
    house: House,
    /// The database as whoever writes it has it.
    rows: Arc<dyn Mailbox>,
    echo: Arc<Echo>,
    gateway: Arc<Office>,
}

impl World {
    async fn new() -> Self {
        let mut house = House::new();
        let rows = mailbox(&house);
        let end = house.end(Role::Gateway);
        let gateway = open(&house, end).await;
        Self { house, rows, echo: Arc::default(), gateway }
    }

    async fn keeper(&mut self) -> Arc<Office> {
        let echo = Arc::clone(&self.echo);
        self.keeper_with(echo).await
    }

    async fn keeper_with(&mut self, desk: Arc<dyn Desk>) -> Arc<Office> {
        let end = self.house.end(Role::Keeper);
        let keeper = open(&self.house, end).await;
        keeper.answer_by(desk);
        self.gateway.look().await;
        keeper
    }

    fn known(&self, keeper: &Office) -> Known {
        let living = self.gateway.living(Role::Keeper);
        living.into_iter().find(|known| known.peer() == keeper.own()).unwrap()
    }

    fn told(&self) -> usize {
        self.echo.told.load(Ordering::SeqCst)
    }

    /// Waits until a letter would have been read.
    async fn a_moment(&self) {
        sleep(Duration::from_millis(700)).await;
    }
}

fn mailbox(house: &House) -> Arc<dyn Mailbox> {
    Arc::new(SqliteStore::open(&house.database(), NOW).unwrap())
}

async fn open(house: &House, end: End) -> Arc<Office> {
    let office = Office::open(mailbox(house), end, Arc::new(SystemClock)).await;
    office.arrive().await.unwrap();
    office
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_comes_to_whoever_asked() {
    let mut world = World::new().await;
    let keeper = world.keeper().await;
    let known = world.known(&keeper);
    let asks = (0..20).map(|n: u8| {
        let (gateway, known) = (Arc::clone(&world.gateway), known.clone());
        tokio::spawn(async move { (n, gateway.ask(&known, &[b'a' + n], WITHIN).await.unwrap()) })
    });
    for ask in asks.collect::<Vec<_>>() {
        let (n, answer) = ask.await.unwrap();
        assert_eq!(answer.expose(), [b"gateway: ".as_slice(), &[b'a' + n]].concat());
    }
    assert_eq!(world.told(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_row_reaches_no_desk() {
    let mut world = World::new().await;
    let keeper = world.keeper().await;
    let stranger = world.house.stranger(Role::Gateway);
    // Whoever writes the database puts a card there, and a letter of whoever that is.
    world.rows.arrive(stranger.card().clone()).await.unwrap();
    let to = stranger.known(keeper.end.card()).unwrap();
    let expires_at = SystemClock.now().plus(Duration::from_secs(30));
    let forged = stranger.write(&to, (1, None), expires_at, b"wake me").unwrap();
    assert_eq!(world.rows.post(forged.clone()).await, Ok(Posted::Lies));
    // And one that says it is the gateway's.
    let mut claimed = forged;
    (claimed.place.from, claimed.place.number) = (world.gateway.own(), 77);
    assert_eq!(world.rows.post(claimed).await, Ok(Posted::Lies));
    world.a_moment().await;
    assert_eq!(world.rows.collect(keeper.own(), 9).await.unwrap(), [], "they were read");
    assert_eq!(world.told(), 0);
    // The gateway's own is answered.
    assert!(world.gateway.ask(&world.known(&keeper), b"wake me", WITHIN).await.is_ok());
    assert_eq!(world.told(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_put_back_is_not_answered_again() {
    let mut world = World::new().await;
    let keeper = world.keeper().await;
    let to = world.known(&keeper);
    let expires_at = SystemClock.now().plus(Duration::from_secs(30));
    let letter: Letter = world.gateway.end.write(&to, (500, None), expires_at, b"once").unwrap();
    for _ in 0..3 {
        assert_eq!(world.rows.post(letter.clone()).await, Ok(Posted::Lies));
        world.a_moment().await;
    }
    assert_eq!(world.told(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_counts_only_from_whom_was_asked() {
    let mut world = World::new().await;
    // One that takes its letters out and says nothing; another answers in its place.
    let silent = world.house.end(Role::Keeper);
    world.rows.arrive(silent.card().clone()).await.unwrap();
    let other = world.house.end(Role::Keeper);
    world.rows.arrive(other.card().clone()).await.unwrap();
    world.gateway.look().await;
    let to = world.gateway.end.known(silent.card()).unwrap();
    let asked = tokio::spawn({
        let gateway = Arc::clone(&world.gateway);
        async move { gateway.ask(&to, b"?", Duration::from_secs(3)).await.map(|_| ()) }
    });
    let letter = loop {
        if let Some(letter) = world.rows.collect(silent.card().peer, 1).await.unwrap().pop() {
            break letter;
        }
        sleep(Duration::from_millis(20)).await;
    };
    let to = other.known(world.gateway.end.card()).unwrap();
    let answers = Some(letter.place.number);
    let answer = other.write(&to, (1, answers), letter.expires_at, b"mine").unwrap();
    assert_eq!(world.rows.post(answer).await, Ok(Posted::Lies));
    assert_eq!(asked.await.unwrap(), Err(Unheard::Unanswered));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_nobody_takes_is_taken_back_and_one_that_was_taken_is_told_apart() {
    let mut world = World::new().await;
    let dead = world.house.end(Role::Keeper);
    world.rows.arrive(dead.card().clone()).await.unwrap();
    world.gateway.look().await;
    let to = world.gateway.end.known(dead.card()).unwrap();
    assert!(matches!(world.gateway.ask(&to, b"?", WITHIN).await, Err(Unheard::Untaken)));
    assert_eq!(world.rows.collect(dead.card().peer, 9).await.unwrap(), [], "nobody will find it");
    let taken = tokio::spawn({
        let (rows, peer) = (Arc::clone(&world.rows), dead.card().peer);
        async move {
            while rows.collect(peer, 9).await.unwrap().is_empty() {
                sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let asked = world.gateway.ask(&to, b"?", Duration::from_secs(3)).await;
    assert!(matches!(asked, Err(Unheard::Unanswered)));
    taken.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ends_is_gone_at_once_and_a_lost_card_comes_back() {
    let mut world = World::new().await;
    let keeper = world.keeper().await;
    world.rows.leave(world.gateway.own()).await.unwrap();
    let is_back = async {
        while !world.rows.present().await.unwrap().iter().any(|one| one.card.peer == world.gateway.own()) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(WITHIN, is_back).await.unwrap();
    keeper.close().await;
    world.gateway.look().await;
    assert!(world.gateway.living(Role::Keeper).is_empty());
}

/// Never answers a gateway; anybody else at once.
#[derive(Default)]
struct Stuck {
    told: AtomicUsize,
}

impl Desk for Stuck {
    fn answer(&self, from: &Known, _: &Secret) -> Boxed<'_, Option<Vec<u8>>> {
        self.told.fetch_add(1, Ordering::SeqCst);
        match from.role() {
            Role::Gateway => Box::pin(std::future::pending()),
            _ => Box::pin(std::future::ready(Some(b"here".to_vec()))),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_no_place_is_told_so_and_holds_up_nobody() {
    let mut world = World::new().await;
    let stuck = Arc::<Stuck>::default();
    let keeper = world.keeper_with(Arc::clone(&stuck) as _).await;
    let to = world.known(&keeper);
    let expires_at = SystemClock.now().plus(Duration::from_secs(50));
    for number in 1..=ANSWERING_MAX {
        let number = 1000 + u64::try_from(number).unwrap();
        let letter = world.gateway.end.write(&to, (number, None), expires_at, b"?").unwrap();
        assert_eq!(world.rows.post(letter).await, Ok(Posted::Lies));
    }
    let all_wait = async {
        while stuck.told.load(Ordering::SeqCst) < ANSWERING_MAX {
            sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(WITHIN, all_wait).await.unwrap();
    // One more was not acted on, and knows it: long before it is taken back or given up.
    let one_more = world.gateway.ask(&to, b"?", WITHIN);
    let one_more = tokio::time::timeout(Duration::from_secs(5), one_more).await.unwrap();
    assert!(matches!(one_more, Err(Unheard::Busy)));
    // What the keeper itself asks is answered, and so is control.
    world.gateway.answer_by(Arc::clone(&world.echo) as _);
    let gateway = keeper.living(Role::Gateway).pop().unwrap();
    assert_eq!(keeper.ask(&gateway, b"!", WITHIN).await.unwrap().expose(), b"keeper: !");
    let end = world.house.end(Role::Control);
    let control = open(&world.house, end).await;
    let to = control.living(Role::Keeper).pop().unwrap();
    assert_eq!(control.ask(&to, b"?", WITHIN).await.unwrap().expose(), b"here");
    assert_eq!(stuck.told.load(Ordering::SeqCst), ANSWERING_MAX + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_a_process_before_it_arrives_and_whoever_asks_has_arrived() {
    let mut world = World::new().await;
    world.gateway.answer_by(Arc::clone(&world.echo) as _);
    let end = world.house.end(Role::Keeper);
    let keeper = Office::open(mailbox(&world.house), end, Arc::new(SystemClock)).await;
    // Longer than it takes to say twice that it lives.
    sleep(Duration::from_millis(2500)).await;
    world.gateway.look().await;
    assert!(world.gateway.living(Role::Keeper).is_empty());
    let gateway = keeper.living(Role::Gateway).pop().unwrap();
    assert_eq!(keeper.ask(&gateway, b"!", WITHIN).await.unwrap().expose(), b"keeper: !");
    world.gateway.look().await;
    assert_eq!(world.known(&keeper).peer(), keeper.own());
    // What ended shows itself no more, whoever still asks.
    keeper.close().await;
    let _ = keeper.ask(&gateway, b"!", Duration::from_millis(10)).await;
    world.gateway.look().await;
    assert!(world.gateway.living(Role::Keeper).is_empty());
    let end = world.house.end(Role::Keeper);
    let unseen = Office::open(mailbox(&world.house), end, Arc::new(SystemClock)).await;
    unseen.close().await;
    let _ = unseen.ask(&gateway, b"!", Duration::from_millis(10)).await;
    world.gateway.look().await;
    assert!(world.gateway.living(Role::Keeper).is_empty());
}

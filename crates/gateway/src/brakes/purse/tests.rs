//! A budget ends where it says, whoever asks and whatever crashes, and what did not leave is not spent.

use super::{Purses, Taken};
use nightlatch_domain::{
    budget::Spent,
    clock::Timestamp,
    grant::{Grant, ResourcePattern},
    id::{ConnectionId, GrantId, TaskId, TenantId},
    ports::store::{BudgetStore, StoreError, Stored},
    problem::{Problem, ProblemKind},
    reference::Reference,
    sealed::Attestation,
    tool::Effect,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// A store of one grant, as the real one counts.
#[derive(Default)]
struct Book {
    spent: Mutex<Spent>,
    writes: AtomicUsize,
    fails: AtomicBool,
}

impl BudgetStore for Book {
    fn reserve(&self, _: TenantId, _: GrantId, more: Spent, ends: Spent) -> Stored<'_, Spent> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            if self.fails.load(Ordering::SeqCst) {
                return Err(StoreError::Unavailable);
            }
            self.writes.fetch_add(1, Ordering::SeqCst);
            let mut spent = self.spent.lock().unwrap();
            let given = more.each(ends.each(*spent, u64::saturating_sub), u64::min);
            *spent = spent.each(given, u64::saturating_add);
            Ok(given)
        })
    }
}

fn grant(budget: Option<&str>) -> Grant {
    let at = Timestamp::from_millis(1);
    Grant {
        tenant: TenantId::new(at, [1; 10]),
        id: GrantId::new(at, [1; 10]),
        task: TaskId::new(at, [1; 10]),
        connection: ConnectionId::new(at, [1; 10]),
        tool: "acme".parse().unwrap(),
        operations: Vec::new(),
        resource: ResourcePattern::all(),
        reference: Reference::draw(|| Ok::<_, ()>([7; 64])).unwrap(),
        created_at: at,
        expires_at: at,
        revoked_at: None,
        budget: budget.map(|text| text.parse().unwrap()),
        attestation: Attestation::default(),
    }
}

fn purses(book: &Arc<Book>) -> Purses {
    Purses::new(Arc::clone(book) as _)
}

async fn take(purses: &Purses, budget: &str, effect: Effect) -> Result<Taken, Problem> {
    purses.take(&grant(Some(budget)), effect).await.map(Option::unwrap)
}

/// How many calls leave before the budget ends.
async fn leave(purses: &Purses, budget: &str, effect: Effect) -> (usize, Problem) {
    for count in 0..100_000 {
        match take(purses, budget, effect).await {
            Ok(taken) => taken.spent(0),
            Err(problem) => return (count, problem),
        }
    }
    panic!("it has no end");
}

#[tokio::test]
async fn each_part_ends_where_it_says() {
    for (budget, effect, left, part) in [
        ("calls=100", Effect::Read, 100, "calls"),
        ("writes=5", Effect::Write, 5, "writes"),
        ("calls=100,writes=0", Effect::Destructive, 0, "writes"),
        ("calls=3,writes=5", Effect::Admin, 3, "calls"),
    ] {
        let (count, problem) = leave(&purses(&Arc::default()), budget, effect).await;
        assert_eq!((count, problem.kind), (left, ProblemKind::BudgetExhausted), "{budget}");
        assert_eq!(problem.field.as_deref(), Some(part), "{budget}");
    }
    let unbounded = purses(&Arc::default());
    assert!(unbounded.take(&grant(None), Effect::Write).await.unwrap().is_none());
}

#[tokio::test]
async fn reads_go_on_when_the_writes_are_spent() {
    let purses = purses(&Arc::default());
    assert_eq!(leave(&purses, "writes=2", Effect::Write).await.0, 2);
    assert!(take(&purses, "writes=2", Effect::Read).await.is_ok());
}

#[tokio::test]
async fn a_crash_loses_no_more_than_a_part_and_to_the_agent_alone() {
    let (book, mut left) = (Arc::new(Book::default()), 0);
    for _ in 0..10 {
        // Ten calls, then the gateway is gone with what it had in hand.
        let purses = purses(&book);
        for _ in 0..10 {
            take(&purses, "calls=6400", Effect::Read).await.unwrap().spent(0);
            left += 1;
        }
    }
    let (rest, _) = leave(&purses(&book), "calls=6400", Effect::Read).await;
    assert!(left + rest <= 6400, "more left than the budget");
    assert!(left + rest >= 6400 - 10 * 100, "{} are lost", 6400 - left - rest);
}

#[tokio::test]
async fn most_calls_write_nothing() {
    let book = Arc::new(Book::default());
    leave(&purses(&book), "calls=6400", Effect::Read).await;
    assert!(book.writes.load(Ordering::SeqCst) <= 65);
}

#[tokio::test]
async fn a_hundred_at_once_take_no_more_than_there_is() {
    let purses = Arc::new(purses(&Arc::default()));
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let purses = Arc::clone(&purses);
            tokio::spawn(async move {
                let taken = take(&purses, "calls=7", Effect::Read).await;
                taken.map(|taken| taken.spent(0)).is_ok()
            })
        })
        .collect();
    let mut left = 0;
    for call in calls {
        left += usize::from(call.await.unwrap());
    }
    assert_eq!(left, 7);
}

#[tokio::test]
async fn what_did_not_leave_goes_back() {
    let purses = purses(&Arc::default());
    for _ in 0..10 {
        drop(take(&purses, "calls=1", Effect::Read).await.unwrap());
    }
    take(&purses, "calls=1", Effect::Read).await.unwrap().spent(0);
    assert!(take(&purses, "calls=1", Effect::Read).await.is_err());
}

#[tokio::test]
async fn what_did_not_leave_brings_no_bytes_that_nobody_took() {
    let purses = purses(&Arc::default());
    for _ in 0..3_000 {
        drop(take(&purses, "bytes=1K", Effect::Read).await.unwrap());
    }
    take(&purses, "bytes=1K", Effect::Read).await.unwrap().spent(1024);
    assert!(take(&purses, "bytes=1K", Effect::Read).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_at_once_take_no_more_than_there_is() {
    let book = Arc::new(Book::default());
    let gateways = [0, 1].map(|_| Arc::new(purses(&book)));
    let calls: Vec<_> = (0..200)
        .map(|number| {
            let purses = Arc::clone(&gateways[number % 2]);
            tokio::spawn(async move {
                let taken = take(&purses, "calls=130,writes=70", Effect::Write).await;
                taken.map(|taken| taken.spent(0)).is_ok()
            })
        })
        .collect();
    let mut left = 0;
    for call in calls {
        left += usize::from(call.await.unwrap());
    }
    assert!((68..=70).contains(&left), "{left}");
    assert!(book.spent.lock().unwrap().writes <= 70);
}

#[tokio::test]
async fn bytes_end_the_next_call_and_what_went_beyond_is_written() {
    let book = Arc::new(Book::default());
    let held = purses(&book);
    take(&held, "bytes=1K", Effect::Read).await.unwrap().spent(5_000);
    let problem = take(&held, "bytes=1K", Effect::Read).await.err().unwrap();
    assert_eq!(problem.field.as_deref(), Some("bytes"));
    assert_eq!(book.spent.lock().unwrap().bytes, 5_000);
    assert!(take(&purses(&book), "bytes=1K", Effect::Read).await.is_err(), "a restart gives bytes back");
}

#[tokio::test]
async fn what_went_beyond_is_written_though_nobody_calls_again() {
    let book = Arc::new(Book::default());
    take(&purses(&book), "bytes=1K", Effect::Read).await.unwrap().spent(5_000);
    let is_written = async {
        while book.spent.lock().unwrap().bytes < 5_000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), is_written).await.expect("it is written");
}

#[tokio::test]
async fn what_went_beyond_and_could_not_be_written_stays_owed() {
    let book = Arc::new(Book::default());
    let held = purses(&book);
    let taken = take(&held, "bytes=1K", Effect::Read).await.unwrap();
    book.fails.store(true, Ordering::SeqCst);
    taken.spent(5_000);
    for _ in 0..3 {
        assert!(take(&held, "bytes=1K", Effect::Read).await.is_err());
    }
    book.fails.store(false, Ordering::SeqCst);
    assert!(take(&held, "bytes=1K", Effect::Read).await.is_err());
    assert_eq!(book.spent.lock().unwrap().bytes, 5_000);
}

#[tokio::test]
async fn calls_that_come_together_reserve_once_and_each_finds_its_part() {
    let book = Arc::new(Book::default());
    let held = Arc::new(purses(&book));
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let held = Arc::clone(&held);
            tokio::spawn(async move { take(&held, "calls=6400", Effect::Read).await.map(|one| one.spent(0)) })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!((book.writes.load(Ordering::SeqCst), book.spent.lock().unwrap().calls), (1, 100));
}

#[tokio::test]
async fn what_cannot_be_counted_does_not_leave() {
    let book = Arc::new(Book::default());
    book.fails.store(true, Ordering::SeqCst);
    let purses = purses(&book);
    assert_eq!(take(&purses, "calls=9", Effect::Read).await.err().unwrap().kind, ProblemKind::Internal);
    book.fails.store(false, Ordering::SeqCst);
    assert!(take(&purses, "calls=9", Effect::Read).await.is_ok());
}

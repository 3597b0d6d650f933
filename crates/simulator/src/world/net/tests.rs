//! Proves what a network may do: bring an answer, lose it after the request was taken, keep it back, bring a
//! request whose sender is dead, and never bring what was given up.

use super::{Net, NetError, NetOdds, Served, Server, Way};
use crate::world::{Moment, Node, Process, World};
use nightlatch_domain::ports::work::Work as _;
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// Counts what arrives and says it back.
#[derive(Default)]
struct Echo {
    arrived: AtomicU32,
    after: Duration,
}

impl Server for Echo {
    fn take(&self, request: &[u8], _: Moment) -> Served {
        self.arrived.fetch_add(1, Ordering::Relaxed);
        Served { answer: Some(request.to_vec()), after: self.after }
    }
}

type Answer = Option<Result<Vec<u8>, NetError>>;

struct Case {
    world: World,
    node: Node,
    process: Process,
    net: Net,
    echo: Arc<Echo>,
}

impl Case {
    fn new(seed: u64, after: Duration) -> Self {
        let world = World::new(seed);
        let node = world.node("a");
        let (process, net) = (node.start(), Net::new(&world));
        let echo = Arc::new(Echo { after, ..Echo::default() });
        net.serve("idp", Arc::clone(&echo) as _);
        Self { world, node, process, net, echo }
    }

    /// Sends a request and leaves what comes of it here.
    fn ask(&self) -> Arc<Mutex<Answer>> {
        let answer = Arc::new(Mutex::new(None));
        let (net, process, shared) = (self.net.clone(), self.process.clone(), Arc::clone(&answer));
        self.process.spawn(Box::pin(async move {
            let answered = match net.dial(&process, "idp").await {
                Ok(link) => link.send(b"hello".to_vec(), Duration::from_secs(10)).await,
                Err(error) => Err(error),
            };
            *shared.lock().unwrap() = Some(answered);
        }));
        answer
    }

    /// Asks, and stops right after the write.
    fn ask_and_stop(&self) -> Arc<Mutex<Answer>> {
        let answer = self.ask();
        while !self.world.last_lines(1).iter().any(|line| line.contains("leaves for")) {
            assert!(self.world.step());
        }
        answer
    }

    fn arrived(&self) -> u32 {
        self.echo.arrived.load(Ordering::Relaxed)
    }

    fn odds(&self, odds: NetOdds) {
        self.net.set_odds(odds);
    }

    fn runs(&self, secs: u64) {
        self.world.run_for(Duration::from_secs(secs));
    }
}

const ALWAYS: u32 = 1_000_000;

fn was(answer: &Mutex<Answer>) -> Answer {
    answer.lock().unwrap().clone()
}

#[test]
fn a_request_is_answered_after_the_time_that_it_takes() {
    let case = Case::new(1, Duration::from_secs(3));
    let answer = case.ask();
    case.runs(2);
    assert_eq!((case.arrived(), was(&answer)), (1, None), "it was taken long before it was answered");
    case.runs(2);
    assert_eq!(was(&answer), Some(Ok(b"hello".to_vec())));
}

#[test]
fn nobody_is_reached_over_a_cut_path_or_at_no_address() {
    let case = Case::new(1, Duration::ZERO);
    case.net.cut("a", "idp", Way::There);
    let answer = case.ask();
    case.runs(5);
    assert_eq!((case.arrived(), was(&answer)), (0, Some(Err(NetError::Unreachable))));
    case.net.heal("a");
    case.odds(NetOdds { unreachable: ALWAYS, ..NetOdds::default() });
    let answer = case.ask();
    case.runs(5);
    assert_eq!((case.arrived(), was(&answer)), (0, Some(Err(NetError::Unreachable))));
}

#[test]
fn what_breaks_before_and_after_the_server_looks_the_same_to_the_sender() {
    for (odds, arrived) in [
        (NetOdds { lost: ALWAYS, ..NetOdds::default() }, 0),
        (NetOdds { reset: ALWAYS, ..NetOdds::default() }, 1),
    ] {
        let case = Case::new(1, Duration::ZERO);
        case.odds(odds);
        let answer = case.ask();
        case.runs(5);
        assert_eq!((case.arrived(), was(&answer)), (arrived, Some(Err(NetError::Broken))));
    }
}

#[test]
fn an_answer_comes_late_torn_or_to_a_request_that_came_twice() {
    let case = Case::new(1, Duration::ZERO);
    case.odds(NetOdds { late: ALWAYS, ..NetOdds::default() });
    let answer = case.ask();
    case.runs(19);
    assert_eq!((case.arrived(), was(&answer)), (1, None));
    case.runs(1200);
    assert_eq!(was(&answer), Some(Ok(b"hello".to_vec())));
    case.odds(NetOdds { torn: ALWAYS, ..NetOdds::default() });
    let torn: BTreeSet<_> = (0..40)
        .map(|_| {
            let answer = case.ask();
            case.runs(5);
            was(&answer).unwrap().unwrap()
        })
        .collect();
    assert!(torn.len() > 3 && torn.iter().all(|bytes| b"hello".starts_with(bytes)), "{torn:?}");
    let before = case.arrived();
    case.odds(NetOdds { twice: ALWAYS, ..NetOdds::default() });
    let answer = case.ask();
    case.runs(5);
    assert_eq!((case.arrived(), was(&answer)), (before + 2, Some(Ok(b"hello".to_vec()))));
}

#[test]
fn a_dead_senders_bytes_may_arrive_and_its_answer_finds_nobody() {
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let case = Case::new(seed, Duration::from_secs(1));
        let answer = case.ask_and_stop();
        case.node.kill();
        case.runs(30);
        assert_eq!(was(&answer), None);
        seen.insert(case.arrived());
    }
    assert_eq!(seen, BTreeSet::from([0, 1]), "both come about");
}

#[test]
fn a_paused_senders_bytes_arrive() {
    let case = Case::new(1, Duration::ZERO);
    let answer = case.ask_and_stop();
    case.node.pause();
    case.runs(100);
    assert_eq!((case.arrived(), was(&answer)), (1, None));
    case.node.resume();
    case.runs(0);
    assert_eq!(was(&answer), Some(Ok(b"hello".to_vec())), "the answer waited for it");
}

#[test]
fn a_cut_delays_and_what_was_given_up_never_comes() {
    for (healed_after, arrived) in [(5, 1), (20, 0)] {
        let case = Case::new(3, Duration::ZERO);
        let answer = case.ask_and_stop();
        case.net.cut("a", "idp", Way::There);
        case.runs(healed_after);
        assert_eq!(case.arrived(), 0);
        case.net.heal("a");
        case.runs(60);
        assert_eq!((case.arrived(), was(&answer).unwrap().is_ok()), (arrived, arrived == 1));
    }
    let case = Case::new(1, Duration::from_secs(1));
    let answer = case.ask_and_stop();
    case.net.cut("a", "idp", Way::Back);
    case.runs(100);
    assert_eq!((case.arrived(), was(&answer)), (1, None), "an answer is kept back likewise");
    case.net.heal("a");
    case.runs(2);
    assert_eq!(was(&answer), Some(Ok(b"hello".to_vec())));
}

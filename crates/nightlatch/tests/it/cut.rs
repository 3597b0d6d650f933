//! A network that breaks between a keeper and a real provider, after the request left: each of three keepers lives in a
//! network namespace of its own, and the cable of the one at work is pulled for longer than its claim lasts. The provider
//! counts: never a second presentation but for the one retry that was declared.
//!
//! Where this machine makes no namespaces (`cargo xtask test` says so at its start), nothing is shown here.

use crate::world::{
    eventually,
    parts::{Network, parts},
    provider::{Counters, Kind},
    relay::{Paths, Place, Stopped, Then},
    rotating::{Rotating, TIMER_ON},
    served::Told,
    street::Street,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A claim that was seen for so long may be taken over.
const CLAIM: Duration = Duration::from_secs(60);
/// What waits in a kernel is sent again after a pause that doubles, so the first one after the claim comes within twice that.
const SENT_AGAIN_WITHIN: Duration = Duration::from_secs(100);

/// The world of one test.
struct Cut {
    world: Rotating,
    street: Arc<Street>,
    paths: Paths,
    before: Counters,
    head: u64,
}

impl Cut {
    /// Right after a refresh; none where there are no namespaces.
    async fn begun(kind: Kind, username: &str) -> Option<Self> {
        let network: &Network = parts().network.as_ref()?;
        let told = Told { log_level: "info", ..Told::all(TIMER_ON) };
        let (world, paths, street) = Rotating::on_a_street((network, 3, kind), (username, 12), told).await;
        let (before, head) = quiet(&world).await;
        Some(Self { world, street, paths, before, head })
    }

    /// The next exchange, stopped at a place.
    async fn next_at(&self, place: Place) -> Stopped {
        let mut told = self.paths.stop_at(place);
        tokio::time::timeout(CLAIM, told.recv()).await.expect("it is due").expect("a path")
    }

    /// The head, and how many humans are asked.
    fn standing(&self) -> (u64, u64) {
        standing(&self.world)
    }

    /// Waits out the claim of the one that is cut off, and tells nothing of it to anybody.
    async fn outlast_the_claim(&self, since: Instant) {
        eventually("the claim is over", CLAIM * 2, async || (since.elapsed() > CLAIM).then_some(())).await;
    }

    async fn works(&self) {
        self.world.works_within(Duration::from_secs(20)).await;
    }

    /// What the provider counted since: requests, those whose token had come before, and refreshes.
    async fn counted(&self) -> [u64; 3] {
        let after = self.world.registration.counters().await;
        after.expect_the_family_lives();
        [
            after.token_requests - self.before.token_requests,
            after.presented_twice - self.before.presented_twice,
            after.refreshes_ok - self.before.refreshes_ok,
        ]
    }
}

fn standing(world: &Rotating) -> (u64, u64) {
    let row = world.sql(
        "SELECT concat_ws(' ', head, (SELECT count(*) FROM ticket WHERE settled_at IS NULL)) FROM family
         JOIN chain USING (tenant_id, family_id)",
    );
    let (head, tickets) = row.split_once(' ').expect("one family");
    (head.parse().expect("a number"), tickets.parse().expect("a number"))
}

/// The moment after a refresh: what the provider counted, and the head.
async fn quiet(world: &Rotating) -> (Counters, u64) {
    eventually("the head is the newest that there is", CLAIM, async || {
        let counters = world.registration.counters().await;
        // The code brought the first one.
        let is_newest = standing(world) == (counters.refreshes_ok + 1, 0);
        let rests = world.sql("SELECT state FROM chain") == "healthy";
        (is_newest && rests && world.registration.counters().await == counters)
            .then(|| (counters.clone(), counters.refreshes_ok + 1))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_a_cut_network_holds_back_becomes_the_head_when_it_heals() {
    let Some(cut) = Cut::begun(Kind::Oidc, "cut-answer").await else { return };
    let stopped = cut.next_at(Place::Answered).await;
    let keeper = stopped.path + 1;
    // The provider has committed, and its answer sets out on a way that is not there.
    cut.street.cut(keeper);
    let since = Instant::now();
    stopped.then(Then::On);
    eventually("a human is asked", CLAIM, async || (cut.standing().1 == 1).then_some(())).await;
    cut.outlast_the_claim(since).await;
    assert_eq!((cut.counted().await, cut.standing().0), ([1, 0, 1], cut.head));
    cut.street.heal(keeper);
    eventually("the answer becomes the head, and nobody is asked", SENT_AGAIN_WITHIN, async || {
        let (head, tickets) = cut.standing();
        (head > cut.head && tickets == 0).then_some(())
    })
    .await;
    cut.works().await;
    let [asked, twice, refreshed] = cut.counted().await;
    assert_eq!((asked, twice), (refreshed, 0), "each request was a first presentation, and was answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_a_cut_network_swallows_never_arrives_when_it_heals() {
    let Some(mut cut) = Cut::begun(Kind::Oidc, "cut-request").await else { return };
    let (held, asked) = (cut.world.hold_intents(), cut.paths.asked());
    let stopped = cut.next_at(Place::Dialled).await;
    let keeper = stopped.path + 1;
    // It writes down what it is about to do when its way is not there any more, and sends.
    cut.street.cut(keeper);
    let since = Instant::now();
    stopped.then(Then::On);
    held.let_go();
    eventually("a human is asked", CLAIM, async || (cut.standing().1 == 1).then_some(())).await;
    cut.outlast_the_claim(since).await;
    cut.street.heal(keeper);
    // As long as its kernel would have sent it again.
    let until = Instant::now() + SENT_AGAIN_WITHIN;
    eventually("time passes", SENT_AGAIN_WITHIN * 2, async || {
        assert_eq!(cut.paths.asked(), asked, "what its sender gave up arrived");
        (Instant::now() > until).then_some(())
    })
    .await;
    assert_eq!(cut.counted().await, [0; 3]);
    cut.world.reconnect().await;
    cut.works().await;
}

/// Who presents it once more is one whose way is there, or nobody in time: then the answer that was held back is used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_a_cut_network_holds_back_is_asked_for_at_most_once_more_inside_a_grace() {
    let Some(cut) = Cut::begun(Kind::Dot30, "cut-grace").await else { return };
    let stopped = cut.next_at(Place::Answered).await;
    let keeper = stopped.path + 1;
    cut.street.cut(keeper);
    let since = Instant::now();
    stopped.then(Then::On);
    cut.outlast_the_claim(since).await;
    cut.street.heal(keeper);
    eventually("one of the answers is the head, and nobody is asked", SENT_AGAIN_WITHIN, async || {
        let (head, tickets) = cut.standing();
        (head > cut.head && tickets == 0).then_some(())
    })
    .await;
    cut.works().await;
    // What was presented once more was written down before as a second attempt at its generation.
    let again = "SELECT count(*) FROM (SELECT 1 FROM attempt WHERE state <> 'not-presented'
        GROUP BY family_id, generation HAVING count(*) > 1) AS twice";
    let [asked, twice, refreshed] = cut.counted().await;
    println!("{asked} requests, {twice} of them once more");
    assert_eq!((asked, twice.to_string()), (refreshed, cut.world.sql(again)));
    assert!(twice <= 1, "{twice}");
}

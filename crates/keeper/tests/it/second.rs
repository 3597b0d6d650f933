//! What follows on a lost answer: one retry inside a verified grace, an answer that comes late, an unused one that is
//! tried before a chain latches; and claims of others, which are left alone until they were watched for a lease.

use crate::{
    crash::{before_in, crash, runtime},
    provider::Act,
    world::{Ready, Running, Woken, World, eventually, ten},
};
use nightlatch_domain::{
    clock::Clock as _,
    id::{AttemptId, OwnerId},
    ports::{Boxed, gateway_keeper::KeeperRefusal, store::ControlStore as _},
};
use nightlatch_keeper::{Watch, machine::Action};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

const HOUR: Duration = Duration::from_secs(3600);
/// How many answers lie unread or unused.
const UNUSED: &str = "SELECT CAST(count(*) AS TEXT) FROM attempt WHERE state = 'answered'";

/// Six seconds of grace: half of it is margin, and a quarter the patience with an answer.
pub(crate) fn graceful(confidence: &str) -> String {
    format!(
        r#"
second_presentation = "both_live"
reuse = {{ grace_secs = 8 }}

[[fact]]
covers = ["second_presentation", "reuse.grace_secs"]
source = "this provider takes a used token again"
confidence = "{confidence}"
checked_at = "2026-11-29"
"#
    )
}

struct At {
    world: World,
    running: Running,
    ready: Ready,
    woken: Woken,
}

/// A connection whose access token is dead, at a provider that takes used tokens again.
async fn at(confidence: &str) -> At {
    at_one_that_says(&graceful(confidence)).await
}

async fn at_one_that_says(facts: &str) -> At {
    let world = World::with(false, facts);
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.provider.is_graceful();
    world.clock.forward(HOUR);
    let woken = world.wake(&running).await.unwrap();
    At { world, running, ready, woken }
}

impl At {
    async fn lease(&self) -> Result<u64, KeeperRefusal> {
        let lease = self.woken.lease(&self.running, self.ready.grant, self.ready.connection, 20_000).await?;
        assert!(self.world.provider.knows(lease.secret.expose()));
        Ok(lease.lease.binding.generation)
    }

    /// The retry brings the head, the third token, and then the first answer comes as well.
    async fn retries_before_the_first_comes(&self) {
        self.world.provider.next(Act::Late(Duration::from_millis(3500)));
        assert!(self.lease().await.is_err());
        self.world.clock.forward(Duration::from_secs(2));
        assert_eq!(self.lease().await, Ok(2));
        eventually(|| async { self.world.look(UNUSED) == "1" }).await;
    }

    async fn tickets(&self) -> usize {
        self.running.store.tickets(self.world.tenant).await.unwrap().len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_a_verified_grace_a_lost_answer_is_presented_once_more_and_nobody_is_asked() {
    let at = at("verified").await;
    at.world.provider.next(Act::Vanish);
    assert!(matches!(at.lease().await, Err(KeeperRefusal::Pending { .. })));
    assert_eq!(at.tickets().await, 0);
    at.world.clock.forward(Duration::from_secs(2));
    assert_eq!(at.lease().await, Ok(2));
    assert_eq!((at.world.provider.most_presented(), at.tickets().await), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_whose_answer_is_lost_too_asks_and_is_the_last() {
    let at = at("verified").await;
    at.world.provider.next(Act::Vanish);
    at.world.provider.next(Act::Vanish);
    assert!(at.lease().await.is_err());
    at.world.clock.forward(Duration::from_secs(2));
    for _ in 0..4 {
        let refusal = at.lease().await.unwrap_err();
        assert!(matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{refusal:?}");
        at.world.clock.forward(Duration::from_secs(1));
    }
    assert_eq!((at.world.provider.most_presented(), at.tickets().await), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grace_that_is_over_or_was_only_heard_of_is_none() {
    let unverified = at("unverified").await;
    unverified.world.provider.next(Act::Vanish);
    let refusal = unverified.lease().await.unwrap_err();
    assert!(matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{refusal:?}");
    let late = at("verified").await;
    late.world.provider.next(Act::Vanish);
    assert!(late.lease().await.is_err());
    late.world.clock.forward(Duration::from_secs(6));
    let refusal = late.lease().await.unwrap_err();
    assert!(matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{refusal:?}");
    for one in [&unverified, &late] {
        assert_eq!(one.world.provider.most_presented(), 1);
    }
}

#[test]
fn after_a_boot_the_boot_clock_of_the_one_before_does_not_say_that_a_grace_still_runs() {
    for (boot, presented) in [(Some("first"), 1), (Some("second"), 0), (None, 0)] {
        let mut before = before_in(World::with(false, &graceful("verified")));
        before.world.provider.is_graceful();
        crash(&before, "send");
        before.world.boot = boot;
        let runtime = runtime();
        let lease = runtime.block_on(async {
            let running = before.world.start().await;
            // Both clocks say so, and of the boot clock it is chance where it began anew.
            before.world.clock.forward(Duration::from_secs(2));
            let woken = before.world.wake(&running).await.unwrap();
            let ask = || woken.lease(&running, before.ready.grant, before.ready.connection, 20_000);
            let mut lease = ask().await;
            if matches!(lease, Err(KeeperRefusal::Pending { .. })) {
                // The wall clock alone calls it open: that is left to whoever knows better, until it is over.
                before.world.clock.forward(Duration::from_secs(8));
                lease = ask().await;
            }
            running.end().await;
            lease
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
        let asks = matches!(&lease, Err(KeeperRefusal::ReauthRequired { ticket: Some(_) }));
        assert_eq!((lease.is_ok(), asks), (presented == 1, presented == 0), "{boot:?}: {:?}", lease.err());
        assert_eq!(before.world.provider.refreshes(), presented, "{boot:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_when_its_chain_was_left_becomes_the_head() {
    let at = at("verified").await;
    at.world.provider.next(Act::Late(Duration::from_millis(2500)));
    assert!(matches!(at.lease().await, Err(KeeperRefusal::Pending { .. })));
    assert_eq!(at.world.look("SELECT state FROM chain"), "uncertain");
    eventually(|| async { at.world.look("SELECT state FROM chain") == "healthy" }).await;
    assert_eq!(at.lease().await, Ok(2));
    assert_eq!(at.world.provider.most_presented(), 1);
}

/// Says that an answer is lost only when it has come, and remembers how the attempt stood after that.
struct WhenItCame {
    database: PathBuf,
    left: Mutex<Option<String>>,
}

impl WhenItCame {
    fn state(&self) -> String {
        let database = rusqlite::Connection::open(&self.database).unwrap();
        database.query_row("SELECT state FROM attempt", [], |row| row.get(0)).unwrap()
    }
}

impl Watch for WhenItCame {
    fn before(&self, action: &Action) -> Boxed<'_, ()> {
        let (is_settle, is_release) =
            (matches!(action, Action::Settle(_)), matches!(action, Action::Release(_)));
        Box::pin(async move {
            if is_settle {
                eventually(|| async { self.state() == "answered" }).await;
            }
            if is_release {
                self.left.lock().unwrap().get_or_insert_with(|| self.state());
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_came_before_it_was_called_lost_is_not() {
    let mut at = at("verified").await;
    at.running.end().await;
    let watch = Arc::new(WhenItCame { database: at.world.path("db.sqlite"), left: Mutex::default() });
    at.running = at.world.start_with(Arc::clone(&watch) as Arc<dyn Watch>).await.unwrap();
    at.woken = at.world.wake(&at.running).await.unwrap();
    at.world.provider.next(Act::Late(Duration::from_millis(2000)));
    let _ = at.lease().await;
    assert_eq!(watch.left.lock().unwrap().as_deref(), Some("answered"));
    assert_eq!(at.lease().await, Ok(2));
    assert_eq!((at.world.provider.most_presented(), at.tickets().await), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_called_lost_and_never_written_is_taken_back() {
    let at = at("verified").await;
    at.world.meddling.unwritten_millis.store(2500, Ordering::SeqCst);
    assert!(matches!(at.lease().await, Err(KeeperRefusal::Pending { .. })));
    assert_eq!(at.world.look("SELECT state FROM attempt"), "uncertain");
    eventually(|| async { at.world.look("SELECT state FROM attempt LIMIT 1") == "not-presented" }).await;
    // A host that kept an answer to itself is given a while.
    at.world.clock.forward(Duration::from_secs(120));
    assert_eq!(at.lease().await, Ok(2));
    assert_eq!((at.world.provider.most_presented(), at.tickets().await), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unused_answer_is_tried_before_the_chain_latches() {
    let at = at("verified").await;
    at.retries_before_the_first_comes().await;
    // The head's own token is refused for good; the one that came late is not.
    at.world.provider.forget(3);
    at.world.clock.forward(HOUR);
    let woken = at.world.wake(&at.running).await.unwrap();
    let lease = woken.lease(&at.running, at.ready.grant, at.ready.connection, 20_000).await.unwrap();
    assert!(at.world.provider.knows(lease.secret.expose()));
    assert_eq!((at.world.look(UNUSED), at.tickets().await), ("0".to_owned(), 0));
    // Each is tried once: the next final no is one.
    at.world.provider.revoke_all();
    at.world.clock.forward(HOUR);
    let woken = at.world.wake(&at.running).await.unwrap();
    let refusal = woken.lease(&at.running, at.ready.grant, at.ready.connection, 20_000).await.unwrap_err();
    assert!(matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{refusal:?}");
}

/// Presentations at the refresh after one in which the first answer came after the retry had left, and the retry's later
/// still, where the provider no longer knows what the first one brought.
async fn presentations_after_both_came_late(facts: &str) -> u32 {
    let at = at_one_that_says(facts).await;
    at.world.provider.next(Act::Late(Duration::from_millis(2600)));
    assert!(at.lease().await.is_err());
    at.world.provider.next(Act::Late(Duration::from_millis(3500)));
    at.world.clock.forward(Duration::from_secs(2));
    let _ = at.lease().await;
    eventually(|| async {
        at.world.look("SELECT CAST(head AS TEXT) FROM family") == "2" && at.world.look(UNUSED) == "1"
    })
    .await;
    at.world.provider.forget(2);
    at.world.clock.forward(HOUR);
    let before = at.world.provider.token_calls();
    let woken = at.world.wake(&at.running).await.unwrap();
    let lease = woken.lease(&at.running, at.ready.grant, at.ready.connection, 20_000).await.unwrap();
    assert!(at.world.provider.knows(lease.secret.expose()));
    assert_eq!(at.tickets().await, 0);
    at.world.provider.token_calls() - before
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_last_presentation_wins_its_answer_is_presented_and_the_displaced_one_is_not() {
    let both_live = graceful("verified");
    let last_wins = both_live.replace("both_live", "last_wins");
    assert_eq!(presentations_after_both_came_late(&last_wins).await, 1, "what won");
    assert_eq!(presentations_after_both_came_late(&both_live).await, 2, "the head, and then its sibling");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_last_presentation_wins_its_answer_comes_in_time_also_after_the_displaced_one_was_refused()
{
    let at = at_one_that_says(&graceful("verified").replace("both_live", "last_wins")).await;
    at.world.provider.next(Act::Late(Duration::from_millis(2600)));
    assert!(at.lease().await.is_err());
    at.world.provider.next(Act::Late(Duration::from_secs(9)));
    at.world.clock.forward(Duration::from_secs(2));
    // Whoever looks through what was left, when the retry's flight is over, finds the first answer.
    let first_came = async {
        eventually(|| async { at.world.look(UNUSED) == "1" }).await;
        at.world.clock.forward(Duration::from_secs(16));
    };
    let (retried, ()) = tokio::join!(at.lease(), first_came);
    assert!(retried.is_err());
    eventually(|| async { at.world.look("SELECT CAST(head AS TEXT) FROM family") == "2" }).await;
    at.world.provider.forget(2);
    at.world.clock.forward(HOUR);
    let woken = at.world.wake(&at.running).await.unwrap();
    let lease = async || woken.lease(&at.running, at.ready.grant, at.ready.connection, 20_000).await;
    let refused = lease().await.map(|_| ());
    assert!(matches!(refused, Err(KeeperRefusal::ReauthRequired { .. })), "{refused:?}");
    eventually(|| async { lease().await.is_ok() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_last_presentation_wins_an_earlier_one_that_comes_late_displaces_nothing() {
    let at = at_one_that_says(&graceful("verified").replace("both_live", "last_wins")).await;
    at.retries_before_the_first_comes().await;
    at.world.provider.forget(2);
    at.world.clock.forward(HOUR);
    let before = at.world.provider.token_calls();
    let woken = at.world.wake(&at.running).await.unwrap();
    assert!(woken.lease(&at.running, at.ready.grant, at.ready.connection, 20_000).await.is_ok());
    assert_eq!(at.world.provider.token_calls() - before, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_another_is_left_alone_until_it_was_watched_for_a_lease() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.clock.forward(HOUR);
    let other = OwnerId::new(world.clock.now(), ten());
    world.forge(&format!("UPDATE chain SET state = 'refreshing', owner_id = '{other}', fence = fence + 1"));
    let woken = world.wake(&running).await.unwrap();
    let lease = async || woken.lease(&running, ready.grant, ready.connection, 700).await;
    // Every flight that ends lets the timer look.
    for _ in 0..3 {
        assert!(matches!(lease().await, Err(KeeperRefusal::Pending { .. })));
        world.clock.forward(Duration::from_secs(16));
    }
    assert_eq!(
        (world.provider.refreshes(), world.look("SELECT state FROM chain")),
        (0, "refreshing".to_owned())
    );
    eventually(|| async {
        world.clock.forward(Duration::from_secs(16));
        lease().await.is_ok()
    })
    .await;
    assert_eq!((world.provider.refreshes(), world.provider.most_presented()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_intended_is_lost_once_it_was_watched_and_never_unsent() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.clock.forward(HOUR);
    let now = world.clock.now();
    let (other, attempt) = (OwnerId::new(now, ten()), AttemptId::new(now, ten()));
    world.forge(&format!("UPDATE chain SET state = 'refreshing', owner_id = '{other}', fence = fence + 1"));
    world.forge(&format!("{INTEND} '{attempt}', 'intended', {} {INTENDED}", now.millis()));
    let woken = world.wake(&running).await.unwrap();
    eventually(|| async {
        world.clock.forward(Duration::from_secs(16));
        let lease = woken.lease(&running, ready.grant, ready.connection, 700).await;
        matches!(lease, Err(KeeperRefusal::ReauthRequired { .. }))
    })
    .await;
    assert_eq!(world.look("SELECT state || ' ' || reason FROM chain"), "uncertain answer-lost");
    assert_eq!(world.provider.refreshes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unused_answer_of_another_connection_is_not_tried() {
    let at = at("verified").await;
    let world = &at.world;
    world.provider.next(Act::Late(Duration::from_millis(3500)));
    assert!(at.lease().await.is_err());
    world.clock.forward(Duration::from_secs(2));
    assert_eq!(at.lease().await, Ok(2));
    let unused = "SELECT attempt_id FROM attempt WHERE state = 'answered'";
    eventually(|| async { world.look(&format!("SELECT count(*) || '' FROM ({unused})")) == "1" }).await;
    // Somebody else's is put in its place.
    world.forge("UPDATE connection SET name = 'first'");
    let other = world.connect(&at.running, at.ready.client, "other", None).await.unwrap();
    let grant = world.grant(&at.running, other).await;
    world.clock.forward(HOUR);
    let woken = world.wake(&at.running).await.unwrap();
    woken.lease(&at.running, grant, other, 20_000).await.unwrap();
    let newest = "SELECT sealed FROM answer ORDER BY attempt_id DESC LIMIT 1";
    let forged = world.forge(&format!("UPDATE answer SET sealed = ({newest}) WHERE attempt_id = ({unused})"));
    assert_eq!(forged, 1);
    world.provider.forget(3);
    let refusal = woken.lease(&at.running, at.ready.grant, at.ready.connection, 20_000).await.err().unwrap();
    assert!(matches!(refusal, KeeperRefusal::ReauthRequired { ticket: Some(_) }), "{refusal:?}");
}

/// An attempt of whoever holds or held the chain last.
const INTEND: &str = "INSERT INTO attempt (tenant_id, chain_id, family_id, generation, fence, owner_id, era,
     attempt_id, state, intended_at)
 SELECT chain.tenant_id, chain.chain_id, family.family_id, family.head, chain.fence,
     coalesce(chain.owner_id, (SELECT owner_id FROM attempt ORDER BY intended_at DESC LIMIT 1)),
     (SELECT era FROM installation),";
const INTENDED: &str = "FROM chain JOIN family USING (family_id) WHERE chain.fence > 0";

#[tokio::test(flavor = "multi_thread")]
async fn what_this_keeper_left_its_timer_takes_up() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    world.clock.forward(HOUR);
    let woken = world.wake(&running).await.unwrap();
    woken.lease(&running, ready.grant, ready.connection, 20_000).await.unwrap();
    // The timer looks again after a while, when something moved.
    let look_again = async |account: &str| {
        world.clock.forward(Duration::from_secs(16));
        world.forge("UPDATE connection SET name = 'n' || lower(hex(randomblob(6)))");
        world.connect(&running, ready.client, account, None).await.unwrap();
    };
    // As a claim that was written while its answer was lost.
    let owner = "SELECT owner_id FROM attempt LIMIT 1";
    world.forge(&format!("UPDATE chain SET state = 'refreshing', owner_id = ({owner}), fence = fence + 1"));
    look_again("second").await;
    eventually(|| async { world.look("SELECT group_concat(DISTINCT state) FROM chain") == "healthy" }).await;
    // And an intent whose claim is gone.
    let now = world.clock.now();
    let attempt = AttemptId::new(now, ten());
    world.forge(&format!("{INTEND} '{attempt}', 'intended', {} {INTENDED}", now.millis()));
    look_again("third").await;
    let state = format!("SELECT state FROM attempt WHERE attempt_id = '{attempt}'");
    eventually(|| async { world.look(&state) == "not-presented" }).await;
    assert_eq!(world.provider.refreshes(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_surge_of_final_refusals_stops_the_registration_before_its_chains_latch() {
    let world = World::new();
    let running = world.start().await;
    let ready = world.ready(&running).await;
    let mut all = vec![(ready.connection, ready.grant)];
    for number in 1..20 {
        world.forge("UPDATE connection SET name = 'n' || lower(hex(randomblob(6)))");
        let account = format!("account-{number}");
        let connection = world.connect(&running, ready.client, &account, None).await.unwrap();
        all.push((connection, world.grant(&running, connection).await));
    }
    world.clock.forward(HOUR);
    let woken = world.wake(&running).await.unwrap();
    (0..20).for_each(|_| world.provider.next(Act::Answer(400, &[], r#"{"error":"invalid_grant"}"#)));
    for (connection, grant) in &all {
        assert!(woken.lease(&running, *grant, *connection, 20_000).await.is_err());
    }
    let latched = "SELECT CAST(count(*) AS TEXT) FROM chain WHERE state = 'latched'";
    assert_eq!(world.look(latched), "3");
    assert_eq!(running.store.tickets(world.tenant).await.unwrap().len(), 3);
    // One tries when its time has come, and its tokens free the others.
    world.provider.recovers();
    eventually(|| async {
        world.clock.forward(Duration::from_secs(30));
        let woken = world.wake(&running).await.unwrap();
        let mut well = 0;
        for (connection, grant) in &all {
            well += usize::from(woken.lease(&running, *grant, *connection, 20_000).await.is_ok());
        }
        well == 17
    })
    .await;
    assert_eq!(world.provider.reuses(), 0);
}

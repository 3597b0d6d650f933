//! `kill -9` of a keeper at a random moment of a refresh, where three processes of each plane work over PostgreSQL with a
//! real provider: never a second presentation but for the one retry that was declared, and no family lost but where the
//! provider had committed, has no grace, and its answer was with the one that died.
//!
//! Each keeper has a path of its own to the provider ([`crate::world::relay`]), on which the next exchange is stopped at a
//! place that the seed chooses; so the kill comes when a refresh is under way, a chosen while later, and what was on the path
//! then outlives its sender or goes with it. What is judged is what the provider counted, beside what the database says.
//!
//! `NIGHTLATCH_KILLS=ROUNDS,SEED` asks for so many rounds at each provider. Of ten, one is a stop for longer than the claim
//! holds, up to three; the last line that is printed is JSON.

use crate::world::{
    connect::text,
    eventually,
    provider::{Counters, Kind},
    relay::{Paths, Place, Then},
    rotating::{Rotating, TIMER_ON},
    served::Told,
};
use rustix::process::Signal;
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};

const ROUNDS: u64 = 20;
const SEED: u64 = 1;
const ACCESS_SECS: u32 = 3;
/// A kill comes at most so long after the exchange was stopped: a step of a refresh takes a few milliseconds.
const LATER_MAX_MICROS: u64 = 30_000;
/// A stopped keeper that goes on brings its answer in at once.
const LATE_WITHIN: Duration = Duration::from_secs(40);
/// Nobody takes over a claim before it was seen for 60 seconds, by a look every 15.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(100);

/// What is known of the one chain.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chain {
    state: String,
    family: String,
    head: u64,
    fence: u64,
    tickets: u64,
}

impl Chain {
    fn is_asked(&self) -> bool {
        self.tickets > 0 && ["uncertain", "latched", "quarantined"].contains(&self.state.as_str())
    }
}

/// What came of some rounds.
#[derive(Debug, Default)]
struct Tally {
    rounds: u64,
    /// Committed by the provider, and lost although it has a grace.
    lost: BTreeSet<String>,
    /// Committed by the provider, which has no grace, and the answer was with the one that died.
    unavoidable: BTreeSet<String>,
    /// A human was asked and the provider had not committed: the stored token still lives there.
    asked: BTreeSet<String>,
    declared: BTreeSet<String>,
    late: BTreeSet<String>,
    /// Presentations of a token that had come before, beyond those declared, and reuse that the provider saw.
    reuse: u64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.reuse += other.reuse;
        self.lost.extend(other.lost);
        self.unavoidable.extend(other.unavoidable);
        self.asked.extend(other.asked);
        self.declared.extend(other.declared);
        self.late.extend(other.late);
    }

    fn json(&self, seed: u64) -> serde_json::Value {
        json!({
            "rounds": self.rounds, "seed": seed,
            "families_lost": self.lost.len(),
            "families_lost_unavoidable": self.unavoidable.len(),
            "asked_with_the_family_alive": self.asked.len(),
            "reuse_declared": self.declared.len(),
            "provider_reuse_detected": self.reuse,
            "late_send": self.late.len(),
            "attempts": {
                "families_lost": self.lost, "families_lost_unavoidable": self.unavoidable,
                "asked_with_the_family_alive": self.asked,
                "reuse_declared": self.declared, "late_send": self.late,
            },
        })
    }

    fn expect_sound(&self) {
        assert_eq!((self.lost.len(), self.reuse), (0, 0), "{self:?}");
    }
}

/// Numbers that a seed draws (splitmix64).
struct Drawn(u64);

impl Drawn {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// The rounds at one provider.
struct Rounds {
    world: Rotating,
    paths: Paths,
    drawn: Drawn,
    /// What the provider had refreshed, and the head, when the family of now began.
    begun: (u64, u64),
    tally: Tally,
}

impl Rounds {
    async fn new(kind: Kind, username: &str, seed: u64) -> Self {
        let told = Told { log_level: "info", ..Told::all(TIMER_ON) };
        let (world, paths) = Rotating::on_paths((3, kind), (username, ACCESS_SECS), told).await;
        let mut rounds = Self { world, paths, drawn: Drawn(seed), begun: (0, 0), tally: Tally::default() };
        rounds.begin_family().await;
        rounds
    }

    /// What the provider counted up to now and where the head stands, together.
    async fn settled(&self) -> (Counters, Chain) {
        eventually("the chain and the provider rest", Duration::from_secs(40), async || {
            let before = self.chain();
            let counters = self.world.registration.counters().await;
            let rests = self.paths.under_way() == 0 && before.state != "refreshing";
            (rests && self.chain() == before && self.world.registration.counters().await == counters)
                .then_some((counters, before))
        })
        .await
    }

    async fn begin_family(&mut self) {
        let (counters, chain) = self.settled().await;
        self.begun = (yielded(&counters), chain.head);
    }

    fn chain(&self) -> Chain {
        let row = self.world.sql(
            "SELECT concat_ws(' ', chain.state, family.family_id, family.head, chain.fence,
                (SELECT count(*) FROM ticket WHERE settled_at IS NULL))
             FROM chain JOIN family USING (tenant_id, family_id)
                JOIN connection ON connection.chain_id = chain.chain_id AND removed_at IS NULL",
        );
        let words: Vec<&str> = row.split(' ').collect();
        let [state, family, head, fence, tickets] = words.as_slice() else { panic!("{row}") };
        let number = |word: &str| word.parse().expect("a number");
        Chain {
            state: (*state).to_owned(),
            family: (*family).to_owned(),
            head: number(head),
            fence: number(fence),
            tickets: number(tickets),
        }
    }

    async fn round(&mut self, number: u64) {
        let place = Place::ALL[usize::try_from(self.drawn.below(5)).expect("small")];
        let later = Duration::from_micros(self.drawn.below(LATER_MAX_MICROS));
        let (is_other, is_cut) =
            (self.drawn.below(5) == 0, place <= Place::Asked && self.drawn.below(3) == 0);
        let before = self.chain();
        let stopped = self.paths.next_at(place).await;
        let at_work = stopped.path;
        let victim = if is_other { (at_work + 1) % 3 } else { at_work };
        // tidy: sleeps because a kill at a random moment is what this is about.
        tokio::time::sleep(later).await;
        let name = format!("keeper-{}", victim + 1);
        self.world.served.kill(&name);
        stopped.then(if is_cut && !is_other { Then::Cut } else { Then::On });
        self.world.served.start_again(&name).await;
        let about = format!("round {number}: {place:?} and {later:?}, {name} of {at_work}, cut {is_cut}");
        self.concluded(&before, &about).await;
    }

    /// Waits for what comes of it, and judges that by what the provider counted.
    async fn concluded(&mut self, before: &Chain, about: &str) {
        eventually(about, Duration::from_secs(40), async || {
            let now = self.chain();
            (now.is_asked() || (now.state == "healthy" && now.head > before.head)).then_some(())
        })
        .await;
        self.tally.rounds += 1;
        let (counters, chain) = self.settled().await;
        self.judge(&counters, about);
        let (yielded, taken) = (yielded(&counters) - self.begun.0, chain.head - self.begun.1);
        if chain.is_asked() {
            let attempt = self.lost_attempt(&chain);
            assert!(yielded - taken <= 1, "{about}: {counters:?} {chain:?}");
            let lost = match (yielded > taken, self.world.kind.has_grace()) {
                (false, _) => &mut self.tally.asked,
                (true, false) => &mut self.tally.unavoidable,
                (true, true) => &mut self.tally.lost,
            };
            lost.insert(attempt);
            self.ask_the_human().await;
        } else {
            assert_eq!(yielded, taken, "{about}: the head is not the newest: {counters:?} {chain:?}");
        }
    }

    /// No token came twice but for a declared retry, and the provider ended no family.
    fn judge(&mut self, counters: &Counters, about: &str) {
        let nth = |which: &str| {
            self.world.sql(&format!(
                "SELECT attempt_id FROM (SELECT attempt_id, row_number() OVER
                    (PARTITION BY family_id, generation ORDER BY intended_at, attempt_id) AS nth
                 FROM attempt WHERE state <> 'not-presented') AS one WHERE nth {which}"
            ))
        };
        let again = nth("= 2");
        assert_eq!(nth("> 2"), "", "{about}: a generation was presented a third time");
        self.tally.declared.extend(again.lines().map(str::to_owned));
        for keeper in self.world.served.named("keeper") {
            let ledger = self.world.served.ledger_of(&keeper);
            let late = ledger.lines().filter(|line| line.contains("late-send"));
            self.tally.late.extend(
                late.flat_map(|line| line.split('"'))
                    .filter(|word| word.starts_with("att_"))
                    .map(str::to_owned),
            );
        }
        let declared = u64::try_from(self.tally.declared.len()).expect("few");
        let beyond = counters.presented_twice.saturating_sub(declared)
            + counters.reuse_detected
            + counters.families_revoked;
        assert_eq!(beyond, 0, "{about}: {counters:?}, declared {:?}", self.tally.declared);
        self.tally.reuse = beyond;
    }

    /// The attempt at the head whose answer nobody has.
    fn lost_attempt(&self, chain: &Chain) -> String {
        let sql = format!(
            "SELECT attempt_id FROM attempt WHERE family_id = '{}' AND generation = {} AND state = 'uncertain'
             ORDER BY intended_at LIMIT 1",
            chain.family, chain.head
        );
        let attempt = self.world.sql(&sql);
        assert!(attempt.starts_with("att_"), "a human was asked, and no attempt says why: {chain:?}");
        attempt
    }

    /// One plain request, which a human answers; then the same reference works.
    async fn ask_the_human(&mut self) {
        let install = &self.world.served.install;
        let health = install.json(&["health"]);
        let tickets = health["tickets"].as_array().expect("tickets");
        assert_eq!(tickets.len(), 1, "{health}");
        assert!(text(&tickets[0], "command").starts_with("nightlatch connect"), "{health}");
        let id = text(&install.only_connection(), "id");
        install
            .connect(&self.world.registration, &mut self.world.browser, &["--reconnect", &id])
            .await
            .json();
        self.begin_family().await;
    }

    /// A keeper is stopped in the middle for longer than its claim holds, and goes on: another one has taken over and presents
    /// nothing that may have been presented, and what the one that was stopped still brings is used.
    async fn stopped_for_longer_than_a_claim(&mut self, place: Place) {
        let stopped = self.paths.next_at(place).await;
        let name = format!("keeper-{}", stopped.path + 1);
        self.world.served.signal(&name, Signal::STOP);
        stopped.then(Then::On);
        let (held, asked) = (self.chain(), self.paths.asked());
        let taken = eventually("another keeper takes over", TAKEN_OVER_WITHIN, async || {
            let now = self.chain();
            (now.fence > held.fence && (now.head > held.head || now.is_asked())).then_some(now)
        })
        .await;
        let more = self.paths.asked() - asked;
        println!(
            "{}: {name} was stopped at {place:?}: {taken:?}, {more} more requests",
            self.world.kind.tool()
        );
        self.world.served.signal(&name, Signal::CONT);
        if taken.is_asked() {
            // It may have been presented, so nobody did it again; the answer lies in the socket of the one that was stopped.
            assert_eq!(more, 0, "{taken:?}");
            eventually(
                "the late answer becomes the head, and nobody is asked any more",
                LATE_WITHIN,
                async || {
                    let now = self.chain();
                    (now.head > held.head && now.tickets == 0).then_some(())
                },
            )
            .await;
        }
        self.concluded(&held, &format!("stopped at {place:?}")).await;
    }
}

/// What the provider yielded by refreshing: each answer inside a grace repeats one.
fn yielded(counters: &Counters) -> u64 {
    counters.refreshes_ok - counters.replays_in_grace
}

async fn killed(kind: Kind, username: &str, rounds: u64, seed: u64) -> Rounds {
    println!("{}: {rounds} rounds of seed {seed}", kind.tool());
    let mut own = Rounds::new(kind, username, seed).await;
    for number in 0..rounds {
        own.round(number).await;
    }
    own.world.works_within(Duration::from_secs(20)).await;
    println!("{}: {}", kind.tool(), own.tally.json(seed));
    own
}

async fn twenty_kills_present_nothing_twice(kind: Kind, username: &str) {
    killed(kind, username, ROUNDS, SEED).await.tally.expect_sound();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_of_a_keeper_present_nothing_twice_at_oidc_provider() {
    twenty_kills_present_nothing_twice(Kind::Oidc, "killed-oidc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_of_a_keeper_present_nothing_twice_at_django_without_grace() {
    twenty_kills_present_nothing_twice(Kind::Dot0, "killed-dot0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_of_a_keeper_lose_nothing_at_django_with_grace() {
    twenty_kills_present_nothing_twice(Kind::Dot30, "killed-dot30").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keeper_that_is_stopped_after_it_sent_for_longer_than_its_claim_presents_nothing_twice() {
    let mut own = Rounds::new(Kind::Oidc, "stopped-sent", SEED).await;
    own.stopped_for_longer_than_a_claim(Place::Forwarded).await;
    own.world.works_within(Duration::from_secs(20)).await;
    own.tally.expect_sound();
}

/// As many as `NIGHTLATCH_KILLS` says, and nothing where it says nothing.
#[test]
fn rounds_that_are_asked_for() {
    let Some(asked) = std::env::var_os("NIGHTLATCH_KILLS") else { return };
    let asked = asked.into_string().expect("text");
    let (rounds, seed) = asked.split_once(',').expect("ROUNDS,SEED");
    let (rounds, seed): (u64, u64) = (rounds.parse().expect("a number"), seed.parse().expect("a number"));
    const KINDS: [(Kind, &str); 3] =
        [(Kind::Oidc, "rounds-oidc"), (Kind::Dot0, "rounds-dot0"), (Kind::Dot30, "rounds-dot30")];
    let mut all = Tally::default();
    std::thread::scope(|scope| {
        let running: Vec<_> = KINDS
            .into_iter()
            .map(|(kind, username)| scope.spawn(move || asked_of(kind, username, rounds, seed)))
            .collect();
        running.into_iter().for_each(|one| all.add(one.join().expect("it is sound")));
    });
    println!("{}", all.json(seed));
    all.expect_sound();
}

/// The rounds at one provider; in the last of them a keeper is stopped and not killed.
fn asked_of(kind: Kind, username: &str, rounds: u64, seed: u64) -> Tally {
    const STOPS: [Place; 3] = [Place::Dialled, Place::Forwarded, Place::Handed];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let stops = (rounds / 10).min(STOPS.len() as u64);
        let mut own = killed(kind, username, rounds - stops, seed).await;
        for place in STOPS.into_iter().take(usize::try_from(stops).expect("three")) {
            own.stopped_for_longer_than_a_claim(place).await;
        }
        own.world.works_within(Duration::from_secs(20)).await;
        own.tally
    })
}

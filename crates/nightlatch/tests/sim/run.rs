//! One run: a house is set up, the weather begins, and after so many expiries the sky clears and everything is
//! looked at.

use crate::{
    cast::{self, Met},
    house::{Account, House, Tool},
    losses::Lost,
    weather::Weather,
};
use nightlatch_domain::{
    chain::ChainState,
    id::AttemptId,
    ports::store::{ControlStore as _, KeeperStore as _},
};
use nightlatch_simulator::world::{Moment, issuer::Temper};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// How large a run is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) seed: u64,
    /// Refreshes that the providers did.
    pub(crate) expiries: u64,
    /// Simulated time that passes at least.
    pub(crate) lasts: Duration,
    pub(crate) keepers: usize,
    /// Accounts at each provider.
    pub(crate) accounts: usize,
    /// Whether nothing goes wrong: no weather, and no provider that loses answers by itself.
    pub(crate) is_quiet: bool,
}

/// The quiet time at the end, in which everything must heal that can.
const CLEAR: Duration = Duration::from_secs(6 * 3600);
/// And so often so long where something is refreshed just then.
const MOMENTS: u32 = 20;
const MOMENT: Duration = Duration::from_secs(30);
const YEAR_SECS: u64 = 365 * 86_400;

impl Bounds {
    pub(crate) const fn small(seed: u64) -> Self {
        Self { seed, expiries: 1000, lasts: Duration::ZERO, keepers: 1, accounts: 6, is_quiet: false }
    }

    /// What `cargo xtask sim` put into the environment; something small where nothing is there.
    pub(crate) fn asked_for() -> Self {
        let Ok(words) = std::env::var("NIGHTLATCH_SIM") else {
            return Self { expiries: 300, ..Self::small(11) };
        };
        let numbers: Vec<u64> = words.split(',').map(|word| word.parse().expect("a number")).collect();
        let [seed, expiries, years, keepers, accounts] = numbers[..] else { panic!("five numbers") };
        let few = |number: u64| usize::try_from(number).expect("few");
        Self {
            expiries,
            lasts: Duration::from_secs(years * YEAR_SECS),
            keepers: few(keepers),
            accounts: few(if accounts == 0 { accounts_for(expiries, years) } else { accounts }),
            ..Self::small(seed)
        }
    }
}

/// So many at each provider that their hourly expiries come to what is asked for in that time.
fn accounts_for(expiries: u64, years: u64) -> u64 {
    let rounds = if years == 0 { 100 } else { years * YEAR_SECS / 3600 };
    (expiries / rounds / Temper::all().len() as u64).clamp(1, 64)
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Report {
    bounds: Bounds,
    pub(crate) digest: (u64, u64),
    days: u64,
    expiries: u64,
    pub(crate) answers_lost: u64,
    pub(crate) tickets: BTreeMap<String, u64>,
    reconnected: u64,
    leases: u64,
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) reuse_detected: u64,
    /// The one retries that were recorded before they left.
    declared: Vec<AttemptId>,
    late_sends: Vec<AttemptId>,
    lost: Lost,
    pub(crate) violations: Vec<String>,
    last_lines: Vec<String>,
}

impl Report {
    /// Nothing was violated, no family was lost whose answer came, and none where a grace was left.
    pub(crate) fn expect_sound(&self) {
        let lost = self.lost.without_answer_lost.iter().chain(&self.lost.with_grace);
        let wrong: Vec<_> = self.violations.iter().chain(lost).cloned().collect();
        assert!(
            wrong.is_empty(),
            "seed {} finds:\n{}\nafter\n{}\nreplay it: cargo xtask sim --seed {} --expiries {} --years {} --keepers {} --accounts {}",
            self.bounds.seed,
            wrong.join("\n"),
            self.last_lines.join("\n"),
            self.bounds.seed,
            self.bounds.expiries,
            self.bounds.lasts.as_secs() / YEAR_SECS,
            self.bounds.keepers,
            self.bounds.accounts
        );
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "seed": self.bounds.seed,
            "expiries": self.expiries,
            "days": self.days,
            "keepers": self.bounds.keepers,
            "answers_lost": self.answers_lost,
            "tickets": self.tickets,
            "reconnected": self.reconnected,
            "leases": self.leases,
            "leases_refused": self.refused,
            "reuse_declared": self.declared.len(),
            "provider_reuse_detected": self.reuse_detected,
            "late_send": self.late_sends.len(),
            "families_lost_without_answer_lost": self.lost.without_answer_lost.len(),
            "families_lost_with_grace": self.lost.with_grace.len(),
            "families_lost_unavoidable": self.lost.unavoidable.len(),
            "tickets_per_lost_answer_max": self.lost.tickets_at_most(),
            "violations": self.violations,
            "log_lines": self.digest.0,
            "log_digest": format!("{:016x}", self.digest.1),
            "attempts": {
                "families_lost_unavoidable": self.lost.unavoidable,
                "reuse_declared": self.declared,
                "late_send": self.late_sends,
            },
        })
    }
}

/// Runs it.
pub(crate) fn run(bounds: Bounds) -> Report {
    let play = Play::begin(bounds);
    play.until(bounds.expiries);
    let mut report = play.end();
    // No database was put back: no log may contradict it.
    if let Some(count) = report.tickets.get("anchor-mismatch") {
        report.violations.push(format!("I4: {count} chains are in quarantine for nothing"));
    }
    report
}

/// A run under way.
pub(crate) struct Play {
    pub(crate) house: Arc<House>,
    pub(crate) accounts: Vec<Account>,
    bounds: Bounds,
    met: Arc<Met>,
    weather: Option<Arc<Weather>>,
    ends: Moment,
}

impl Play {
    /// A house with everybody in it, and the weather that its bounds say.
    pub(crate) fn begin(bounds: Bounds) -> Self {
        let loses_none = |temper: &Temper| temper.denies_what_it_did == 0 && temper.takes_millis.end < 10_000;
        let tempers = Temper::all().into_iter().filter(|temper| !bounds.is_quiet || loses_none(temper));
        let house = House::new(bounds.seed, bounds.keepers, tempers.collect());
        let accounts = set_up(&house, bounds.accounts);
        let met = Arc::new(Met::default());
        for account in &accounts {
            cast::agent(&house, account.clone(), &met, house.world.dice());
        }
        cast::human(&house, accounts.clone(), &met, house.world.dice());
        let weather = (!bounds.is_quiet).then(|| Weather::begin(&house));
        let ends = house.world.now().plus(bounds.lasts);
        Self { house, accounts, bounds, met, weather, ends }
    }

    /// Until so many refreshes were done and its time is over, or something is found.
    pub(crate) fn until(&self, expiries: u64) {
        let world = &self.house.world;
        while !self.has_found() && (world.now() < self.ends || self.expiries() < expiries) {
            // A lot of steps between two looks at the clock; what a provider sees is judged at once.
            for _ in 0..256 {
                assert!(world.step(), "the world stands still");
                if self.has_found() {
                    break;
                }
            }
        }
    }

    /// Lets time pass.
    pub(crate) fn rest(&self, span: Duration) {
        let until = self.house.world.now().plus(span);
        while !self.has_found() && self.house.world.now() < until {
            assert!(self.house.world.step(), "the world stands still");
        }
    }

    /// Clears the sky, waits until everything has healed that can, and looks at all of it.
    pub(crate) fn end(self) -> Report {
        let last_lines = if self.has_found() { self.house.world.last_lines(60) } else { Vec::new() };
        self.clear();
        self.rest(CLEAR);
        // What is refreshed at this very moment is looked at when its answer has come, if one comes.
        for _ in 0..MOMENTS {
            if !self.is_at_work() {
                break;
            }
            self.rest(MOMENT);
        }
        let last_lines = if self.has_found() && last_lines.is_empty() {
            self.house.world.last_lines(60)
        } else {
            last_lines
        };
        report(&self, last_lines)
    }

    /// Nothing goes wrong any more.
    pub(crate) fn clear(&self) {
        if let Some(weather) = &self.weather {
            weather.clear();
        }
    }

    /// Whether a chain is being refreshed, or waits for its one retry and nobody was asked.
    fn is_at_work(&self) -> bool {
        let own = Arc::clone(&self.house);
        let at_work = self.house.world.finish(&self.house.office.clone(), async move {
            let store = own.at_hand();
            for (tenant, chain) in store.chains(None, u32::MAX).await.expect("at hand") {
                let Some(view) = store.chain(tenant, chain).await.expect("at hand") else { continue };
                let retries = view.chain.state == ChainState::Uncertain && view.chain.ticket.is_none();
                if retries || view.chain.state == ChainState::Refreshing {
                    return true;
                }
            }
            false
        });
        at_work.expect("the office never ends")
    }

    fn has_found(&self) -> bool {
        !self.house.judge.found().is_empty()
    }

    pub(crate) fn leases(&self) -> u64 {
        self.met.leases.load(Ordering::Relaxed)
    }

    pub(crate) fn expiries(&self) -> u64 {
        self.house.tools.iter().map(|tool| tool.issuer.tally().refreshed).sum()
    }
}

fn set_up(house: &Arc<House>, accounts_each: usize) -> Vec<Account> {
    for number in 0..house.posts.len() {
        house.start(number);
    }
    house.world.run_for(Duration::from_secs(30));
    let own = Arc::clone(house);
    let moved_in = house.world.finish(&house.office.clone(), async move {
        own.settle().await;
        let mut accounts = Vec::new();
        for tool in 0..own.tools.len() {
            for number in 0..accounts_each {
                let login = format!("{}-{number}", own.tools[tool].name.as_str());
                accounts.push(own.move_in(tool, login).await);
            }
        }
        accounts
    });
    moved_in.expect("the office never ends")
}

fn report(play: &Play, last_lines: Vec<String>) -> Report {
    let (house, met) = (&play.house, &play.met);
    let (own, all, judge) = (Arc::clone(house), play.accounts.clone(), Arc::clone(met));
    let looked_at = house.world.finish(&house.office.clone(), async move {
        let keys = own.keys();
        for ticket in own.at_hand().tickets(own.tenant).await.expect("at hand") {
            let account = all.iter().find(|one| one.connection == ticket.connection);
            if let (true, Some(account)) = (judge.see(&ticket), account) {
                judge.losses.ask(&own, &keys, account).await;
            }
        }
        for account in &all {
            judge.losses.judge(&own, &keys, account).await;
        }
    });
    looked_at.expect("the office never ends");
    // What a provider calls a theft, beyond the one retry that was declared beforehand.
    let declared = |tool: &Tool| house.database.declared(&tool.name);
    let beyond = |tool: &Tool| {
        let retries = declared(tool).len() as u64;
        tool.issuer.tally().reuse_detected.saturating_sub(retries)
    };
    Report {
        bounds: play.bounds,
        digest: house.world.digest(),
        days: house.world.now().since(Moment::BEGIN).as_secs() / 86_400,
        expiries: play.expiries(),
        answers_lost: house.net.answers_lost(),
        tickets: met.tickets(),
        reconnected: met.reconnected.load(Ordering::Relaxed),
        leases: met.leases.load(Ordering::Relaxed),
        refused: met.refused(),
        reuse_detected: house.tools.iter().map(beyond).sum(),
        declared: house.tools.iter().flat_map(declared).collect(),
        late_sends: house.late_sends.lock().expect("nobody panics with it").clone(),
        lost: met.losses.lost(),
        violations: house.judge.found(),
        last_lines,
    }
}

//! Proves I1 to I4 for several keepers over one store: `next`, `watched` and the machine as they are, around them a
//! model of store, logs, spools and a provider, and a schedule that crashes, pauses, and lets writes arrive late.
//!
//! Every run ends with three quiet hours. What is left then must be at rest, and no living token may lie in an answer
//! that nobody uses.

mod keeper;
mod provider;
mod schedules;
mod store;

use super::{Fit, Holder, Known, LogSays, Next, Own, Seen, Wanted, next};
use crate::{
    machine::{Action, Entry, Event, Moment, Outcome, Plan, State, step},
    watched::{Held, Watched},
};
use keeper::{Delayed, Keeper, Log, Run};
use nightlatch_domain::{
    chain::{AttemptState, ChainState},
    clock::{Boot, Timestamp},
    id::{AttemptId, ChainId, FamilyId, OwnerId},
};
use provider::{Class, Provider, Said, reading};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use store::{Row, Store, Write};

const T0: u64 = 1_800_000_000_000;
const ACCESS_MS: u64 = 40_000;
const SWEEP_MS: u64 = 15_000;
const LOUD_MS: u64 = 1_200_000;
const QUIET_MS: u64 = 3 * 3_600_000;
const TICK_MS: u64 = 250;
const QUIET_TICK_MS: u64 = 2500;

fn wall(now: u64) -> Timestamp {
    Timestamp::from_millis(i64::try_from(T0 + now).unwrap())
}

fn chain() -> ChainId {
    ChainId::new(Timestamp::from_millis(1), [1; 10])
}

fn family() -> FamilyId {
    FamilyId::new(Timestamp::from_millis(1), [1; 10])
}

fn bytes(number: u64) -> [u8; 10] {
    let mut out = [0; 10];
    out[..8].copy_from_slice(&number.to_be_bytes());
    out
}

struct World {
    dice: u64,
    now: u64,
    loud: bool,
    ids: u64,
    provider: Provider,
    store: Store,
    keepers: Vec<Keeper>,
    delayed: Vec<Delayed>,
    told: Vec<String>,
}

impl World {
    fn new(seed: u64, keepers: usize, class: Class) -> Self {
        let mut provider = Provider { class, tokens: Vec::new() };
        let first = provider.issue();
        let store = Store {
            state: ChainState::Healthy,
            fence: 0,
            owner: None,
            head: 1,
            tokens: BTreeMap::from([(1, first)]),
            due_at: Some(wall(1000)),
            asked: false,
            failures: 0,
            access_until: wall(ACCESS_MS),
            rows: Vec::new(),
        };
        let mut world = Self {
            dice: seed | 1,
            now: 0,
            loud: true,
            ids: 0,
            provider,
            store,
            keepers: Vec::new(),
            delayed: Vec::new(),
            told: Vec::new(),
        };
        for _ in 0..keepers {
            let owner = world.fresh_owner();
            world.keepers.push(Keeper {
                log: Log { owners: BTreeSet::from([owner]), head: 1, ..Log::default() },
                spool: BTreeMap::new(),
                watched: Watched::default(),
                owner,
                run: None,
                late: Vec::new(),
                up: true,
                sleeps_until: 0,
                swept_at: 0,
            });
        }
        world
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % sides
    }

    /// One time in so many, while it is loud.
    fn fails(&mut self, one_in: u64) -> bool {
        self.loud && self.roll(one_in) == 0
    }

    fn fresh_owner(&mut self) -> OwnerId {
        self.ids += 1;
        OwnerId::new(Timestamp::from_millis(1), bytes(self.ids))
    }

    fn fresh_attempt(&mut self) -> AttemptId {
        self.ids += 1;
        AttemptId::new(Timestamp::from_millis(1), bytes(self.ids))
    }

    fn moment(&self, keeper: usize) -> Moment {
        // Each machine was started at another time.
        Moment { wall: wall(self.now), boot: Boot::from_millis(self.now + 7_777_777 * (keeper as u64 + 1)) }
    }

    fn tell(&mut self, keeper: usize, what: &str) {
        self.told.push(format!("{:>9} {keeper} {what}", self.now));
    }

    fn known(&self, keeper: usize) -> Known {
        let (own, store, now) = (&self.keepers[keeper], &self.store, self.moment(keeper));
        let head = store.head;
        let at_head = store.rows.iter().filter(|row| row.generation == head);
        let of = |row: &Row, map: &BTreeMap<u64, (AttemptId, Boot)>| {
            map.get(&head).filter(|(id, _)| *id == row.id).map(|(_, boot)| *boot)
        };
        let seen = |row: &Row| {
            let anchored = of(row, &own.log.presented).or(of(row, &own.log.again));
            let waits = matches!(row.state, AttemptState::Intended | AttemptState::Uncertain);
            let own = match anchored {
                Some(_) if waits && own.spool.contains_key(&row.id) => Own::Spooled,
                Some(boot) => Own::Anchored(Some(boot)),
                None if own.log.owners.contains(&row.owner) => Own::NotSent,
                None => Own::Foreign,
            };
            Seen {
                id: row.id,
                state: row.state,
                own,
                intended_at: row.intended_at,
                intended_by: row.intended_at,
            }
        };
        let held = match store.state {
            ChainState::Refreshing => store.owner.map(|owner| (store.fence, owner)),
            _ => self.intent().map(|row| (row.fence, row.owner)),
        };
        let holder = match held {
            None => Holder::Nobody,
            Some((_, owner)) if own.log.owners.contains(&owner) => Holder::Left,
            Some((fence, owner)) if own.watched.is_over(Held { chain: chain(), fence, owner }, now.boot) => {
                Holder::Gone
            }
            Some(_) => Holder::Other,
        };
        Known {
            state: store.state,
            due_at: store.due_at,
            asked: store.asked,
            family: family(),
            generation: head,
            access_until: Some(store.access_until),
            attempts: at_head.map(seen).collect(),
            sibling: self.sibling(head).is_some(),
            holder,
            log: if head >= own.log.head {
                LogSays::Fits
            } else {
                LogSays::Behind { anchored: own.log.head }
            },
            again: own.log.again.contains_key(&head),
            second: self.provider.class.second,
            fit: Fit::Presentable,
            now,
            store_now: Some(wall(self.now)),
        }
    }

    fn intent(&self) -> Option<&Row> {
        let head = self.store.head;
        let open = |row: &&Row| row.state == AttemptState::Intended && row.generation == head;
        self.store.rows.iter().find(open)
    }

    /// A keeper looks at the chain, and begins what follows.
    fn look(&mut self, keeper: usize, wanted: Wanted) {
        if self.keepers[keeper].run.is_some() {
            return;
        }
        let Next::Begin(begin) = next(&self.known(keeper), wanted) else { return };
        let fresh = self.fresh_attempt();
        let presents = matches!(begin.entry, Entry::Present | Entry::Again { .. });
        let taken = begin.attempt.filter(|_| !presents);
        let again_of = begin.attempt.filter(|_| matches!(begin.entry, Entry::Again { .. }));
        let answer = taken.and_then(|id| match begin.entry {
            Entry::Spooled => self.keepers[keeper].spool.get(&id).cloned(),
            _ => self.store.rows.iter().find(|row| row.id == id).and_then(|row| row.answer.clone()),
        });
        self.tell(keeper, &format!("begins {:?}, rest {:?}", begin.entry, begin.rest));
        let plan = Plan {
            entry: begin.entry,
            drain: self.roll(2) == 0,
            failures: self.store.failures,
            jitter: u16::try_from(self.roll(65_536)).unwrap(),
            second: begin.second,
            first: begin.first,
            rest: begin.rest,
            access_until: Some(self.store.access_until),
        };
        let (state, command) = step(&plan, State::Begun, Event::Begin, self.moment(keeper));
        let (generation, fence, from) = (self.store.head, self.store.fence, self.store.state);
        self.keepers[keeper].run = Some(Run {
            plan,
            state,
            command,
            at: self.now,
            attempt: taken.unwrap_or(fresh),
            again_of,
            generation,
            fence,
            claim: None,
            from,
            answer,
            adopts: None,
        });
    }

    /// What a keeper does about chains that are due, and about what was left.
    fn sweep(&mut self, keeper: usize) {
        let store = &self.store;
        let claim =
            store.owner.filter(|_| store.state == ChainState::Refreshing).map(|owner| (store.fence, owner));
        let held = claim.or(self.intent().map(|row| (row.fence, row.owner)));
        let own = &self.keepers[keeper].log.owners;
        let foreign = held.filter(|(_, owner)| !own.contains(owner));
        let (is_due, has_open) = (
            store.state != ChainState::Refreshing && store.due_at.is_some_and(|due| due <= wall(self.now)),
            store.rows.iter().any(|row| {
                let open = matches!(row.state, AttemptState::Intended | AttemptState::Answered);
                let is_answer_beside_the_head = store.state == ChainState::Latched
                    && row.generation + 1 == store.head
                    && row.state == AttemptState::Answered;
                row.generation == store.head && open || is_answer_beside_the_head
            }),
        );
        let now = self.moment(keeper).boot;
        if self.now >= self.keepers[keeper].swept_at + SWEEP_MS {
            let held = foreign.map(|(fence, owner)| Held { chain: chain(), fence, owner });
            self.keepers[keeper].watched.see(held, now);
            self.keepers[keeper].swept_at = self.now;
            let spooled: Vec<_> = self.keepers[keeper].spool.clone().into_iter().collect();
            for (id, said) in spooled {
                let awaited = |row: &&Row| {
                    let waits = matches!(row.state, AttemptState::Intended | AttemptState::Uncertain);
                    row.id == id && waits && row.answer.is_none()
                };
                let runs = self.keepers[keeper].run.as_ref().is_some_and(|run| run.attempt == id);
                if !runs && self.store.rows.iter().any(|row| awaited(&row)) {
                    self.store.write(&Write::Answer { id, said });
                }
            }
            if held.is_some() || claim.is_some() || has_open {
                self.look(keeper, Wanted::Timer);
            }
        }
        if is_due {
            self.look(keeper, Wanted::Timer);
        } else if wall(self.now) >= self.store.access_until && self.roll(20) == 0 {
            self.look(
                keeper,
                Wanted::Instead { family: family(), generation: self.store.head, refused: false },
            );
        }
    }

    fn crash(&mut self, keeper: usize) {
        self.tell(keeper, "crashes");
        let owner = self.fresh_owner();
        let down = 500 + self.roll(120_000);
        let own = &mut self.keepers[keeper];
        (own.run, own.watched, own.up, own.sleeps_until) = (None, Watched::default(), false, self.now + down);
        own.late.clear();
        own.owner = owner;
        own.log.owners.insert(owner);
    }

    /// One tick of everything.
    fn tick(&mut self) {
        self.now += if self.loud { TICK_MS } else { QUIET_TICK_MS };
        let due: Vec<Delayed> = {
            let now = self.now;
            let (due, rest) = std::mem::take(&mut self.delayed).into_iter().partition(|one| one.at <= now);
            self.delayed = rest;
            due
        };
        for one in due {
            let done = self.store.write(&one.write);
            self.tell(one.keeper, &format!("an old write arrives: {done}"));
        }
        for keeper in 0..self.keepers.len() {
            if self.now < self.keepers[keeper].sleeps_until {
                continue;
            }
            self.keepers[keeper].up = true;
            if self.fails(1500) {
                self.crash(keeper);
                continue;
            }
            if self.fails(700) {
                let pause = self.roll(150_000);
                self.tell(keeper, &format!("is stopped for {pause}"));
                self.keepers[keeper].sleeps_until = self.now + pause;
                continue;
            }
            self.bring_late(keeper);
            self.advance(keeper);
            self.sweep(keeper);
        }
    }

    /// Answers that came when their chain had been left.
    fn bring_late(&mut self, keeper: usize) {
        let now = self.now;
        let (due, rest) =
            std::mem::take(&mut self.keepers[keeper].late).into_iter().partition(|one| one.0 <= now);
        self.keepers[keeper].late = rest;
        let due: Vec<(u64, AttemptId, Said)> = due;
        for (_, id, said) in due {
            self.tell(keeper, &format!("an answer comes late: {said:?}"));
            self.keepers[keeper].spool.insert(id, said.clone());
            if !self.fails(3) {
                self.store.write(&Write::Answer { id, said });
            }
        }
    }

    fn advance(&mut self, keeper: usize) {
        // A handful of steps in one tick: most take no time.
        for _ in 0..6 {
            let Some(run) = self.keepers[keeper].run.take() else { return };
            if run.at > self.now {
                self.keepers[keeper].run = Some(run);
                return;
            }
            self.take_step(keeper, run);
            if self.fails(60) {
                self.crash(keeper);
                return;
            }
            if self.fails(40) {
                let pause = self.roll(90_000);
                self.tell(keeper, &format!("is stopped between two steps for {pause}"));
                self.keepers[keeper].sleeps_until = self.now + pause;
                return;
            }
        }
    }

    fn take_step(&mut self, keeper: usize, mut run: Run) {
        let action = run.command.action.clone();
        if let Action::Release(outcome) = action {
            self.release(keeper, &run, outcome);
            return;
        }
        let (event, takes) = self.carry_out(keeper, &mut run, &action);
        self.tell(keeper, &format!("{action:?} → {event:?}"));
        // What takes time ends at its own time; the machine is told then.
        let mut now = self.moment(keeper);
        (now.wall, now.boot) =
            (now.wall.plus(Duration::from_millis(takes)), now.boot.plus(Duration::from_millis(takes)));
        let (state, command) = step(&run.plan, run.state.clone(), event, now);
        run.at = self.now + takes + u64::try_from(command.after.as_millis()).unwrap();
        (run.state, run.command) = (state, command);
        self.keepers[keeper].run = Some(run);
    }

    fn release(&mut self, keeper: usize, run: &Run, outcome: Outcome) {
        if outcome != Outcome::Unavailable && run.answer.is_some() {
            self.keepers[keeper].spool.remove(&run.attempt);
        }
    }

    /// A write of the store: done, refused, failed without a trace, done without a word, or on its way.
    fn write(&mut self, keeper: usize, write: Write) -> Option<bool> {
        if self.fails(12) {
            match self.roll(3) {
                0 => {
                    self.store.write(&write);
                }
                1 => {}
                _ => {
                    let at = self.now + self.roll(100_000);
                    self.delayed.push(Delayed { at, keeper, write });
                }
            }
            return None;
        }
        Some(self.store.write(&write))
    }

    fn carry_out(&mut self, keeper: usize, run: &mut Run, action: &Action) -> (Event, u64) {
        let (owner, boot) = (self.keepers[keeper].owner, self.moment(keeper).boot);
        let told =
            |done: Option<bool>, yes, no| done.map_or(Event::Failed, |done| if done { yes } else { no });
        match action {
            Action::Claim => {
                let write = Write::Claim { fence: run.fence, owner, from: run.from };
                let done = self.write(keeper, write);
                run.claim = done.filter(|done| *done).map(|_| run.fence + 1);
                (told(done, Event::Claimed, Event::NotClaimed), 0)
            }
            Action::Drain => (Event::Drained, self.roll(10_000)),
            Action::Prepare { .. } if self.fails(6) => (Event::NotPrepared { reason: "unreachable" }, 100),
            Action::Prepare { .. } => (Event::Prepared, self.roll(3000)),
            Action::Intend => {
                let row = Row {
                    id: run.attempt,
                    generation: run.generation,
                    state: AttemptState::Intended,
                    fence: run.claim.unwrap(),
                    owner,
                    intended_at: wall(self.now),
                    answer: None,
                };
                let fence = run.claim.unwrap();
                let done = self.write(keeper, Write::Intend { fence, owner, row, of: run.again_of });
                (told(done, Event::Intended, Event::NotIntended), 0)
            }
            Action::Anchor if self.fails(15) => (Event::NotAnchored, 0),
            Action::Anchor => {
                assert!(
                    self.store.rows.iter().any(|row| row.id == run.attempt),
                    "anchored without an intent"
                );
                let log = &mut self.keepers[keeper].log;
                let known = if run.again_of.is_some() { &mut log.again } else { &mut log.presented };
                if known.contains_key(&run.generation) || run.generation < log.head {
                    return (Event::PresentedBefore, 0);
                }
                known.insert(run.generation, (run.attempt, boot));
                (Event::Anchored, 0)
            }
            Action::Send { send_by, settle_by, listen_until } => {
                if boot >= *send_by {
                    return (Event::NothingWritten, 0);
                }
                let settle = settle_by.since(boot);
                let listen = listen_until.since(boot);
                self.send(keeper, run, ms(settle), ms(listen))
            }
            Action::Spool if self.fails(6) => (Event::Failed, 0),
            Action::Spool => {
                self.keepers[keeper].spool.insert(run.attempt, run.answer.clone().unwrap());
                (Event::Spooled, 0)
            }
            Action::Insert => {
                let write = Write::Answer { id: run.attempt, said: run.answer.clone().unwrap() };
                (told(self.write(keeper, write), Event::Inserted, Event::Failed), 0)
            }
            Action::Read if self.fails(8) => (Event::Failed, 0),
            Action::Read => {
                let row = self.store.rows.iter().find(|row| row.id == run.attempt).unwrap();
                assert!(row.answer.is_some(), "read before it was durable");
                (Event::Read(reading(row.answer.as_ref().unwrap())), 0)
            }
            Action::Adopt => (self.adopt(run), 0),
            Action::Commit => {
                let Some(Said::Tokens(token)) = run.answer.clone() else { panic!("no tokens to commit") };
                let write = Write::Commit {
                    fence: run.claim.unwrap(),
                    owner,
                    attempt: run.attempt,
                    adopts: run.adopts,
                    generation: run.generation,
                    token,
                    now: self.now,
                };
                (told(self.write(keeper, write), Event::Moved, Event::Lost), 0)
            }
            Action::Resolve if self.fails(6) => (Event::Failed, 0),
            Action::Resolve => {
                let id = run.adopts.unwrap_or(run.attempt);
                let row = self.store.rows.iter().find(|row| row.id == id);
                let committed = row.is_some_and(|row| row.state == AttemptState::Committed);
                (Event::Resolved { committed }, 0)
            }
            Action::AnchorHead if self.fails(6) => (Event::Failed, 0),
            Action::AnchorHead => {
                let log = &mut self.keepers[keeper].log;
                log.head = log.head.max(run.generation + 1);
                assert!(log.head <= self.store.head, "a head was anchored that the database does not have");
                (Event::HeadAnchored, 0)
            }
            Action::Void if self.fails(6) => (Event::Failed, 0),
            Action::Void => {
                let log = &mut self.keepers[keeper].log;
                log.presented.retain(|_, (id, _)| *id != run.attempt);
                log.again.retain(|_, (id, _)| *id != run.attempt);
                (Event::Voided, 0)
            }
            Action::Settle(verdict) => {
                let (fence, attempt) = (run.claim.unwrap(), run.attempt);
                let unanswered = verdict.attempt == Some(AttemptState::Uncertain) && run.answer.is_none();
                let write = Write::Settle { fence, owner, attempt, unanswered, verdict: verdict.clone() };
                (self.write(keeper, write).map_or(Event::Failed, Event::Settled), 0)
            }
            Action::Withdraw => {
                let done = self.write(keeper, Write::Withdraw { id: run.attempt });
                (told(done, Event::Withdrawn, Event::Withdrawn), 0)
            }
            Action::Release(_) => unreachable!("released already"),
        }
    }

    /// The bytes leave, and reach the provider or not; its answer comes in time, late, or never.
    fn send(&mut self, keeper: usize, run: &mut Run, settle: u64, listen: u64) -> (Event, u64) {
        let (token, is_retry) = (self.store.tokens[&run.generation], run.again_of.is_some());
        let log = &self.keepers[keeper].log;
        let noted = if is_retry { &log.again } else { &log.presented };
        assert_eq!(
            noted.get(&run.generation).map(|(id, _)| *id),
            Some(run.attempt),
            "sent without an anchor"
        );
        // I2: nothing below the head, whoever moved it.
        assert_eq!(run.generation, self.store.head, "a generation below the head was presented");
        if self.fails(10) {
            return (Event::NothingWritten, 0);
        }
        if self.fails(8) {
            return (Event::NoAnswer, self.roll(settle));
        }
        if self.fails(8) {
            run.answer = Some(Said::Later);
            return (Event::Answered, 500);
        }
        let one = &mut self.provider.tokens[token];
        if is_retry {
            one.retries += 1;
            if let Entry::Again { until: Some(_) } = run.plan.entry {
                let at = one.consumed_at.unwrap_or(self.now);
                assert!(self.now - at < self.provider.class.grace_ms, "a quiet retry came after the grace");
            }
        } else {
            one.firsts += 1;
        }
        assert!(one.firsts <= 1 && one.retries <= 1, "presented too often: {one:?}");
        let said = self.provider.present(token, self.now);
        let said = if self.fails(20) { Said::Garbage } else { said };
        match if self.loud { self.roll(8) } else { 7 } {
            // The answer is lost.
            0 | 1 => (Event::NoAnswer, self.roll(settle)),
            // It comes when the chain was left.
            2 => {
                let after = settle + self.roll(listen - settle);
                self.keepers[keeper].late.push((self.now + after, run.attempt, said));
                (Event::NoAnswer, settle)
            }
            _ => {
                run.answer = Some(said);
                (Event::Answered, 500)
            }
        }
    }

    fn adopt(&mut self, run: &mut Run) -> Event {
        let Some((id, said)) = self.sibling(run.generation).map(|row| (row.id, row.answer.clone())) else {
            return Event::NothingToAdopt;
        };
        (run.adopts, run.answer) = (Some(id), said);
        Event::Adopted
    }

    /// By the shell's rule for siblings.
    fn sibling(&self, generation: u64) -> Option<&Row> {
        let before = || self.store.rows.iter().filter(move |row| row.generation < generation);
        let committed = before().filter(|row| row.state == AttemptState::Committed);
        let since = committed.map(|row| row.generation).max()?;
        let head = self.store.tokens[&generation];
        before().filter(|row| row.generation >= since).find(|row| {
            let unused = matches!(row.state, AttemptState::Answered | AttemptState::Uncertain);
            unused && matches!(&row.answer, Some(Said::Tokens(token)) if *token != head)
        })
    }

    fn run(&mut self) {
        while self.now < LOUD_MS {
            self.tick();
        }
        self.loud = false;
        while self.now < LOUD_MS + QUIET_MS {
            self.tick();
        }
    }

    /// What must hold at the end.
    fn check(&self) {
        let (store, provider) = (&self.store, &self.provider);
        let is_well = store.state == ChainState::Healthy && provider.is_live(store.tokens[&store.head])
            || store.state == ChainState::Refreshing && self.keepers.iter().any(|one| one.run.is_some());
        if is_well {
            return;
        }
        let ended = matches!(store.state, ChainState::Latched | ChainState::Uncertain);
        assert!(ended && store.asked, "not at rest, or nobody was asked: {:?}", store.state);
        // I4: no living token lies in an answer that could still become the head.
        let answers = store.rows.iter().filter_map(|row| Some((row.generation, row.answer.as_ref()?)));
        let spooled = self.keepers.iter().flat_map(|one| &one.spool).filter_map(|(id, said)| {
            let row = store.rows.iter().find(|row| row.id == *id)?;
            Some((row.generation, said))
        });
        for (generation, said) in answers.chain(spooled) {
            if let Said::Tokens(token) = said {
                // What came beside the head is tried where the head itself is refused.
                let is_sibling = generation + 1 == store.head && store.state == ChainState::Latched;
                let is_of_use =
                    (generation == store.head || is_sibling) && *token != store.tokens[&store.head];
                assert!(!(is_of_use && provider.is_live(*token)), "a living token of {generation} is unused");
            }
        }
    }
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap()
}

//! The ledger as its callers see it: what a proof waits for, what survives a failing disk and a restart,
//! and what never stands in a record.

use super::{Inner, Ledger, Recorded};
use crate::{
    LedgerError, What,
    facts::{
        EventFacts, FindingFacts, HostName, IntentFacts, OutcomeFacts, RefusalFacts, Source, oauth_error,
    },
    pen::{Pen, held},
    read::{Filter, of_call, tail},
    record::{Entry, EventName, FindingKind, Kind, Record},
    recover::beginning,
    testing::{FakeDisk, Heads, StoppedClock, caller, exchange, id, keys},
    verify::verify,
    writer::Writer,
};
use nightlatch_domain::{
    clock::Timestamp,
    id::{CallId, TenantId},
    ports::store::LedgerStore,
    problem::ProblemKind,
    tool::{Effect, OperationId, Scheme},
};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::{
    fs::{self, OpenOptions},
    future::Future,
    io::{self, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

mod given_up;

/// A ledger on a real disk, with its store and clock.
struct Home {
    folder: TempDir,
    heads: Arc<Heads>,
    clock: Arc<StoppedClock>,
}

impl Home {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), heads: Arc::default(), clock: Arc::default() }
    }

    async fn open(&self) -> Result<Ledger, LedgerError> {
        let heads: Arc<dyn LedgerStore> = Arc::clone(&self.heads) as _;
        Ledger::open(self.path(), keys(), heads, Arc::clone(&self.clock) as _).await
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn of_kind(&self, kind: Kind) -> Vec<Record> {
        tail(self.path(), 10_000, &Filter { kind: Some(kind), ..Filter::default() }).unwrap()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path().join("000001.jsonl")).unwrap()
    }

    fn verify(&self) -> Result<crate::verify::Verified, LedgerError> {
        let head = self.heads.kept.lock().unwrap().clone();
        verify(self.path(), keys().public_key(), head.as_ref())
    }
}

/// A ledger on a disk that a test commands.
fn on(disk: &FakeDisk) -> Ledger {
    let alarms = Arc::default();
    let clock: Arc<StoppedClock> = Arc::default();
    let lock = fs::File::open("/dev/null").unwrap();
    let writer = Writer::new(disk.clone(), disk.tape(1), beginning(), 1 << 20);
    let (meters, timed) = (Arc::default(), Arc::clone(&clock) as _);
    let pen = Pen { writer, clock: timed, alarms: Arc::clone(&alarms), meters, _lock: lock };
    let heads: Arc<dyn LedgerStore> = Arc::new(Heads::default());
    Ledger::start(Path::new("/nowhere"), keys(), heads, clock, alarms, pen, None).unwrap()
}

async fn intent(ledger: &Ledger, call: u8, effect: Effect) -> Result<Recorded, LedgerError> {
    ledger.intent(&exchange(call, effect), IntentFacts::default()).await
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !holds() {
            // tidy: sleeps because it polls until a deadline
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.expect("it came to hold in time");
}

/// Whether a future is not done after everything that was ready has run.
async fn is_pending(future: &mut (impl Future + Unpin)) -> bool {
    tokio::time::timeout(Duration::from_millis(20), future).await.is_err()
}

#[tokio::test]
async fn what_waits_for_a_held_disk_is_counted_and_so_is_how_long_the_disk_took() {
    let disk = FakeDisk::default();
    let ledger = on(&disk);
    disk.hold_syncs(true);
    let first = tokio::spawn(ledger.intent(&exchange(1, Effect::Write), IntentFacts::default()));
    eventually(|| disk.with(|plates| plates.syncs) == 1).await;
    let others: Vec<_> = (2..5)
        .map(|call| tokio::spawn(ledger.intent(&exchange(call, Effect::Write), IntentFacts::default())))
        .collect();
    eventually(|| ledger.queued() >= 4).await;
    assert_eq!(ledger.sync_durations().count, 0, "the disk has not answered");
    disk.hold_syncs(false);
    for intent in others.into_iter().chain([first]) {
        let _ = intent.await.unwrap().unwrap();
    }
    eventually(|| ledger.queued() == 0).await;
    let counted = ledger.sync_durations().count;
    assert!(
        (2..=4).contains(&counted),
        "{counted}: one for the first, and one for those that waited together"
    );
}

#[tokio::test]
async fn a_read_does_not_wait_for_the_disk_and_every_other_effect_does() {
    for effect in Effect::ALL {
        let disk = FakeDisk::default();
        let ledger = on(&disk);
        disk.hold_syncs(true);
        let mut waiting = tokio::spawn(ledger.intent(&exchange(1, effect), IntentFacts::default()));
        if effect == Effect::Read {
            assert_eq!(waiting.await.unwrap().unwrap().seq(), 1);
        } else {
            eventually(|| disk.with(|plates| plates.syncs) == 1).await;
            assert_eq!(disk.lines().len(), 1, "{effect}: written");
            assert!(is_pending(&mut waiting).await, "{effect}: not yet on the disk");
            disk.hold_syncs(false);
            assert_eq!(waiting.await.unwrap().unwrap().call(), id!(CallId, 1));
            disk.with(|plates| assert_eq!(plates.durable[&1], plates.seen[&1]));
        }
        disk.hold_syncs(false);
    }
}

#[tokio::test]
async fn all_that_wait_share_one_sync() {
    let disk = FakeDisk::default();
    let ledger = on(&disk);
    disk.hold_syncs(true);
    let first = tokio::spawn(ledger.intent(&exchange(0, Effect::Write), IntentFacts::default()));
    eventually(|| disk.with(|plates| plates.syncs) >= 1).await;
    let others: Vec<_> = (1..=200)
        .map(|call| tokio::spawn(ledger.intent(&exchange(call, Effect::Write), IntentFacts::default())))
        .collect();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    disk.hold_syncs(false);
    let _ = first.await.unwrap().unwrap();
    for other in others {
        let _ = other.await.unwrap().unwrap();
    }
    assert_eq!(disk.lines().len(), 201);
    // One for the first, one for the 200, and what the ticker may have asked for meanwhile.
    let syncs = disk.with(|plates| plates.syncs);
    assert!(syncs <= 6, "{syncs} syncs for 201 records");
}

#[tokio::test]
async fn a_sync_that_fails_fails_those_who_wait_for_it() {
    let disk = FakeDisk::default();
    let ledger = on(&disk);
    disk.with(|plates| plates.failing_syncs = 1);
    assert!(matches!(intent(&ledger, 1, Effect::Write).await, Err(LedgerError::NotWritten(_))));
    assert!(intent(&ledger, 2, Effect::Write).await.is_ok());
    disk.with(|plates| assert_eq!(plates.durable[&1], plates.seen[&1]));
}

#[tokio::test]
async fn a_full_disk_fails_each_call_and_all_works_again_without_a_restart() {
    let disk = FakeDisk::default();
    let ledger = on(&disk);
    let _ = intent(&ledger, 1, Effect::Read).await.unwrap();
    disk.with(|plates| plates.room = Some(100));
    for effect in Effect::ALL {
        let refused = intent(&ledger, 2, effect).await.unwrap_err();
        assert_eq!(refused, LedgerError::NotWritten(io::ErrorKind::StorageFull));
        assert_eq!(refused.problem(), ProblemKind::LedgerUnavailable);
        disk.with(|plates| plates.room = Some(100));
    }
    disk.with(|plates| plates.room = None);
    assert_eq!(intent(&ledger, 3, Effect::Write).await.unwrap().seq(), 2);
    assert_eq!(disk.lines().len(), 2);
}

#[tokio::test]
async fn a_file_size_limit_fails_calls_and_not_the_process_and_all_works_again() {
    let home = Home::new();
    let ledger = home.open().await.unwrap();
    let _ = intent(&ledger, 1, Effect::Write).await.unwrap();
    // Other tests of this process write files too, but none so large.
    let usual = getrlimit(Resource::Fsize);
    let mut narrow = usual;
    narrow.current = Some(512 * 1024);
    setrlimit(Resource::Fsize, narrow).unwrap();
    let mut refused = None;
    for _ in 0..4_000 {
        if let Err(error) = intent(&ledger, 2, Effect::Read).await {
            refused = Some(error);
            break;
        }
    }
    let still = intent(&ledger, 3, Effect::Write).await;
    setrlimit(Resource::Fsize, usual).unwrap();
    assert_eq!(refused, Some(LedgerError::NotWritten(io::ErrorKind::FileTooLarge)));
    assert_eq!(still.unwrap_err(), LedgerError::NotWritten(io::ErrorKind::FileTooLarge));
    let recorded = intent(&ledger, 4, Effect::Write).await.unwrap();
    ledger.outcome(recorded, OutcomeFacts::default()).await.unwrap();
    ledger.close().await.unwrap();
    assert!(home.verify().unwrap().head_checked);
    assert_eq!(of_call(home.path(), id!(CallId, 4)).unwrap().len(), 2);
    assert!(of_call(home.path(), id!(CallId, 3)).unwrap().is_empty());
}

#[tokio::test]
async fn an_outcome_names_its_intent_and_is_written_though_nobody_waits() {
    let home = Home::new();
    let ledger = home.open().await.unwrap();
    let recorded = intent(&ledger, 7, Effect::Write).await.unwrap();
    let seq = recorded.seq();
    drop(ledger.outcome(recorded, OutcomeFacts { status: Some(201), ..OutcomeFacts::default() }));
    ledger.close().await.unwrap();
    let story = of_call(home.path(), id!(CallId, 7)).unwrap();
    let [Record { entry: Entry::Intent(_), .. }, Record { entry: Entry::Outcome(outcome), .. }] = &story[..]
    else {
        panic!("{story:?}");
    };
    assert_eq!((outcome.intent, outcome.status), (seq, Some(201)));
}

#[tokio::test]
async fn after_close_nothing_is_recorded_and_so_nothing_may_leave() {
    let home = Home::new();
    let ledger = home.open().await.unwrap();
    ledger.close().await.unwrap();
    assert_eq!(intent(&ledger, 1, Effect::Read).await.unwrap_err(), LedgerError::Closed);
    assert_eq!(ledger.close().await, Err(LedgerError::Closed));
}

#[tokio::test]
async fn the_head_is_signed_every_second_and_at_close() {
    let home = Home::new();
    let ledger = home.open().await.unwrap();
    let _ = intent(&ledger, 1, Effect::Read).await.unwrap();
    let seq = || home.heads.kept.lock().unwrap().as_ref().map_or(0, |head| head.seq);
    eventually(|| seq() == 2).await;
    let _ = intent(&ledger, 2, Effect::Read).await.unwrap();
    ledger.close().await.unwrap();
    let verified = home.verify().unwrap();
    assert_eq!((verified.records, seq()), (4, 4), "started, two intents, stopped");
}

#[tokio::test]
async fn a_store_out_of_reach_stops_no_call_and_gets_the_head_later() {
    let home = Home::new();
    let ledger = home.open().await.unwrap();
    *home.heads.out_of_reach.lock().unwrap() = true;
    let _ = intent(&ledger, 1, Effect::Write).await.unwrap();
    assert!(matches!(ledger.verify().await, Err(LedgerError::Head(_))));
    *home.heads.out_of_reach.lock().unwrap() = false;
    assert_eq!(ledger.verify().await.unwrap().records, 2);
    eventually(|| home.heads.kept.lock().unwrap().is_some()).await;
}

#[tokio::test]
async fn a_restart_goes_on_with_the_chain() {
    let home = Home::new();
    for call in 1..=3 {
        let ledger = home.open().await.unwrap();
        let _ = intent(&ledger, call, Effect::Write).await.unwrap();
        ledger.close().await.unwrap();
    }
    assert_eq!(home.verify().unwrap().records, 9);
}

#[tokio::test]
async fn a_torn_last_line_is_moved_aside_and_said() {
    let home = Home::new();
    let ledger = home.open().await.unwrap();
    ledger.close().await.unwrap();
    let mut file = OpenOptions::new().append(true).open(home.path().join("000001.jsonl")).unwrap();
    let len = file.metadata().unwrap().len();
    file.write_all(b"{\"seq\":3,\"pre").unwrap();
    let ledger = home.open().await.unwrap();
    assert_eq!(fs::read(home.path().join(format!("torn-000001-{len}"))).unwrap(), b"{\"seq\":3,\"pre");
    let alarms = ledger.alarms(Timestamp::from_millis(0));
    let [Record { entry: Entry::Event(event), .. }] = &alarms[..] else { panic!("{alarms:?}") };
    assert_eq!((event.event, event.count), (EventName::LedgerRecovered, 13));
    ledger.close().await.unwrap();
    assert_eq!(home.verify().unwrap().records, 5);
}

#[tokio::test]
async fn a_last_line_that_the_head_knows_of_is_never_cut_off() {
    let home = Home::new();
    home.open().await.unwrap().close().await.unwrap();
    let path = home.path().join("000001.jsonl");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let refused = home.open().await.map(drop);
    assert!(matches!(refused, Err(LedgerError::Broken(broken)) if broken.what == What::Missing));
    assert_eq!(fs::read(&path).unwrap().len(), bytes.len() - 1, "nothing was touched");
}

#[tokio::test]
async fn a_ledger_that_was_altered_does_not_open() {
    let home = Home::new();
    home.open().await.unwrap().close().await.unwrap();
    let whole = home.text();
    let lines: Vec<_> = whole.lines().collect();
    let swapped = [lines[1], lines[0], ""].join("\n");
    let flipped = whole.replace("stopped", "stopPed");
    let cut = format!("{}\n", lines[0]);
    for altered in [swapped, flipped, cut, String::new()] {
        fs::write(home.path().join("000001.jsonl"), &altered).unwrap();
        assert!(matches!(home.open().await.map(drop), Err(LedgerError::Broken(_))), "{altered}");
    }
    fs::remove_file(home.path().join("000001.jsonl")).unwrap();
    assert!(matches!(home.open().await.map(drop), Err(LedgerError::Broken(_))));
    fs::write(home.path().join("000001.jsonl"), whole).unwrap();
    home.open().await.unwrap();
}

#[tokio::test]
async fn a_forged_head_does_not_open() {
    let home = Home::new();
    home.open().await.unwrap().close().await.unwrap();
    home.heads.kept.lock().unwrap().as_mut().unwrap().signature = "AAAA".to_owned();
    let refused = home.open().await.map(drop);
    assert!(matches!(refused, Err(LedgerError::Broken(broken)) if broken.what == What::HeadNotSigned));
}

#[tokio::test]
async fn two_writers_of_one_ledger_are_refused() {
    let home = Home::new();
    let ledger = home.open().await.unwrap();
    assert!(matches!(home.open().await.map(drop), Err(LedgerError::InUse(_))));
    ledger.close().await.unwrap();
    home.open().await.unwrap();
}

#[tokio::test]
async fn refusals_of_the_unadmitted_are_counted_and_written_when_their_window_ends() {
    let home = Home::new();
    let ledger = home.open().await.unwrap();
    let source = Source::Address("192.0.2.7".parse().unwrap());
    for _ in 0..500 {
        ledger.refusal_unadmitted(source, ProblemKind::NotAdmitted).await.unwrap();
    }
    assert_eq!(home.of_kind(Kind::Refusal).len(), 5);
    home.clock.advance(60_000);
    eventually(|| home.of_kind(Kind::Refusal).len() == 6).await;
    assert_eq!(counted(&home), 500);
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn an_agent_has_one_budget_of_refusals_and_one_of_each_provoked_alarm() {
    let home = Home::new();
    let ledger = home.open().await.unwrap();
    for _ in 0..500 {
        let misused = EventFacts {
            tenant: Some(caller().tenant),
            agent: Some(caller().agent),
            task: Some(caller().task),
            ..EventFacts::new(EventName::ReferenceMisused)
        };
        ledger.event(misused).await.unwrap();
        ledger.refusal(&caller(), RefusalFacts::new(ProblemKind::ReferenceUnknown)).await.unwrap();
    }
    ledger.close().await.unwrap();
    let refusals = home.of_kind(Kind::Refusal);
    // Sixty one by one, and the count of the rest.
    assert_eq!((refusals.len(), counted(&home)), (61, 500));
    let events = Filter { event: Some(EventName::ReferenceMisused), ..Filter::default() };
    assert_eq!(tail(home.path(), 1000, &events).unwrap().len(), refusals.len(), "one budget used up another");
    // Intents have no budget: they are always written.
    let ledger = home.open().await.unwrap();
    for _ in 0..200 {
        let _ = intent(&ledger, 1, Effect::Read).await.unwrap();
    }
    assert_eq!(home.of_kind(Kind::Intent).len(), 200);
}

#[tokio::test]
async fn a_permission_is_never_counted_however_often_it_is_given() {
    let home = Home::new();
    let ledger = home.open().await.unwrap();
    for port in 1..=500 {
        let opened = EventFacts {
            tenant: Some(caller().tenant),
            agent: Some(caller().agent),
            task: Some(caller().task),
            host: HostName::new("files.example"),
            scheme: Some(Scheme::Https),
            port: Some(port),
            ..EventFacts::new(EventName::EgressOpened)
        };
        ledger.event(opened).await.unwrap();
    }
    let opened = Filter { event: Some(EventName::EgressOpened), ..Filter::default() };
    let ports = tail(home.path(), 1000, &opened).unwrap().into_iter().map(|record| match record.entry {
        Entry::Event(event) => (event.count, event.port),
        other => panic!("{other:?}"),
    });
    assert!(ports.eq((1..=500).map(|port| (1, Some(port)))));
}

#[tokio::test]
async fn what_one_message_tells_of_is_believed_up_to_a_bound_and_counted_whole() {
    let home = Home::new();
    let ledger = home.open().await.unwrap();
    let told = |count| RefusalFacts { count, ..RefusalFacts::new(ProblemKind::NotAdmitted) };
    ledger.refusal(&caller(), told(u64::MAX)).await.unwrap();
    assert_eq!(counted(&home), 10_000);
    for _ in 0..100 {
        ledger.refusal(&caller(), told(3)).await.unwrap();
    }
    ledger.close().await.unwrap();
    assert_eq!(counted(&home), 10_300);
}

#[tokio::test]
async fn what_was_counted_is_written_when_the_last_handle_goes() {
    let home = Home::new();
    let ledger = home.open().await.unwrap();
    for _ in 0..100 {
        ledger.refusal_unadmitted(Source::Uid(1), ProblemKind::NotAdmitted).await.unwrap();
    }
    // The ticker holds the ledger for the length of a tick.
    let inner: std::sync::Weak<Inner> = Arc::downgrade(&ledger.inner);
    drop(ledger);
    eventually(|| inner.upgrade().is_none() && counted(&home) == 100).await;
}

#[tokio::test]
async fn counts_survive_a_full_disk() {
    let disk = FakeDisk::default();
    let ledger = on(&disk);
    for _ in 0..100 {
        ledger.refusal_unadmitted(Source::Uid(1), ProblemKind::NotAdmitted).await.unwrap();
    }
    disk.with(|plates| plates.room = Some(0));
    let counts = held(&ledger.inner.budget).rest();
    ledger.inner.write_counts(counts).await.unwrap_err();
    disk.with(|plates| plates.room = None);
    ledger.close().await.unwrap();
    let counted: u64 = disk
        .lines()
        .iter()
        .filter_map(|line| match serde_json::from_str::<Record>(line).unwrap().entry {
            Entry::Refusal(refusal) => Some(refusal.count),
            _ => None,
        })
        .sum();
    assert_eq!(counted, 100);
}

fn counted(home: &Home) -> u64 {
    home.of_kind(Kind::Refusal)
        .iter()
        .map(|record| match &record.entry {
            Entry::Refusal(refusal) => refusal.count,
            other => panic!("{other:?}"),
        })
        .sum()
}

#[tokio::test]
async fn no_path_query_resource_or_word_of_a_caller_stands_in_a_record() {
    let home = Home::new();
    let ledger = home.open().await.unwrap();
    let _ = intent(&ledger, 1, Effect::Write).await.unwrap();
    let mut unlisted = exchange(2, Effect::Admin);
    unlisted.matched.operation = OperationId::unlisted();
    unlisted.matched.template = unlisted.target.path.clone();
    unlisted.target.method = "METHOD-CANARY".to_owned();
    let _ = ledger.intent(&unlisted, IntentFacts::default()).await.unwrap();
    let policies = vec!["a\"canary\nb".to_owned(); 20];
    ledger
        .refusal(&caller(), RefusalFacts { policies, ..RefusalFacts::new(ProblemKind::PolicyDenied) })
        .await
        .unwrap();
    let reason = Some(oauth_error("error-canary"));
    ledger.event(EventFacts { reason, ..EventFacts::new(EventName::RefreshLatched) }).await.unwrap();
    ledger.close().await.unwrap();
    let text = home.text();
    for canary in ["path-canary", "query-canary", "resource-canary", "METHOD-CANARY", "error-canary"] {
        assert!(!text.contains(canary), "{canary}");
    }
    assert!(text.contains("\"template\":\"*\"") && text.contains("\"method\":\"OTHER\""));
    assert!(text.contains("\"reason\":\"other\"") && text.contains("a_canary_b"));
    assert_eq!(text.matches("a_canary_b").count(), 8);
}

#[tokio::test]
async fn the_hash_of_a_head_tells_any_fact_of_it_apart_and_needs_the_key() {
    let hash = |exchange| keys().head(&exchange).unwrap();
    let plain = exchange(1, Effect::Read);
    assert_eq!(hash(plain.clone()), hash(exchange(2, Effect::Read)), "the call's id is no part of it");
    let mut others = vec![exchange(1, Effect::Write)];
    for edit in [
        (|it| it.target.query = None) as fn(&mut nightlatch_domain::exchange::Exchange),
        |it| it.target.path.push('x'),
        |it| it.target.method.push('x'),
        |it| it.host.host.push('x'),
        |it| it.matched.resource = None,
        |it| it.also.push(it.matched.clone()),
    ] {
        let mut edited = plain.clone();
        edit(&mut edited);
        others.push(edited);
    }
    for other in others {
        assert_ne!(hash(other), hash(plain.clone()));
    }
    let signer = aws_lc_rs::signature::Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
    let other_key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[5; 32]);
    let others = crate::LedgerKeys::new(signer, other_key);
    assert_ne!(others.head(&plain).unwrap(), hash(plain));
}

#[tokio::test]
async fn alarms_are_at_hand_and_come_back_after_a_restart() {
    let home = Home::new();
    let ledger = home.open().await.unwrap();
    let tenant = Some(id!(TenantId, 1));
    ledger.event(EventFacts { tenant, ..EventFacts::new(EventName::ReferenceMisused) }).await.unwrap();
    ledger.event(EventFacts { tenant, ..EventFacts::new(EventName::TaskOpened) }).await.unwrap();
    let call = Some(id!(CallId, 1));
    let finding = FindingKind::SecretMasked;
    ledger
        .finding(FindingFacts { tenant: id!(TenantId, 1), call, connection: None, finding, count: 1 })
        .await
        .unwrap();
    assert_eq!(ledger.alarms(Timestamp::from_millis(0)).len(), 1);
    ledger.close().await.unwrap();
    let again = home.open().await.unwrap();
    assert_eq!(again.alarms(Timestamp::from_millis(0)).len(), 1);
    assert!(again.alarms(Timestamp::from_millis(i64::MAX)).is_empty());
}

#[test]
fn the_words_of_events_and_kinds_are_the_golden_ones() {
    let mut words: Vec<String> = Vec::new();
    words.extend(Kind::ALL.iter().map(|kind| format!("kind {kind}")));
    words.extend(FindingKind::ALL.iter().map(|finding| format!("finding {finding}")));
    words.extend(EventName::ALL.iter().map(|event| {
        let kind = if event.is_alarm() { "alarm" } else { "event" };
        format!("{kind} {event}{}", if event.is_provoked() { " counted" } else { "" })
    }));
    let schemes = [Scheme::Https, Scheme::Http].map(|scheme| serde_json::to_value(scheme).unwrap());
    words.extend(schemes.iter().map(|scheme| format!("scheme {}", scheme.as_str().unwrap())));
    assert_eq!(words.join("\n") + "\n", include_str!("../../testdata/words.txt"));
}

#[test]
fn every_kind_of_record_reads_back_as_it_was_written() {
    let now = Timestamp::from_millis(1);
    let link = crate::chain::Link::root();
    let entries = [
        crate::entries::intent(&keys(), &exchange(1, Effect::Read), IntentFacts::default()).unwrap(),
        crate::entries::refusal(&caller(), RefusalFacts::new(ProblemKind::PolicyDenied), now),
        crate::entries::event(EventFacts::new(EventName::Started)),
    ];
    for entry in entries {
        let record = link.next(now, entry);
        let line = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
        assert!(line.starts_with("{\"seq\":1,\"prev\":\"0000"), "{line}");
    }
}

#[tokio::test]
async fn a_misused_reference_makes_nobody_wait_for_the_disk_and_every_other_event_does() {
    let disk = FakeDisk::default();
    let ledger = on(&disk);
    disk.hold_syncs(true);
    let misused = EventFacts::new(EventName::ReferenceMisused);
    ledger.event(misused).await.unwrap();
    assert_eq!(disk.lines().len(), 1, "the alarm was written");
    let mut other = ledger.event(EventFacts::new(EventName::LeaseRefused));
    assert!(is_pending(&mut other).await);
    disk.hold_syncs(false);
    other.await.unwrap();
}

#[tokio::test]
async fn a_host_that_an_agent_chose_is_recorded_as_a_host_name_with_scheme_and_port_or_not_at_all() {
    for text in ["", "a b", "A.example", "x\n{}", "\u{202e}", "a/b", &"a".repeat(254)] {
        assert_eq!(HostName::new(text), None, "{text:?}");
    }
    let home = Home::new();
    let ledger = home.open().await.unwrap();
    let host = || HostName::new("files.example");
    let (scheme, port) = (Some(Scheme::Http), Some(8080));
    let refused =
        RefusalFacts { host: host(), scheme, port, count: 3, ..RefusalFacts::new(ProblemKind::EgressDenied) };
    ledger.refusal(&caller(), refused).await.unwrap();
    let opened = EventFacts { host: host(), scheme, port, ..EventFacts::new(EventName::EgressOpened) };
    ledger.event(opened).await.unwrap();
    assert!(home.text().contains(r#""host":"files.example","scheme":"http","port":8080,"count":1"#));
    let refusal = home.of_kind(Kind::Refusal).pop().unwrap().entry;
    let Entry::Refusal(refusal) = refusal else { panic!("{refusal:?}") };
    assert_eq!((refusal.host.as_deref(), refusal.count), (Some("files.example"), 3));
    assert_eq!((refusal.scheme, refusal.port), (scheme, port));
    let events = home.of_kind(Kind::Event);
    let hosts = events.iter().filter_map(|record| match &record.entry {
        Entry::Event(event) => event.host.as_deref(),
        _ => None,
    });
    assert_eq!(hosts.collect::<Vec<_>>(), ["files.example"]);
}

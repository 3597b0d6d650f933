//! The anchor log refuses a second presentation, survives a torn tail, and notices that it was moved.

use super::{
    AnchorLog, Found, Head, Presentation, Whose,
    record::{Facts, Identity, Record},
};
use crate::{error::KeeperError, system::SystemFiles};
use nightlatch_domain::{
    clock::{Boot, Timestamp},
    id::{
        AttemptId, CallId, ChainId, ConnectionId, FamilyId, FlowId, InstallationId, KeeperId, OwnerId,
        TenantId,
    },
    ports::{files::Files, store::FeedMark},
};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

macro_rules! id {
    ($kind:ident, $number:expr) => {
        $kind::new(Timestamp::from_millis(1), [$number; 10])
    };
}

fn open(directory: &Path) -> (AnchorLog, Found) {
    open_on(directory, "machine").unwrap()
}

fn open_on(directory: &Path, machine: &str) -> Result<(AnchorLog, Found), KeeperError> {
    open_as(directory, machine, true, 1)
}

fn open_as(
    directory: &Path,
    machine: &str,
    alone: bool,
    fresh: u8,
) -> Result<(AnchorLog, Found), KeeperError> {
    let files: Arc<dyn Files> = Arc::new(SystemFiles);
    let (installation, fresh) = (id!(InstallationId, 1), id!(KeeperId, fresh));
    AnchorLog::open(&files, directory, Whose { installation, machine, boot: Some("boot"), alone, fresh })
}

/// The same log in another boot of its machine.
fn open_in(directory: &Path, boot: Option<&str>) -> AnchorLog {
    let files: Arc<dyn Files> = Arc::new(SystemFiles);
    let (installation, fresh, machine) = (id!(InstallationId, 1), id!(KeeperId, 1), "machine");
    let whose = Whose { installation, machine, boot, alone: true, fresh };
    let (log, found) = AnchorLog::open(&files, directory, whose).unwrap();
    assert!(matches!(found, Found::Fresh | Found::Own), "{found:?}");
    log
}

/// Where the log of a keeper lies.
fn log_of(directory: &Path, keeper: u8) -> PathBuf {
    directory.join(id!(KeeperId, keeper).to_string()).join("anchors")
}

fn presentation(generation: u64, attempt: u8) -> Presentation {
    Presentation {
        tenant: id!(TenantId, 1),
        chain: id!(ChainId, 1),
        family: id!(FamilyId, 1),
        generation,
        attempt: id!(AttemptId, attempt),
        boot: Some(Boot::from_millis(7)),
    }
}

fn head(generation: u64) -> Head {
    Head { family: id!(FamilyId, 1), generation }
}

#[test]
fn a_generation_is_anchored_once_unless_it_was_withdrawn() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    log.present(presentation(1, 1), 1).unwrap();
    assert!(matches!(log.present(presentation(1, 2), 1), Err(KeeperError::PresentedBefore)));
    log.void(id!(AttemptId, 1)).unwrap();
    log.present(presentation(1, 2), 1).unwrap();
    drop(log);
    let (log, found) = open(folder.path());
    assert_eq!(found, Found::Own);
    assert!(matches!(log.present(presentation(1, 3), 1), Err(KeeperError::PresentedBefore)));
    assert_eq!(log.presentation(id!(FamilyId, 1), 1), Some(presentation(1, 2)));
}

#[test]
fn a_retry_is_anchored_once_beside_the_first_and_both_are_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    log.present(presentation(1, 1), 1).unwrap();
    log.present_again(presentation(1, 2), 1).unwrap();
    assert!(matches!(log.present_again(presentation(1, 3), 1), Err(KeeperError::PresentedBefore)));
    log.void(id!(AttemptId, 2)).unwrap();
    log.present_again(presentation(1, 3), 1).unwrap();
    drop(log);
    let (log, _) = open(folder.path());
    let family = id!(FamilyId, 1);
    assert_eq!(log.presentation(family, 1), Some(presentation(1, 1)));
    assert_eq!(log.retry(family, 1), Some(presentation(1, 3)));
    assert!(matches!(log.present_again(presentation(1, 4), 1), Err(KeeperError::PresentedBefore)));
    log.set_head(id!(ChainId, 1), head(2)).unwrap();
    assert!(matches!(log.present_again(presentation(1, 4), 1), Err(KeeperError::PresentedBefore)));
}

#[test]
fn owners_that_the_log_drew_are_its_own_until_it_was_moved() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    log.draw(vec![id!(OwnerId, 1)]).unwrap();
    drop(log);
    let (log, _) = open(folder.path());
    assert!(log.drew(id!(OwnerId, 1)) && !log.drew(id!(OwnerId, 2)));
    log.settle_here(id!(InstallationId, 1), "machine").unwrap();
    assert!(!log.drew(id!(OwnerId, 1)), "a copied log does not know whether its owner lives elsewhere");
}

#[test]
fn a_generation_below_the_anchored_head_is_never_presented() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    log.set_head(id!(ChainId, 1), head(5)).unwrap();
    assert!(matches!(log.present(presentation(4, 1), 1), Err(KeeperError::PresentedBefore)));
    log.present(presentation(5, 1), 1).unwrap();
}

#[test]
fn a_head_never_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    let (chain, reconnected) = (id!(ChainId, 1), Head { family: id!(FamilyId, 2), generation: 1 });
    log.set_head(chain, head(5)).unwrap();
    log.set_head(chain, head(4)).unwrap();
    assert_eq!(log.head(chain), Some(head(5)));
    // A family becomes current by its redemption, and the one before never again.
    log.set_head(chain, reconnected).unwrap();
    assert_eq!(log.head(chain), Some(head(5)));
    log.redeem(id!(FlowId, 2), id!(FamilyId, 2)).unwrap();
    log.set_head(chain, reconnected).unwrap();
    log.set_head(chain, head(6)).unwrap();
    assert_eq!(log.head(chain), Some(reconnected));
}

#[test]
fn a_second_keeper_is_refused_while_the_first_lives() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = open(folder.path());
    let second = open_on(folder.path(), "machine");
    assert!(matches!(second, Err(KeeperError::AnchorHeld { .. })));
    drop(first);
    open(folder.path());
}

#[test]
fn a_torn_tail_is_forgotten_and_a_bad_middle_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = log_of(folder.path(), 1);
    {
        let (log, _) = open(folder.path());
        log.set_head(id!(ChainId, 1), head(3)).unwrap();
    }
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"0123 {\"rec").unwrap();
    {
        let (log, found) = open(folder.path());
        assert_eq!((found, log.head(id!(ChainId, 1))), (Found::Own, Some(head(3))));
        log.set_head(id!(ChainId, 1), head(4)).unwrap();
    }
    let (log, _) = open(folder.path());
    assert_eq!(log.head(id!(ChainId, 1)), Some(head(4)));
    drop(log);
    let mut bytes = fs::read(&path).unwrap();
    bytes[50] ^= 1;
    fs::write(&path, bytes).unwrap();
    let reopened = open_on(folder.path(), "machine");
    assert!(matches!(reopened, Err(KeeperError::AnchorDamaged { line: 1, .. })));
}

#[test]
fn a_copied_log_and_another_machine_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let (_, found) = open_on(folder.path(), "clone").unwrap();
    assert_eq!(found, Found::Moved { reason: "machine-changed" });
    let path = log_of(folder.path(), 1);
    let copy = folder.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    assert_eq!(open(folder.path()).1, Found::Moved { reason: "log-copied" });
}

#[test]
fn a_moved_log_that_was_settled_vouches_for_nothing_it_knew() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).0.set_head(id!(ChainId, 1), head(3)).unwrap();
    let (log, _) = open_on(folder.path(), "clone").unwrap();
    log.settle_here(id!(InstallationId, 1), "clone").unwrap();
    assert_eq!(log.head(id!(ChainId, 1)), None);
    drop(log);
    let (log, found) = open_on(folder.path(), "clone").unwrap();
    assert_eq!((found, log.head(id!(ChainId, 1))), (Found::Own, None));
}

#[test]
fn compaction_keeps_what_matters_and_stays_its_own() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (log, _) = open(folder.path());
        log.set_static(id!(ConnectionId, 1), 2).unwrap();
        log.end(id!(TenantId, 1), id!(ConnectionId, 2)).unwrap();
        log.redeem(id!(FlowId, 1), id!(FamilyId, 9)).unwrap();
        for generation in 1..=40 {
            log.present(presentation(generation, u8::try_from(generation).unwrap()), 1).unwrap();
            log.set_head(id!(ChainId, 1), head(generation + 1)).unwrap();
        }
        let mut inner = log.inner();
        inner.facts_mut().forget_the_past();
        inner.rewrite().unwrap();
        assert!(inner.bytes < 4096);
    }
    let (log, found) = open(folder.path());
    assert_eq!((found, log.head(id!(ChainId, 1))), (Found::Own, Some(head(41))));
    assert_eq!(log.newest_of(id!(ChainId, 1)), Some(presentation(40, 40)));
    assert_eq!(log.static_generation(id!(ConnectionId, 1)), Some(2));
    assert!(log.has_ended(id!(ConnectionId, 2)));
    assert_eq!(log.flow_of(id!(FamilyId, 9)), Some(id!(FlowId, 1)));
}

#[test]
fn chains_are_known_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    let of = |number: u8| Presentation {
        chain: id!(ChainId, number),
        family: id!(FamilyId, number),
        ..presentation(1, number)
    };
    for number in 1..=5 {
        log.present(of(number), 1).unwrap();
    }
    let mut chains: Vec<_> = (1..=5).map(|number| (of(number).tenant, of(number).chain)).collect();
    chains.sort_unstable();
    assert_eq!(log.known_after(None, 2), chains[..2]);
    assert_eq!(log.known_after(Some(chains[1].1), 2), chains[2..4]);
    assert_eq!(log.known_after(Some(chains[3].1), 2), chains[4..]);
    assert_eq!(log.known_after(Some(chains[4].1), 2), []);
}

#[test]
fn a_log_that_was_written_anew_says_what_it_said_and_no_line_is_lost_between_two_bundles() {
    let folder = tempfile::tempdir().unwrap();
    let chains = || (1..=900u64).map(|number| ChainId::new(Timestamp::from_millis(number as i64), [7; 10]));
    let one = |chain: ChainId, generation| {
        let noise = u8::try_from(chain.time().millis() % 250).unwrap();
        let family = FamilyId::new(chain.time(), [8; 10]);
        let attempt = AttemptId::new(chain.time(), [noise + u8::try_from(generation).unwrap(); 10]);
        Presentation { chain, family, attempt, ..presentation(generation, 1) }
    };
    let says = |log: &AnchorLog| -> Vec<_> {
        let all = chains().map(|chain| (log.head(chain), log.newest_of(chain)));
        all.chain([(None, log.retry(one(chains().next().unwrap(), 3).family, 3))]).collect()
    };
    let (log, _) = open(folder.path());
    for chain in chains() {
        for generation in [1, 2] {
            log.present(one(chain, generation), 1).unwrap();
            let family = one(chain, generation).family;
            log.set_head(chain, Head { family, generation: generation + 1 }).unwrap();
        }
    }
    let first = chains().next().unwrap();
    log.present(one(first, 3), 1).unwrap();
    log.present_again(one(first, 3), 1).unwrap();
    let before = says(&log);
    log.inner().facts_mut().forget_the_past();
    assert_eq!(says(&log), before);
    let bytes = log.inner().bytes;
    log.inner().rewrite().unwrap();
    assert!(log.inner().bytes < bytes && log.inner().bytes > 2 * super::BUNDLE_BYTES as u64);
    assert_eq!(says(&log), before);
    drop(log);
    let (log, found) = open(folder.path());
    assert_eq!((found, says(&log)), (Found::Own, before));
}

#[test]
fn whoever_asks_the_log_does_not_wait_for_its_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    log.set_head(id!(ChainId, 1), head(2)).unwrap();
    // As while a record is being synced.
    let writing = log.inner();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| tell.send((log.head(id!(ChainId, 1)), log.has_ended(id!(ConnectionId, 1)))));
        let answer = told.recv_timeout(Duration::from_secs(5));
        drop(writing);
        assert_eq!(answer, Ok((Some(head(2)), false)));
    });
}

#[test]
fn owners_and_a_retry_that_stands_outlive_a_compaction() {
    let owners = vec![id!(OwnerId, 1), id!(OwnerId, 2)];
    let mut facts = Facts::default();
    facts.apply(Record::Owners { owners: owners.clone() });
    for generation in [1, 2] {
        let attempt = 10 * u8::try_from(generation).unwrap();
        facts.apply(Record::Head { chain: id!(ChainId, 1), head: head(generation) });
        facts.apply(Record::Present(presentation(generation, attempt)));
        facts.apply(Record::Again(presentation(generation, attempt + 1)));
    }
    facts.forget_the_past();
    let mut again = Facts::default();
    facts.lines().for_each(|record| again.apply(record));
    assert_eq!(again.owners.into_iter().collect::<Vec<_>>(), owners);
    assert_eq!(again.again.iter().collect::<Vec<_>>(), [presentation(2, 21)]);
}

#[test]
fn of_very_many_owners_the_oldest_are_forgotten() {
    let drawn = |at| OwnerId::new(Timestamp::from_millis(at), [1; 10]);
    let mut facts = Facts::default();
    for from in (0..70_000).step_by(1000) {
        facts.apply(Record::Owners { owners: (from..from + 1000).map(drawn).collect() });
    }
    assert!(facts.owners.contains(&drawn(69_999)) && !facts.owners.contains(&drawn(0)));
    assert!(facts.owners.len() < 70_000);
}

#[test]
fn mandates_that_may_still_be_good_outlive_a_compaction() {
    let (at, day) = (Timestamp::from_millis(1_800_000_000_000), Duration::from_secs(24 * 3600));
    let call = |noise| CallId::new(at, [noise; 10]);
    let mut facts = Facts::default();
    facts.apply(Record::MandatesSince { at });
    facts.apply(Record::Mandate { call: call(1), until: at });
    facts.apply(Record::Mandate { call: call(2), until: at.plus(day) });
    facts.apply(Record::Mandate { call: call(3), until: at.plus(day + Duration::from_millis(1)) });
    facts.forget_the_past();
    let mut again = Facts::default();
    facts.lines().for_each(|record| again.apply(record));
    assert_eq!(again.mandates_since, Some(at));
    assert_eq!(again.mandates.into_keys().collect::<Vec<_>>(), [call(2), call(3)]);
}

#[test]
fn each_keeper_has_a_log_of_its_own_and_finds_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let (first, found) = open_as(folder.path(), "machine", false, 1).unwrap();
    assert_eq!((found, first.keeper()), (Found::Fresh, id!(KeeperId, 1)));
    first.set_head(id!(ChainId, 1), head(3)).unwrap();
    let (second, found) = open_as(folder.path(), "machine", false, 2).unwrap();
    assert_eq!((found, second.keeper()), (Found::Fresh, id!(KeeperId, 2)));
    assert_eq!(second.head(id!(ChainId, 1)), None);
    // Whoever comes next is the one whose log is free.
    drop(first);
    let (third, found) = open_as(folder.path(), "machine", false, 3).unwrap();
    assert_eq!((found, third.keeper()), (Found::Own, id!(KeeperId, 1)));
    assert_eq!(third.head(id!(ChainId, 1)), Some(head(3)));
}

#[test]
fn a_keeper_that_is_to_be_alone_is_refused_beside_another() {
    let folder = tempfile::tempdir().unwrap();
    let (other, _) = open_as(folder.path(), "machine", false, 1).unwrap();
    assert!(matches!(open_as(folder.path(), "machine", true, 2), Err(KeeperError::AnchorHeld { .. })));
    drop(other);
    let (alone, found) = open_as(folder.path(), "machine", true, 2).unwrap();
    assert_eq!((found, alone.keeper()), (Found::Own, id!(KeeperId, 1)));
}

/// A log as it lay before keepers had folders: in the installation's own, naming none.
fn old_log(directory: &Path) {
    let (log, _) = open(directory);
    log.set_head(id!(ChainId, 1), head(3)).unwrap();
    log.present(presentation(3, 1), 1).unwrap();
    drop(log);
    let (path, old) = (log_of(directory, 1), directory.join("anchors"));
    fs::rename(&path, &old).unwrap();
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    let named = fs::read_to_string(&old).unwrap();
    let unnamed = named.lines().map(|line| match Record::read(line).unwrap() {
        Record::Identity(identity) => Record::Identity(Identity { keeper: None, ..identity }).line().unwrap(),
        record => record.line().unwrap(),
    });
    fs::write(&old, unnamed.collect::<String>()).unwrap();
    assert!(!fs::read_to_string(&old).unwrap().contains("kpr_"));
}

#[test]
fn a_log_from_before_there_were_folders_is_adopted_and_stays_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    old_log(folder.path());
    for fresh in [2, 3] {
        let (log, found) = open_as(folder.path(), "machine", true, fresh).unwrap();
        assert_eq!((found, log.keeper()), (Found::Own, id!(KeeperId, 2)));
        assert_eq!(log.head(id!(ChainId, 1)), Some(head(3)));
        assert!(matches!(log.present(presentation(3, 2), 1), Err(KeeperError::PresentedBefore)));
    }
    assert!(!folder.path().join("anchors").exists() && log_of(folder.path(), 2).exists());
}

#[test]
fn a_log_that_an_older_program_still_writes_is_not_taken_from_it() {
    let folder = tempfile::tempdir().unwrap();
    old_log(folder.path());
    let held = SystemFiles.hold(&folder.path().join("lock")).unwrap();
    for alone in [true, false] {
        let refused = open_as(folder.path(), "machine", alone, 2);
        assert!(matches!(refused, Err(KeeperError::AnchorHeld { .. })));
    }
    assert!(folder.path().join("anchors").exists());
    drop(held);
    assert_eq!(open_as(folder.path(), "machine", false, 2).unwrap().1, Found::Own);
}

#[test]
fn a_log_in_another_keepers_folder_vouches_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let (own, other) = (log_of(folder.path(), 1), log_of(folder.path(), 2));
    fs::rename(own.parent().unwrap(), other.parent().unwrap()).unwrap();
    assert_eq!(open(folder.path()).1, Found::Moved { reason: "log-of-another-keeper" });
}

#[test]
fn nothing_of_an_older_era_is_presented_and_what_was_seen_of_the_history_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(folder.path());
    assert_eq!((log.era(), log.mark(), log.is_vouched()), (0, None, false));
    let mark = FeedMark { number: 7, random: [7; 16] };
    log.enter(3).unwrap();
    log.remember(mark).unwrap();
    log.vouch().unwrap();
    log.note_keepers(vec![id!(KeeperId, 1), id!(KeeperId, 2)]).unwrap();
    log.end(id!(TenantId, 1), id!(ConnectionId, 1)).unwrap();
    let one = presentation(1, 1);
    for refused in [log.present(one, 2), log.present_again(one, 2)] {
        assert!(matches!(refused, Err(KeeperError::OlderEra)), "{refused:?}");
    }
    assert_eq!(log.presentation(one.family, one.generation), None);
    log.present(one, 3).unwrap();
    log.inner().rewrite().unwrap();
    drop(log);
    let (log, _) = open(folder.path());
    assert_eq!((log.era(), log.mark(), log.is_vouched()), (3, Some(mark), true));
    assert_eq!(log.ended(), [(id!(TenantId, 1), id!(ConnectionId, 1))]);
    assert_eq!(log.keepers(), [id!(KeeperId, 1), id!(KeeperId, 2)]);
    // Of what was copied along, nobody knows which history it was.
    log.settle_here(id!(InstallationId, 1), "machine").unwrap();
    assert!(!log.is_vouched());
}

/// What the boot clock said of a first presentation, of a retry, and of what was taken over.
fn boots(log: &AnchorLog) -> [Option<u64>; 3] {
    let (family, millis) = (id!(FamilyId, 1), |one: Presentation| one.boot.map(Boot::millis));
    [log.presentation(family, 3), log.retry(family, 3), log.taken(family, 4)]
        .map(|one| one.map(millis).expect("it is known"))
}

/// A log of a boot that has presented everything that can be.
fn presents_in(directory: &Path, boot: Option<&str>) -> AnchorLog {
    let log = open_in(directory, boot);
    log.present(presentation(3, 1), 1).unwrap();
    log.present_again(presentation(3, 2), 1).unwrap();
    log.take_over(&[], &[presentation(4, 3)]).unwrap();
    log
}

const OF_NOW: [Option<u64>; 3] = [Some(7); 3];
const FORGOTTEN: [Option<u64>; 3] = [None; 3];

#[test]
fn what_the_boot_clock_said_counts_in_the_same_boot_and_is_forgotten_in_every_other() {
    for (written_in, read_in, says) in [
        (Some("one"), Some("one"), OF_NOW),
        (Some("one"), Some("two"), FORGOTTEN),
        (Some("one"), None, FORGOTTEN),
        (None, Some("one"), FORGOTTEN),
        (None, None, FORGOTTEN),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let log = presents_in(folder.path(), written_in);
        assert_eq!(boots(&log), OF_NOW, "whoever said it lives");
        drop(log);
        let log = open_in(folder.path(), read_in);
        assert_eq!(boots(&log), says, "{written_in:?} {read_in:?}");
        assert!(matches!(log.present(presentation(3, 4), 1), Err(KeeperError::PresentedBefore)));
        assert!(matches!(log.present_again(presentation(3, 4), 1), Err(KeeperError::PresentedBefore)));
    }
}

#[test]
fn a_boot_that_comes_between_is_remembered_though_nothing_was_presented_in_it() {
    for between in [Some("two"), None] {
        let folder = tempfile::tempdir().unwrap();
        drop(presents_in(folder.path(), Some("one")));
        drop(open_in(folder.path(), between));
        assert_eq!(boots(&open_in(folder.path(), Some("one"))), FORGOTTEN, "{between:?}");
    }
}

#[test]
fn of_two_boots_only_the_one_that_it_is_counts_also_in_a_log_that_was_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    drop(presents_in(folder.path(), Some("one")));
    let log = open_in(folder.path(), Some("two"));
    log.present(presentation(5, 5), 1).unwrap();
    let of =
        |log: &AnchorLog| log.presentation(id!(FamilyId, 1), 5).and_then(|one| one.boot).map(Boot::millis);
    assert_eq!((boots(&log), of(&log)), (FORGOTTEN, Some(7)));
    log.inner().rewrite().unwrap();
    assert_eq!((boots(&log), of(&log)), (FORGOTTEN, Some(7)));
    drop(log);
    let log = open_in(folder.path(), Some("two"));
    assert_eq!((boots(&log), of(&log)), (FORGOTTEN, Some(7)));
    drop(log);
    let log = open_in(folder.path(), Some("three"));
    assert_eq!((boots(&log), of(&log)), (FORGOTTEN, None));
}

#[test]
fn a_boot_is_named_once_and_a_moved_log_names_it_when_it_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let named = |boot| {
        drop(open_in(folder.path(), boot));
        let text = fs::read_to_string(log_of(folder.path(), 1)).unwrap();
        text.lines().filter(|line| line.contains("\"identity\"")).count()
    };
    let counts = [Some("one"), Some("one"), Some("two"), None, None, Some("two"), Some("two")].map(named);
    assert_eq!(counts, [1, 1, 2, 3, 3, 4, 4]);
    let folder = tempfile::tempdir().unwrap();
    drop(presents_in(folder.path(), Some("one")));
    let (log, _) = open_on(folder.path(), "clone").unwrap();
    assert_eq!(boots(&log), FORGOTTEN);
    log.settle_here(id!(InstallationId, 1), "clone").unwrap();
    log.present(presentation(5, 5), 1).unwrap();
    drop(log);
    let (log, _) = open_on(folder.path(), "clone").unwrap();
    assert_eq!(log.presentation(id!(FamilyId, 1), 5), Some(presentation(5, 5)), "of the same boot");
    assert_eq!(boots(&log), FORGOTTEN);
}

//! Records are found from the end, over all files, and a line that is being written is no record.

use super::{Filter, alarms, of_call, perhaps_sent, record, tail};
use crate::{
    LedgerError, Recorded,
    disk::{Disk, Folder},
    facts::{EventFacts, FindingFacts, IntentFacts, OutcomeFacts},
    record::{Entry, EventName, FindingKind, Kind},
    recover::beginning,
    testing::{entry, exchange, id, keys},
    writer::Writer,
};
use nightlatch_domain::{
    clock::Timestamp,
    id::{CallId, TenantId},
    problem::ProblemKind,
    tool::Effect,
};
use std::{fs::OpenOptions, io::Write};
use tempfile::TempDir;

fn ledger(entries: Vec<Entry>) -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut disk = Folder::new(folder.path());
    let tape = disk.create(1).unwrap();
    let mut writer = Writer::new(disk, tape, beginning(), 900);
    for (at, entry) in entries.into_iter().enumerate() {
        writer.append(Timestamp::from_millis(at as i64), vec![entry]).unwrap();
    }
    folder
}

fn intent(call: u8) -> Entry {
    crate::entries::intent(&keys(), &exchange(call, Effect::Read), IntentFacts::default()).unwrap()
}

fn finding(call: u8) -> Entry {
    crate::entries::finding(FindingFacts {
        tenant: id!(TenantId, 1),
        call: Some(id!(CallId, call)),
        connection: None,
        finding: FindingKind::SecretMasked,
        count: 1,
    })
}

fn alarm(tenant: Option<TenantId>) -> Entry {
    crate::entries::event(EventFacts { tenant, ..EventFacts::new(EventName::ReferenceMisused) })
}

#[test]
fn the_tail_is_the_last_records_oldest_first() {
    let folder = ledger((0..20).map(entry).collect());
    let seqs = |limit| -> Vec<u64> {
        tail(folder.path(), limit, &Filter::default()).unwrap().iter().map(|record| record.seq).collect()
    };
    assert_eq!(seqs(3), [18, 19, 20]);
    assert_eq!(seqs(0), [0u64; 0]);
    assert_eq!(seqs(100).len(), 20);
}

#[test]
fn a_filter_keeps_a_tenant_to_its_own() {
    let folder =
        ledger(vec![alarm(Some(id!(TenantId, 1))), alarm(Some(id!(TenantId, 2))), alarm(None), intent(1)]);
    let seqs = |filter| -> Vec<u64> {
        tail(folder.path(), 10, &filter).unwrap().iter().map(|record| record.seq).collect()
    };
    assert_eq!(seqs(Filter { tenant: Some(id!(TenantId, 1)), ..Filter::default() }), [1, 3, 4]);
    assert_eq!(seqs(Filter { kind: Some(Kind::Intent), ..Filter::default() }), [4]);
    assert_eq!(seqs(Filter { event: Some(EventName::ReferenceMisused), ..Filter::default() }), [1, 2, 3]);
}

#[test]
fn any_record_is_found_by_its_number() {
    let folder = ledger((0..20).map(entry).collect());
    for seq in 1..=20 {
        assert_eq!(record(folder.path(), seq).unwrap().unwrap().seq, seq);
    }
    assert_eq!(record(folder.path(), 21).unwrap(), None);
    assert_eq!(record(folder.path(), 0).unwrap(), None);
}

#[test]
fn all_of_a_call_is_found_and_nothing_of_another() {
    let folder = ledger(vec![intent(1), intent(2), finding(1), entry(0), entry(0), finding(2), entry(0)]);
    let found = of_call(folder.path(), id!(CallId, 1)).unwrap();
    assert_eq!(found.iter().map(|record| record.seq).collect::<Vec<_>>(), [1, 3]);
    assert!(of_call(folder.path(), id!(CallId, 9)).unwrap().is_empty());
}

#[test]
fn alarms_are_found_back_to_a_time() {
    let folder = ledger(vec![alarm(None), entry(0), alarm(None), intent(1), alarm(None)]);
    let seqs = |since, limit| -> Vec<u64> {
        let found = alarms(folder.path(), Timestamp::from_millis(since), limit).unwrap();
        found.iter().map(|record| record.seq).collect()
    };
    assert_eq!(seqs(0, 10), [1, 3, 5]);
    assert_eq!(seqs(2, 10), [3, 5]);
    assert_eq!(seqs(0, 1), [5]);
}

#[test]
fn a_line_that_is_being_written_is_no_record_yet() {
    let folder = ledger(vec![entry(0)]);
    let mut file = OpenOptions::new().append(true).open(folder.path().join("000001.jsonl")).unwrap();
    file.write_all(b"{\"seq\":2").unwrap();
    assert_eq!(tail(folder.path(), 10, &Filter::default()).unwrap().len(), 1);
    file.write_all(b"\n").unwrap();
    let unreadable = tail(folder.path(), 10, &Filter::default());
    assert!(matches!(unreadable, Err(LedgerError::Unreadable(file)) if file == "000001.jsonl"));
}

#[test]
fn a_folder_that_is_missing_is_an_error_and_not_an_empty_ledger() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("none");
    assert!(matches!(tail(&missing, 1, &Filter::default()), Err(LedgerError::File(..))));
}

fn outcome(call: u8, intent: u64, status: Option<u16>, problem: Option<ProblemKind>) -> Entry {
    let recorded = Recorded { tenant: id!(TenantId, 1), call: id!(CallId, call), seq: intent };
    crate::entries::outcome(&recorded, OutcomeFacts { status, problem, ..OutcomeFacts::default() })
}

#[test]
fn a_call_was_perhaps_sent_unless_each_outcome_says_that_nothing_left() {
    let unreachable = Some(ProblemKind::UpstreamUnreachable);
    let folder = ledger(vec![
        intent(1), // 1: no outcome
        intent(2), // 2: answered
        outcome(2, 2, Some(200), None),
        intent(3), // 4: not sent
        outcome(3, 4, None, unreachable),
        intent(4), // 6: not sent, then nobody knows
        outcome(4, 6, None, unreachable),
        intent(4), // 8
        outcome(4, 8, None, Some(ProblemKind::UpstreamTimeout)),
        intent(5), // 10: nobody asks
    ]);
    let asked = [1, 2, 3, 4, 6].map(|call| id!(CallId, call)).into();
    let found = perhaps_sent(folder.path(), &asked).unwrap();
    assert_eq!(found, [1, 2, 4].map(|call| id!(CallId, call)).into());
    assert!(perhaps_sent(folder.path(), &[].into()).unwrap().is_empty());
}

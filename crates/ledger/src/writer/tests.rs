//! A failing disk fails calls and nothing else: no half line, no gap, no record that only seems durable.

use super::{Position, Writer};
use crate::{
    LedgerError,
    chain::{Link, Linked, line_hash},
    disk::Disk,
    recover::beginning,
    testing::{FakeDisk, entry},
};
use nightlatch_domain::clock::Timestamp;
use std::io;

const NOW: Timestamp = Timestamp::from_millis(1);

fn writer(disk: &FakeDisk, segment_max_bytes: u64) -> Writer<FakeDisk> {
    Writer::new(disk.clone(), disk.tape(1), beginning(), segment_max_bytes)
}

fn append(writer: &mut Writer<impl Disk>, counts: std::ops::Range<u64>) -> Result<(), LedgerError> {
    writer.append(NOW, counts.map(entry).collect()).map(|_| ())
}

/// The numbers of an unbroken chain; fails where it is broken.
fn chained(disk: &FakeDisk) -> Vec<u64> {
    let mut link = Link::root();
    disk.lines()
        .iter()
        .map(|line| {
            let linked: Linked = serde_json::from_str(line).unwrap();
            assert_eq!((linked.seq, &linked.prev), (link.seq + 1, &link.hash));
            link = Link { seq: linked.seq, hash: line_hash(line.as_bytes()) };
            linked.seq
        })
        .collect()
}

#[test]
fn records_are_numbered_and_chained() {
    let disk = FakeDisk::default();
    let mut writer = writer(&disk, 1 << 20);
    append(&mut writer, 0..3).unwrap();
    append(&mut writer, 3..5).unwrap();
    assert_eq!(chained(&disk), [1, 2, 3, 4, 5]);
}

#[test]
fn a_full_disk_leaves_no_half_line_and_goes_on_when_there_is_room() {
    let disk = FakeDisk::default();
    let mut writer = writer(&disk, 1 << 20);
    append(&mut writer, 0..1).unwrap();
    for room in [0, 1, 50, 200] {
        disk.with(|plates| plates.room = Some(room));
        let refused = append(&mut writer, 1..3);
        assert_eq!(refused, Err(LedgerError::NotWritten(io::ErrorKind::StorageFull)));
        assert_eq!(chained(&disk), [1]);
    }
    disk.with(|plates| plates.room = None);
    append(&mut writer, 3..5).unwrap();
    assert_eq!(chained(&disk), [1, 2, 3]);
}

#[test]
fn a_half_line_that_cannot_be_cut_off_stops_every_write_until_it_can() {
    let disk = FakeDisk::default();
    let mut writer = writer(&disk, 1 << 20);
    append(&mut writer, 0..1).unwrap();
    disk.with(|plates| (plates.room, plates.failing_cuts) = (Some(10), 3));
    append(&mut writer, 1..2).unwrap_err();
    disk.with(|plates| plates.room = None);
    append(&mut writer, 1..2).unwrap_err();
    assert!(writer.sync().is_err(), "a head over a half line is not signed");
    append(&mut writer, 1..2).unwrap();
    assert_eq!(chained(&disk), [1, 2]);
}

#[test]
fn after_a_failed_sync_the_bytes_are_written_anew_before_one_counts() {
    let disk = FakeDisk::default();
    let mut writer = writer(&disk, 1 << 20);
    append(&mut writer, 0..1).unwrap();
    writer.sync().unwrap();
    append(&mut writer, 1..3).unwrap();
    disk.with(|plates| plates.failing_syncs = 1);
    assert!(writer.sync().is_err());
    // The kernel dropped what it could not write and calls the pages clean.
    disk.with(|plates| plates.seen.get_mut(&1).unwrap().truncate(20));
    let before = disk.with(|plates| plates.durable[&1].clone());
    disk.with(|plates| plates.seen.insert(1, before));
    assert_eq!(writer.sync().unwrap().seq, 3);
    assert_eq!(chained(&disk), [1, 2, 3]);
    disk.with(|plates| assert_eq!(plates.durable[&1], plates.seen[&1]));
}

#[test]
fn while_syncs_fail_every_record_is_refused() {
    let disk = FakeDisk::default();
    let mut writer = writer(&disk, 1 << 20);
    append(&mut writer, 0..1).unwrap();
    disk.with(|plates| plates.failing_syncs = 3);
    assert!(writer.sync().is_err());
    assert!(append(&mut writer, 1..2).is_err());
    assert!(append(&mut writer, 1..2).is_err());
    append(&mut writer, 1..2).unwrap();
    assert_eq!(chained(&disk), [1, 2]);
}

#[test]
fn a_sync_with_nothing_new_costs_nothing() {
    let disk = FakeDisk::default();
    let mut writer = writer(&disk, 1 << 20);
    append(&mut writer, 0..1).unwrap();
    writer.sync().unwrap();
    writer.sync().unwrap();
    assert_eq!(disk.with(|plates| plates.syncs), 1);
}

#[test]
fn a_segment_ends_in_time_and_is_durable_before_the_next_begins() {
    let disk = FakeDisk::default();
    let mut writer = writer(&disk, 500);
    for count in 0..12 {
        append(&mut writer, count..count + 1).unwrap();
        disk.with(|plates| {
            let last = *plates.seen.keys().last().unwrap();
            for (number, bytes) in plates.seen.iter().filter(|(number, _)| **number < last) {
                assert!(bytes.len() <= 500);
                assert_eq!(plates.durable.get(number), Some(bytes));
            }
        });
    }
    assert!(disk.with(|plates| plates.seen.len()) >= 3);
    assert_eq!(chained(&disk).len(), 12);
}

#[test]
fn a_segment_that_cannot_be_made_fails_the_call_and_is_made_later() {
    let disk = FakeDisk::default();
    let mut writer = writer(&disk, 300);
    append(&mut writer, 0..1).unwrap();
    disk.with(|plates| plates.failing_creates = 1);
    append(&mut writer, 1..4).unwrap_err();
    append(&mut writer, 1..4).unwrap();
    assert_eq!(chained(&disk), [1, 2, 3, 4]);
}

#[test]
fn what_is_kept_for_a_failed_sync_is_bounded() {
    let disk = FakeDisk::default();
    let mut writer = writer(&disk, u64::MAX);
    for count in 0..400 {
        append(&mut writer, count * 100..(count + 1) * 100).unwrap();
        assert!(writer.unsynced.len() <= super::UNSYNCED_MAX_BYTES);
    }
    assert!(disk.with(|plates| plates.syncs) > 0);
}

#[test]
fn a_writer_goes_on_where_another_stopped() {
    let disk = FakeDisk::default();
    let mut first = writer(&disk, 1 << 20);
    append(&mut first, 0..2).unwrap();
    let link = first.sync().unwrap();
    let bytes = disk.with(|plates| plates.seen[&1].clone());
    let tape = disk.tape(1);
    disk.with(|plates| plates.seen.insert(1, bytes.clone()));
    let at = Position { number: 1, len: bytes.len() as u64, link };
    append(&mut Writer::new(disk.clone(), tape, at, 1 << 20), 2..4).unwrap();
    assert_eq!(chained(&disk), [1, 2, 3, 4]);
}

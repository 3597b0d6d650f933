//! Whatever was done to a ledger's files, `verify` names the first record that does not fit.

use super::{Verified, verify};
use crate::{
    Broken, LedgerError, What,
    disk::{Disk, Folder},
    recover::beginning,
    testing::{entry, keys},
    writer::Writer,
};
use nightlatch_domain::{clock::Timestamp, ports::store::LedgerHead};
use proptest::prelude::{any, prop_assert, proptest};
use std::{fs, path::PathBuf};
use tempfile::TempDir;

const RECORDS: u64 = 20;

/// A ledger of 20 records in several files, with its signed head.
struct Sample {
    folder: TempDir,
    head: LedgerHead,
}

impl Sample {
    fn new() -> Self {
        Self::of(RECORDS)
    }

    fn of(records: u64) -> Self {
        let folder = TempDir::new().unwrap();
        let mut disk = Folder::new(folder.path());
        let tape = disk.create(1).unwrap();
        let mut writer = Writer::new(disk, tape, beginning(), 900);
        for count in 0..records {
            writer.append(Timestamp::from_millis(1), vec![entry(count)]).unwrap();
        }
        let head = keys().sign(&writer.sync().unwrap(), Timestamp::from_millis(2));
        Self { folder, head }
    }

    fn verify(&self) -> Result<Verified, LedgerError> {
        verify(self.folder.path(), keys().public_key(), Some(&self.head))
    }

    fn without_head(&self) -> Result<Verified, LedgerError> {
        verify(self.folder.path(), keys().public_key(), None)
    }

    fn broken(&self) -> Broken {
        match self.verify() {
            Err(LedgerError::Broken(broken)) => broken,
            other => panic!("{other:?}"),
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.path().join(crate::segments::name(number))
    }

    fn files(&self) -> u64 {
        fs::read_dir(self.folder.path()).unwrap().count() as u64
    }

    fn lines(&self, number: u64) -> Vec<String> {
        fs::read_to_string(self.path(number)).unwrap().lines().map(str::to_owned).collect()
    }

    fn write(&self, number: u64, lines: &[String]) {
        fs::write(self.path(number), lines.join("\n") + "\n").unwrap();
    }

    fn first_seq(&self, number: u64) -> u64 {
        serde_json::from_str::<crate::record::Record>(&self.lines(number)[0]).unwrap().seq
    }
}

#[test]
fn an_untouched_ledger_is_whole() {
    let sample = Sample::new();
    assert!(sample.files() >= 4, "several files");
    let verified = sample.verify().unwrap();
    assert_eq!((verified.records, verified.head_checked, verified.unfinished_bytes), (RECORDS, true, 0));
    assert_eq!(verified.last, sample.head.hash);
    assert!(!sample.without_head().unwrap().head_checked);
}

#[test]
fn a_flipped_byte_is_named() {
    let sample = Sample::new();
    let mut lines = sample.lines(2);
    lines[1] = lines[1].replace("task-opened", "task-opeNed");
    sample.write(2, &lines);
    let broken = sample.broken();
    assert_eq!((broken.seq, broken.what), (sample.first_seq(2) + 1, What::Altered));
    assert_eq!((broken.file.as_str(), broken.line), ("000002.jsonl", 2));
}

#[test]
fn a_flipped_byte_in_the_last_record_is_named_by_the_head() {
    let sample = Sample::new();
    let mut lines = sample.lines(sample.files());
    let last = lines.last_mut().unwrap();
    *last = last.replace("task-opened", "task-opeNed");
    sample.write(sample.files(), &lines);
    assert_eq!((sample.broken().seq, sample.broken().what), (RECORDS, What::NotTheSigned));
    assert!(sample.without_head().is_ok(), "without a head nothing names the last record");
}

#[test]
fn two_records_swapped_are_named() {
    let sample = Sample::new();
    let (mut lines, first) = (sample.lines(2), sample.first_seq(2));
    lines.swap(0, 1);
    sample.write(2, &lines);
    assert_eq!((sample.broken().seq, sample.broken().what), (first, What::Misplaced));
}

#[test]
fn two_records_swapped_and_renumbered_are_named() {
    let sample = Sample::new();
    let mut lines = sample.lines(2);
    let first = sample.first_seq(2);
    let renumber = |line: &str, from: u64, to: u64| {
        line.replacen(&format!("\"seq\":{from}"), &format!("\"seq\":{to}"), 1)
    };
    (lines[0], lines[1]) = (renumber(&lines[1], first + 1, first), renumber(&lines[0], first, first + 1));
    sample.write(2, &lines);
    assert!(sample.broken().seq <= first);
}

#[test]
fn a_record_taken_out_or_doubled_is_named() {
    let sample = Sample::new();
    let whole = sample.lines(2);
    let first = sample.first_seq(2);
    sample.write(2, &whole[1..]);
    assert_eq!(sample.broken().seq, first);
    sample.write(2, &[&whole[..1], &whole[..]].concat());
    assert_eq!(sample.broken().seq, first + 1);
}

#[test]
fn a_cut_tail_is_named() {
    let sample = Sample::new();
    let files = sample.files();
    let lines = sample.lines(files);
    sample.write(files, &lines[..lines.len() - 1]);
    let broken = sample.broken();
    assert_eq!((broken.seq, broken.what), (RECORDS, What::Missing));
    assert!(sample.without_head().is_ok(), "without a head it does not show, and `head_checked` says so");
    fs::remove_file(sample.path(files)).unwrap();
    assert_eq!(sample.broken().what, What::Missing);
}

#[test]
fn a_tail_cut_within_a_line_is_named() {
    let sample = Sample::new();
    let path = sample.path(sample.files());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert_eq!((sample.broken().seq, sample.broken().what), (RECORDS, What::Missing));
    assert!(sample.without_head().unwrap().unfinished_bytes > 0);
}

#[test]
fn an_older_copy_of_the_folder_is_named() {
    let older = Sample::of(RECORDS - 3);
    let newer = Sample::new();
    let result = verify(older.folder.path(), keys().public_key(), Some(&newer.head));
    let expected = RECORDS - 2;
    assert!(
        matches!(&result, Err(LedgerError::Broken(broken)) if broken.seq == expected && broken.what == What::Missing),
        "{result:?}"
    );
}

#[test]
fn an_older_copy_that_was_written_on_is_named() {
    let sample = Sample::new();
    let files = sample.files();
    let mut lines = sample.lines(files);
    let last = lines.last_mut().unwrap();
    *last = last.replace("\"count\":19", "\"count\":90");
    sample.write(files, &lines);
    assert_eq!((sample.broken().seq, sample.broken().what), (RECORDS, What::NotTheSigned));
}

#[test]
fn a_missing_file_is_named() {
    for missing in 1..=2 {
        let sample = Sample::new();
        let first = sample.first_seq(missing);
        fs::remove_file(sample.path(missing)).unwrap();
        let broken = sample.broken();
        assert_eq!((broken.seq, broken.file), (first, crate::segments::name(missing)));
        assert!(sample.without_head().is_err());
    }
}

#[test]
fn a_doubled_file_is_named() {
    let sample = Sample::new();
    let files = sample.files();
    fs::copy(sample.path(2), sample.path(files + 1)).unwrap();
    assert_eq!((sample.broken().seq, sample.broken().what), (RECORDS + 1, What::Misplaced));
}

#[test]
fn an_emptied_folder_is_named() {
    let sample = Sample::new();
    for number in 1..=sample.files() {
        fs::remove_file(sample.path(number)).unwrap();
    }
    assert_eq!((sample.broken().seq, sample.broken().line), (1, 1));
}

#[test]
fn a_head_that_another_key_signed_is_refused() {
    let mut sample = Sample::new();
    sample.head.seq -= 1;
    assert_eq!(sample.broken().what, What::HeadNotSigned);
    let mut sample = Sample::new();
    sample.head.signature.clear();
    assert_eq!(sample.broken().what, What::HeadNotSigned);
    let sample = Sample::new();
    let other = verify(sample.folder.path(), &[1; 32], Some(&sample.head));
    assert!(matches!(other, Err(LedgerError::Broken(broken)) if broken.what == What::HeadNotSigned));
}

#[test]
fn a_line_without_end_is_refused_and_not_read_into_memory() {
    let sample = Sample::new();
    let first = sample.first_seq(2);
    fs::write(sample.path(2), vec![b'x'; 200 * 1024]).unwrap();
    assert_eq!((sample.broken().seq, sample.broken().what), (first, What::Unreadable));
}

#[test]
fn a_last_line_without_end_is_no_torn_one() {
    let sample = Sample::new();
    fs::write(sample.path(sample.files() + 1), vec![b'x'; 200 * 1024]).unwrap();
    assert_eq!((sample.broken().seq, sample.broken().what), (RECORDS + 1, What::Unreadable));
}

#[test]
fn an_unfinished_line_in_a_file_that_is_not_the_last_is_named() {
    let sample = Sample::new();
    let (first, whole) = (sample.first_seq(3), fs::read(sample.path(2)).unwrap());
    fs::write(sample.path(2), [&whole[..], b"{"].concat()).unwrap();
    assert_eq!((sample.broken().seq, sample.broken().what), (first, What::Unreadable));
    assert!(sample.without_head().is_err());
}

#[test]
fn records_after_the_head_are_verified_too() {
    let mut sample = Sample::new();
    sample.head = Sample::of(5).head;
    assert_eq!(sample.verify().unwrap().records, RECORDS);
    let files = sample.files();
    let mut lines = sample.lines(files);
    lines.remove(0);
    sample.write(files, &lines);
    assert!(sample.verify().is_err());
}

proptest! {
    #[test]
    fn any_flipped_byte_is_named_at_or_before_its_record(file in any::<u64>(), at in any::<usize>(), bits in 1u8..) {
        let sample = Sample::of(8);
        let path = sample.path(file % sample.files() + 1);
        let mut bytes = fs::read(&path).unwrap();
        let at = at % bytes.len();
        let before = bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64;
        let seq = sample.first_seq(file % sample.files() + 1) + before;
        bytes[at] ^= bits;
        fs::write(&path, &bytes).unwrap();
        let broken = sample.broken();
        // A record's own link is to the one before it: then that one is named.
        prop_assert!(broken.seq == seq || broken.seq + 1 == seq, "{broken} for {seq}");
    }
}

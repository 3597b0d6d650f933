//! A folder is written on only where its end, from the signed head on, is what was written.

use super::{Recovered, recover};
use crate::{
    LedgerError, What,
    disk::{Disk, Folder},
    recover::beginning,
    testing::{entry, keys},
    writer::Writer,
};
use nightlatch_domain::{clock::Timestamp, ports::store::LedgerHead};
use std::{fs, io::Write, path::PathBuf};
use tempfile::TempDir;

/// 20 records in several files, with a head signed after `signed` of them.
fn sample(signed: u64) -> (TempDir, LedgerHead) {
    let folder = TempDir::new().unwrap();
    let mut disk = Folder::new(folder.path());
    let tape = disk.create(1).unwrap();
    let mut writer = Writer::new(disk, tape, beginning(), 900);
    let mut head = None;
    for count in 0..20 {
        writer.append(Timestamp::from_millis(1), vec![entry(count)]).unwrap();
        if count + 1 == signed {
            head = Some(keys().sign(&writer.sync().unwrap(), Timestamp::from_millis(2)));
        }
    }
    (folder, head.unwrap())
}

fn run(folder: &TempDir, head: Option<&LedgerHead>) -> Result<Recovered, LedgerError> {
    recover(folder.path(), keys().public_key(), head)
}

fn path(folder: &TempDir, number: u64) -> PathBuf {
    folder.path().join(crate::segments::name(number))
}

fn last(folder: &TempDir) -> u64 {
    crate::segments::list(folder.path()).unwrap().last().unwrap().number
}

fn refused(result: Result<Recovered, LedgerError>) -> Option<What> {
    match result {
        Err(LedgerError::Broken(broken)) => Some(broken.what),
        _ => None,
    }
}

#[test]
fn it_goes_on_at_the_end_wherever_the_head_stands() {
    for signed in [1, 7, 14, 20] {
        let (folder, head) = sample(signed);
        for head in [Some(&head), None] {
            let position = run(&folder, head).unwrap().position.unwrap();
            assert_eq!((position.link.seq, position.number), (20, last(&folder)));
            assert_eq!(position.len, fs::metadata(path(&folder, last(&folder))).unwrap().len());
        }
    }
}

#[test]
fn a_folder_with_nothing_in_it_begins() {
    let folder = TempDir::new().unwrap();
    let recovered = run(&folder, None).unwrap();
    assert!(recovered.position.is_none() && recovered.torn_bytes == 0);
}

#[test]
fn an_altered_record_after_the_head_refuses() {
    let (folder, head) = sample(7);
    let at = path(&folder, last(&folder));
    fs::write(&at, fs::read_to_string(&at).unwrap().replacen("task-opened", "task-opeNed", 1)).unwrap();
    assert_eq!(refused(run(&folder, Some(&head))), Some(What::Altered));
}

#[test]
fn a_missing_file_refuses() {
    for signed in [7, 20] {
        let (folder, head) = sample(signed);
        fs::remove_file(path(&folder, last(&folder) - 1)).unwrap();
        assert!(refused(run(&folder, if signed == 20 { None } else { Some(&head) })).is_some());
    }
    let (folder, _) = sample(20);
    fs::remove_file(path(&folder, 1)).unwrap();
    let named = run(&folder, None).map(drop);
    assert!(matches!(named, Err(LedgerError::Broken(broken)) if broken.file == "000001.jsonl"));
}

#[test]
fn a_last_line_without_end_is_not_cut_off() {
    let (folder, head) = sample(20);
    let at = path(&folder, last(&folder));
    let grown = [fs::read(&at).unwrap(), vec![b'x'; 200 * 1024]].concat();
    fs::write(&at, &grown).unwrap();
    assert_eq!(refused(run(&folder, Some(&head))), Some(What::Unreadable));
    assert_eq!(fs::read(&at).unwrap(), grown);
}

#[test]
fn a_torn_end_in_a_file_that_is_not_the_last_refuses() {
    let (folder, head) = sample(7);
    let at = path(&folder, last(&folder) - 1);
    fs::OpenOptions::new().append(true).open(&at).unwrap().write_all(b"{\"seq\"").unwrap();
    let before = fs::read(&at).unwrap();
    assert_eq!(refused(run(&folder, Some(&head))), Some(What::Unreadable));
    assert_eq!(fs::read(&at).unwrap(), before);
}

#[test]
fn a_whole_line_that_is_no_record_refuses_and_is_kept() {
    let (folder, head) = sample(20);
    let at = path(&folder, last(&folder));
    fs::OpenOptions::new().append(true).open(&at).unwrap().write_all(b"{}\n").unwrap();
    let before = fs::read(&at).unwrap();
    assert_eq!(refused(run(&folder, Some(&head))), Some(What::Unreadable));
    assert_eq!(fs::read(&at).unwrap(), before);
}

#[test]
fn a_file_that_was_just_made_is_written_on() {
    let (folder, head) = sample(20);
    fs::write(path(&folder, last(&folder) + 1), "").unwrap();
    let position = run(&folder, Some(&head)).unwrap().position.unwrap();
    assert_eq!((position.number, position.len, position.link.seq), (last(&folder), 0, 20));
}

//! A key file is whole or absent, for its owner only, for one purpose, and never overwritten.

use super::{HEADER, KEY_MAX_BYTES, KeyFile, read_private, write_private};
use crate::{CustodyError, KeeperKeys, entropy::SystemEntropy};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    sync::{Arc, Barrier},
    thread,
};
use tempfile::TempDir;
use zeroize::Zeroizing;

fn load(folder: &Path, fresh_allowed: bool) -> Result<Zeroizing<Vec<u8>>, CustodyError> {
    KeyFile::new(folder, "test.key", "test").load_or_create(fresh_allowed, || Ok(Zeroizing::new(vec![5; 32])))
}

fn folder_with(text: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    write_private(&folder.path().join("test.key"), text.as_bytes()).unwrap();
    folder
}

#[test]
fn a_fresh_key_is_0600_and_is_the_one_that_loads_later() {
    let folder = TempDir::new().unwrap();
    assert_eq!(*load(folder.path(), true).unwrap(), vec![5; 32]);
    let path = folder.path().join("test.key");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(*load(folder.path(), false).unwrap(), vec![5; 32]);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "no draft is left behind");
}

#[test]
fn a_missing_key_where_none_may_be_made_says_what_to_do() {
    let folder = TempDir::new().unwrap();
    let error = load(folder.path(), false).unwrap_err();
    assert!(matches!(error, CustodyError::KeyMissing { .. }));
    let text = error.to_string();
    assert!(text.contains("test.key") && text.contains("backup"), "{text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn a_key_that_others_can_read_or_write_is_refused() {
    let folder = folder_with(&format!("{HEADER}test\nBQU\n"));
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o777] {
        fs::set_permissions(folder.path().join("test.key"), Permissions::from_mode(mode)).unwrap();
        let error = load(folder.path(), true).unwrap_err();
        assert!(matches!(error, CustodyError::KeyExposed { mode: told, .. } if told == mode), "{mode:o}");
    }
}

#[test]
fn what_is_not_a_key_of_this_purpose_and_version_is_refused_and_kept() {
    for text in [
        "".to_owned(),
        "BQU".to_owned(),
        format!("{HEADER}other\nBQU\n"),
        format!("{HEADER}test\nBQU"),
        format!("{HEADER}test\n!!\n"),
        format!("{HEADER}testBQU\n"),
        "nightlatch key v2 test\nBQU\n".to_owned(),
    ] {
        let folder = folder_with(&text);
        assert!(matches!(load(folder.path(), true), Err(CustodyError::KeyFormat { .. })), "{text}");
        assert_eq!(fs::read_to_string(folder.path().join("test.key")).unwrap(), text);
    }
}

#[test]
fn a_key_that_is_there_is_never_overwritten() {
    let folder = folder_with("first");
    write_private(&folder.path().join("test.key"), b"second").unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("test.key")).unwrap(), "first");
}

#[test]
fn a_draft_that_a_crash_left_is_no_key_and_no_obstacle() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("test.draft"), "half").unwrap();
    assert!(matches!(load(folder.path(), false), Err(CustodyError::KeyMissing { .. })));
    assert_eq!(*load(folder.path(), true).unwrap(), vec![5; 32]);
}

#[test]
fn of_many_that_make_a_key_at_once_one_does_and_all_have_it() {
    let folder = TempDir::new().unwrap();
    for round in 0..20 {
        let (name, begin) = (format!("round-{round}.key"), Barrier::new(8));
        let make = &|own: u8| {
            begin.wait();
            let file = KeyFile::new(folder.path(), &name, "test");
            file.load_or_create(true, || Ok(Zeroizing::new(vec![own; 32]))).unwrap()
        };
        let keys: Vec<_> = thread::scope(|scope| {
            let makers: Vec<_> = (0..8).map(|own| scope.spawn(move || make(own))).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| key == &keys[0] && key.len() == 32), "round {round}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 20, "no draft is left behind");
}

#[test]
fn a_link_in_a_keys_place_is_not_followed() {
    let folder = folder_with(&format!("{HEADER}test\nBQU\n"));
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(folder.path().join("test.key"), &elsewhere).unwrap();
    symlink(&elsewhere, folder.path().join("test.key")).unwrap();
    assert!(matches!(load(folder.path(), true), Err(CustodyError::KeyFile { .. })));
}

#[test]
fn a_file_is_read_whole_or_refused_at_its_bound() {
    let folder = TempDir::new().unwrap();
    let whole = "x".repeat(KEY_MAX_BYTES as usize);
    for (name, text) in [("whole", whole.clone()), ("longer", whole + "\n")] {
        write_private(&folder.path().join(name), text.as_bytes()).unwrap();
    }
    let read = |name| read_private(&folder.path().join(name), KEY_MAX_BYTES);
    assert_eq!(read("whole").unwrap().map(|text| text.len() as u64), Some(KEY_MAX_BYTES));
    assert!(matches!(read("longer"), Err(CustodyError::KeyFormat { .. })));
}

#[test]
fn a_keeper_key_of_another_length_is_refused() {
    let folder = TempDir::new().unwrap();
    write_private(&folder.path().join("keeper.key"), format!("{HEADER}keeper\nBQU\n").as_bytes()).unwrap();
    let loaded = KeeperKeys::load_or_create(folder.path(), true, Arc::new(SystemEntropy::new()));
    assert!(matches!(loaded, Err(CustodyError::KeyFormat { .. })));
}

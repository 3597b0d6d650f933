//! What is made gets its name by no link where that can be, takes nobody's, and has a draft of its own.

use super::{fresh_beside, named};
use std::{fs, io};

#[test]
fn what_is_made_needs_no_link_and_takes_no_name_that_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name| folder.path().join(name);
    // A folder cannot be linked, as nothing can on some disks.
    fs::create_dir(path("made")).unwrap();
    named(&path("made"), &path("copy")).unwrap();
    assert!(path("copy").is_dir() && !path("made").exists());

    fs::write(path("made"), "new").unwrap();
    fs::write(path("theirs"), "old").unwrap();
    let refused = named(&path("made"), &path("theirs")).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(path("theirs")).unwrap(), b"old");
}

#[test]
fn the_draft_of_another_process_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (copy, theirs) = (folder.path().join("copy"), folder.path().join("copy.part"));
    fs::write(&theirs, "half of it").unwrap();
    let fresh = fresh_beside(&copy).unwrap();
    assert_eq!(fs::read(&theirs).unwrap(), b"half of it");
    assert_eq!(fs::metadata(&fresh).unwrap().len(), 0);
    // What this one left in its place is taken away.
    fs::write(&fresh, "half of it").unwrap();
    assert_eq!(fs::metadata(fresh_beside(&copy).unwrap()).unwrap().len(), 0);
}

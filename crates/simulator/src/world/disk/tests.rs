//! Proves what is durable and what is not: synced bytes and names stay, others are the seed's, a dead process
//! writes nothing, and a full disk says so.

use super::{Disk, DiskOdds, Mount};
use crate::world::{Node, World};
use nightlatch_domain::ports::files::{Files as _, Opening};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

struct Machine {
    node: Node,
    disk: Disk,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let node = World::new(seed).node("a");
        let disk = Disk::new(&node, 10_000);
        Self { node, disk }
    }

    fn mount(&self) -> Mount {
        let mount = self.disk.mount(&self.node.start());
        mount.make_folder(Path::new("/state")).unwrap();
        mount
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        self.disk
            .contents(Path::new("/state"))
            .into_iter()
            .find(|(name, _)| name == "log")
            .map(|(_, bytes)| bytes)
    }
}

fn log() -> PathBuf {
    PathBuf::from("/state/log")
}

/// A file with `ab`, synced with its name, and `cd` after it, not synced.
fn half_synced(machine: &Machine) {
    let mount = machine.mount();
    let file = mount.open(&log(), Opening::Append).unwrap();
    file.append(b"ab").unwrap();
    file.sync_data().unwrap();
    mount.sync_folder(Path::new("/state")).unwrap();
    file.append(b"cd").unwrap();
}

#[test]
fn a_killed_process_loses_nothing_that_it_wrote() {
    let machine = Machine::new(1);
    half_synced(&machine);
    machine.node.kill();
    let file = machine.mount().open(&log(), Opening::Read).unwrap();
    assert_eq!(file.read_all().unwrap(), b"abcd");
}

#[test]
fn what_was_synced_survives_a_power_cut_and_the_rest_is_the_seeds() {
    let mut left = BTreeSet::new();
    for seed in 0..64 {
        let machine = Machine::new(seed);
        half_synced(&machine);
        machine.disk.lose_power();
        let bytes = machine.bytes().unwrap();
        assert!(bytes.starts_with(b"ab"), "{bytes:?}");
        left.insert(bytes);
    }
    let seen: Vec<&[u8]> = left.iter().map(Vec::as_slice).collect();
    assert_eq!(seen, [&b"ab"[..], b"ab\0\0", b"abc", b"abcd"]);
}

#[test]
fn a_name_that_was_not_synced_may_be_gone_and_a_rename_undone() {
    let (mut names, mut contents) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..32 {
        let machine = Machine::new(seed);
        let mount = machine.mount();
        mount.open(&log(), Opening::CreateNew).unwrap().sync_data().unwrap();
        machine.disk.lose_power();
        names.insert(machine.bytes().is_some());

        let machine = Machine::new(seed);
        half_synced(&machine);
        let mount = machine.mount();
        let beside = PathBuf::from("/state/log.new");
        let file = mount.open(&beside, Opening::CreateNew).unwrap();
        file.write_at(b"new", 0).unwrap();
        file.sync_data().unwrap();
        mount.rename(&beside, &log()).unwrap();
        machine.disk.lose_power();
        contents.insert(machine.bytes().unwrap().starts_with(b"new"));
    }
    assert_eq!((names.len(), contents.len()), (2, 2), "both come about");
}

#[test]
fn a_folder_that_moved_is_durable_where_the_folder_above_it_was_synced() {
    let (old, new) = (Path::new("/state/old"), Path::new("/state/new"));
    let mut moved = BTreeSet::new();
    for (seed, is_synced) in (0..16).map(|seed| (seed, seed % 2 == 0)) {
        let machine = Machine::new(seed);
        let mount = machine.mount();
        mount.make_folder(old).unwrap();
        mount.open(&old.join("log"), Opening::CreateNew).unwrap().sync_data().unwrap();
        mount.sync_folder(old).unwrap();
        mount.rename(old, new).unwrap();
        if is_synced {
            mount.sync_folder(Path::new("/state")).unwrap();
        }
        machine.disk.lose_power();
        let is_moved = machine.mount().open(&new.join("log"), Opening::Read).is_ok();
        assert_ne!(is_moved, machine.mount().open(&old.join("log"), Opening::Read).is_ok());
        assert!(is_moved || !is_synced);
        moved.insert(is_moved);
    }
    assert_eq!(moved.len(), 2, "both come about where it was not synced");
}

#[test]
fn a_folder_lists_files_and_folders_by_name() {
    let machine = Machine::new(1);
    let mount = machine.mount();
    mount.make_folder(Path::new("/state/b/below")).unwrap();
    for name in ["/state/c", "/state/a", "/state/b/file"] {
        mount.open(Path::new(name), Opening::CreateNew).unwrap();
    }
    let listed = mount.list(Path::new("/state")).unwrap();
    assert_eq!(listed, ["/state/a", "/state/b", "/state/c"].map(PathBuf::from));
    assert_eq!(mount.list_ending(Path::new("/state"), "c").unwrap(), [PathBuf::from("/state/c")]);
    for ending in ["", "c"] {
        assert!(mount.list_ending(Path::new("/elsewhere"), ending).is_err());
    }
    assert!(mount.list(Path::new("/elsewhere")).is_err());
}

#[test]
fn a_dead_process_writes_nothing() {
    let machine = Machine::new(1);
    let mount = machine.mount();
    let file = mount.open(&log(), Opening::Append).unwrap();
    machine.node.kill();
    assert!(file.append(b"x").is_err() && mount.remove(&log()).is_err());
    assert_eq!(machine.bytes().unwrap(), b"");
    let next = machine.mount();
    assert!(file.append(b"x").is_err(), "nor does it where another runs by now");
    next.open(&log(), Opening::Append).unwrap().append(b"y").unwrap();
    assert_eq!(machine.bytes().unwrap(), b"y");
}

#[test]
fn a_full_disk_refuses_what_was_not_reserved() {
    let machine = Machine::new(1);
    let mount = machine.mount();
    let slot = mount.open(Path::new("/state/slot"), Opening::CreateNew).unwrap();
    slot.allocate(6000).unwrap();
    let file = mount.open(&log(), Opening::Append).unwrap();
    let full = file.append(&[1; 5000]).unwrap_err();
    assert_eq!(
        (full.kind(), file.size_bytes().unwrap()),
        (io::ErrorKind::StorageFull, 4000),
        "a part is written"
    );
    slot.write_at(&[2; 6000], 0).unwrap();
    let second = mount.open(Path::new("/state/other"), Opening::CreateNew).unwrap();
    assert_eq!(second.allocate(1).unwrap_err().kind(), io::ErrorKind::StorageFull);
    slot.set_len(10).unwrap();
    second.allocate(5000).unwrap();
}

#[test]
fn a_failed_sync_may_lose_what_still_reads_back() {
    let mut lost = BTreeSet::new();
    for seed in 0..16 {
        let machine = Machine::new(seed);
        half_synced(&machine);
        let file = machine.mount().open(&log(), Opening::Append).unwrap();
        machine.disk.set_odds(DiskOdds { failed_sync: 1_000_000, ..DiskOdds::default() });
        assert!(file.sync_data().is_err());
        machine.disk.set_odds(DiskOdds::default());
        assert_eq!(file.read_all().unwrap(), b"abcd");
        file.sync_data().unwrap();
        machine.disk.lose_power();
        lost.insert(machine.bytes().unwrap() == b"ab");
    }
    assert_eq!(lost.len(), 2, "both come about");
}

#[test]
fn a_lock_is_held_by_one_living_process() {
    let machine = Machine::new(1);
    let lock = PathBuf::from("/state/lock");
    let mount = machine.mount();
    let held = mount.hold(&lock).unwrap().unwrap();
    assert!(mount.hold(&lock).unwrap().is_none());
    let next = machine.mount();
    let again = next.hold(&lock).unwrap();
    assert!(again.is_some(), "the holder is dead");
    drop(held);
    assert!(next.hold(&lock).unwrap().is_none(), "what the dead let go was not theirs any more");
    drop(again);
    assert!(next.hold(&lock).unwrap().is_some());
}

#[test]
fn a_copied_folder_has_other_numbers_and_an_image_the_same() {
    let machine = Machine::new(1);
    half_synced(&machine);
    let other = Machine { node: machine.node.world().node("b"), disk: Disk::new(&machine.node, 10_000) };
    let other = Machine { disk: Disk::new(&other.node, 10_000), ..other };
    machine.disk.copy_folder(Path::new("/state"), &other.disk, Path::new("/state"));
    let identity =
        |machine: &Machine| machine.mount().open(&log(), Opening::Read).unwrap().identity().unwrap();
    assert_eq!(other.bytes().unwrap(), b"abcd");
    assert_ne!(identity(&machine).filesystem, identity(&other).filesystem);
    let (image, before) = (machine.disk.image(), identity(&machine));
    machine.disk.lose_folder(Path::new("/state"));
    assert_eq!(machine.bytes(), None);
    machine.disk.put_back(&image);
    assert_eq!((machine.bytes().unwrap(), identity(&machine)), (b"abcd".to_vec(), before));
}

#[test]
fn a_process_can_be_killed_between_two_operations() {
    let machine = Machine::new(1);
    let mount = machine.mount();
    let file = mount.open(&log(), Opening::Append).unwrap();
    machine.disk.set_odds(DiskOdds { killed: 1_000_000, ..DiskOdds::default() });
    assert!(file.append(b"x").is_err() && !machine.node.is_up());
    assert_eq!(machine.bytes().unwrap(), b"");
}

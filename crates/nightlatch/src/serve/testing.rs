//! Two planes of one installation, for tests.

use crate::adapters::SystemClock;
use nightlatch_custody::{
    LinkKey,
    entropy::SystemEntropy,
    link::{End, Trusted},
};
use nightlatch_domain::{
    clock::{Clock as _, Timestamp},
    ports::mailbox::Role,
};
use tempfile::TempDir;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

/// A gateway's and a keeper's end, which believe each other.
pub(super) fn ends() -> (End, End) {
    let mut house = House::new();
    (house.end(Role::Gateway), house.end(Role::Keeper))
}

/// The link keys of an installation.
pub(super) struct House {
    folder: TempDir,
    trusted: Trusted,
}

impl House {
    pub(super) fn new() -> Self {
        let mut house = Self { folder: tempfile::tempdir().unwrap(), trusted: Trusted::default() };
        for role in Role::ALL {
            let public = house.key(role.as_str()).public();
            house.trusted.add(role, &public).unwrap();
        }
        house
    }

    fn key(&self, name: &str) -> LinkKey {
        LinkKey::load_or_create(&self.folder.path().join(name), true, &SystemEntropy::new()).unwrap()
    }

    /// One more process of a role.
    pub(super) fn end(&mut self, role: Role) -> End {
        let name = format!("{role}-1").parse().unwrap();
        let (key, now) = (self.key(role.as_str()), SystemClock.now());
        End::new((role, name), key, self.trusted.clone(), now, &SystemEntropy::new()).unwrap()
    }

    /// A process that says it is of a role, by a key that nobody believes; it believes the others.
    pub(super) fn stranger(&mut self, role: Role) -> End {
        let name = format!("{role}-0").parse().unwrap();
        let (key, now) = (self.key("stranger"), SystemClock.now());
        End::new((role, name), key, self.trusted.clone(), now, &SystemEntropy::new()).unwrap()
    }

    pub(super) fn database(&self) -> std::path::PathBuf {
        self.folder.path().join("db.sqlite")
    }
}

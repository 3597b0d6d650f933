//! What the tests of this room share: keys, a clock that stands, a store in memory, a disk that fails
//! on command.

use crate::{
    LedgerKeys,
    disk::{Disk, Tape},
    facts::EventFacts,
    record::{Entry, EventName},
};
use aws_lc_rs::{hmac, signature::Ed25519KeyPair};
use nightlatch_domain::{
    clock::{Boot, Clock, Timestamp},
    exchange::{Caller, Exchange, Matched, Target},
    id::{CallId, ConnectionId, GrantId, PrincipalId, TaskId, TenantId},
    ports::store::{LedgerHead, LedgerStore, StoreError, Stored},
    principal::Binding,
    tool::{BoundHost, Effect, OperationId, Placement, Scheme, Sensitivity},
};
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// The id that a kind of thing has as its `n`th.
macro_rules! id {
    ($kind:ident, $n:expr) => {
        $kind::new(Timestamp::from_millis(1_000), [$n; 10])
    };
}
pub(crate) use id;

pub(crate) fn keys() -> LedgerKeys {
    let signer = Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap();
    LedgerKeys::new(signer, hmac::Key::new(hmac::HMAC_SHA256, &[4; 32]))
}

/// A clock that goes on only when it is told to.
#[derive(Default)]
pub(crate) struct StoppedClock(AtomicU64);

impl StoppedClock {
    pub(crate) fn advance(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + self.0.load(Ordering::SeqCst) as i64)
    }

    fn boot(&self) -> Boot {
        Boot::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Keeps the last head, as the contract of [`LedgerStore`] says.
#[derive(Default)]
pub(crate) struct Heads {
    pub(crate) kept: Mutex<Option<LedgerHead>>,
    pub(crate) out_of_reach: Mutex<bool>,
}

impl LedgerStore for Heads {
    fn put_head(&self, head: LedgerHead) -> Stored<'_, ()> {
        Box::pin(async move {
            if *self.out_of_reach.lock().unwrap() {
                return Err(StoreError::Unavailable);
            }
            let mut kept = self.kept.lock().unwrap();
            if kept.as_ref().is_none_or(|kept| kept.seq < head.seq) {
                *kept = Some(head);
            }
            Ok(())
        })
    }

    fn head(&self) -> Stored<'_, Option<LedgerHead>> {
        Box::pin(async move { Ok(self.kept.lock().unwrap().clone()) })
    }
}

pub(crate) fn caller() -> Caller {
    Caller {
        tenant: id!(TenantId, 1),
        agent: id!(PrincipalId, 1),
        task: id!(TaskId, 1),
        binding: Binding::Uid { uid: 1000 },
    }
}

pub(crate) fn exchange(call: u8, effect: Effect) -> Exchange {
    Exchange {
        call: id!(CallId, call),
        at: Timestamp::from_millis(1),
        caller: caller(),
        tool: "github".parse().unwrap(),
        grant: id!(GrantId, 1),
        connection: id!(ConnectionId, 1),
        host: BoundHost {
            scheme: Scheme::Https,
            host: "api.example.com".to_owned(),
            port: 443,
            path_prefix: "/".to_owned(),
            placement: Placement::Bearer,
            route: String::new(),
        },
        target: Target {
            method: "GET".to_owned(),
            path: "/repos/acme/path-canary".to_owned(),
            query: Some("token=query-canary".to_owned()),
            upgrade: None,
        },
        matched: Matched {
            operation: OperationId("repos.get".to_owned()),
            effect,
            sensitivity: Sensitivity::Medium,
            resource: Some("acme/resource-canary".to_owned()),
            template: "/repos/{owner}/{repo}".to_owned(),
        },
        also: Vec::new(),
    }
}

/// An entry that is told from others by its count.
pub(crate) fn entry(count: u64) -> Entry {
    crate::entries::event(EventFacts { count, ..EventFacts::new(EventName::TaskOpened) })
}

/// A disk in memory that counts and fails.
#[derive(Clone, Default)]
pub(crate) struct FakeDisk {
    plates: Arc<Mutex<Plates>>,
    held: Arc<(Mutex<bool>, Condvar)>,
}

#[derive(Default)]
pub(crate) struct Plates {
    /// What a reader sees now.
    pub(crate) seen: BTreeMap<u64, Vec<u8>>,
    /// What a power loss would leave.
    pub(crate) durable: BTreeMap<u64, Vec<u8>>,
    /// Bytes that may still be written; none is no limit.
    pub(crate) room: Option<usize>,
    pub(crate) syncs: usize,
    pub(crate) failing_syncs: usize,
    pub(crate) failing_cuts: usize,
    pub(crate) failing_creates: usize,
}

impl FakeDisk {
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Plates) -> T) -> T {
        look(&mut self.plates.lock().unwrap())
    }

    /// While held, a sync begins and does not end.
    pub(crate) fn hold_syncs(&self, held: bool) {
        *self.held.0.lock().unwrap() = held;
        self.held.1.notify_all();
    }

    pub(crate) fn tape(&self, number: u64) -> Box<dyn Tape> {
        self.with(|plates| plates.seen.insert(number, Vec::new()));
        Box::new(FakeTape { disk: self.clone(), number })
    }

    /// Every line that a reader sees, over all segments.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.with(|plates| {
            let all: Vec<u8> = plates.seen.values().flatten().copied().collect();
            let text = String::from_utf8(all).unwrap();
            assert!(text.is_empty() || text.ends_with('\n'), "no half line");
            text.lines().map(str::to_owned).collect()
        })
    }
}

impl Disk for FakeDisk {
    fn create(&mut self, number: u64) -> io::Result<Box<dyn Tape>> {
        if self.with(|plates| take_one(&mut plates.failing_creates)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(self.tape(number))
    }
}

struct FakeTape {
    disk: FakeDisk,
    number: u64,
}

impl Tape for FakeTape {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.with(|plates| {
            let room = plates.room.unwrap_or(usize::MAX);
            let written = room.min(bytes.len());
            plates.seen.get_mut(&self.number).unwrap().extend_from_slice(&bytes[..written]);
            plates.room = plates.room.map(|room| room - written);
            if written < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.disk.with(|plates| {
            if take_one(&mut plates.failing_cuts) {
                return Err(io::Error::other("cut"));
            }
            plates.seen.get_mut(&self.number).unwrap().truncate(len as usize);
            Ok(())
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.with(|plates| plates.syncs += 1);
        let held = self.disk.held.0.lock().unwrap();
        drop(self.disk.held.1.wait_while(held, |held| *held).unwrap());
        self.disk.with(|plates| {
            if take_one(&mut plates.failing_syncs) {
                return Err(io::Error::other("sync"));
            }
            let bytes = plates.seen[&self.number].clone();
            plates.durable.insert(self.number, bytes);
            Ok(())
        })
    }
}

fn take_one(count: &mut usize) -> bool {
    let some = *count > 0;
    *count = count.saturating_sub(1);
    some
}

//! The directory holds what the feed says, notices what it missed, and finds a reference in any shape.

use super::Directory;
use nightlatch_catalog::builtin::{self, Catalogue};
use nightlatch_domain::{
    clock::{Boot, Clock, Timestamp},
    grant::{Grant, ResourcePattern},
    id::{ConnectionId, GrantId, TaskId, TenantId},
    ports::{
        Boxed,
        store::{Change, DirectoryStore, Entity, EntityId, Stored},
    },
    reference::Reference,
    sealed::Attestation,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// A machine whose time a test sets.
#[derive(Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(0)
    }
    fn boot(&self) -> Boot {
        Boot::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A feed by script.
#[derive(Default)]
struct Script {
    number: AtomicU64,
    grants: Mutex<Vec<Grant>>,
    changes: Mutex<Vec<Change>>,
    /// Answers `entity` in place of what was asked for.
    instead: Mutex<Option<Grant>>,
    snapshots: AtomicUsize,
    news: Notify,
}

impl Script {
    fn say(&self, number: u64, grant: &Grant) {
        let entity = EntityId::Grant(grant.id);
        self.changes.lock().unwrap().push(Change { number, tenant: grant.tenant, entity });
        self.number.store(number, Ordering::SeqCst);
        self.news.notify_one();
    }

    fn put(&self, grant: &Grant) {
        let mut grants = self.grants.lock().unwrap();
        grants.retain(|own| own.id != grant.id);
        grants.push(grant.clone());
    }
}

impl DirectoryStore for Script {
    fn snapshot(&self) -> Stored<'_, (u64, Vec<Entity>)> {
        self.snapshots.fetch_add(1, Ordering::SeqCst);
        let rows = self.grants.lock().unwrap().iter().cloned().map(Entity::Grant).collect();
        Box::pin(async move { Ok((self.number.load(Ordering::SeqCst), rows)) })
    }
    fn changes(&self, after: u64, _: u32) -> Stored<'_, Vec<Change>> {
        let later =
            self.changes.lock().unwrap().iter().filter(|change| change.number > after).copied().collect();
        Box::pin(async move { Ok(later) })
    }
    fn entity(&self, _: TenantId, entity: EntityId) -> Stored<'_, Option<Entity>> {
        let instead = self.instead.lock().unwrap().clone();
        let own =
            self.grants.lock().unwrap().iter().find(|grant| EntityId::Grant(grant.id) == entity).cloned();
        Box::pin(async move { Ok(instead.or(own).map(Entity::Grant)) })
    }
    fn changed(&self, _: u64, _: u64) -> Boxed<'_, ()> {
        Box::pin(self.news.notified())
    }
}

fn grant(byte: u8) -> Grant {
    let at = Timestamp::from_millis(1);
    let mut step = byte;
    let reference = Reference::draw(|| {
        step = step.wrapping_add(1);
        Ok::<_, ()>(std::array::from_fn(|place| step.wrapping_mul(31).wrapping_add(place as u8)))
    });
    Grant {
        tenant: TenantId::new(at, [1; 10]),
        id: GrantId::new(at, [byte; 10]),
        task: TaskId::new(at, [1; 10]),
        connection: ConnectionId::new(at, [1; 10]),
        tool: "github".parse().unwrap(),
        operations: Vec::new(),
        resource: ResourcePattern::all(),
        reference: reference.unwrap(),
        created_at: at,
        expires_at: at,
        revoked_at: None,
        budget: None,
        attestation: Attestation::default(),
    }
}

fn directory(hand: &Arc<Hand>) -> Arc<Directory> {
    let catalogue = Catalogue::builtin().unwrap();
    Arc::new(Directory::new(&catalogue, Arc::clone(hand) as _, Duration::from_millis(30)))
}

fn follow(directory: &Arc<Directory>, script: &Arc<Script>) {
    let (directory, script) = (Arc::clone(directory), Arc::clone(script));
    tokio::spawn(async move { directory.follow(script).await });
}

async fn applied(directory: &Directory, number: u64) {
    assert!(directory.wait_applied(number, Duration::from_secs(5)).await, "change {number} never came");
}

#[tokio::test]
async fn changes_are_applied_by_number_and_rows_that_are_gone_go() {
    let (script, directory) = (Arc::new(Script::default()), directory(&Arc::default()));
    let (first, second) = (grant(1), grant(2));
    script.put(&first);
    script.number.store(1, Ordering::SeqCst);
    follow(&directory, &script);
    applied(&directory, 1).await;
    script.put(&second);
    script.say(2, &second);
    applied(&directory, 2).await;
    assert!(directory.tables().grant(second.tenant, second.id).is_some());
    script.grants.lock().unwrap().clear();
    script.say(3, &first);
    applied(&directory, 3).await;
    let github = builtin::manifest("github").unwrap();
    assert!(directory.tables().named(first.reference.as_str(), &github).is_none());
    assert!(directory.tables().named(second.reference.as_str(), &github).is_some());
    assert_eq!(script.snapshots.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_missed_number_reads_everything_again() {
    let (script, directory) = (Arc::new(Script::default()), directory(&Arc::default()));
    let (first, missed, third) = (grant(1), grant(2), grant(3));
    script.put(&first);
    script.number.store(1, Ordering::SeqCst);
    follow(&directory, &script);
    applied(&directory, 1).await;
    script.put(&missed);
    script.put(&third);
    script.say(3, &third);
    applied(&directory, 3).await;
    assert!(directory.tables().grant(missed.tenant, missed.id).is_some(), "a change was missed");
    assert_eq!(script.snapshots.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_row_that_was_not_asked_for_is_left_out() {
    let (script, directory) = (Arc::new(Script::default()), directory(&Arc::default()));
    script.number.store(1, Ordering::SeqCst);
    follow(&directory, &script);
    applied(&directory, 1).await;
    let (asked, other) = (grant(1), grant(2));
    *script.instead.lock().unwrap() = Some(other.clone());
    script.say(2, &asked);
    applied(&directory, 2).await;
    assert!(directory.tables().grant(asked.tenant, asked.id).is_none());
    assert!(directory.tables().grant(other.tenant, other.id).is_none());
}

#[test]
fn a_directory_that_was_never_loaded_shows_nothing() {
    assert!(directory(&Arc::default()).view().is_err());
}

#[tokio::test]
async fn the_age_counts_from_before_the_question() {
    let (hand, script) = (Arc::new(Hand::default()), Arc::new(Script::default()));
    let directory = directory(&hand);
    script.put(&grant(1));
    script.number.store(1, Ordering::SeqCst);
    follow(&directory, &script);
    applied(&directory, 1).await;
    hand.0.store(30, Ordering::SeqCst);
    assert!(directory.view().is_ok());
    hand.0.store(31, Ordering::SeqCst);
    assert!(directory.view().is_err());
}

#[tokio::test]
async fn a_reference_is_found_in_its_own_form_and_in_a_shape_and_only_whole() {
    let (script, directory) = (Arc::new(Script::default()), directory(&Arc::default()));
    let own = grant(1);
    script.put(&own);
    script.number.store(1, Ordering::SeqCst);
    follow(&directory, &script);
    applied(&directory, 1).await;
    let (tables, github) = (directory.tables(), builtin::manifest("github").unwrap());
    let shaped = own.reference.shaped(&github.shapes[0]);
    for text in [own.reference.as_str(), shaped.as_str()] {
        assert_eq!(tables.named(text, &github).unwrap().0.id, own.id);
    }
    // The same beginning is not the same reference.
    let (head, last) = shaped.split_at(shaped.len() - 1);
    let other = format!("{head}{}", if last == "a" { "b" } else { "a" });
    assert!(tables.named(&other, &github).is_none());
    let anthropic = builtin::manifest("anthropic").unwrap();
    assert_eq!(
        tables.named(&shaped, &anthropic).is_some(),
        anthropic.shapes.iter().any(|shape| shape.core_of(&shaped).is_some())
    );
}

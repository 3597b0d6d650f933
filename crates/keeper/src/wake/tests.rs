//! Proves that whoever has the most wakes or challenges gives way, and that a sleep reaches a proof that is being verified.

use super::{Asked, Awake, CHALLENGES_MAX, CHALLENGES_OF_TASK, Inner, WAKES_MAX};
use nightlatch_domain::{
    clock::{Boot, Timestamp},
    id::{KeyId, PrincipalId, TaskId, TenantId, WakeId},
    ports::gateway_keeper::{KeeperRefusal, WakeGranted},
    principal::Binding,
    sealed::SealingKey,
    task::Assurance,
};
use std::sync::Arc;

const T0: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn tenant(number: u8) -> TenantId {
    TenantId::new(T0, [number; 10])
}

fn ten(number: usize) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// The `number`th wake, of a task of its own.
fn awake(tenant: TenantId, number: usize) -> Arc<Awake> {
    let at = Timestamp::from_millis(T0.millis() + i64::try_from(number).unwrap());
    let wake = WakeId::new(at, ten(number));
    Arc::new(Awake {
        wake,
        tenant,
        agent: PrincipalId::new(T0, [1; 10]),
        task: TaskId::new(at, ten(number)),
        binding: Binding::Uid { uid: 7 },
        replica_key: SealingKey { id: KeyId::new(T0, [1; 10]), public: String::new() },
        granted: WakeGranted { wake, assurance: Assurance::Stated, ends_at: T0 },
        ends_boot: Boot::from_millis(1),
    })
}

fn take_in(inner: &mut Inner, awake: &Arc<Awake>) -> Result<Vec<WakeId>, KeeperRefusal> {
    let (tenant, task) = (awake.tenant, awake.task);
    let until = Boot::from_millis(1);
    let asked = Asked { tenant, task, nonce: String::new(), until, expires_at: T0, spent: true };
    inner.challenges.insert(awake.wake, asked);
    inner.take_in(awake).map(|over| over.iter().map(|one| one.wake).collect())
}

#[test]
fn a_tenant_that_takes_every_wake_keeps_nobody_else_out() {
    let mut inner = Inner::default();
    for number in 0..WAKES_MAX {
        let one = awake(tenant(1), number);
        inner.awake.insert(one.wake, one);
    }
    let greedy = awake(tenant(1), WAKES_MAX);
    assert_eq!(take_in(&mut inner, &greedy), Err(KeeperRefusal::TooMany));
    let modest = awake(tenant(2), WAKES_MAX + 1);
    assert_eq!(take_in(&mut inner, &modest), Ok(vec![awake(tenant(1), 0).wake]));
    assert_eq!(inner.awake.len(), WAKES_MAX);
}

#[test]
fn a_sleep_reaches_a_proof_that_is_being_verified() {
    let mut inner = Inner::default();
    let verified = awake(tenant(1), 1);
    // Its challenge was forgotten while the rows were read.
    assert!(matches!(inner.take_in(&verified), Err(KeeperRefusal::ProofRejected)));
    assert!(inner.awake.is_empty());
}

/// The `number`th challenge, of that task.
fn put(inner: &mut Inner, task: TaskId, number: usize) -> WakeId {
    let wake = awake(tenant(1), number).wake;
    let until = Boot::from_millis(1);
    let asked = Asked { tenant: tenant(1), task, nonce: String::new(), until, expires_at: T0, spent: false };
    inner.challenges.insert(wake, asked);
    wake
}

fn ask(inner: &mut Inner, task: TaskId, number: usize) -> Result<WakeId, KeeperRefusal> {
    inner.make_room(tenant(1), task)?;
    Ok(put(inner, task, number))
}

fn task(number: usize) -> TaskId {
    TaskId::new(T0, ten(number))
}

#[test]
fn a_task_that_asks_again_and_again_gives_up_its_own_oldest_challenge() {
    let mut inner = Inner::default();
    let others = ask(&mut inner, task(2), 0).unwrap();
    let own: Vec<WakeId> = (1..=1000).map(|number| ask(&mut inner, task(1), number).unwrap()).collect();
    let mut left = vec![others];
    left.extend(&own[1000 - CHALLENGES_OF_TASK..]);
    assert_eq!(inner.challenges.keys().copied().collect::<Vec<_>>(), left);
}

#[test]
fn a_proof_that_is_being_verified_makes_no_room() {
    let mut inner = Inner::default();
    let own: Vec<WakeId> =
        (0..CHALLENGES_OF_TASK).map(|number| ask(&mut inner, task(1), number).unwrap()).collect();
    inner.challenges.get_mut(&own[0]).unwrap().spent = true;
    ask(&mut inner, task(1), 100).unwrap();
    assert!(inner.challenges.contains_key(&own[0]) && !inner.challenges.contains_key(&own[1]));
    inner.challenges.values_mut().for_each(|asked| asked.spent = true);
    assert_eq!(ask(&mut inner, task(1), 101), Err(KeeperRefusal::TooMany));
    assert!(ask(&mut inner, task(2), 102).is_ok());
}

#[test]
fn tasks_that_leave_every_challenge_unanswered_keep_no_other_out() {
    let mut inner = Inner::default();
    for number in 0..CHALLENGES_MAX {
        put(&mut inner, task(number / CHALLENGES_OF_TASK), number);
    }
    // Those who have the most as well give up their own.
    ask(&mut inner, task(1), CHALLENGES_MAX).unwrap();
    assert_eq!(inner.challenges.len(), CHALLENGES_MAX);
    let newcomers: Vec<WakeId> = (0..100)
        .map(|number| ask(&mut inner, task(1000 + number), 2 * CHALLENGES_MAX + number).unwrap())
        .collect();
    assert_eq!(inner.challenges.len(), CHALLENGES_MAX);
    assert!(newcomers.iter().all(|wake| inner.challenges.contains_key(wake)));
    // Who has no less than everybody else waits.
    let mut even = Inner::default();
    for number in 0..CHALLENGES_MAX {
        put(&mut even, task(number), number);
    }
    assert_eq!(ask(&mut even, task(CHALLENGES_MAX), CHALLENGES_MAX), Err(KeeperRefusal::TooMany));
    even.forget_old(Boot::from_millis(1));
    assert!(ask(&mut even, task(CHALLENGES_MAX), CHALLENGES_MAX).is_ok());
}

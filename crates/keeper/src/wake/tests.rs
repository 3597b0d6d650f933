//! Proves that whoever has the most wakes gives way, and that a sleep reaches a proof that is being verified.

use super::{Asked, Awake, Inner, WAKES_MAX};
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

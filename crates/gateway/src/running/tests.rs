//! A drain stops new use of a generation, waits for what runs, and believes only leases asked for later.

use super::{Draining, Running};
use nightlatch_domain::{
    clock::Timestamp,
    id::{ConnectionId, FamilyId, GrantId, PrincipalId, TenantId, WakeId},
    ports::gateway_keeper::LeaseBinding,
};
use std::{sync::Arc, time::Duration};

fn binding(generation: u64) -> LeaseBinding {
    let at = Timestamp::from_millis(1);
    LeaseBinding {
        tenant: TenantId::new(at, [1; 10]),
        wake: WakeId::new(at, [1; 10]),
        grant: GrantId::new(at, [1; 10]),
        connection: ConnectionId::new(at, [1; 10]),
        family: Some(FamilyId::new(at, [1; 10])),
        generation,
        request_sha256: None,
    }
}

fn token(generation: u64) -> super::Token {
    let binding = binding(generation);
    (binding.tenant, binding.family.unwrap(), generation)
}

#[tokio::test]
async fn a_drain_waits_for_the_calls_that_run() {
    let running = Arc::new(Running::default());
    let call = running.enter(&binding(3), 0).unwrap();
    running.begin_drain(token(3));
    let waits = tokio::time::timeout(Duration::ZERO, running.drained(token(3)));
    assert!(waits.await.is_err(), "the drain did not wait for the call");
    drop(call);
    running.drained(token(3)).await;
}

#[test]
fn no_call_begins_with_a_generation_that_is_being_drained() {
    let running = Arc::new(Running::default());
    let asked_before = running.notices();
    running.begin_drain(token(3));
    assert!(matches!(running.enter(&binding(3), asked_before), Err(Draining)));
    assert!(running.enter(&binding(4), asked_before).is_ok());
    // Asked again after the drain, the keeper named it anew: it was not refreshed after all.
    assert!(running.enter(&binding(3), running.notices()).is_ok());
}

#[test]
fn an_agent_has_its_share_and_no_more() {
    let (running, at) = (Arc::new(Running::default()), Timestamp::from_millis(1));
    let (tenant, agent) = (TenantId::new(at, [1; 10]), PrincipalId::new(at, [1; 10]));
    let first = running.admit(tenant, agent, 1);
    assert!(first.is_some() && running.admit(tenant, agent, 1).is_none());
    assert!(running.admit(tenant, PrincipalId::new(at, [2; 10]), 1).is_some());
    drop(first);
    assert!(running.admit(tenant, agent, 1).is_some());
}

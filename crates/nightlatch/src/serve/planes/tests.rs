//! Of calls, a gateway takes over none of a gateway that lives, though neither lists the other.

use super::{Office, present};
use crate::{
    adapters::SystemClock,
    serve::testing::{House, NOW},
};
use nightlatch_domain::{
    call::{CallPlace, CallState},
    id::{CallId, PrincipalId, TaskId, TenantId},
    ports::{
        mailbox::{Mailbox as _, Role},
        store::{Accepted, CallRoom, CallRow, CallStore as _, ControlStore as _},
    },
    principal::{Agent, AgentStatus, Human, RiskTier, Tenant},
    sealed::{Attestation, Wrapped},
    task::{Egress, Task, TaskState},
    tool::Name,
};
use nightlatch_store::SqliteStore;
use std::{sync::Arc, time::Duration};

const ROOMY: CallRoom = CallRoom { each_max: 9, each_max_bytes: 1 << 20, open_max: 9 };

/// A task, and what it hangs on.
async fn put_task(store: &SqliteStore) -> (TenantId, TaskId) {
    let (tenant, id) = (TenantId::new(NOW, [1; 10]), TaskId::new(NOW, [1; 10]));
    let (human, agent) = (PrincipalId::new(NOW, [1; 10]), PrincipalId::new(NOW, [2; 10]));
    let name = |name: &str| -> Name { name.parse().unwrap() };
    let attestation = || Attestation("mac".into());
    let agent_row = Agent {
        tenant,
        id: agent,
        name: name("laptop"),
        owner: human,
        purpose: "to run".into(),
        risk: RiskTier::High,
        status: AgentStatus::Active,
        created_at: NOW,
        attestation: attestation(),
    };
    let human_row = Human { tenant, id: human, label: "dana@laptop".into(), created_at: NOW };
    let tenant_row = Tenant { id: tenant, name: name("default"), created_at: NOW };
    store.bootstrap(tenant_row, human_row, agent_row).await.unwrap();
    let task = Task {
        tenant,
        id,
        name: None,
        agent,
        subject: human,
        purpose: "to try".into(),
        egress: Egress::Open,
        state: TaskState::Awake,
        created_at: NOW,
        ends_at: NOW.plus(Duration::from_secs(86_400)),
        attestation: attestation(),
    };
    store.put_task(task).await.unwrap();
    (tenant, id)
}

fn call_of(owner: &Name, (tenant, task): (TenantId, TaskId), n: u8) -> CallRow {
    let place = CallPlace { tenant, task, call: CallId::new(NOW, [n; 10]) };
    CallRow {
        place,
        owner: Some(owner.clone()),
        key_sha256: n.to_string(),
        request_sha256: "0a".repeat(32),
        state: CallState::Attempting,
        attempts: 1,
        not_before: NOW,
        accepted_at: NOW,
        ended_at: None,
        request: Wrapped { format: 1, data_key: "key".into(), ciphertext: "text".into() },
        mandate: None,
        result: None,
        delivery: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_calls_of_a_gateway_that_is_not_listed_stay_while_it_lives() {
    let mut house = House::new();
    let store = Arc::new(SqliteStore::open(&house.database(), NOW).unwrap());
    let (own, stranger) = (house.end(Role::Gateway), house.stranger(Role::Gateway));
    let (own_name, strangers_name) = (own.card().name.clone(), stranger.card().name.clone());
    let gone: Name = "gateway-9".parse().unwrap();
    let task = put_task(&store).await;
    for (n, owner) in [&own_name, &strangers_name, &gone].into_iter().enumerate() {
        let call = call_of(owner, task, u8::try_from(n).unwrap());
        assert_eq!(store.accept_call(call, ROOMY).await, Ok(Accepted::New));
    }
    store.arrive(stranger.card().clone()).await.unwrap();
    let office = Office::open(Arc::clone(&store) as _, own, Arc::new(SystemClock)).await;
    let listed = office.living(Role::Gateway);
    assert!(listed.iter().all(|known| known.peer() != stranger.card().peer), "it is not listed");
    let present = present(&office, &own_name).await.unwrap();
    let orphaned = store.orphaned_calls(present, 9).await.unwrap();
    assert_eq!(orphaned.into_iter().map(|(_, from)| from).collect::<Vec<_>>(), [gone]);
}

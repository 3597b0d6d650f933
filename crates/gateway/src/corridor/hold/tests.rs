//! Proves that a call whose agent need not be on the line begins no wake by itself, whoever sent it in here.

use super::{Right, hold};
use crate::{brakes::testing::exchange, limits::Limits, running::Running, wakes::Wakes};
use nightlatch_custody::entropy::SystemEntropy;
use nightlatch_domain::{
    clock::{Boot, Clock, Timestamp},
    ports::{
        Boxed,
        gateway_keeper::{GatewayReply, GatewayRequest, KeeperForGateway, KeeperRefusal},
    },
    problem::{Problem, ProblemKind},
};
use nightlatch_egress::{Connector, EgressConfig, Pool, PoolLimits, SystemResolver};
use std::sync::{Arc, Mutex};

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1)
    }
    fn boot(&self) -> Boot {
        Boot::from_millis(1)
    }
}

/// A keeper that says no, and remembers what it was asked for.
#[derive(Default)]
struct Asked(Mutex<Vec<GatewayRequest>>);

impl KeeperForGateway for Asked {
    fn ask(&self, request: GatewayRequest) -> Boxed<'_, Result<GatewayReply, KeeperRefusal>> {
        self.0.lock().unwrap().push(request);
        Box::pin(async { Err(KeeperRefusal::Unavailable) })
    }
}

/// What becomes of a call of which no wake runs, and what the keeper was asked for.
async fn held_without_a_wake(right: Option<&Right>) -> (Option<Problem>, Vec<GatewayRequest>) {
    let (keeper, clock, running) =
        (Arc::new(Asked::default()), Arc::new(Stopped), Arc::new(Running::default()));
    let connector =
        Connector::new(EgressConfig::default(), Arc::new(SystemResolver), Arc::clone(&clock) as _);
    let wakes = Arc::new(Wakes::new(
        Arc::clone(&keeper) as _,
        clock,
        Arc::new(SystemEntropy::new()),
        Pool::new(Arc::new(connector), PoolLimits::default()),
        Arc::clone(&running),
        Limits::default(),
    ));
    let held = hold(&wakes, &running, &exchange(1, 1), 0, right).await;
    let asked = keeper.0.lock().unwrap().drain(..).collect();
    (held.err(), asked)
}

#[tokio::test]
async fn a_durable_call_of_a_task_without_a_wake_is_pending_and_begins_none() {
    let (problem, asked) = held_without_a_wake(Some(&Right::Wake)).await;
    assert_eq!(problem, Some(Problem::new(ProblemKind::CredentialPending).retry_after(1)));
    assert_eq!(asked, [], "no challenge, and no lease");
}

#[tokio::test]
async fn a_call_whose_agent_is_on_the_line_begins_one() {
    let (problem, asked) = held_without_a_wake(None).await;
    assert!(problem.is_some());
    assert!(matches!(asked.as_slice(), [GatewayRequest::Challenge { .. }]), "{asked:?}");
}

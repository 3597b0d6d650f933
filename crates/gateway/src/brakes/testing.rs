//! Exchanges for the tests of the brakes: who calls, with what, for what.

use nightlatch_domain::{
    clock::Timestamp,
    exchange::{Caller, Exchange, Matched, Target},
    id::{CallId, ConnectionId, GrantId, PrincipalId, TaskId, TenantId},
    principal::Binding,
    tool::{BoundHost, Effect, Name, OperationId, Placement, Scheme, Sensitivity},
};

const AT: Timestamp = Timestamp::from_millis(1);

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A call of an agent, in a task of the same number, with a connection of the tool `acme`.
pub(crate) fn exchange(agent: u8, connection: u8) -> Exchange {
    Exchange {
        call: CallId::new(AT, [1; 10]),
        at: AT,
        caller: Caller {
            tenant: TenantId::new(AT, [1; 10]),
            agent: PrincipalId::new(AT, [agent; 10]),
            task: TaskId::new(AT, [agent; 10]),
            binding: Binding::Uid { uid: u32::from(agent) },
        },
        tool: name("acme"),
        grant: GrantId::new(AT, [agent; 10]),
        connection: ConnectionId::new(AT, [connection; 10]),
        host: BoundHost {
            scheme: Scheme::Https,
            host: "api.acme.test".into(),
            port: 443,
            path_prefix: "/".into(),
            placement: Placement::Bearer,
            route: String::new(),
        },
        target: Target { method: "GET".into(), path: "/things".into(), query: None, upgrade: None },
        matched: Matched {
            operation: OperationId("things.list".into()),
            effect: Effect::Read,
            sensitivity: Sensitivity::default(),
            resource: None,
            template: "/things".into(),
        },
        also: Vec::new(),
    }
}

//! What the gateway lets be seen of its calls: who shows them to a human or to a machine asks this port.
//!
//! Ids, names that operators gave, and words of ours. Never a path, a reference, a header or anything else that
//! an agent or a tool wrote: what is shown here ends in terminals and in other people's databases.

use crate::{
    id::{CallId, PrincipalId, TaskId, TenantId},
    tool::{Effect, Name, OperationId},
};

/// How a call comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// A base URL per tool.
    Route,
    /// A forward proxy.
    Proxy,
    /// The JSON API for calls that outlive their caller.
    Call,
}

impl Door {
    /// Every door.
    pub const ALL: [Self; 3] = [Self::Route, Self::Proxy, Self::Call];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Proxy => "proxy",
            Self::Call => "call",
        }
    }
}

/// A call that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveCall {
    /// Its id.
    pub call: CallId,
    /// The tenant.
    pub tenant: TenantId,
    /// How it came in.
    pub door: Door,
    /// Who calls.
    pub agent: PrincipalId,
    /// For which task.
    pub task: TaskId,
    /// Which tool.
    pub tool: Name,
    /// Which operation, by the manifest.
    pub operation: OperationId,
    /// What that does.
    pub effect: Effect,
    /// The room of the corridor that it is in.
    pub phase: &'static str,
    /// How long it has been under way.
    pub age_millis: u64,
}

/// How many calls there were, and how many of them were refused by us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Total {
    /// All that have ended.
    pub calls: u64,
    /// Those that ended with a refusal of ours.
    pub refused: u64,
}

/// The gateway's calls, as they may be seen. Asking it stops no call.
pub trait Sight: Send + Sync {
    /// The calls of a tenant that are under way, the oldest first.
    fn live(&self, tenant: TenantId) -> Vec<LiveCall>;
    /// What there was since the start, by tool.
    fn by_tool(&self, tenant: TenantId) -> Vec<(Name, Total)>;
    /// What there was since the start, by agent.
    fn by_agent(&self, tenant: TenantId) -> Vec<(PrincipalId, Total)>;
    /// How often each limit was met, over all tenants, by its name in the configuration.
    fn limits_met(&self) -> Vec<(&'static str, u64)>;
}

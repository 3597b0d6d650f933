//! Rules: which pace holds for whom. What the operator names goes before what holds for all of a kind.

use super::pace::Pace;
use crate::limits::Limits;
use std::collections::HashMap;

/// What a limit is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Of {
    /// An agent, over all its tasks.
    Agent,
    /// A task.
    Task,
    /// A connection, over all agents.
    Connection,
    /// A tool, over all agents and connections.
    Tool,
}

impl Of {
    /// The word in configuration and refusals.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Task => "task",
            Self::Connection => "connection",
            Self::Tool => "tool",
        }
    }
}

/// What an operator wrote: a pace for all of a kind, or for the one with this name. Each part that is not said
/// stays what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What is counted.
    pub of: Of,
    /// An agent's or a tool's name, or a connection's as `TOOL/NAME`.
    pub name: Option<String>,
    /// From one call to the next.
    pub interval: Option<std::time::Duration>,
    /// Calls that may come together.
    pub burst: Option<u32>,
    /// Calls under way together.
    pub at_once: Option<u32>,
}

impl Rule {
    fn over(&self, pace: Pace) -> Pace {
        let interval = self.interval.unwrap_or(pace.interval);
        // Who says a rate alone means that rate: a second of it may come together.
        let second = |interval: std::time::Duration| {
            u32::try_from(1_000_000_000 / interval.as_nanos().max(1)).unwrap_or(u32::MAX).max(1)
        };
        let burst = self.burst.or(self.interval.map(second)).unwrap_or(pace.burst);
        Pace { interval, burst, at_once: self.at_once.unwrap_or(pace.at_once) }
    }
}

/// Every pace.
pub(super) struct Rules {
    all: [Pace; 4],
    named: HashMap<(Of, String), Pace>,
}

impl Rules {
    pub(super) fn new(limits: &Limits, rules: Vec<Rule>) -> Self {
        let Limits { agent_pace, task_pace, connection_pace, tool_pace, .. } = *limits;
        let mut own =
            Self { all: [agent_pace, task_pace, connection_pace, tool_pace], named: HashMap::new() };
        let (named, general): (Vec<_>, Vec<_>) = rules.into_iter().partition(|rule| rule.name.is_some());
        for rule in general {
            let pace = own.place(rule.of);
            *pace = rule.over(*pace);
        }
        for rule in named {
            let pace = rule.over(*own.place(rule.of));
            own.named.insert((rule.of, rule.name.unwrap_or_default()), pace);
        }
        own
    }

    /// The pace of one; `name` is asked only where the operator named somebody.
    pub(super) fn of(&self, of: Of, name: impl FnOnce() -> String) -> Pace {
        let named = if self.named.is_empty() { None } else { self.named.get(&(of, name())) };
        let [agent, task, connection, tool] = self.all;
        named.copied().unwrap_or(match of {
            Of::Agent => agent,
            Of::Task => task,
            Of::Connection => connection,
            Of::Tool => tool,
        })
    }

    fn place(&mut self, of: Of) -> &mut Pace {
        let [agent, task, connection, tool] = &mut self.all;
        match of {
            Of::Agent => agent,
            Of::Task => task,
            Of::Connection => connection,
            Of::Tool => tool,
        }
    }
}

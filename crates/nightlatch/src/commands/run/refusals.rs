//! What was refused during a run, read from the ledger, and the command that would allow it.

use crate::{cli::Run, error::Failure, output::hint};
use nightlatch_control::{
    Client,
    api::{LedgerRecord, TaskView},
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// How much of the ledger's end is read.
const LAST: u32 = 1000;
/// How many kinds of refusal are told.
const TOLD_MAX: usize = 12;

/// The part of a refusal that is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Refused {
    problem: String,
    tool: Option<String>,
    operation: Option<String>,
    effect: Option<String>,
    host: Option<String>,
    reason: Option<String>,
}

/// The ledger's last record.
pub(super) async fn last(client: &Client) -> Result<u64, Failure> {
    let records: Vec<LedgerRecord> = client.get("/v1/ledger?last=1").await?;
    Ok(records.last().map_or(0, |record| record.seq))
}

/// Tells what was refused to `task` after the record `before`.
pub(super) async fn tell(client: &Client, task: &TaskView, before: u64, asked: &Run) -> Result<(), Failure> {
    let records: Vec<LedgerRecord> = client.get(&format!("/v1/ledger?last={LAST}")).await?;
    let id = task.id.to_string();
    let own = records.iter().filter(|record| {
        let field = |name: &str| record.record.get(name).and_then(serde_json::Value::as_str);
        record.seq > before && field("kind") == Some("refusal") && field("task") == Some(&id)
    });
    let counted = counted(own.filter_map(|record| {
        let count = record.record.get("count").and_then(serde_json::Value::as_u64).unwrap_or(1);
        Some((serde_json::from_value(record.record.clone()).ok()?, count))
    }));
    let told: Vec<_> = counted.into_iter().filter(|(refused, _)| refused.is_told(asked, task)).collect();
    if !told.is_empty() {
        hint("nightlatch: refused during this run:");
    }
    for (refused, count) in told.iter().take(TOLD_MAX) {
        hint(format!("  {count} × {}", refused.words()));
        if let Some(command) = refused.allowed_by(asked) {
            hint(format!("      to allow it: {command}"));
        }
    }
    if records.first().is_some_and(|first| first.seq > before + 1) {
        hint(format!(
            "  only the last {LAST} records were looked at, and there are more of this run; `nightlatch ledger tail` shows them"
        ));
    }
    if told.len() > TOLD_MAX {
        hint(format!("  and {} more kinds; `nightlatch ledger tail` shows them", told.len() - TOLD_MAX));
    }
    Ok(())
}

fn counted(refusals: impl Iterator<Item = (Refused, u64)>) -> BTreeMap<Refused, u64> {
    let mut counted = BTreeMap::new();
    for (refused, count) in refusals {
        *counted.entry(refused).or_default() += count;
    }
    counted
}

impl Refused {
    /// A first request without a credential is how git and others begin; where the tool is granted nobody misses it.
    fn is_told(&self, asked: &Run, task: &TaskView) -> bool {
        let Some(tool) = self.tool.as_deref().filter(|_| self.problem == "reference-missing") else {
            return true;
        };
        let asked = asked.grants.iter().any(|grant| grant.tool.as_str() == tool);
        let had = task.grants.iter().any(|grant| grant.connection_name.split('/').next() == Some(tool));
        !asked && !had
    }

    fn words(&self) -> String {
        let what = [self.tool.as_deref(), self.operation.as_deref(), self.host.as_deref()];
        let what: Vec<&str> = what.into_iter().flatten().collect();
        let effect = self.effect.as_ref().map(|effect| format!(" ({effect})")).unwrap_or_default();
        let reason = self.reason.as_ref().map(|reason| format!(", {reason}")).unwrap_or_default();
        let what = if what.is_empty() { "a request".to_owned() } else { what.join(" ") };
        format!("{what}{effect}: {}{reason}", self.problem)
    }

    /// The command with which a human would allow it, where there is one.
    fn allowed_by(&self, asked: &Run) -> Option<String> {
        let grant = |tool: &str, operations: &str| match &asked.task {
            Some(task) => format!("nightlatch grant add --task {task} {tool}:{operations}"),
            None => format!("nightlatch run --grant {tool}:{operations} …"),
        };
        match (self.problem.as_str(), self.tool.as_deref(), self.effect.as_deref()) {
            ("egress-denied", ..) if asked.task.is_none() => {
                Some("nightlatch run --egress open …".to_owned())
            }
            ("egress-denied", ..) => Some("nightlatch task open --egress open …".to_owned()),
            // What shows a credential is never granted.
            ("policy-denied", _, Some("credential")) => None,
            ("policy-denied", Some(tool), Some(effect)) => Some(grant(tool, effect)),
            ("reference-missing", Some(tool), _) => Some(grant(tool, "read")),
            ("reauth-required", Some(tool), _) => Some(format!("nightlatch connect {tool} --reconnect …")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    //! Proves that each kind of refusal names the command that allows it, and that what cannot be allowed names none.

    use super::Refused;
    use crate::cli::{Cli, Command, Run};
    use clap::Parser as _;

    fn asked(more: &[&str]) -> Run {
        let line = [&["nightlatch", "run"], more, &["--", "true"]].concat();
        let Command::Run(run) = Cli::try_parse_from(line).unwrap().command else { panic!("it is `run`") };
        run
    }

    fn refused(problem: &str, tool: Option<&str>, effect: Option<&str>) -> Refused {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Refused {
            problem: problem.to_owned(),
            tool: owned(tool),
            operation: None,
            effect: owned(effect),
            host: None,
            reason: None,
        }
    }

    #[test]
    fn what_policy_denied_is_allowed_by_a_grant_of_its_effect() {
        let denied = refused("policy-denied", Some("github"), Some("write"));
        assert_eq!(denied.allowed_by(&asked(&[])).unwrap(), "nightlatch run --grant github:write …");
        assert_eq!(
            denied.allowed_by(&asked(&["--task", "triage"])).unwrap(),
            "nightlatch grant add --task triage github:write"
        );
    }

    #[test]
    fn a_host_that_no_tool_has_is_reached_with_open_egress() {
        let denied = refused("egress-denied", None, None);
        assert_eq!(denied.allowed_by(&asked(&[])).unwrap(), "nightlatch run --egress open …");
    }

    #[test]
    fn what_nothing_allows_names_no_command() {
        for (problem, tool, effect) in [
            ("policy-denied", Some("github"), Some("credential")),
            ("second-credential", Some("github"), Some("read")),
            ("reference-unknown", None, None),
        ] {
            assert_eq!(refused(problem, tool, effect).allowed_by(&asked(&[])), None, "{problem}");
        }
    }
}

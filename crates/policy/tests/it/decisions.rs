//! Proves that each thing a decision depends on denies when it is missing, foreign, or over.

use crate::case::{Case, HOUR, NOW, allowed, at, decider, name};
use nightlatch_domain::{
    exchange::Matched,
    id::{ConnectionId, GrantId, PrincipalId, TaskId, TenantId},
    principal::AgentStatus,
    problem::ProblemKind,
    task::TaskState,
    tool::{Effect, OperationId},
};
use nightlatch_policy::{Question, Reason};
use std::time::Duration;

/// What a spoiled case is refused for, by the house's policies alone.
fn refused(spoil: impl Fn(&mut Case)) -> Reason {
    let mut case = allowed();
    spoil(&mut case);
    case.decide(&decider(&[])).unwrap_err().reason
}

#[test]
fn a_call_that_its_grant_covers_is_permitted() {
    let case = allowed();
    let permit = case.decide(&decider(&[])).unwrap();
    assert_eq!(permit.call(), case.exchange.call);
    assert_eq!(permit.grant(), case.exchange.grant);
    assert_eq!(permit.host(), &case.exchange.host);
    assert_eq!(permit.operation(), &case.exchange.matched.operation);
    assert_eq!(permit.decided_at(), case.now);
}

#[test]
fn a_permit_fits_the_very_call_and_no_other() {
    let case = allowed();
    let permit = case.decide(&decider(&[])).unwrap();
    assert!(permit.fits(&case.exchange));
    let spoilers: [fn(&mut Case); 5] = [
        |case| case.exchange.call = nightlatch_domain::id::CallId::new(at(3), [8; 10]),
        |case| case.exchange.host.host = "evil.example".into(),
        |case| case.exchange.target.path.push('x'),
        |case| case.exchange.matched.operation = OperationId("repos.delete".into()),
        |case| case.exchange.grant = GrantId::new(at(9), [9; 10]),
    ];
    for spoil in spoilers {
        let mut other = allowed();
        spoil(&mut other);
        assert!(!permit.fits(&other.exchange));
    }
}

/// A second thing that a call asks for, beside `repos.update`.
fn asked_besides(case: &mut Case, id: &str, effect: Effect) {
    let other = Matched { operation: OperationId(id.into()), effect, ..case.exchange.matched.clone() };
    case.exchange.also.push(other);
}

#[test]
fn everything_that_a_call_asks_for_must_be_allowed() {
    let mut case = allowed();
    asked_besides(&mut case, "repos.get", Effect::Read);
    assert!(case.decide(&decider(&[])).is_ok());
    let forbid = r#"forbid (principal, action == Action::"read", resource in Tool::"github");"#;
    assert_eq!(case.decide(&decider(&[forbid])).unwrap_err().reason, Reason::Forbidden);
    for effect in [Effect::Destructive, Effect::Admin, Effect::Credential] {
        assert_eq!(refused(|case| asked_besides(case, "other", effect)), Reason::NotCovered, "{effect}");
    }
}

#[test]
fn a_row_that_is_missing_denies() {
    let case = allowed();
    let whole = case.question();
    let decider = decider(&[]);
    let lacking = [
        Question { agent: None, ..whole },
        Question { task: None, ..whole },
        Question { grant: None, ..whole },
        Question { connection: None, ..whole },
    ];
    for question in lacking {
        let denied = decider.decide(&question).unwrap_err();
        assert_eq!(denied.reason, Reason::Missing);
        assert_eq!(denied.reason.problem(), ProblemKind::ReferenceUnknown);
    }
}

#[test]
fn a_row_that_is_not_the_one_asked_for_denies() {
    let spoilers: [fn(&mut Case); 4] = [
        |case| case.agent.id = PrincipalId::new(at(9), [9; 10]),
        |case| case.task.id = TaskId::new(at(9), [9; 10]),
        |case| case.grant.id = GrantId::new(at(9), [9; 10]),
        |case| case.connection.id = ConnectionId::new(at(9), [9; 10]),
    ];
    for spoil in spoilers {
        assert_eq!(refused(spoil), Reason::EvaluationFailed);
    }
}

#[test]
fn a_grant_of_a_foreign_task_denies_and_looks_unknown() {
    let reason = refused(|case| case.grant.task = case.foreign_task().id);
    assert_eq!(reason, Reason::NoGrant);
    assert_eq!(reason.problem(), Reason::Missing.problem());
}

#[test]
fn a_task_of_a_foreign_agent_denies() {
    assert_eq!(refused(|case| case.task.agent = case.foreign_task().agent), Reason::NoGrant);
}

#[test]
fn a_grant_of_another_connection_or_tool_denies() {
    assert_eq!(refused(|case| case.grant.connection = ConnectionId::new(at(9), [9; 10])), Reason::NoGrant);
    assert_eq!(refused(|case| case.grant.tool = name("gitlab")), Reason::NoGrant);
    assert_eq!(refused(|case| case.connection.tool = name("gitlab")), Reason::NoGrant);
}

#[test]
fn a_row_of_another_tenant_denies() {
    let spoilers: [fn(&mut Case, TenantId); 5] = [
        |case, other| case.agent.tenant = other,
        |case, other| case.task.tenant = other,
        |case, other| case.grant.tenant = other,
        |case, other| case.connection.tenant = other,
        |case, other| case.exchange.caller.tenant = other,
    ];
    for spoil in spoilers {
        assert_eq!(refused(|case| spoil(case, TenantId::new(at(9), [9; 10]))), Reason::Tenant);
    }
}

#[test]
fn a_disabled_agent_denies() {
    assert_eq!(refused(|case| case.agent.status = AgentStatus::Disabled), Reason::AgentDisabled);
}

#[test]
fn a_task_that_is_over_denies() {
    assert_eq!(refused(|case| case.task.state = TaskState::Completed), Reason::TaskEnded);
    assert_eq!(refused(|case| case.task.state = TaskState::Killed), Reason::TaskEnded);
    assert_eq!(refused(|case| case.now = case.task.ends_at), Reason::TaskEnded);
}

#[test]
fn a_grant_that_expired_denies() {
    let reason = refused(|case| {
        case.grant.expires_at = at(NOW + 1);
        case.now = at(NOW + 1);
    });
    assert_eq!(reason, Reason::GrantEnded);
}

#[test]
fn a_grant_that_was_revoked_denies() {
    assert_eq!(refused(|case| case.grant.revoked_at = Some(at(1))), Reason::GrantEnded);
}

#[test]
fn a_connection_that_was_removed_denies() {
    assert_eq!(refused(|case| case.connection.removed_at = Some(at(1))), Reason::ConnectionRemoved);
}

#[test]
fn a_host_or_path_that_was_not_confirmed_denies() {
    assert_eq!(
        refused(|case| case.exchange.host.host = "api.github.com.evil.example".into()),
        Reason::HostNotBound
    );
    assert_eq!(refused(|case| case.exchange.host.port = 8443), Reason::HostNotBound);
    assert_eq!(refused(|case| case.connection.hosts.clear()), Reason::HostNotBound);
    let reason = refused(|case| {
        case.exchange.host.path_prefix = "/v3".into();
        case.connection.hosts = vec![case.exchange.host.clone()];
    });
    assert_eq!(reason, Reason::HostNotBound);
}

#[test]
fn an_operation_that_the_grant_does_not_cover_denies() {
    assert_eq!(refused(|case| case.exchange.matched.effect = Effect::Destructive), Reason::NotCovered);
    assert_eq!(refused(|case| case.exchange.matched.effect = Effect::Credential), Reason::NotCovered);
    assert_eq!(refused(|case| case.exchange.matched.resource = Some("evil/site".into())), Reason::NotCovered);
    assert_eq!(refused(|case| case.exchange.matched.resource = None), Reason::NotCovered);
    assert_eq!(refused(|case| case.grant.operations.clear()), Reason::NotCovered);
}

#[test]
fn a_policy_that_cannot_be_evaluated_denies() {
    // The sum lies beyond what a datetime holds: an error of evaluation that no validation foresees.
    let overflow = r#"forbid (principal, action, resource)
        when { context.now.offset(duration("9223372036854775807ms")) == datetime("2020-01-01") };"#;
    let denied = allowed().decide(&decider(&[overflow])).unwrap_err();
    assert_eq!(denied.reason, Reason::EvaluationFailed);
    assert_eq!(denied.reason.problem(), ProblemKind::Internal);
}

#[test]
fn a_permit_holds_until_the_first_end_that_its_rows_name_and_not_before_it_was_given() {
    let case = allowed();
    let first_end = case.task.ends_at.min(case.grant.expires_at);
    let permit = case.decide(&decider(&[])).unwrap();
    let (second, millisecond) = (Duration::from_secs(1), Duration::from_millis(1));
    assert!(permit.holds_at(case.now) && permit.holds_at(case.now.plus(second)));
    assert!(permit.holds_at(first_end.minus(millisecond)) && !permit.holds_at(first_end));
    assert!(!permit.holds_at(case.now.minus(millisecond)), "a clock that was set back asks again");
}

#[test]
fn a_permit_under_a_policy_that_reads_the_time_holds_for_no_other_time() {
    let never = r#"forbid (principal, action, resource)
        when { context.now < datetime("2000-01-01") };"#;
    let permit = allowed().decide(&decider(&[never])).unwrap();
    assert!(permit.holds_at(allowed().now) && !permit.holds_at(allowed().now.plus(Duration::from_millis(1))));
    let other = r#"forbid (principal, action, resource in Tool::"other")
        when { context.now < datetime("2000-01-01") };"#;
    let permit = allowed().decide(&decider(&[other])).unwrap();
    assert!(permit.holds_at(allowed().now.plus(Duration::from_millis(1))), "it is about another tool");
}

#[test]
fn a_forbid_of_the_data_folder_wins() {
    let forbid = r#"@id("no-site") forbid (principal, action == Action::"write", resource in Tool::"github")
        when { resource has name && resource.name == "acme/site" };"#;
    let denied = allowed().decide(&decider(&[forbid])).unwrap_err();
    assert_eq!(denied.reason, Reason::Forbidden);
    assert_eq!(denied.policies, ["f0.cedar:no-site"]);
    let mut other = allowed();
    other.exchange.matched.resource = Some("acme/other".into());
    assert!(other.decide(&decider(&[forbid])).is_ok());
}

#[test]
fn what_a_forbid_may_read_is_what_was_asked() {
    let reads = [
        r#"principal.name == "laptop" && principal.risk == "medium""#,
        r#"context.sandbox == "none" && context.assurance == "stated""#,
        r#"context.host == "api.github.com" && context.method == "PATCH""#,
        r#"context.template == "/repos/{owner}/{repo}""#,
        r#"resource.connection.name == "dana" && resource.connection.source == "static""#,
        r#"resource.connection has account && resource.connection.account == "583231""#,
        r#"resource.operation == Operation::"github/repos.update" && resource.operation.sensitivity == "medium""#,
        r#"context.grant.resources == "acme/*" && !(context.task has name)"#,
        r#"context.now >= datetime("2026-11-21T23:00:00Z") && context.now < datetime("2026-11-21T23:00:01Z")"#,
    ];
    for read in reads {
        let forbid = format!("forbid (principal, action, resource) when {{ {read} }};");
        let denied = allowed().decide(&decider(&[&forbid])).unwrap_err();
        assert_eq!(denied.reason, Reason::Forbidden, "{read}");
    }
}

#[test]
fn an_explanation_agrees_with_the_decision_and_names_its_grounds() {
    let case = allowed();
    let decider = decider(&[]);
    assert!(decider.explain(&case.question()).to_string().starts_with("allowed\ndecided by: grant"));
    let mut spoiled = allowed();
    spoiled.now = at(NOW + HOUR);
    let explained = decider.explain(&spoiled.question());
    assert_eq!(explained.denied, Some(Reason::TaskEnded));
    assert_eq!(explained.policies, ["grant-ended", "task-ended"]);
    let lacking = Question { grant: None, ..case.question() };
    assert_eq!(decider.explain(&lacking).denied, Some(Reason::Missing));
}

//! Proves that a remembered decision is never used for rows that changed or for another time.

use crate::case::{Case, HOUR, NOW, allowed, at, decider};
use nightlatch_domain::{
    principal::{AgentStatus, RiskTier},
    task::TaskState,
    tool::{Effect, Sensitivity},
};
use nightlatch_policy::{Reason, Sandbox};

type Change = fn(&mut Case);

#[test]
fn a_remembered_permit_ends_with_any_change_that_denies() {
    let decider = decider(&[]);
    let changes: [(Change, Reason); 9] = [
        (|case| case.grant.revoked_at = Some(at(1)), Reason::GrantEnded),
        (|case| case.grant.expires_at = at(NOW), Reason::GrantEnded),
        (|case| case.grant.operations.clear(), Reason::NotCovered),
        (|case| case.grant.task = case.foreign_task().id, Reason::NoGrant),
        (|case| case.agent.status = AgentStatus::Disabled, Reason::AgentDisabled),
        (|case| case.task.state = TaskState::Completed, Reason::TaskEnded),
        (|case| case.connection.removed_at = Some(at(1)), Reason::ConnectionRemoved),
        (|case| case.connection.hosts.clear(), Reason::HostNotBound),
        (|case| case.exchange.matched.effect = Effect::Admin, Reason::NotCovered),
    ];
    for (change, reason) in changes {
        let mut case = allowed();
        assert!(case.decide(&decider).is_ok());
        change(&mut case);
        assert_eq!(case.decide(&decider).unwrap_err().reason, reason);
    }
    assert!(allowed().decide(&decider).is_ok());
}

#[test]
fn a_remembered_permit_does_not_outlive_the_end_of_its_grant() {
    let decider = decider(&[]);
    let mut case = allowed();
    case.grant.expires_at = at(NOW + 1000);
    assert!(case.decide(&decider).is_ok());
    case.now = at(NOW + 999);
    assert!(case.decide(&decider).is_ok());
    case.now = at(NOW + 1000);
    assert_eq!(case.decide(&decider).unwrap_err().reason, Reason::GrantEnded);
}

#[test]
fn whatever_a_forbid_reads_is_part_of_what_is_remembered() {
    let reads: [(&str, Change); 7] = [
        (r#"principal.risk == "high""#, |case| case.agent.risk = RiskTier::High),
        (r#"context.sandbox == "weak""#, |case| case.sandbox = Sandbox::Weak),
        (r#"context.method == "PUT""#, |case| case.exchange.target.method = "PUT".into()),
        (r#"context.template == "/x""#, |case| case.exchange.matched.template = "/x".into()),
        (r#"resource.operation.sensitivity == "high""#, |case| {
            case.exchange.matched.sensitivity = Sensitivity::High;
        }),
        (r#"!(resource.connection has account)"#, |case| case.connection.account = None),
        (r#"context.task has name"#, |case| case.task.name = Some("t".parse().unwrap())),
    ];
    for (read, change) in reads {
        let decider = decider(&[&format!("forbid (principal, action, resource) when {{ {read} }};")]);
        let mut case = allowed();
        assert!(case.decide(&decider).is_ok(), "{read}");
        change(&mut case);
        assert_eq!(case.decide(&decider).unwrap_err().reason, Reason::Forbidden, "{read}");
    }
}

#[test]
fn a_forbid_that_reads_the_time_is_asked_each_time() {
    for text in [
        r#"forbid (principal, action, resource) when { context.now > datetime("2026-11-21T23:30:00Z") };"#,
        r#"forbid (principal, action, resource) when { context.now.toTime() > duration("23h30m") };"#,
        r#"forbid (principal, action, resource) when { if context has now then context.now > datetime("2026-11-21T23:30:00Z") else true };"#,
    ] {
        let decider = decider(&[text]);
        let mut case = allowed();
        assert!(case.decide(&decider).is_ok(), "{text}");
        case.now = at(NOW + HOUR / 2 + 1);
        assert_eq!(case.decide(&decider).unwrap_err().reason, Reason::Forbidden, "{text}");
    }
}

#[test]
fn a_permit_names_the_call_that_was_asked_about_and_not_a_remembered_one() {
    let decider = decider(&[]);
    let (first, mut second) = (allowed(), allowed());
    second.exchange.call = nightlatch_domain::id::CallId::new(at(3), [8; 10]);
    assert!(first.decide(&decider).is_ok());
    assert_eq!(second.decide(&decider).unwrap().call(), second.exchange.call);
}

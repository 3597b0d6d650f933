//! Proves that a file of policies can only forbid, and only what it can name.

use crate::case::{allowed, decider, files};
use nightlatch_policy::{Decider, PolicyError};

fn refused(text: &str) -> PolicyError {
    Decider::new(&files(&[text])).map(|_| ()).unwrap_err()
}

#[test]
fn a_permit_in_a_file_is_refused_with_its_line() {
    let text = "// permit nothing;\nforbid (principal, action, resource) when { context.sandbox == \"permit\" };\n\n@id(\"x\")\npermit (principal, action, resource);\n";
    assert_eq!(refused(text), PolicyError::Permit { file: "f0.cedar".into(), line: 4 });
    assert!(refused(text).to_string().starts_with("f0.cedar:4: a file of policies may only `forbid`"));
}

#[test]
fn a_permit_cannot_hide_behind_another_statement() {
    let hidden = [
        "forbid (principal, action, resource); permit (principal, action, resource);",
        "forbid (principal, action, resource) when { context.host == \"\\\"; \" };permit (principal, action, resource);",
        "forbid (principal, action, resource); // ;\npermit (principal, action, resource);",
        "forbid (principal, action, resource) permit (principal, action, resource);",
        "permit (principal, action, resource)",
    ];
    for text in hidden {
        let refused = refused(text);
        assert!(
            matches!(refused, PolicyError::Permit { .. } | PolicyError::Syntax { .. }),
            "{text}: {refused}"
        );
    }
}

#[test]
fn what_is_not_cedar_is_refused_with_its_line() {
    for text in [
        "\nforbid",
        "\nforbid (principal, action, resource) when { ;",
        "\n{}",
        "\nforbid (principal == ?principal, action, resource);",
    ] {
        assert!(matches!(refused(text), PolicyError::Syntax { line: 2, .. }), "{text}");
    }
}

#[test]
fn an_attribute_that_does_not_exist_is_refused() {
    for read in [
        "context.body",
        "context.body.amount > 5",
        "resource.headers",
        "context.query == \"\"",
        "principal.secret == \"\"",
        "resource.name == \"x\"",
    ] {
        let text = format!("forbid (principal, action, resource) when {{ {read} }};");
        assert!(matches!(refused(&text), PolicyError::Invalid { line: 1, .. }), "{read}");
    }
}

#[test]
fn a_statement_that_can_never_apply_is_refused() {
    for text in [
        r#"forbid (principal is Human, action, resource);"#,
        r#"forbid (principal, action == Action::"wriet", resource);"#,
        r#"forbid (principal, action, resource in Toll::"github");"#,
        r#"forbid (principal, action, resource) when { principal is Task };"#,
    ] {
        assert!(matches!(refused(text), PolicyError::Invalid { .. }), "{text}");
    }
}

#[test]
fn a_text_that_hides_what_it_says_is_refused() {
    let text = "forbid (principal, action, resource) when { context.host == \"api.\u{202e}moc\" };";
    assert!(matches!(refused(text), PolicyError::Invalid { .. }));
}

#[test]
fn two_statements_of_one_name_are_refused() {
    let text =
        "@id(\"a\") forbid (principal, action, resource);\n@id(\"a\") forbid (principal, action, resource);";
    assert!(matches!(refused(text), PolicyError::Duplicate { line: 2, .. }));
}

#[test]
fn a_file_without_end_is_refused() {
    assert!(matches!(refused(&" ".repeat(1024 * 1024 + 1)), PolicyError::TooLarge { .. }));
    assert!(matches!(
        refused(&"forbid (principal, action, resource);\n".repeat(10_001)),
        PolicyError::TooLarge { .. }
    ));
}

#[test]
fn policies_that_name_another_tool_are_not_evaluated() {
    let of = |tool: &str, count: usize| -> String {
        (0..count)
            .map(|number| {
                format!("@id(\"{tool}{number}\") forbid (principal, action, resource in Tool::\"{tool}\");\n")
            })
            .collect()
    };
    let base = decider(&[]).explain(&allowed().question()).evaluated;
    let many =
        decider(&[&of("slack", 1000), "forbid (principal, action, resource in Operation::\"gitlab/x\");"]);
    assert_eq!(many.explain(&allowed().question()).evaluated, base);
    assert!(allowed().decide(&many).is_ok());
    for scope in [
        "resource in Tool::\"github\"",
        "resource is Resource in Tool::\"github\"",
        "resource in Operation::\"github/repos.update\"",
        "resource",
    ] {
        let text = format!("forbid (principal, action, {scope});");
        assert!(allowed().decide(&decider(&[&text])).is_err(), "{scope}");
    }
}

#[test]
fn a_policy_for_every_tool_holds_beside_those_for_one() {
    let one = "forbid (principal, action == Action::\"admin\", resource in Tool::\"github\");";
    let every = "forbid (principal, action, resource) when { context.sandbox == \"none\" };";
    assert!(allowed().decide(&decider(&[one])).is_ok());
    assert!(allowed().decide(&decider(&[one, every])).is_err());
}

#[test]
fn what_is_shown_holds_every_policy_in_force() {
    let shown = decider(&["@id(\"mine\") forbid (principal, action, resource in Tool::\"slack\");"]).show();
    for part in ["entity Grant", "@id(\"not-covered\")", "f0.cedar:mine (f0.cedar:1), for tool `slack`"] {
        assert!(shown.contains(part), "{part}");
    }
}

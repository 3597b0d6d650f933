//! Proves that no way of writing a document hides a root field, and that what has two readings has none here.

use super::{Asked, GraphqlError, RootType, read};
use proptest::prelude::{prop, proptest};
use serde_json::json;

fn asked(query: &str) -> Result<Asked, GraphqlError> {
    read(json!({ "query": query }).to_string().as_bytes())
}

fn fields(query: &str) -> String {
    let asked = asked(query).unwrap();
    let on = if asked.on == RootType::Query { "query" } else { "mutation" };
    format!("{on} {}", asked.fields.into_iter().collect::<Vec<_>>().join(","))
}

#[test]
fn the_root_fields_are_found_however_they_are_written() {
    for (query, expected) in [
        ("{ viewer { login } }", "query viewer"),
        (
            "query { viewer { login } repository(owner: \"a\", name: \"b\") { id } }",
            "query repository,viewer",
        ),
        ("query Q($id: ID!) { node(id: $id) { id ... on User { login } } }", "query node"),
        ("mutation { deleteIssue(input: {issueId: \"1\"}) { clientMutationId } }", "mutation deleteIssue"),
        ("mutation { viewer: deleteIssue(input: {}) { id } }", "mutation deleteIssue"),
        ("mutation M { a: addStar b: addStar c: removeStar }", "mutation addStar,removeStar"),
        (
            "{ ...F } fragment F on Query { viewer { id } ...G } fragment G on Query { x: nodes }",
            "query nodes,viewer",
        ),
        ("{ ...F } fragment F on Query { viewer ...F }", "query viewer"),
        (
            "mutation { ... { ... on Mutation { ... @include(if: false) { deleteIssue } } } }",
            "mutation deleteIssue",
        ),
        ("mutation { deleteIssue @skip(if: true) }", "mutation deleteIssue"),
        ("# mutation { x }\nquery {\n # y\n viewer # z\n, , ,node }", "query node,viewer"),
        ("{ a(x: \"}\\\" mutation { b }\") c }", "query a,c"),
        ("{ a(x: \"\"\"} \\\"\"\" b {\"\"\") c }", "query a,c"),
        ("\u{feff}{ viewer }", "query viewer"),
        ("{ __schema { types { name } } __typename }", "query __schema,__typename"),
        ("query mutation { query }", "query query"),
        ("{ viewer\r\n node }", "query node,viewer"),
    ] {
        assert_eq!(fields(query), expected, "{query}");
    }
}

#[test]
fn what_has_two_readings_or_none_is_refused() {
    for (query, error) in [
        ("", GraphqlError::Document),
        ("{", GraphqlError::Document),
        ("{ }", GraphqlError::Document),
        ("{ a } }", GraphqlError::Document),
        ("{ a } garbage", GraphqlError::Document),
        ("{ viewer #\r deleteIssue }", GraphqlError::Document),
        ("type Query { a: Int }", GraphqlError::Document),
        ("{ a } type Query { a: Int }", GraphqlError::Document),
        ("extend type Query { a: Int } { a }", GraphqlError::Document),
        ("{ a(x: \"\n\") }", GraphqlError::Document),
        ("{ ...F }", GraphqlError::Name),
        ("{ ...F } fragment F on Query { a } fragment F on Query { b }", GraphqlError::Name),
        ("{ a } { b }", GraphqlError::Name),
        ("{ a } query B { b }", GraphqlError::Name),
        ("query A { a } query A { b }", GraphqlError::Name),
        ("query A { a } mutation B { b }", GraphqlError::Name),
        ("fragment F on Query { a }", GraphqlError::Name),
        ("subscription { a }", GraphqlError::Subscription),
    ] {
        assert_eq!(asked(query), Err(error), "{query}");
    }
}

#[test]
fn of_several_operations_the_named_one_is_meant() {
    let both = "query A { a } mutation B { b }";
    let of = |name: &str| {
        let body = json!({ "query": both, "operationName": name, "variables": { "x": [1] } });
        read(body.to_string().as_bytes()).map(|asked| asked.fields.into_iter().collect::<String>())
    };
    assert_eq!(of("A"), Ok("a".into()));
    assert_eq!(of("B"), Ok("b".into()));
    assert_eq!(of("C"), Err(GraphqlError::Name));
    assert_eq!(of(""), Err(GraphqlError::Name));
    for two_readings in ["{ a } query B { b }", "query B { b } { a }", "query B { a } mutation B { b }"] {
        let body = json!({ "query": two_readings, "operationName": "B" });
        assert_eq!(read(body.to_string().as_bytes()), Err(GraphqlError::Name), "{two_readings}");
    }
    let one = json!({ "query": "query A { a }", "operationName": "B" });
    assert_eq!(read(one.to_string().as_bytes()), Err(GraphqlError::Name));
}

#[test]
fn a_body_that_could_stand_for_another_document_is_refused() {
    let sound = r#"{"query":"{ a }","operationName":null,"variables":null,"extensions":{"clientLibrary":{"name":"x"}}}"#;
    assert!(read(sound.as_bytes()).is_ok());
    for body in [
        r#"{"query":"{ a }","query":"mutation { b }"}"#,
        r#"{"query":"{ a }","qu\u0065ry":"mutation { b }"}"#,
        r#"{"query":"{ a }","variables":{"x":1,"x":2}}"#,
        r#"{"query":"{ a }","variables":[]}"#,
        r#"{"query":"{ a }","extensions":{"persistedQuery":{"version":1,"sha256Hash":"x"}}}"#,
        r#"{"query":"{ a }","documentId":"x"}"#,
        r#"{"query":"{ a }","id":"x"}"#,
        r#"{"operationName":"a"}"#,
        r#"{"query":null}"#,
        r#"[{"query":"{ a }"}]"#,
        r#"{"query":"{ a }"}{"query":"mutation { b }"}"#,
        "query={a}",
        "{ a }",
        "",
    ] {
        assert_eq!(read(body.as_bytes()), Err(GraphqlError::Body), "{body}");
    }
    assert_eq!(read(b"{\"query\":\"{ \xff }\"}"), Err(GraphqlError::Body));
}

#[test]
fn a_document_is_bounded_in_depth_size_and_fields() {
    let nested = format!("{}a{}", "{ a ".repeat(500), " }".repeat(500));
    assert_eq!(asked(&nested), Err(GraphqlError::Document));
    let lists = format!("{{ a(x: {}1{}) }}", "[".repeat(20_000), "]".repeat(20_000));
    assert_eq!(asked(&lists), Err(GraphqlError::Document));
    let long = format!("{{ {} }}", "a: b ".repeat(20_000));
    assert_eq!(asked(&long), Err(GraphqlError::Document));
    let many: String = (0..=64).map(|number| format!("f{number} ")).collect();
    assert_eq!(asked(&format!("{{ {many} }}")), Err(GraphqlError::TooMany));
    assert!(asked(&format!("{{ {} }}", "a: b ".repeat(1000))).is_ok());
}

proptest! {
    #[test]
    fn a_root_field_is_found_in_any_wrapping(
        wraps in prop::collection::vec(0_usize..4, 0..6), alias in prop::bool::ANY, noise in "[ ,\n\t]{0,5}",
    ) {
        let mut inside = if alias { "viewer: deleteIssue".to_owned() } else { "deleteIssue".to_owned() };
        let mut fragments = String::new();
        for (number, wrap) in wraps.iter().enumerate() {
            inside = match wrap {
                0 => format!("... {{ {inside} }}"),
                1 => format!("... on Mutation @include(if: false) {{{noise}{inside} }}"),
                2 => format!("x: other {inside}"),
                _ => {
                    fragments.push_str(&format!("fragment F{number} on Mutation {{ {inside} }}{noise}"));
                    format!("...F{number}")
                }
            };
        }
        let asked = asked(&format!("{fragments} mutation {{{noise}{inside} }}")).unwrap();
        assert!(asked.fields.contains("deleteIssue"));
    }

    #[test]
    fn no_body_makes_the_reader_fail(text in ".{0,120}", query in "[{}()a-z:.$@\"#!\\[\\] \n]{0,80}") {
        let _ = read(text.as_bytes());
        let _ = asked(&text);
        let _ = asked(&query);
    }
}

//! Proves that the tree leaves out no template that fits a path or that a careless server could take it for.

use super::PathIndex;
use crate::manifest::{Operation, PathTemplate, careless};
use nightlatch_domain::tool::{Effect, OperationId, Sensitivity};
use proptest::prelude::{Strategy, prop, proptest};
use std::{borrow::Cow, collections::BTreeMap};

fn operation(number: usize, template: PathTemplate) -> Operation {
    Operation {
        id: OperationId(format!("op.{number}")),
        route: String::new(),
        methods: vec!["GET".into()],
        paths: vec![template],
        query: BTreeMap::new(),
        body: None,
        effect: Effect::Read,
        answers_no_secret: false,
        sensitivity: Sensitivity::Medium,
        resource: None,
        page: String::new(),
        exercised: false,
        deprecated: false,
        upgrade: None,
    }
}

fn operations(templates: &[String]) -> Vec<Operation> {
    let read = templates.iter().filter_map(|text| PathTemplate::parse(text).ok());
    read.enumerate().map(|(number, template)| operation(number, template)).collect()
}

fn found(operations: &[Operation], path: &[Cow<'_, str>]) -> Vec<usize> {
    PathIndex::new(operations).places("", path).into_iter().map(|(number, _)| number).collect()
}

fn templates() -> impl Strategy<Value = Vec<String>> {
    let segment = prop::sample::select(vec![
        "a", "A", "\u{212a}", "k", "\u{c9}", "a.json", ".json", "a.", "...", "b.xml", "{x}", "{y}.json",
        "v{z}", "{w}.", "",
    ]);
    let inside = prop::collection::vec(segment, 1..4);
    let open = prop::bool::ANY.prop_map(|is_open| if is_open { "/{rest...}" } else { "" });
    let template = (inside, open).prop_map(|(inside, open)| format!("/{}{open}", inside.join("/")));
    prop::collection::vec(template, 1..12)
}

fn path() -> impl Strategy<Value = Vec<Cow<'static, str>>> {
    let segment = prop::sample::select(vec![
        "a",
        "A",
        "\u{212a}",
        "K",
        "k",
        "\u{e9}",
        "\u{c9}.json",
        "a\u{a0}",
        "a.json",
        "A.JSON",
        ".json",
        "a.",
        "a ",
        "a;x",
        ";x",
        "...",
        ".. ",
        "b",
        "b.xml",
        "v1",
        "q.",
        "",
    ]);
    prop::collection::vec(segment.prop_map(Cow::Borrowed), 1..5)
}

proptest! {
    #[test]
    fn whatever_fits_or_looks_alike_is_found(texts in templates(), path in path()) {
        let operations = operations(&texts);
        let (found, folded) = (found(&operations, &path), careless(&path));
        for (number, operation) in operations.iter().enumerate() {
            let template = &operation.paths[0];
            if template.matched(&path).is_some() || template.resembles(&folded) {
                assert!(found.contains(&number), "{} for {path:?}", template.as_str());
            }
        }
    }
}

#[test]
fn a_last_segment_that_a_careless_server_takes_for_nothing_fits_a_variable_and_is_taken_for_nothing() {
    let operations = operations(&["/v{z}/{x}".to_owned(), "/v{z}".to_owned(), "/v{z}/{rest...}".to_owned()]);
    assert_eq!(found(&operations, &["v1", ";x"].map(Cow::Borrowed)), [0, 1, 2]);
    assert_eq!(found(&operations, &["v1"].map(Cow::Borrowed)), [1, 2]);
}

#[test]
fn a_path_is_held_against_few_of_many_templates() {
    let texts: Vec<String> =
        (0..2000).map(|number| format!("/things-{number}/{{id}}/parts/{{part}}")).collect();
    let path = ["things-7", "1", "parts", "2"].map(Cow::Borrowed);
    assert_eq!(found(&operations(&texts), &path), [7]);
    assert_eq!(found(&operations(&texts), &path[..2]), Vec::<usize>::new());
}

//! Proves what a path template accepts, what it fits, and which of two is narrower.

use super::{PathTemplate, TemplateError, careless};
use crate::canonical::segments;
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use std::cmp::Ordering;

fn template(text: &str) -> PathTemplate {
    PathTemplate::parse(text).expect(text)
}

fn values(text: &str, path: &str) -> Option<Vec<(String, String)>> {
    let template = template(text);
    let values = template.matched(&segments(path))?;
    Some(values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn a_template_fits_segment_by_segment() {
    assert_eq!(
        values("/repos/{owner}/{repo}", "/repos/a/b"),
        Some(vec![pair("owner", "a"), pair("repo", "b")])
    );
    assert_eq!(values("/{x}.git/refs", "/b.git/refs"), Some(vec![pair("x", "b")]));
    assert_eq!(values("/f/{path...}", "/f/a/b/c"), Some(vec![pair("path", "a/b/c")]));
    assert_eq!(values("/", "/"), Some(vec![]));
    for (text, path) in [
        ("/repos/{owner}", "/repos"),
        ("/repos/{owner}", "/repos/"),
        ("/repos/{owner}", "/repos/a/b"),
        ("/repos/{owner}", "/repos/a/"),
        ("/repos/{owner}", "/Repos/a"),
        ("/{x}.git", "/.git"),
        ("/f/{path...}", "/f"),
        ("/f/{path...}", "/f/"),
    ] {
        assert_eq!(values(text, path), None, "{text} {path}");
    }
}

#[test]
fn an_encoded_literal_is_still_the_literal() {
    assert!(values("/me:delete", "/me%3Adelete").is_some());
}

#[test]
fn malformed_templates_are_refused() {
    for text in [
        "",
        "a",
        "//",
        "/a//b",
        "/{}",
        "/{a",
        "/a}",
        "/{A}",
        "/{a}{b}",
        "/{a...}/b",
        "/x{a...}",
        "/a?b",
        "/%41",
        "/..",
        "/a b",
    ] {
        assert!(PathTemplate::parse(text).is_err(), "{text}");
    }
    assert_eq!(PathTemplate::parse("/{a}/{a}"), Err(TemplateError::Twice("a".to_owned())));
}

#[test]
fn a_literal_is_narrower_than_a_part_than_a_variable_than_the_rest() {
    let chain = ["/a/b.git", "/a/{x}.git", "/a/{x}", "/a/{x...}"];
    for (index, narrow) in chain.iter().enumerate() {
        for wide in chain.iter().skip(index + 1) {
            assert!(template(narrow).overlaps(&template(wide)), "{narrow} {wide}");
            assert_eq!(
                template(narrow).narrowness(&template(wide)),
                Some(Ordering::Greater),
                "{narrow} {wide}"
            );
            assert_eq!(template(wide).narrowness(&template(narrow)), Some(Ordering::Less), "{narrow} {wide}");
        }
    }
    assert_eq!(template("/a/{x}").narrowness(&template("/{y}/b")), None);
    assert_eq!(template("/a/{x}").narrowness(&template("/a/{y}")), Some(Ordering::Equal));
}

#[test]
fn templates_that_no_path_fits_both_do_not_overlap() {
    for (left, right) in [
        ("/a", "/b"),
        ("/a/{x}", "/b/{x}"),
        ("/{x}", "/{x}/{y}"),
        ("/{x}.git", "/{x}.zip"),
        ("/a/b/c", "/a/b/c/{x...}"),
    ] {
        assert!(!template(left).overlaps(&template(right)), "{left} {right}");
    }
}

#[test]
fn a_careless_server_sees_case_parameters_and_a_last_slash_alike() {
    let template = template("/keys/{id}");
    for path in ["/KEYS/1", "/keys/1/", "/keys;x=1/1", "/Keys/1;a/"] {
        assert!(template.matched(&segments(path)).is_none(), "{path}");
        assert!(template.resembles(&careless(&segments(path))), "{path}");
    }
    assert!(!template.resembles(&careless(&segments("/keyz/1"))));
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_fail(text in ".{0,60}") {
        let _ = PathTemplate::parse(&text);
    }

    #[test]
    fn what_is_written_is_what_is_shown(text in "/(a|b|\\{x\\}|\\{y\\}|c\\{z\\}d)(/(e|\\{w\\})){0,1}") {
        prop_assert_eq!(template(&text).to_string(), text);
    }

    #[test]
    fn two_that_fit_one_path_overlap(
        left in "/(a|\\{x\\}|a\\{x\\}|\\{x\\}b)/(b|\\{y\\}|\\{y\\.\\.\\.\\})",
        right in "/(a|\\{x\\}|a\\{x\\}|\\{x\\}b)/(b|\\{y\\}|\\{y\\.\\.\\.\\})",
        path in "/[ab]{1,3}/[ab]{1,2}(/[ab])?",
    ) {
        let (left, right) = (template(&left), template(&right));
        let path = segments(&path);
        if left.matched(&path).is_some() && right.matched(&path).is_some() {
            prop_assert!(left.overlaps(&right) && right.overlaps(&left));
        }
        prop_assert_eq!(left.narrowness(&right).map(Ordering::reverse), right.narrowness(&left));
    }

    #[test]
    fn what_fits_resembles(path in "/[a-cA-C]{1,2}/[a-c]{1,2}") {
        let template = template("/{x}/{y}");
        let path = segments(&path);
        prop_assert!(template.matched(&path).is_some() && template.resembles(&careless(&path)));
    }
}

//! Proves that only what a profile names is certain, and that everything else is `Uncertain`.

use super::TokenErrorClass;
use crate::{builtin, profile::Profile};
use proptest::prelude::{any, prop_assert_eq, proptest};

fn generic() -> Profile {
    builtin::profile("generic").unwrap()
}

#[test]
fn a_dead_grant_is_permanent_and_a_bad_client_is_the_clients() {
    assert_eq!(generic().classify(400, Some("invalid_grant")), TokenErrorClass::Permanent);
    assert_eq!(generic().classify(401, Some("invalid_client")), TokenErrorClass::Client);
}

#[test]
fn errors_in_a_success_are_read_where_the_profile_names_them() {
    let github = builtin::profile("github").unwrap();
    assert_eq!(github.classify(200, Some("bad_refresh_token")), TokenErrorClass::Permanent);
    assert_eq!(github.classify(200, Some("invalid_client")), TokenErrorClass::Client);
    let slack = builtin::profile("slack").unwrap();
    assert_eq!(slack.classify(200, Some("invalid_refresh_token")), TokenErrorClass::Permanent);
    // A list that nobody verified.
    assert_eq!(slack.classify(200, Some("ratelimited")), TokenErrorClass::Uncertain);
    // Slack says of these that part of the call may have been done.
    assert_eq!(slack.classify(200, Some("internal_error")), TokenErrorClass::Uncertain);
    assert_eq!(slack.classify(200, Some("fatal_error")), TokenErrorClass::Uncertain);
}

/// What could be presented again as if nothing had happened, with a fact of that confidence over it, or none.
fn own(confidence: Option<&str>) -> Profile {
    let lists = "name = 'o'\ntitle = 'O'\nnot_processed_statuses = [429, 503]\nnot_processed_errors = ['slow_down']\n\
        client_errors = ['invalid_client', 'unauthorized_client', 'invalid_request']\n";
    let fact = confidence.map(|confidence| {
        format!(
            "[[fact]]\ncovers = ['not_processed_statuses', 'not_processed_errors', 'client_errors']\n\
             source = 'tried'\nconfidence = '{confidence}'\nchecked_at = '2026-11-29'\n"
        )
    });
    Profile::parse("o.toml", &format!("{lists}{}", fact.unwrap_or_default())).unwrap()
}

#[test]
fn what_is_verified_was_not_processed_or_is_the_clients() {
    let own = own(Some("verified"));
    for status in [429, 503] {
        assert_eq!(own.classify(status, None), TokenErrorClass::NotProcessed);
    }
    assert_eq!(own.classify(400, Some("slow_down")), TokenErrorClass::NotProcessed);
    assert_eq!(own.classify(400, Some("invalid_request")), TokenErrorClass::Client);
    assert_eq!(own.classify(401, Some("unauthorized_client")), TokenErrorClass::Client);
    // Verified or not, what no list holds is no word at all.
    assert_eq!(own.classify(502, None), TokenErrorClass::Uncertain);
}

#[test]
fn what_is_not_verified_is_uncertain_whatever_a_list_says() {
    for own in [own(Some("unverified")), own(None), generic()] {
        for (status, code) in [
            (429, None),
            (503, None),
            (429, Some("slow_down")),
            (400, Some("slow_down")),
            (400, Some("invalid_request")),
            (400, Some("unauthorized_client")),
            (400, Some("unsupported_grant_type")),
        ] {
            assert_eq!(own.classify(status, code), TokenErrorClass::Uncertain, "{status} {code:?}");
        }
        // RFC 6749 §5.2 says it, so no profile need.
        for status in [200, 400, 401, 429] {
            assert_eq!(own.classify(status, Some("invalid_client")), TokenErrorClass::Client, "{status}");
        }
    }
}

#[test]
fn a_client_error_that_is_not_verified_stays_permanent_where_that_list_has_it_too() {
    let atlassian = builtin::profile("atlassian").unwrap();
    assert_eq!(atlassian.classify(403, Some("unauthorized_client")), TokenErrorClass::Permanent);
}

#[test]
fn everything_else_is_uncertain() {
    for (status, code) in [
        (200, None),
        (200, Some("unheard_of")),
        (302, Some("invalid_grant")),
        (400, None),
        (400, Some("")),
        (400, Some("INVALID_GRANT")),
        (401, None),
        (404, None),
        (500, None),
        (500, Some("invalid_grant")),
        (502, Some("invalid_client")),
        (504, None),
        (0, None),
    ] {
        assert_eq!(generic().classify(status, code), TokenErrorClass::Uncertain, "{status} {code:?}");
    }
}

proptest! {
    #[test]
    fn no_unnamed_code_is_certain(status in any::<u16>(), code in "[a-z]{1,8}") {
        prop_assert_eq!(generic().classify(status, Some(&code)), TokenErrorClass::Uncertain);
    }
}

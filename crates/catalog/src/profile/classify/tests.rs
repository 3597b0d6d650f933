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
    assert_eq!(generic().classify(400, Some("unauthorized_client")), TokenErrorClass::Client);
}

#[test]
fn errors_in_a_success_are_read_where_the_profile_names_them() {
    let github = builtin::profile("github").unwrap();
    assert_eq!(github.classify(200, Some("bad_refresh_token")), TokenErrorClass::Permanent);
    assert_eq!(github.classify(200, Some("incorrect_client_credentials")), TokenErrorClass::Client);
    let slack = builtin::profile("slack").unwrap();
    assert_eq!(slack.classify(200, Some("invalid_refresh_token")), TokenErrorClass::Permanent);
    assert_eq!(slack.classify(200, Some("ratelimited")), TokenErrorClass::NotProcessed);
    // Slack says of these that part of the call may have been done.
    assert_eq!(slack.classify(200, Some("internal_error")), TokenErrorClass::Uncertain);
    assert_eq!(slack.classify(200, Some("fatal_error")), TokenErrorClass::Uncertain);
}

#[test]
fn a_status_counts_as_unprocessed_only_where_the_profile_says_so() {
    assert_eq!(generic().classify(429, None), TokenErrorClass::NotProcessed);
    assert_eq!(generic().classify(503, None), TokenErrorClass::Uncertain);
    let text =
        "name = 'o'\ntitle = 'O'\nnot_processed_statuses = [429, 503]\nnot_processed_errors = ['slow_down']";
    let own = Profile::parse("o.toml", text).unwrap();
    assert_eq!(own.classify(503, None), TokenErrorClass::NotProcessed);
    assert_eq!(own.classify(400, Some("slow_down")), TokenErrorClass::NotProcessed);
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
        if status != 429 {
            prop_assert_eq!(generic().classify(status, Some(&code)), TokenErrorClass::Uncertain);
        }
    }
}

//! Proves that a profile's every unknown or doubtful line is refused, and that what it leaves out is the worst.

use super::{
    AfterGrace, Blast, Confidence, Endpoint, EndpointError, OldAccess, Profile, Rotation, SecondPresentation,
};
use crate::builtin;
use nightlatch_domain::{sealed::ClientAuth, tool::Scheme};
use proptest::prelude::{prop_assert_eq, proptest};

const SOUND: &str = r#"name = "own"
title = "Own"
issuer = "http://127.0.0.1:3301"
authorization_endpoint = "http://127.0.0.1:3301/auth"
token_endpoint = "http://127.0.0.1:3301/token"
iss_announced = true
client_auth = ["client_secret_basic", "none"]
extra_authorize_params = { prompt = "consent" }
rotation = "always"
reuse = { grace_secs = 30, after_grace = "revoke_family" }
second_presentation = "both_live"
old_access = "survives"
blast = "chain"
not_processed_statuses = [429, 503]
[[fact]]
covers = ["reuse.grace_secs", "rotation"]
source = "tried"
confidence = "verified"
checked_at = "2026-11-21"
"#;

fn refusal(from: &str, to: &str) -> String {
    assert!(SOUND.contains(from), "{from}");
    Profile::parse("own.toml", &SOUND.replacen(from, to, 1)).expect_err(to).to_string()
}

#[test]
fn what_is_stated_is_taken() {
    let own = Profile::parse("own.toml", SOUND).unwrap();
    assert_eq!((own.reuse.grace_secs, own.reuse.after_grace), (30, AfterGrace::RevokeFamily));
    assert_eq!(
        (own.rotation, own.old_access, own.blast),
        (Rotation::Always, OldAccess::Survives, Blast::Chain)
    );
    assert_eq!(own.second_presentation, SecondPresentation::BothLive);
    assert_eq!(own.client_auth, [ClientAuth::ClientSecretBasic, ClientAuth::None]);
    assert_eq!(
        (own.confidence("reuse.grace_secs"), own.confidence("blast")),
        (Confidence::Verified, Confidence::Unverified)
    );
    assert_eq!(own.issuer_or_origin().as_deref(), Some("http://127.0.0.1:3301"));
    assert!(own.is_connectable() && own.iss_announced);
}

#[test]
fn a_provider_that_no_human_can_be_sent_to_names_where_it_refreshes_and_nothing_else() {
    let text = "name = 'b'\ntitle = 'B'\nrefresh_endpoint = 'https://b.example:8448/refresh'";
    let own = Profile::parse("b.toml", text).unwrap();
    assert_eq!(own.refreshed_at().unwrap().to_string(), "https://b.example:8448/refresh");
    assert_eq!(own.issuer_or_origin().as_deref(), Some("https://b.example:8448"));
    assert!(!own.is_connectable() && own.takes_tokens_at("b.example", 8448, "/refresh"));
    let halved = format!("{text}\ntoken_endpoint = 'https://b.example/token'");
    let refused = Profile::parse("b.toml", &halved).unwrap_err().to_string();
    assert!(refused.contains("write both `authorization_endpoint` and `token_endpoint`"), "{refused}");
}

#[test]
fn only_a_verified_fact_may_decide() {
    let own = Profile::parse("own.toml", SOUND).unwrap();
    assert!(own.may_decide("reuse.grace_secs") && own.may_decide("rotation"));
    // Stated and not covered; covered by the other half of its table; no key at all.
    for key in ["second_presentation", "not_processed_statuses", "reuse.after_grace", "reuse", "no_such_key"]
    {
        assert!(!own.may_decide(key), "{key}");
    }
    let heard = SOUND.replace("confidence = \"verified\"", "confidence = \"unverified\"");
    let heard = Profile::parse("own.toml", &heard).unwrap();
    assert!(!heard.may_decide("reuse.grace_secs") && !heard.may_decide("rotation"));
}

#[test]
fn what_is_left_out_is_the_worst() {
    let bare = Profile::parse("b.toml", "name = 'b'\ntitle = 'B'").unwrap();
    let generic = builtin::profile("generic").unwrap();
    assert_eq!((bare.reuse, bare.second_presentation), (generic.reuse, generic.second_presentation));
    assert_eq!((bare.old_access, bare.blast), (OldAccess::Dies, Blast::Wider));
    assert!(bare.permanent_errors.contains(&"invalid_grant".to_owned()));
    assert!(bare.client_errors.contains(&"invalid_client".to_owned()));
}

#[test]
fn each_mistake_is_named_with_line_and_remedy() {
    for (from, to, told) in [
        (
            "rotation = \"always\"",
            "rotatoin = \"always\"",
            "own.toml:9: the file has no key `rotatoin`: did you mean `rotation`?",
        ),
        (
            "rotation = \"always\"",
            "rotation = \"alway\"",
            "own.toml:9: `alway` is no value of `rotation`: did you mean `always`?",
        ),
        ("grace_secs = 30", "grace_s = 30", "own.toml:10: `reuse` has no key `grace_s`"),
        ("grace_secs = 30", "grace_secs = 9999999", "must be from 0 to 86400"),
        (
            "http://127.0.0.1:3301/token",
            "http://provider.example/token",
            "own.toml:5: `http://provider.example/token` is plain HTTP to another machine",
        ),
        ("http://127.0.0.1:3301/token", "https://u:p@provider.example/token", "is no endpoint"),
        ("http://127.0.0.1:3301/token", "https://provider.example/token#x", "is no endpoint"),
        (
            "token_endpoint = \"http://127.0.0.1:3301/token\"",
            "",
            "write both `authorization_endpoint` and `token_endpoint`",
        ),
        ("client_auth = [\"client_secret_basic\", \"none\"]", "client_auth = []", "name at least one way"),
        ("prompt = \"consent\"", "state = \"x\"", "`state` is set by us"),
        ("prompt = \"consent\"", "code_challenge_method = \"plain\"", "is set by us"),
        (
            "rotation = \"always\"",
            "extra_refresh_params = { refresh_token = \"x\" }",
            "own.toml:9: `refresh_token` is set by us",
        ),
        (
            "rotation = \"always\"",
            "extra_refresh_params = { scope = \"admin\" }",
            "`scope` is set by us: leave it out",
        ),
        ("rotation = \"always\"", "error_field = \"access_token\"", "already has a meaning in an answer"),
        (
            "rotation = \"always\"",
            "refresh_expires_field = \"expires_in\"",
            "already has a meaning in an answer",
        ),
        (
            "covers = [\"reuse.grace_secs\"",
            "covers = [\"rotation\", \"reuse.grace_secs\"",
            "own.toml:16: another fact covers `rotation`: one key, one source",
        ),
        ("covers = [\"reuse.grace_secs\", \"rotation\"]", "covers = []", "name at least one key"),
        ("source = \"tried\"", "source = \" \"", "write where this is from"),
        (
            "token_endpoint = \"http://127.0.0.1:3301/token\"",
            "refresh_endpoint = \"http://127.0.0.1:3301/refresh\"",
            "write both `authorization_endpoint` and `token_endpoint`",
        ),
        ("rotation = \"always\"", "token_path = []", "`token_path` holds 1 to 4 names"),
        ("rotation = \"always\"", "token_path = [\"a b\"]", "is no code"),
        ("rotation = \"always\"", "expires_unit = \"minutes\"", "`minutes` is no value of `expires_unit`"),
        ("[429, 503]", "[200]", "only a status from 400 to 599"),
        (
            "confidence = \"verified\"",
            "confidence = \"sure\"",
            "own.toml:18: `sure` is no value of `confidence`",
        ),
        ("\"reuse.grace_secs\"", "\"reuse.grace_sec\"", "did you mean `reuse.grace_secs`?"),
        // Grace and what follows it are two facts.
        ("\"reuse.grace_secs\"", "\"reuse\"", "`reuse` is no value of `covers`"),
        ("2026-11-21", "yesterday", "is no day"),
        (
            "issuer = \"http://127.0.0.1:3301\"",
            "issuer = \"https://a.example/?x=1\"",
            "an issuer has no query",
        ),
    ] {
        let all = refusal(from, to);
        assert!(all.contains(told), "{told}\nnot in\n{all}");
    }
}

#[test]
fn an_endpoint_has_one_spelling() {
    let endpoint = Endpoint::parse("https://provider.example:8443/oauth/token?tenant=a").unwrap();
    assert_eq!(
        (endpoint.scheme(), endpoint.host(), endpoint.port()),
        (Scheme::Https, "provider.example", 8443)
    );
    assert_eq!(endpoint.path_and_query(), "/oauth/token?tenant=a");
    assert_eq!(endpoint.to_string(), "https://provider.example:8443/oauth/token?tenant=a");
    assert_eq!(Endpoint::parse("https://a.example:443/t").unwrap().to_string(), "https://a.example/t");
    for bad in [
        "https://a.example",
        "https://a.example/%7e",
        "https://a.example/../t",
        "https://A.example/t",
        "//a.example/t",
        "https://a.example/a b",
    ] {
        assert!(matches!(Endpoint::parse(bad), Err(EndpointError::Malformed(_))), "{bad}");
    }
    assert!(matches!(Endpoint::parse("http://a.example/t"), Err(EndpointError::Plain(_))));
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_fail(text in "(?s).{0,200}", at in 0..SOUND.len()) {
        let _ = Profile::parse("x.toml", &text);
        let _ = Profile::parse("x.toml", SOUND.get(..at).unwrap_or_default());
        let _ = Endpoint::parse(&text);
    }

    #[test]
    fn an_endpoint_reads_back(text in "https://[a-z]{1,5}\\.example(:[1-9][0-9]{1,3})?/[a-z/]{0,6}") {
        if let Ok(endpoint) = Endpoint::parse(&text) {
            prop_assert_eq!(Endpoint::parse(&endpoint.to_string()), Ok(endpoint));
        }
    }
}

//! Proves what a client of this provider meets: one-time codes bound to their verifier, rotation each time,
//! a reuse that ends the family, idleness that kills, and counters that say so.

use super::{AuthorizeRequest, Landing, OAuthError, Policy, Provider, Registered, TokenAnswer, TokenRequest};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use nightlatch_domain::clock::{Boot, Entropy, NoEntropy};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const BACK: &str = "http://127.0.0.1:8444/oauth/callback/x";
const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-in-length";
const POLICY: Policy = Policy { access: Duration::from_secs(10), refresh_idle: Duration::from_secs(60) };

/// Each draw is another number: distinct is all that the core needs.
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, out: &mut [u8]) -> Result<(), NoEntropy> {
        let number = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        for (place, byte) in out.iter_mut().zip(number.iter().cycle()) {
            *place = *byte;
        }
        Ok(())
    }
}

fn at(secs: u64) -> Boot {
    Boot::from_millis(secs * 1000)
}

struct World {
    provider: Provider,
    client: Registered,
    session: String,
}

impl World {
    fn new() -> Self {
        let mut provider = Provider::new("http://127.0.0.1:1", Arc::new(Counting(AtomicU64::new(1))));
        let account = provider.open_account("dana").expect("an account");
        let client = provider.register(&[BACK], POLICY).expect("a client");
        let mut world = Self { provider, client, session: String::new() };
        let Landing::Login { request, .. } = world.begin() else { panic!("nobody is logged in yet") };
        let landed = world.provider.log_in(&request, "dana", &account.password).expect("entropy");
        let Landing::LoggedIn { session, .. } = landed else { panic!("{landed:?}") };
        world.session = session;
        world
    }

    fn request(&self) -> AuthorizeRequest {
        AuthorizeRequest {
            response_type: "code".to_owned(),
            client_id: self.client.client_id.clone(),
            redirect_uri: BACK.to_owned(),
            scope: "mail".to_owned(),
            state: "st&te".to_owned(),
            code_challenge: URL_SAFE_NO_PAD.encode(digest(&SHA256, VERIFIER.as_bytes())),
            code_challenge_method: "S256".to_owned(),
        }
    }

    fn begin(&mut self) -> Landing {
        let request = self.request();
        let session = (!self.session.is_empty()).then_some(self.session.as_str());
        self.provider.authorize(request, session, at(0)).expect("entropy")
    }

    fn code(&mut self) -> String {
        let Landing::Consent { request, once, .. } = self.begin() else { panic!("no consent page") };
        let back = self.provider.consent(&request, &once, true, Some(&self.session), at(0)).expect("entropy");
        let Landing::Back(address) = back else { panic!("{back:?}") };
        value(&address, "code").expect("a code")
    }

    fn redeem(&mut self, code: &str, now: Boot) -> Result<TokenAnswer, OAuthError> {
        let asked = TokenRequest {
            authorization: basic(&self.client.client_id, &self.client.client_secret),
            grant_type: "authorization_code".to_owned(),
            code: code.to_owned(),
            redirect_uri: BACK.to_owned(),
            code_verifier: VERIFIER.to_owned(),
            ..TokenRequest::default()
        };
        self.provider.token(&asked, now)
    }

    fn tokens(&mut self) -> TokenAnswer {
        let code = self.code();
        self.redeem(&code, at(0)).expect("tokens")
    }

    fn refresh(&mut self, token: &str, now: Boot) -> Result<TokenAnswer, OAuthError> {
        let asked = TokenRequest {
            authorization: basic(&self.client.client_id, &self.client.client_secret),
            grant_type: "refresh_token".to_owned(),
            refresh_token: token.to_owned(),
            ..TokenRequest::default()
        };
        self.provider.token(&asked, now)
    }

    fn works(&mut self, token: &str, now: Boot) -> bool {
        self.provider.bearer(token, now).is_some()
    }

    fn counters(&self) -> super::Counters {
        self.provider.counters(&self.client.client_id).expect("a client")
    }
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn value(address: &str, name: &str) -> Option<String> {
    let query = address.split_once('?')?.1;
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[test]
fn a_consent_becomes_tokens_that_name_the_account() {
    let mut world = World::new();
    let tokens = world.tokens();
    assert_eq!((tokens.token_type, tokens.expires_in, tokens.scope.as_str()), ("Bearer", 10, "mail"));
    let account = world.provider.bearer(&tokens.access_token, at(9)).expect("a living token");
    assert_eq!(account.login, "dana");
    assert!(!world.works(&tokens.access_token, at(10)), "it lived on past its end");
    assert!(!world.works("sim_at_guess", at(0)));
}

#[test]
fn the_way_back_carries_state_and_who_answers() {
    let mut world = World::new();
    let Landing::Consent { request, once, .. } = world.begin() else { panic!("no consent page") };
    let session = world.session.clone();
    let back = world.provider.consent(&request, &once, true, Some(&session), at(0)).expect("entropy");
    let Landing::Back(address) = back else { panic!("{back:?}") };
    assert_eq!(value(&address, "state").as_deref(), Some("st&te"));
    assert_eq!(value(&address, "iss").as_deref(), Some("http://127.0.0.1:1"));
}

#[test]
fn a_client_or_address_that_is_not_known_sends_nobody_anywhere() {
    let mut world = World::new();
    let foreign = AuthorizeRequest { client_id: "sim_client_x".to_owned(), ..world.request() };
    let elsewhere = AuthorizeRequest { redirect_uri: format!("{BACK}/more"), ..world.request() };
    for request in [foreign, elsewhere] {
        let landing = world.provider.authorize(request, None, at(0)).expect("entropy");
        assert!(matches!(landing, Landing::Refused(_)), "{landing:?}");
    }
}

#[test]
fn a_request_without_a_challenge_is_told_to_its_client() {
    let mut world = World::new();
    let plain = AuthorizeRequest { code_challenge_method: "plain".to_owned(), ..world.request() };
    let none = AuthorizeRequest { code_challenge: String::new(), ..world.request() };
    let implicit = AuthorizeRequest { response_type: "token".to_owned(), ..world.request() };
    for request in [plain, none, implicit] {
        let landing = world.provider.authorize(request, None, at(0)).expect("entropy");
        let Landing::Back(address) = landing else { panic!("{landing:?}") };
        assert!(value(&address, "error").is_some() && value(&address, "code").is_none(), "{address}");
    }
}

#[test]
fn a_wrong_password_logs_nobody_in_and_no_other_page_can_consent() {
    let mut world = World::new();
    let Landing::Consent { request, once, .. } = world.begin() else { panic!("no consent page") };
    let wrong = world.provider.log_in(&request, "dana", "guess").expect("entropy");
    assert!(matches!(wrong, Landing::Login { wrong: true, .. }), "{wrong:?}");
    let session = world.session.clone();
    let forged = world.provider.consent(&request, "guess", true, Some(&session), at(0)).expect("entropy");
    assert!(matches!(forged, Landing::Refused(_)), "{forged:?}");
    let nobody = world.provider.consent(&request, &once, true, None, at(0)).expect("entropy");
    assert!(matches!(nobody, Landing::Refused(_)), "{nobody:?}");
    let no = world.provider.consent(&request, &once, false, Some(&session), at(0)).expect("entropy");
    assert!(
        matches!(&no, Landing::Back(address) if value(address, "error").as_deref() == Some("access_denied"))
    );
}

#[test]
fn a_code_is_good_once_for_its_verifier_and_its_client_and_not_for_long() {
    let mut world = World::new();
    let code = world.code();
    let stolen = TokenRequest {
        authorization: basic(&world.client.client_id, &world.client.client_secret),
        grant_type: "authorization_code".to_owned(),
        code: code.clone(),
        redirect_uri: BACK.to_owned(),
        code_verifier: "another".to_owned(),
        ..TokenRequest::default()
    };
    assert_eq!(world.provider.token(&stolen, at(1)), Err(OAuthError::InvalidGrant));
    assert_eq!(world.redeem(&code, at(60)), Err(OAuthError::InvalidGrant));
    let elsewhere = TokenRequest {
        redirect_uri: format!("{BACK}/more"),
        code_verifier: VERIFIER.to_owned(),
        ..stolen.clone()
    };
    assert_eq!(world.provider.token(&elsewhere, at(1)), Err(OAuthError::InvalidGrant), "RFC 6749 §4.1.3");
    let own = world.client.clone();
    world.client = world.provider.register(&[BACK], POLICY).expect("a client");
    assert_eq!(world.redeem(&code, at(1)), Err(OAuthError::InvalidGrant), "another client's code was taken");
    world.client = own;
    let tokens = world.redeem(&code, at(1)).expect("tokens");
    assert_eq!(world.redeem(&code, at(2)), Err(OAuthError::InvalidGrant));
    assert!(!world.works(&tokens.access_token, at(2)), "what came of a code that came twice lives on");
}

#[test]
fn a_client_that_does_not_prove_itself_is_refused_and_not_counted() {
    let mut world = World::new();
    let tokens = world.tokens();
    let counted = world.counters();
    for authorization in [basic(&world.client.client_id, "guess"), String::new(), "Bearer x".to_owned()] {
        let asked = TokenRequest {
            authorization,
            grant_type: "refresh_token".to_owned(),
            refresh_token: tokens.refresh_token.clone(),
            ..TokenRequest::default()
        };
        assert_eq!(world.provider.token(&asked, at(1)), Err(OAuthError::InvalidClient));
    }
    assert_eq!(world.counters(), counted);
}

#[test]
fn each_refresh_rotates_and_the_older_access_token_lives_to_its_end() {
    let mut world = World::new();
    let first = world.tokens();
    let second = world.refresh(&first.refresh_token, at(5)).expect("tokens");
    let third = world.refresh(&second.refresh_token, at(6)).expect("tokens");
    assert_ne!(second.refresh_token, third.refresh_token);
    assert!(world.works(&first.access_token, at(7)) && world.works(&third.access_token, at(7)));
    let counters = world.counters();
    assert_eq!((counters.code_exchanges, counters.refreshes, counters.token_requests), (1, 2, 3));
    assert_eq!((counters.reuse_detected, counters.families_revoked), (0, 0));
}

#[test]
fn a_consumed_refresh_token_that_comes_again_ends_the_family() {
    let mut world = World::new();
    let first = world.tokens();
    let second = world.refresh(&first.refresh_token, at(5)).expect("tokens");
    assert_eq!(world.refresh(&first.refresh_token, at(5)), Err(OAuthError::InvalidGrant));
    assert_eq!(world.refresh(&second.refresh_token, at(6)), Err(OAuthError::InvalidGrant));
    assert!(!world.works(&second.access_token, at(6)), "an access token of an ended family lives on");
    assert_eq!(world.refresh(&first.refresh_token, at(6)), Err(OAuthError::InvalidGrant));
    let counters = world.counters();
    assert_eq!((counters.reuse_detected, counters.families_revoked), (2, 1), "a family ends once");
    assert_eq!((counters.refreshes, counters.refreshes_refused), (1, 3));
}

#[test]
fn an_unused_refresh_token_dies_of_idleness_and_a_used_one_begins_anew() {
    let mut world = World::new();
    let first = world.tokens();
    let second = world.refresh(&first.refresh_token, at(59)).expect("tokens");
    let third = world.refresh(&second.refresh_token, at(118)).expect("tokens");
    assert_eq!(world.refresh(&third.refresh_token, at(178)), Err(OAuthError::InvalidGrant));
    assert_eq!(world.counters().families_revoked, 0, "nobody ended it; it died");
}

#[test]
fn another_clients_refresh_token_is_worth_nothing_and_harms_nobody() {
    let mut world = World::new();
    let tokens = world.tokens();
    let own = world.client.clone();
    world.client = world.provider.register(&[BACK], POLICY).expect("a client");
    assert_eq!(world.refresh(&tokens.refresh_token, at(1)), Err(OAuthError::InvalidGrant));
    world.client = own;
    assert!(world.refresh(&tokens.refresh_token, at(1)).is_ok());
}

#[test]
fn the_provider_takes_back_all_that_one_client_was_granted_and_nothing_else() {
    let mut world = World::new();
    let (first, second) = (world.tokens(), world.tokens());
    let own = world.client.clone();
    world.client = world.provider.register(&[BACK], POLICY).expect("a client");
    let others = world.tokens();
    assert_eq!(world.provider.revoke(&own.client_id).expect("a client"), 2);
    assert!(!world.works(&first.access_token, at(1)) && !world.works(&second.access_token, at(1)));
    assert!(world.works(&others.access_token, at(1)));
    assert!(!world.provider.has_living_access(&own.client_id, at(1)));
    assert_eq!(world.provider.revoke(&own.client_id).expect("a client"), 0, "there is nothing left");
}

#[test]
fn a_client_has_a_living_token_until_the_last_one_ends() {
    let mut world = World::new();
    let first = world.tokens();
    world.refresh(&first.refresh_token, at(5)).expect("tokens");
    let id = world.client.client_id.clone();
    assert!(world.provider.has_living_access(&id, at(14)));
    assert!(!world.provider.has_living_access(&id, at(15)));
    assert!(!world.provider.has_living_access("sim_client_x", at(5)));
}

#[test]
fn everything_that_a_client_was_given_is_listed() {
    let mut world = World::new();
    let code = world.code();
    let tokens = world.redeem(&code, at(1)).expect("tokens");
    let issued = world.provider.issued(Some(&world.client.client_id));
    let own = [world.client.client_secret.clone(), code, tokens.access_token, tokens.refresh_token];
    assert_eq!(issued, own);
    let other = world.provider.register(&[BACK], POLICY).expect("a client");
    assert_eq!(world.provider.issued(Some(&other.client_id)), [other.client_secret]);
    assert_eq!(world.provider.issued(None).len(), issued.len() + 1);
}

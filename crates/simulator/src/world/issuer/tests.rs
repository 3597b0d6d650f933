//! Proves what each class of provider does with a token that comes again, and that it counts what came.

use super::{Again, Books, Issuer, Temper, Tokens, Verdict};
use crate::world::{
    Dice, Moment,
    message::{Ask, Reply},
    net::Server,
};
use std::time::Duration;

fn at(secs: u64) -> Moment {
    Moment::BEGIN.plus(Duration::from_secs(secs))
}

fn class(name: &str) -> Temper {
    Temper::all().into_iter().find(|temper| temper.name == name).unwrap()
}

/// Books of a class, with one family and its first tokens.
fn grown(name: &str) -> (Books, Tokens) {
    let mut books = Books::new(class(name), Dice::new(7));
    let tokens = consented(&mut books, "dana", at(0));
    (books, tokens)
}

fn consented(books: &mut Books, account: &str, when: Moment) -> Tokens {
    let code = books.consent(account);
    let Verdict::Tokens(tokens) = books.redeem(&code, when) else { panic!("a code brings tokens") };
    assert_eq!(books.redeem(&code, when), Verdict::Refused("invalid_grant"), "once");
    tokens
}

fn comes(books: &mut Books, token: &str, secs: u64) -> Option<Tokens> {
    match books.present(token, at(secs)) {
        Verdict::Tokens(tokens) => Some(tokens),
        Verdict::Refused(error) => {
            assert_eq!(error, "invalid_grant");
            None
        }
    }
}

fn refresh(tokens: &Tokens) -> &str {
    tokens.refresh.as_deref().unwrap()
}

#[test]
fn every_class_has_a_name_of_its_own() {
    let mut names: Vec<_> = Temper::all().iter().map(|temper| temper.name).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() == all && !names.contains(&""), "{names:?}");
}

#[test]
fn a_strict_one_takes_a_token_once_and_ends_the_family_at_the_second_time() {
    let (mut books, first) = grown("strict");
    let second = comes(&mut books, refresh(&first), 10).unwrap();
    assert_eq!(books.standing(refresh(&second), at(10)), Some((0, 2, true)));
    assert_eq!(comes(&mut books, refresh(&first), 10), None);
    assert_eq!(comes(&mut books, refresh(&second), 11), None, "the family is dead");
    assert_eq!(books.account_of(&second.access.token, at(11)), None);
    let tally = books.tally();
    assert_eq!((tally.first_presentations, tally.repeats, tally.consumed_again), (2, 1, 1));
    assert_eq!((tally.refreshed, tally.refused), (1, 2));
    assert_eq!((tally.reuse_detected, tally.ended_by_reuse), (1, 1), "a dead family is not ended again");
    assert_eq!(books.families()[0].ended, Some("reuse"));
    let came: Vec<_> = books.arrivals().map(|(family, number, came)| (family, number, came.len())).collect();
    assert!(came.contains(&(0, 1, 2)) && came.contains(&(0, 2, 1)), "{came:?}");
}

#[test]
fn within_its_grace_the_same_token_is_given_again_and_after_it_never() {
    for (name, grace) in [("grace-60s", 60), ("grace-10m", 600), ("grace-30m", 1800)] {
        let (mut books, first) = grown(name);
        let second = comes(&mut books, refresh(&first), 10).unwrap();
        let again = comes(&mut books, refresh(&first), 10 + grace - 1).unwrap();
        assert_eq!(again.refresh, second.refresh, "{name}");
        assert_eq!(books.tally().reuse_detected, 0);
        assert_eq!(comes(&mut books, refresh(&first), 10 + grace), None, "{name}");
        assert_eq!(books.families()[0].ended, Some("reuse"));
    }
}

#[test]
fn an_idempotent_one_gives_the_same_until_what_it_gave_is_used() {
    let (mut books, first) = grown("idempotent");
    let second = comes(&mut books, refresh(&first), 10).unwrap();
    assert_eq!(comes(&mut books, refresh(&first), 999_999).unwrap().refresh, second.refresh);
    comes(&mut books, refresh(&second), 1_000_000).unwrap();
    assert_eq!(comes(&mut books, refresh(&first), 1_000_001), None);
}

#[test]
fn where_the_last_wins_the_one_before_is_worth_nothing() {
    let (mut books, first) = grown("last-wins");
    let second = comes(&mut books, refresh(&first), 10).unwrap();
    let again = comes(&mut books, refresh(&first), 20).unwrap();
    assert_ne!(again.refresh, second.refresh);
    assert!(!books.standing(refresh(&second), at(20)).unwrap().2);
    assert!(comes(&mut books, refresh(&again), 30).is_some());
    assert_eq!(comes(&mut books, refresh(&second), 31), None);
    assert_eq!(class("both-live").again, Again::BothLive);
    let (mut books, first) = grown("both-live");
    let second = comes(&mut books, refresh(&first), 10).unwrap();
    let again = comes(&mut books, refresh(&first), 20).unwrap();
    assert!(
        comes(&mut books, refresh(&second), 30).is_some() && comes(&mut books, refresh(&again), 31).is_some()
    );
}

#[test]
fn an_old_access_token_dies_at_a_refresh_only_where_that_is_so() {
    for (name, lives) in [("strict", true), ("old-token-dies", false)] {
        let (mut books, first) = grown(name);
        assert_eq!(books.account_of(&first.access.token, at(5)), Some("dana"));
        comes(&mut books, refresh(&first), 10).unwrap();
        assert_eq!(books.account_of(&first.access.token, at(11)).is_some(), lives, "{name}");
    }
}

#[test]
fn a_cap_ends_the_oldest_family_of_the_account_and_nobody_elses() {
    let mut books = Books::new(class("count-cap"), Dice::new(1));
    let other = consented(&mut books, "erin", at(0));
    let all: Vec<_> = (1..4).map(|secs| consented(&mut books, "dana", at(secs))).collect();
    assert_eq!(comes(&mut books, refresh(&all[0]), 10), None);
    for living in [&all[1], &all[2], &other] {
        assert!(comes(&mut books, refresh(living), 11).is_some());
    }
    assert_eq!((books.tally().ended_by_cap, books.tally().reuse_detected), (1, 0));
}

#[test]
fn where_no_refresh_token_is_given_the_first_one_stays_good() {
    let (mut books, first) = grown("refresh-omitted");
    for round in 1..4 {
        let brought = comes(&mut books, refresh(&first), round * 10).unwrap();
        assert_eq!(brought.refresh, None);
    }
    let tally = books.tally();
    assert_eq!((tally.repeats, tally.consumed_again, tally.reuse_detected), (2, 0, 0));
    let (mut books, mut now) = grown("rotates-sometimes");
    let (mut given, mut kept) = (0, 0);
    for round in 1..30 {
        let brought = comes(&mut books, refresh(&now), round * 10).unwrap();
        match brought.refresh {
            Some(_) => (given, now) = (given + 1, brought),
            None => kept += 1,
        }
    }
    assert!(given > 3 && kept > 3, "{given} {kept}");
}

#[test]
fn what_is_said_of_an_access_token_is_not_always_so() {
    let (books, first) = grown("lying");
    assert_eq!(first.access.says_secs, Some(3600));
    assert!(books.account_of(&first.access.token, at(599)).is_some());
    assert_eq!(books.account_of(&first.access.token, at(600)), None);
    assert_eq!(grown("silent-on-life").1.access.says_secs, None);
}

#[test]
fn an_idle_token_dies_and_so_does_what_an_administrator_or_its_owner_ends() {
    let temper = Temper { idle: Some(Duration::from_secs(60)), ..Temper::strict() };
    let mut books = Books::new(temper, Dice::new(1));
    let first = consented(&mut books, "dana", at(0));
    let second = comes(&mut books, refresh(&first), 59).unwrap();
    assert_eq!(comes(&mut books, refresh(&second), 119), None);
    let (mut books, first) = grown("strict");
    let (second, other) = (consented(&mut books, "dana", at(1)), consented(&mut books, "erin", at(1)));
    assert!(books.revoke(refresh(&first), at(2)) && !books.revoke("unknown", at(2)));
    assert_eq!(books.accounts_revoked_at(at(2)), ["dana", "dana"]);
    assert!(books.revoke(refresh(&second), at(3)) && books.accounts_revoked_at(at(3)).is_empty());
    for ended in [&first, &second] {
        assert_eq!(comes(&mut books, refresh(ended), 4), None, "all that the account was given");
    }
    assert!(comes(&mut books, refresh(&other), 4).is_some());
    let (mut books, first) = grown("strict");
    books.end_account("dana");
    assert_eq!(comes(&mut books, refresh(&first), 1), None);
    assert_eq!(books.tally().reuse_detected, 0, "nobody stole anything");
}

fn post(path: &str, body: &str) -> Vec<u8> {
    Ask {
        method: "POST".to_owned(),
        path: path.to_owned(),
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
    }
    .bytes()
}

fn answered(issuer: &Issuer, request: &[u8]) -> (u16, serde_json::Value) {
    let served = issuer.take(request, at(1));
    let reply = Reply::read(&served.answer.unwrap()).unwrap();
    (reply.status, serde_json::from_slice(&reply.body).unwrap())
}

#[test]
fn at_its_address_it_speaks_as_the_standards_say() {
    let issuer = Issuer::new(class("strict"), Dice::new(1));
    let code = issuer.books().consent("dana");
    let (status, body) =
        answered(&issuer, &post("/token", &format!("grant_type=authorization_code&code={code}")));
    assert_eq!(
        (status, body["expires_in"].as_u64(), body["token_type"].as_str()),
        (200, Some(3600), Some("Bearer"))
    );
    let (access, token) = (body["access_token"].as_str().unwrap(), body["refresh_token"].as_str().unwrap());
    let me = |token: &str| {
        let headers = vec![("authorization".to_owned(), format!("Bearer {token}"))];
        let ask = Ask { method: "GET".to_owned(), path: "/me".to_owned(), headers, body: Vec::new() };
        answered(&issuer, &ask.bytes())
    };
    assert_eq!((me(access).0, me(access).1["id"].as_str()), (200, Some("dana")));
    assert_eq!(me("other").0, 401);
    let refreshing = post("/token", &format!("grant_type=refresh_token&refresh_token={token}"));
    assert_eq!(answered(&issuer, &refreshing).0, 200);
    let (status, body) = answered(&issuer, &refreshing);
    assert_eq!((status, body["error"].as_str()), (400, Some("invalid_grant")));
    assert_eq!(answered(&issuer, &post("/revoke", &format!("token={token}"))).0, 200);
    assert_eq!(answered(&issuer, &post("/elsewhere", "")).0, 404);
    assert_eq!(answered(&issuer, b"no request").0, 400);
}

#[test]
fn a_flaky_one_turns_away_before_it_looks_and_another_denies_what_it_did() {
    for (name, status) in [("flaky", 503), ("denies-what-it-did", 502)] {
        let temper =
            Temper { turns_away: class(name).turns_away * 5, denies_what_it_did: 1_000_000, ..class(name) };
        let issuer = Issuer::new(temper, Dice::new(1));
        let mut books = issuer.books();
        let first = consented(&mut books, "dana", at(0));
        drop(books);
        let request = post("/token", &format!("grant_type=refresh_token&refresh_token={}", refresh(&first)));
        assert_eq!(answered(&issuer, &request).0, status, "{name}");
        let tally = issuer.tally();
        let looked = u64::from(status == 502);
        assert_eq!((tally.turned_away, tally.done_and_denied), (1 - looked, looked), "{name}");
        assert_eq!(tally.first_presentations, looked, "{name}");
    }
}

#[test]
fn a_message_that_was_cut_off_is_none() {
    let whole = post("/token", "grant_type=refresh_token");
    assert!(Ask::read(&whole).is_some());
    assert!((0..whole.len()).all(|length| Ask::read(&whole[..length]).is_none()));
    let whole = Reply::json(200, "{}".to_owned()).bytes();
    assert!((0..whole.len()).all(|length| Reply::read(&whole[..length]).is_none()));
}

//! What goes into a set and what does not, and that a set that was written down is the same set.

use super::{KEY_BYTES, SECRETS_MAX_BYTES, Sought, WindowSet};
use crate::{Span, find::find};

const KEYS: [u8; KEY_BYTES] = *b"0123456789abcdef0123456789ABCDEF0123456789-_.~+/";

fn set(secrets: &[Sought<'_>]) -> WindowSet {
    WindowSet::of(&KEYS, secrets).0
}

fn other(secret: &str) -> WindowSet {
    set(&[Sought::Other(secret.as_bytes())])
}

/// Which bytes of a text are masked.
fn masked(set: &WindowSet, text: &str) -> Vec<Span> {
    find(set, text.as_bytes())
}

const TOKEN: &str = "ghp_q7LtZ0mWv3XcR9bNfK2dJ5hG8sPaYeUi4oT1";

#[test]
fn a_secret_that_the_reader_holds_goes_in_whole() {
    let set = set(&[Sought::Held(TOKEN.as_bytes())]);
    assert_eq!(masked(&set, &format!("a {TOKEN} b")), [(2, 2 + TOKEN.len())]);
    assert_eq!(masked(&set, &TOKEN[..16]), [(0, 16)]);
    assert_eq!(masked(&set, &TOKEN[..15]), []);
}

#[test]
fn of_another_secret_the_vendors_prefix_stays_out() {
    let set = other(TOKEN);
    assert_eq!(masked(&set, TOKEN), [(4, TOKEN.len())]);
    assert_eq!(masked(&set, &TOKEN[3..19]), []);
    assert_eq!(masked(&set, &TOKEN[4..20]), [(0, 16)]);
}

/// No unit is in the set that joins what is easily guessed to what is not.
#[test]
fn of_another_secret_numbers_and_words_stay_out() {
    let slack = "xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcHrzqytg";
    let found = masked(&other(slack), slack);
    assert_eq!(found.len(), 1);
    assert!(found[0].0 >= slack.len() - 29 && found[0].1 == slack.len(), "{found:?}");
    let words = "correcthorsebatterystapleandmore";
    assert_eq!(masked(&other(words), words), []);
    assert!(other(words).is_empty());
    assert_eq!(masked(&set(&[Sought::Held(words.as_bytes())]), words), [(0, words.len())]);
}

#[test]
fn a_hexadecimal_secret_is_kept_as_the_bytes_that_it_stands_for() {
    let token = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let set = other(token);
    assert_eq!(masked(&set, &format!("=> {token}!")), [(3, 3 + 64)]);
    assert_eq!(masked(&set, &token.to_uppercase()), [(0, 64)]);
    assert_eq!(masked(&set, &token[7..7 + 33]), [(1, 33)], "half a byte at the front is none");
    assert_eq!(masked(&set, &token[7..7 + 31]), []);
}

#[test]
fn of_a_jwt_the_signature_goes_in() {
    let head = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIn0.";
    let jwt = format!("{head}SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c");
    for set in [other(&jwt), set(&[Sought::Held(jwt.as_bytes())])] {
        assert_eq!(masked(&set, &jwt), [(head.len(), jwt.len())]);
    }
}

#[test]
fn what_is_shorter_than_a_window_goes_in_nowhere() {
    assert!(set(&[Sought::Held(b"0123456789abcde")]).is_empty());
    assert!(WindowSet::empty().is_empty());
}

#[test]
fn past_the_bound_the_later_secrets_are_left_out() {
    let long: Vec<String> =
        ('a'..='e').map(|letter| letter.to_string().repeat(SECRETS_MAX_BYTES / 4 - 10)).collect();
    let mut secrets: Vec<_> = long.iter().map(|secret| Sought::Held(secret.as_bytes())).collect();
    secrets.push(Sought::Held(TOKEN.as_bytes()));
    secrets.push(Sought::Held(long[0].as_bytes()));
    let (set, left_out) = WindowSet::of(&KEYS, &secrets);
    assert_eq!(left_out, 1, "a smaller one still fits, and so does one that is there");
    assert_eq!(masked(&set, TOKEN), [(0, TOKEN.len())]);
}

#[test]
fn a_set_that_was_written_down_is_the_same_and_nothing_else_is_one() {
    let set = other(TOKEN);
    let bytes = set.encode();
    assert!(!bytes.windows(8).any(|window| TOKEN.as_bytes().windows(8).any(|part| part == window)));
    let read = WindowSet::decode(&bytes).unwrap();
    assert_eq!(masked(&read, TOKEN), [(4, TOKEN.len())]);
    for cut in [0, 1, 60, bytes.len() - 1] {
        assert!(WindowSet::decode(&bytes[..cut]).is_none());
    }
    let mut more = bytes.to_vec();
    more.push(0);
    assert!(WindowSet::decode(&more).is_none());
    more.pop();
    more[0] = 2;
    assert!(WindowSet::decode(&more).is_none());
}

#[test]
fn another_key_makes_another_set_of_the_same_size() {
    let one = other(TOKEN).encode();
    let two = WindowSet::of(&[7; KEY_BYTES], &[Sought::Other(TOKEN.as_bytes())]).0.encode();
    assert_eq!(one.len(), two.len());
    assert_ne!(one, two);
}

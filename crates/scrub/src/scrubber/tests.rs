//! However a stream is cut, no window of a secret survives in any form, every other byte does, and nothing
//! waits without need.

use super::{Masks, Scrubber};
use crate::{Needles, Sought, WindowSet, forms::base64};
use bytes::Bytes;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_oneof, proptest};
use std::sync::Arc;

const KEYS: [u8; 48] = *b"0123456789abcdef0123456789ABCDEF0123456789-_.~+/";

fn needles(needles: &[&str]) -> Masks {
    let needles = needles.iter().map(|needle| needle.as_bytes().to_vec().into()).collect();
    Masks::new(Arc::new(WindowSet::empty()), Needles::new(needles))
}

fn windows(secrets: &[Sought<'_>]) -> Masks {
    Masks::new(Arc::new(WindowSet::of(&KEYS, secrets).0), Needles::default())
}

fn held(secret: &str) -> Masks {
    windows(&[Sought::Held(secret.as_bytes())])
}

fn through(masks: &Masks, pieces: &[&[u8]]) -> Vec<u8> {
    let mut scrubber = Scrubber::new(masks.clone());
    let mut out: Vec<u8> =
        pieces.iter().flat_map(|piece| scrubber.push(Bytes::copy_from_slice(piece)).to_vec()).collect();
    out.extend_from_slice(&scrubber.finish());
    assert!(scrubber.is_empty());
    out
}

fn pieces<'a>(text: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).chain([0, text.len()]).collect();
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

/// Every byte that lies in an occurrence of a whole text is a mask. Quadratic, and plainly right.
fn expected_of_needles(needles: &[&str], input: &[u8]) -> Vec<u8> {
    let mut out = input.to_vec();
    for needle in needles.iter().filter(|needle| !needle.is_empty()) {
        for at in 0..input.len() {
            if input[at..].starts_with(needle.as_bytes()) {
                out[at..at + needle.len()].fill(b'*');
            }
        }
    }
    out
}

/// Every byte is a mask that lies in 16 of which each 13 stand in the secret. That is a window, unless the secret
/// repeats itself.
fn expected(secret: &str, input: &[u8]) -> Vec<u8> {
    let has = |part: &[u8]| memchr::memmem::find(secret.as_bytes(), part).is_some();
    let mut out = input.to_vec();
    for (at, window) in input.windows(16).enumerate() {
        if window.windows(13).all(has) {
            out[at..at + 16].fill(b'*');
        }
    }
    out
}

#[test]
fn a_whole_text_is_masked_by_its_own_length() {
    assert_eq!(through(&needles(&["s3cret"]), &[b"a s3cret b"]), b"a ****** b");
    assert_eq!(through(&needles(&["s3cret"]), &[b"as3", b"c", b"retb"]), b"a******b");
    assert_eq!(through(&needles(&["aa"]), &[b"a", b"a", b"a"]), b"***");
    assert_eq!(through(&needles(&[""]), &[b"abc"]), b"abc");
}

const TOKEN: &str = "gho_q7LtZ0mWv3XcR9bNfK2dJ5hG8sPaYeUi4oT1";

#[test]
fn an_event_is_not_held_back() {
    let mut scrubber = Scrubber::new(held(TOKEN));
    assert_eq!(scrubber.push(Bytes::from_static(b"data: {\"x\":1}\n\n")), "data: {\"x\":1}\n\n");
    assert_eq!(scrubber.push(Bytes::from_static(b"data: gho_q7")), "data: ");
    assert_eq!(scrubber.push(Bytes::from_static(b"yo\n\n")), "gho_q7yo\n\n");
    assert!(scrubber.is_empty());
}

#[test]
fn what_is_held_back_is_less_than_a_window() {
    let mut scrubber = Scrubber::new(held(TOKEN));
    let hex: String = TOKEN.bytes().map(|byte| format!("{byte:02x}")).collect();
    let wide: Vec<u8> = TOKEN.bytes().flat_map(|byte| [byte, 0]).collect();
    let json: String = TOKEN.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    for (text, most) in
        [(TOKEN.as_bytes(), 21), (hex.as_bytes(), 31), (&wide, 32), (json.as_bytes(), 15 * 6 + 5)]
    {
        for piece in text.repeat(9).chunks(7) {
            let _ = scrubber.push(Bytes::copy_from_slice(piece));
            assert!(scrubber.held.len() <= most, "{} of {most}", scrubber.held.len());
        }
        let _ = scrubber.finish();
    }
}

#[test]
fn each_secret_is_counted_once() {
    let mut scrubber = Scrubber::new(held(TOKEN));
    let wide: Vec<u8> = TOKEN.bytes().flat_map(|byte| [byte, 0]).collect();
    for text in [TOKEN.as_bytes(), b" and ", &wide, b", ", TOKEN.as_bytes(), b"\n"] {
        let _ = scrubber.push(Bytes::copy_from_slice(text));
    }
    let _ = scrubber.finish();
    assert_eq!(scrubber.masked(), 3);
    assert_eq!(held(TOKEN).whole(TOKEN.as_bytes()), (vec![b'*'; TOKEN.len()], 1));
}

#[test]
fn what_was_put_into_lower_case_is_held_like_what_was_not() {
    // Its upper case letters stand in the secret only, their lower case ones nowhere.
    let secret = "Q7LT-0MWV3XC-R9BN";
    let lower = secret.to_lowercase();
    for form in
        [Form::Wide(true), Form::Wide(false), Form::Percent(false, false), Form::Json(false), Form::Hex(true)]
    {
        let text = [&b" "[..], &form.of(lower.as_bytes()), b" "].concat();
        let whole = through(&held(secret), &[&text]);
        assert!(!form.survives(&lower, &whole), "{form:?}");
        for cut in 0..=text.len() {
            assert_eq!(through(&held(secret), &pieces(&text, &[cut])), whole, "{form:?} cut at {cut}");
        }
    }
}

#[test]
fn a_name_in_lower_case_shows_the_secret_that_it_holds() {
    let name = format!("x-{}", TOKEN.to_lowercase());
    assert!(held(TOKEN).is_in_lower(name.as_bytes()) && needles(&["S3cret"]).is_in_lower(b"x-s3cret"));
    assert!(!held(TOKEN).is_in_lower(b"x-ratelimit-remaining-for-a-day"));
}

/// A form, as somebody else would write it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Plain,
    Base64(usize, bool),
    Hex(bool),
    Percent(bool, bool),
    Json(bool),
    Slashed,
    Wide(bool),
}

impl Form {
    fn of(self, secret: &[u8]) -> Vec<u8> {
        let case = |text: String, upper: bool| if upper { text.to_uppercase() } else { text };
        match self {
            Self::Plain => secret.to_vec(),
            Self::Base64(alignment, url) => {
                let whole = [&b"xy"[..alignment], secret, &b"zz"[..]].concat();
                base64::encode(&whole, base64::ALPHABETS[usize::from(url)]).to_vec()
            }
            Self::Hex(upper) => {
                secret.iter().map(|byte| case(format!("{byte:02x}"), upper)).collect::<String>().into_bytes()
            }
            Self::Percent(upper, minimal) => secret
                .iter()
                .map(|byte| match minimal && (byte.is_ascii_alphanumeric() || b"-._~".contains(byte)) {
                    true => char::from(*byte).to_string(),
                    false => format!("%{}", case(format!("{byte:02x}"), upper)),
                })
                .collect::<String>()
                .into_bytes(),
            Self::Json(upper) => secret
                .iter()
                .map(|byte| format!("\\u00{}", case(format!("{byte:02x}"), upper)))
                .collect::<String>()
                .into_bytes(),
            Self::Slashed => String::from_utf8(secret.to_vec()).unwrap().replace('/', "\\/").into_bytes(),
            Self::Wide(big) => {
                secret.iter().flat_map(|byte| if big { [0, *byte] } else { [*byte, 0] }).collect()
            }
        }
    }

    /// Whether a window of the secret can be read out of a text, by somebody who tries everything.
    fn survives(self, secret: &str, text: &[u8]) -> bool {
        (0..secret.len() - 15).any(|at| {
            let window = &secret.as_bytes()[at..at + 16];
            (0..3).any(|alignment| {
                let form = match self {
                    Self::Base64(_, url) => Self::Base64(alignment, url),
                    other => other,
                };
                let spelled = form.of(window);
                // Of base64 only what the window alone decides.
                let (from, to) = match form {
                    Self::Base64(alignment, _) => ((8 * alignment).div_ceil(6), 8 * (alignment + 16) / 6),
                    _ => (0, spelled.len()),
                };
                memchr::memmem::find(text, &spelled[from..to]).is_some()
            })
        })
    }
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![
        proptest::strategy::Just(Form::Plain),
        (0usize..3, any::<bool>()).prop_map(|(alignment, url)| Form::Base64(alignment, url)),
        any::<bool>().prop_map(Form::Hex),
        (any::<bool>(), any::<bool>()).prop_map(|(upper, minimal)| Form::Percent(upper, minimal)),
        any::<bool>().prop_map(Form::Json),
        proptest::strategy::Just(Form::Slashed),
        any::<bool>().prop_map(Form::Wide),
    ]
}

/// What a credential is made of, and text around it that may look like one.
const TOKENS: &str = "[A-Za-z0-9+/_.~=-]{16,90}";
const AROUND: &str = "([A-Za-z0-9+/%\\\\]{0,30}|[ -~\n]{0,60}|[0-9a-f]{0,50}|\\\\u00[0-9]|%4)";

/// Texts over two letters, so that secrets and their beginnings are everywhere.
fn crowded(len: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<bool>(), len)
        .prop_map(|bits| bits.into_iter().map(|bit| if bit { 'a' } else { 'b' }).collect())
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(any::<usize>(), 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_window_survives_in_any_form_however_the_stream_is_cut(
        secret in TOKENS, form in form(), in_lower in any::<bool>(), from in any::<usize>(), len in any::<usize>(),
        before in AROUND, after in AROUND, cuts in cuts(),
    ) {
        let masks = held(&secret);
        // Base64 has no case to change.
        let secret = match in_lower && !matches!(form, Form::Base64(..)) {
            true => secret.to_lowercase(),
            false => secret,
        };
        let from = from % (secret.len() - 15);
        let len = 16 + len % (secret.len() - from - 15);
        let slice = form.of(&secret.as_bytes()[from..from + len]);
        let text = [before.as_bytes(), &slice, after.as_bytes()].concat();
        let whole = through(&masks, &[&text]);
        assert_eq!(through(&masks, &pieces(&text, &cuts)), whole, "{:?}", String::from_utf8_lossy(&text));
        // What stands before may swallow the first characters as the end of an escape of its own; then the
        // text does not say what was written.
        let is_told_apart = crate::forms::escapes::whole_until(before.as_bytes()) == before.len();
        assert!(!is_told_apart || !form.survives(&secret, &whole), "{:?}", String::from_utf8_lossy(&whole));
        assert_eq!(whole.len(), text.len());
        assert!(whole.iter().zip(&text).all(|(out, own)| out == own || *out == b'*'));
    }

    #[test]
    fn what_is_masked_are_windows_and_nothing_else(
        secret in crowded(16..40), input in crowded(0..200), cuts in cuts(),
    ) {
        let out = through(&held(&secret), &pieces(input.as_bytes(), &cuts));
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&expected(&secret, input.as_bytes())));
    }

    #[test]
    fn what_holds_no_secret_is_unchanged(
        secret in TOKENS, input in proptest::collection::vec(any::<u8>(), 0..400), cuts in cuts(),
    ) {
        let masks = windows(&[Sought::Held(secret.as_bytes()), Sought::Other(secret.as_bytes())]);
        assert_eq!(through(&masks, &pieces(&input, &cuts)), input);
    }

    #[test]
    fn bytes_of_any_kind_give_the_same_however_they_are_cut(
        secret in proptest::collection::vec(any::<u8>(), 16..60), parts in proptest::collection::vec((any::<bool>(), any::<usize>(), any::<usize>()), 0..12), cuts in cuts(),
    ) {
        // A mask must not be taken for the secret's own.
        let secret: Vec<u8> = secret.into_iter().map(|byte| if byte == b'*' { b'+' } else { byte }).collect();
        let masks = windows(&[Sought::Held(&secret)]);
        let mut text = Vec::new();
        for (is_slice, from, len) in parts {
            let from = from % secret.len();
            let slice = &secret[from..(from + len % 40).min(secret.len())];
            if is_slice { text.extend_from_slice(slice) } else { text.extend(slice.iter().rev()) }
        }
        let whole = through(&masks, &[&text]);
        assert_eq!(through(&masks, &pieces(&text, &cuts)), whole);
        assert!(!secret.windows(16).any(|window| memchr::memmem::find(&whole, window).is_some()));
    }

    #[test]
    fn every_cut_gives_the_same_and_no_whole_text_survives(
        first in crowded(1..7), second in crowded(1..5), input in crowded(0..60), cuts in cuts(),
    ) {
        let sought = [first.as_str(), second.as_str()];
        let out = through(&needles(&sought), &pieces(input.as_bytes(), &cuts));
        assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(expected_of_needles(&sought, input.as_bytes())).unwrap());
    }
}

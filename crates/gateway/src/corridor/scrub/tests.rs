//! However a stream is cut, no secret survives, every other byte does, and nothing waits without need.

use super::{ScrubSet, Scrubber};
use bytes::Bytes;
use http::HeaderMap;
use nightlatch_custody::Secret;
use proptest::prelude::{Strategy, any, proptest};

fn set(needles: &[&str]) -> ScrubSet {
    ScrubSet::new(needles.iter().map(|needle| Secret::new(needle.as_bytes().to_vec())).collect())
}

fn through(set: &ScrubSet, pieces: &[&[u8]]) -> Vec<u8> {
    let mut scrubber = Scrubber::new(set.clone());
    let mut out: Vec<u8> =
        pieces.iter().flat_map(|piece| scrubber.push(Bytes::copy_from_slice(piece)).to_vec()).collect();
    out.extend_from_slice(&scrubber.finish());
    assert!(scrubber.is_empty());
    out
}

/// What the output must be: every byte that lies in any occurrence is a mask. Quadratic, and plainly right.
fn expected(needles: &[&str], input: &[u8]) -> Vec<u8> {
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

#[test]
fn a_secret_is_masked_by_its_own_length() {
    assert_eq!(through(&set(&["s3cret"]), &[b"a s3cret b"]), b"a ****** b");
    assert_eq!(through(&set(&["s3cret"]), &[b"as3", b"c", b"retb"]), b"a******b");
    assert_eq!(through(&set(&["aa"]), &[b"a", b"a", b"a"]), b"***");
}

#[test]
fn an_event_is_not_held_back() {
    let mut scrubber = Scrubber::new(set(&["token-0123456789"]));
    assert_eq!(scrubber.push(Bytes::from_static(b"data: {\"x\":1}\n\n")), "data: {\"x\":1}\n\n");
    assert_eq!(scrubber.push(Bytes::from_static(b"data: tok")), "data: ");
    assert_eq!(scrubber.push(Bytes::from_static(b"yo\n\n")), "tokyo\n\n");
    assert!(scrubber.is_empty());
}

#[test]
fn what_is_held_back_is_less_than_a_secret() {
    let mut scrubber = Scrubber::new(set(&["aaaaaaab"]));
    for _ in 0..1000 {
        scrubber.push(Bytes::from_static(b"aaaaaaaaaaaaa"));
        assert!(scrubber.held.len() < 8);
    }
}

#[test]
fn values_are_masked_and_names_that_hold_a_secret_are_left_out() {
    let mut head = HeaderMap::new();
    head.append("location", "https://x/?t=s3cret".parse().unwrap());
    head.append("x-s3cret", "1".parse().unwrap());
    head.append("etag", "\"1\"".parse().unwrap());
    let (clean, found) = set(&["S3cret", "s3cret"]).head(&head);
    assert_eq!(found, 2);
    assert_eq!(clean.get("location").unwrap(), "https://x/?t=******");
    assert_eq!(clean.get("etag").unwrap(), "\"1\"");
    assert_eq!(clean.len(), 2);
}

#[test]
fn no_secret_masks_nothing() {
    assert_eq!(through(&set(&[""]), &[b"abc"]), b"abc");
}

/// Texts over two letters, so that secrets and their beginnings are everywhere.
fn crowded(len: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<bool>(), len)
        .prop_map(|bits| bits.into_iter().map(|bit| if bit { 'a' } else { 'b' }).collect())
}

proptest! {
    #[test]
    fn every_cut_gives_the_same_and_no_secret_survives(
        first in crowded(1..7), second in crowded(1..5), input in crowded(0..60), cuts in proptest::collection::vec(0usize..60, 0..8),
    ) {
        let needles = [first.as_str(), second.as_str()];
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).chain([0, input.len()]).collect();
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &input.as_bytes()[pair[0]..pair[1]]).collect();
        let out = through(&set(&needles), &pieces);
        assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(expected(&needles, input.as_bytes())).unwrap());
    }
}

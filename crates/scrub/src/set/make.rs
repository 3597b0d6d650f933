//! How a set is made: which part of a secret goes in, and which of its units.

use super::{SECRETS_MAX_BYTES, Sought, WindowSet};
use crate::{
    forms::{base64, hex},
    hash::{CODED_UNIT, Filter, KEY_BYTES, Keys, UNIT, WINDOW},
};
use std::ops::Range;
use zeroize::Zeroizing;

/// A unit of a secret that the reader must not learn goes in where guessing it takes this many tries, as a
/// power of two, in hundredths: 13 of lower case and digits have 67 bits, 13 hexadecimal digits 52.
const BITS_MIN: usize = 6200;
/// A run of digits this long is an account's number rather than chance.
const DIGITS_MAX: usize = 4;
/// What a vendor puts before the random part ends within this many bytes.
const HEAD_MAX: usize = 12;

pub(super) fn make(keys: &[u8; KEY_BYTES], secrets: &[Sought<'_>]) -> (WindowSet, usize) {
    let (mut parts, mut room, mut left_out) = (Vec::new(), SECRETS_MAX_BYTES, 0);
    for secret in secrets {
        let part = Part::of(secret);
        // A refresh token that does not rotate comes with every generation.
        if parts.iter().any(|known: &Part| known.is_held >= part.is_held && known.bytes == part.bytes) {
            continue;
        }
        match room.checked_sub(part.bytes.len()) {
            Some(rest) => room = rest,
            None => {
                left_out += 1;
                continue;
            }
        }
        parts.push(part);
    }
    let count = SECRETS_MAX_BYTES - room;
    let mut set = WindowSet {
        keys: Keys::new(keys),
        // As they are and in lower case; base64 has four characters for three bytes, in three alignments, and
        // some more for the characters in which its two alphabets differ.
        plain: Filter::for_count(2 * count),
        coded: Filter::for_count(5 * count),
        prints: Zeroizing::new(Vec::with_capacity(2 * count)),
        alphabet: super::Alphabet::default(),
    };
    for part in &parts {
        add(&mut set, part);
    }
    set.prints.sort_unstable();
    set.prints.dedup();
    (set, left_out)
}

/// What of a secret goes in.
struct Part {
    bytes: Zeroizing<Vec<u8>>,
    /// Whether its reader holds it anyway.
    is_held: bool,
    /// Whether it is bytes, and never a text as it is.
    is_raw: bool,
}

impl Part {
    fn of(secret: &Sought<'_>) -> Self {
        let (bytes, is_held) = match secret {
            Sought::Held(bytes) => (*bytes, true),
            Sought::Other(bytes) => (*bytes, false),
        };
        let signature = signature(bytes);
        let bytes = signature.unwrap_or(bytes);
        if is_held {
            return Self { bytes: bytes.to_vec().into(), is_held, is_raw: false };
        }
        let tail = if signature.is_some() { bytes } else { behind_head(bytes) };
        match hex::whole(tail) {
            Some(raw) => Self { bytes: raw, is_held, is_raw: true },
            None => Self { bytes: tail.to_vec().into(), is_held, is_raw: false },
        }
    }

    /// Whether these of its bytes may be hashed as one.
    fn admits(&self, range: Range<usize>) -> bool {
        self.is_held || self.bytes.get(range).is_some_and(|unit| self.is_raw || bits(unit) >= BITS_MIN)
    }
}

/// The signature of a JWT (RFC 7519 §3: three parts, the first of them JSON).
fn signature(secret: &[u8]) -> Option<&[u8]> {
    let mut parts = secret.split(|byte| *byte == b'.');
    let (head, _, signature) = (parts.next()?, parts.next()?, parts.next()?);
    (head.starts_with(b"eyJ") && parts.next().is_none() && signature.len() >= WINDOW).then_some(signature)
}

fn behind_head(secret: &[u8]) -> &[u8] {
    let head = secret.get(..HEAD_MAX).unwrap_or_default();
    let ends = head.iter().rposition(|byte| b"_-.:/".contains(byte)).map_or(0, |at| at + 1);
    secret.get(ends..).unwrap_or_default()
}

/// How hard a unit is to guess by the kinds of its characters, in hundredths of a bit. What can be said of one
/// kind only (letters of one case, hexadecimal digits, long numbers) is taken to be that and no more.
fn bits(unit: &[u8]) -> usize {
    let has = |kind: fn(&u8) -> bool| unit.iter().any(kind);
    let (upper, lower) = (has(u8::is_ascii_uppercase), has(u8::is_ascii_lowercase));
    let (digit, other) = (has(u8::is_ascii_digit), unit.iter().any(|byte| !byte.is_ascii_alphanumeric()));
    let is_number = unit.windows(DIGITS_MAX + 1).any(|run| run.iter().all(u8::is_ascii_digit));
    let is_hex = unit.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-') && !(upper && lower);
    let each = match (upper, lower, digit, other) {
        _ if is_number => 0,
        _ if is_hex => 400,
        (true, true, true, _) => 595,
        (true, true, false, _) => 570,
        (true, false, true, _) | (false, true, true, _) => 517,
        (true, false, false, _) | (false, true, false, _) => 470,
        (false, false, _, _) => 332,
    };
    each * unit.len()
}

fn add(set: &mut WindowSet, part: &Part) {
    if part.bytes.len() < WINDOW {
        return;
    }
    add_units(set, part);
    // Names of header fields are lower case, whatever they were.
    let lower = Part { bytes: part.bytes.to_ascii_lowercase().into(), ..*part };
    if !part.is_raw && *lower.bytes != *part.bytes {
        add_units(set, &lower);
    }
    for alignment in 0..3 {
        for alphabet in base64::ALPHABETS {
            add_coded(set, part, alignment, alphabet);
        }
    }
}

fn add_units(set: &mut WindowSet, part: &Part) {
    if !part.is_raw {
        part.bytes.iter().for_each(|byte| set.alphabet.add(*byte));
    }
    for (at, unit) in part.bytes.windows(UNIT).enumerate() {
        let Some(unit) = unit.first_chunk::<UNIT>().filter(|_| part.admits(at..at + UNIT)) else { continue };
        set.plain.add(set.keys.plain_of(unit));
        set.prints.push(set.keys.print(unit));
    }
}

/// The base64 of a text in which the secret begins `alignment` bytes after a group of three, as far as the
/// secret alone decides it.
fn add_coded(set: &mut WindowSet, part: &Part, alignment: usize, alphabet: &[u8; 64]) {
    let padded = Zeroizing::new([vec![0; alignment].as_slice(), &part.bytes].concat());
    let text = base64::encode(&padded, alphabet);
    let first = (8 * alignment).div_ceil(6);
    let whole = 8 * padded.len() / 6;
    for at in first..(whole + 1).saturating_sub(CODED_UNIT) {
        let Some(unit) = text.get(at..).and_then(<[u8]>::first_chunk::<CODED_UNIT>) else { continue };
        // The bytes that lie in it whole.
        let (from, to) = ((6 * at).div_ceil(8), 6 * (at + CODED_UNIT) / 8);
        if part.admits(from.saturating_sub(alignment)..to.saturating_sub(alignment)) {
            set.coded.add(set.keys.coded_of(unit));
        }
    }
}

//! The set as bytes: a version, the keys, the class of bytes, two filters, the prints. Little-endian.

use super::{Alphabet, WindowSet};
use crate::hash::{Filter, KEY_BYTES, Keys};
use zeroize::Zeroizing;

/// The only format that exists.
const FORMAT: u8 = 1;
/// Prints that can be of any use: twice the bytes that a set takes, each as it is and in lower case.
const PRINTS_MAX: usize = 2 * super::SECRETS_MAX_BYTES;

pub(super) fn encode(set: &WindowSet) -> Zeroizing<Vec<u8>> {
    let lists = [set.plain.words(), set.coded.words(), &set.prints];
    let words: usize = lists.iter().map(|list| list.len() + 1).sum();
    let len = 1 + KEY_BYTES + 8 * (set.alphabet.bits.len() + words);
    // Room from the start: a buffer that grows leaves bytes behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(len));
    bytes.push(FORMAT);
    bytes.extend_from_slice(Zeroizing::new(set.keys.bytes()).as_slice());
    set.alphabet.bits.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    for list in lists {
        bytes.extend_from_slice(&u64::try_from(list.len()).unwrap_or(0).to_le_bytes());
        list.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    }
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Option<WindowSet> {
    let (format, rest) = bytes.split_first()?;
    let (keys, rest) = rest.split_first_chunk::<KEY_BYTES>()?;
    let (alphabet, rest) = rest.split_first_chunk::<32>()?;
    let mut bits = [0; 4];
    bits.iter_mut().zip(words(alphabet)).for_each(|(into, from)| *into = from);
    let (plain, rest) = list(rest)?;
    let (coded, rest) = list(rest)?;
    let (prints, rest) = list(rest)?;
    let is_sorted = prints.is_sorted() && prints.len() <= PRINTS_MAX;
    (*format == FORMAT && rest.is_empty() && is_sorted).then_some(())?;
    Some(WindowSet {
        keys: Keys::new(keys),
        plain: Filter::read(plain)?,
        coded: Filter::read(coded)?,
        prints: prints.into(),
        alphabet: Alphabet { bits },
    })
}

fn list(bytes: &[u8]) -> Option<(Vec<u64>, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    let len = usize::try_from(u64::from_le_bytes(*len)).ok()?.checked_mul(8)?;
    let (list, rest) = rest.split_at_checked(len)?;
    Some((words(list).collect(), rest))
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks_exact(8).filter_map(|chunk| chunk.try_into().ok()).map(u64::from_le_bytes)
}

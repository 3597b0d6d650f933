//! Two keyed hashes of a unit. One is quick and only ever asked whether a look is worth it; the other, SipHash,
//! is a pseudo-random function: without a guess of the whole unit it says nothing about it.
//!
//! A **unit** is 13 bytes. Any 16 bytes hold one that begins at a multiple of four, so a text is asked once
//! every four bytes. 17 characters are the same for base64, where 16 bytes are never less than 20 characters.
//! Shorter units would be quicker to ask for and could be guessed.

use siphasher::sip::SipHasher24;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a secret that are hashed as one.
pub(crate) const UNIT: usize = 13;
/// Characters of base64 that are hashed as one.
pub(crate) const CODED_UNIT: usize = 17;
/// Bytes of a secret that are masked wherever they stand together.
pub const WINDOW: usize = 16;
/// How many bytes a text is asked after.
pub(crate) const STRIDE: usize = 4;
/// Bytes that the keys are made of.
pub const KEY_BYTES: usize = 48;

/// The keys of one set.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct Keys {
    quick: [u64; 4],
    sure: [u8; 16],
}

impl Keys {
    pub(crate) fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        let mut keys = Self { quick: [0; 4], sure: [0; 16] };
        let (quick, sure) = bytes.split_at(KEY_BYTES - keys.sure.len());
        for (word, chunk) in keys.quick.iter_mut().zip(quick.chunks_exact(8)) {
            *word = chunk.try_into().map_or(0, u64::from_le_bytes);
        }
        keys.sure.iter_mut().zip(sure).for_each(|(into, from)| *into = *from);
        keys
    }

    pub(crate) fn bytes(&self) -> [u8; KEY_BYTES] {
        let mut bytes = [0; KEY_BYTES];
        let all = self.quick.iter().flat_map(|word| word.to_le_bytes()).chain(self.sure);
        bytes.iter_mut().zip(all).for_each(|(into, from)| *into = from);
        bytes
    }

    /// Of a unit: its bytes 0 to 8 and 5 to 13.
    #[inline(always)]
    pub(crate) fn plain(&self, first: u64, last: u64) -> u64 {
        let [one, two, ..] = self.quick;
        folded(first ^ one, last ^ two)
    }

    /// Of a unit of base64: its characters 0 to 8, 5 to 13 and 9 to 17.
    #[inline(always)]
    pub(crate) fn coded(&self, first: u64, middle: u64, last: u64) -> u64 {
        let [.., three, four] = self.quick;
        folded(first ^ middle.rotate_left(24) ^ three, last ^ four)
    }

    /// Of a unit, to be sure.
    pub(crate) fn print(&self, unit: &[u8; UNIT]) -> u64 {
        SipHasher24::new_with_key(&self.sure).hash(unit)
    }

    /// [`Keys::plain`] of a unit as bytes.
    #[inline]
    pub(crate) fn plain_of(&self, unit: &[u8; UNIT]) -> u64 {
        self.plain(word::<0>(unit), word::<5>(unit))
    }

    /// [`Keys::coded`] of a unit as characters.
    #[inline]
    pub(crate) fn coded_of(&self, unit: &[u8; CODED_UNIT]) -> u64 {
        self.coded(word::<0>(unit), word::<5>(unit), word::<9>(unit))
    }
}

/// Eight bytes from `AT` on.
#[inline(always)]
pub(crate) fn word<const AT: usize>(bytes: &[u8]) -> u64 {
    let eight = bytes.split_at_checked(AT).and_then(|(_, rest)| rest.first_chunk::<8>());
    eight.map_or(0, |eight| u64::from_le_bytes(*eight))
}

/// Both halves of the product: every bit of either hangs on every bit of the other.
#[inline(always)]
fn folded(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A set of quick hashes that sometimes says yes for no reason, and never no: two bits for each.
pub(crate) struct Filter {
    words: zeroize::Zeroizing<Vec<u64>>,
    shift: u32,
}

/// Bits for each hash: one look in 32 that is in vain goes on to a second, of which one in 32 goes on.
const BITS_EACH: usize = 64;
/// The smallest filter, so that its size says little: 1 KiB.
const WORDS_MIN: usize = 128;
/// The largest: 256 KiB, which still lies in the second cache. Beyond, it is less choosy.
const WORDS_MAX: usize = 32 * 1024;

impl Filter {
    /// Room for `count` hashes.
    pub(crate) fn for_count(count: usize) -> Self {
        let words = (count * BITS_EACH / 64).next_power_of_two().clamp(WORDS_MIN, WORDS_MAX);
        Self::of(vec![0; words])
    }

    /// From words; none where their number is no power of two within the bounds.
    pub(crate) fn read(words: Vec<u64>) -> Option<Self> {
        let fits = words.len().is_power_of_two() && (WORDS_MIN..=WORDS_MAX).contains(&words.len());
        fits.then(|| Self::of(words))
    }

    fn of(words: Vec<u64>) -> Self {
        let shift = 64 - words.len().trailing_zeros();
        Self { words: words.into(), shift }
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    pub(crate) fn add(&mut self, hash: u64) {
        for half in [hash, hash.rotate_left(32)] {
            let at = self.place(half);
            if let Some(word) = self.words.get_mut(at) {
                *word |= 1 << (half & 63);
            }
        }
    }

    /// The first look.
    #[inline(always)]
    pub(crate) fn may_have(&self, hash: u64) -> bool {
        self.words.get(self.place(hash)).is_some_and(|word| (word >> (hash & 63)) & 1 != 0)
    }

    /// Both.
    #[inline]
    pub(crate) fn has(&self, hash: u64) -> bool {
        self.may_have(hash) && self.may_have(hash.rotate_left(32))
    }

    #[inline(always)]
    fn place(&self, hash: u64) -> usize {
        usize::try_from(hash >> self.shift).unwrap_or(usize::MAX)
    }
}

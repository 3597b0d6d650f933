//! Chance from a seed. It is fit for choosing faults and for nothing that must be secret.

use std::ops::Range;

/// A stream of numbers that its seed settles.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// The stream of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another stream, settled by this one: what is drawn from it does not move this one further.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.number())
    }

    /// The next number. SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): every state is a good one.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `ends`; 0 where that is 0.
    pub fn below(&mut self, ends: u64) -> u64 {
        // The bias of the remainder is 2^-32 for what is asked here.
        self.number().checked_rem(ends).unwrap_or(0)
    }

    /// A number of the range; its start where it is empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end.saturating_sub(range.start))
    }

    /// Whether what happens so many times in a million happens now. Nothing is drawn for what never happens.
    pub fn strikes(&mut self, in_a_million: u32) -> bool {
        in_a_million > 0 && self.below(1_000_000) < u64::from(in_a_million)
    }

    /// A place in a list of that many.
    pub fn place(&mut self, of: usize) -> usize {
        usize::try_from(self.below(of as u64)).unwrap_or(0)
    }

    /// Fills `out`.
    pub fn fill(&mut self, out: &mut [u8]) {
        for part in out.chunks_mut(8) {
            for (place, byte) in part.iter_mut().zip(self.number().to_le_bytes()) {
                *place = byte;
            }
        }
    }
}

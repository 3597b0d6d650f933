//! Noise: the random part of the ids of calls, drawn for many of them at once.
//!
//! An id is no secret: it stands in every answer. It must be another one each time, and that is all. Whatever must not
//! be guessed is drawn by itself.

use nightlatch_domain::clock::{Entropy, NoEntropy};
use std::sync::{Mutex, PoisonError};

/// Bytes that are drawn at once: those of fifty ids.
const DRAWN: usize = 500;

/// Random bytes that were drawn and not yet used. Each is given once.
#[derive(Default)]
pub(crate) struct Noise(Mutex<Vec<u8>>);

impl Noise {
    /// `N` bytes that nobody was given before.
    ///
    /// # Errors
    /// [`NoEntropy`], where new ones are needed and the system gives none.
    pub(crate) fn draw<const N: usize>(&self, entropy: &dyn Entropy) -> Result<[u8; N], NoEntropy> {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() < N {
            let mut drawn = vec![0; DRAWN.max(N)];
            entropy.fill(&mut drawn)?;
            *left = drawn;
        }
        let from = left.len() - N;
        let drawn = left.get(from..).and_then(|bytes| bytes.try_into().ok()).ok_or(NoEntropy)?;
        left.truncate(from);
        Ok(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::Noise;
    use nightlatch_domain::clock::{Entropy, NoEntropy};
    use std::{
        collections::BTreeSet,
        sync::atomic::{AtomicU8, Ordering},
    };

    /// Each byte one more than the last.
    struct Counting(AtomicU8);

    impl Entropy for Counting {
        fn fill(&self, out: &mut [u8]) -> Result<(), NoEntropy> {
            out.iter_mut().for_each(|byte| *byte = self.0.fetch_add(1, Ordering::SeqCst));
            Ok(())
        }
    }

    struct Dry;

    impl Entropy for Dry {
        fn fill(&self, _: &mut [u8]) -> Result<(), NoEntropy> {
            Err(NoEntropy)
        }
    }

    #[test]
    fn no_bytes_are_given_twice() {
        let (noise, entropy) = (Noise::default(), Counting(AtomicU8::new(0)));
        let drawn: BTreeSet<[u8; 2]> = (0..100).map(|_| noise.draw(&entropy).unwrap()).collect();
        assert_eq!(drawn.len(), 100);
    }

    #[test]
    fn what_the_system_does_not_give_is_not_made_up() {
        assert!(Noise::default().draw::<10>(&Dry).is_err());
    }
}

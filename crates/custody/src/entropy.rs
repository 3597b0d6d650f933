//! The system's generator behind the domain's port.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use nightlatch_domain::clock::{Entropy, NoEntropy};

/// AWS-LC's generator, seeded by the operating system.
#[derive(Debug)]
pub struct SystemEntropy(SystemRandom);

impl SystemEntropy {
    /// The generator; costs nothing to make.
    #[must_use]
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), NoEntropy> {
        self.0.fill(out).map_err(|_| NoEntropy)
    }
}

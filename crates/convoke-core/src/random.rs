//! Randomness that the shell seeds: nonces, secrets and jitter come from one ChaCha stream.

use std::fmt;
use std::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// A generator; the same seed gives the same stream. From outside (a hub, a node) the seed is 32 bytes of the operating
/// system's randomness.
pub(crate) struct Random(ChaCha12Rng);

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Random {
        Random(ChaCha12Rng::from_seed(seed))
    }

    pub(crate) fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Somewhere between nothing and `bound`.
    pub(crate) fn below(&mut self, bound: Duration) -> Duration {
        bound.mul_f64((self.0.next_u32() as f64) / f64::from(u32::MAX))
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

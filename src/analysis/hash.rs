//! Tables of what a walk has met: keys are numbers that the walk itself made, so that no input chooses them to collide.
//!
//! The hash is the one that compilers use for such keys (`rustc-hash`: rotate, xor, multiply), several times faster than the
//! standard library's, and the same in every run.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A table from keys to values.
pub(super) type Map<K, V> = HashMap<K, V, BuildHasherDefault<Fast>>;

/// A set of keys.
pub(super) type Set<K> = HashSet<K, BuildHasherDefault<Fast>>;

/// The hash of the words so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fast(u64);

/// An odd number whose bits look random: 2^64 / pi.
const FACTOR: u64 = 0x517c_c1b7_2722_0a95;

impl Fast {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(FACTOR);
    }
}

impl Hasher for Fast {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.word(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.word(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.word(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.word(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.word(u64::try_from(number).expect("no machine has longer words"));
    }

    fn write_isize(&mut self, number: isize) {
        self.write_usize(number.cast_unsigned());
    }

    fn finish(&self) -> u64 {
        // A table takes its place from the low bits, of which the product mixes least into.
        self.0.rotate_left(26)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_follow_each_other_spread_over_the_low_bits() {
        let hash = |words: &[u64]| {
            let mut fast = Fast::default();
            words.iter().for_each(|word| fast.write_u64(*word));
            fast.finish()
        };
        for step in [1, 2, 64, 1 << 20, 1 << 40] {
            let places: Set<u64> = (0..256).map(|n| hash(&[7, n * step]) & 1023).collect();
            assert!(places.len() > 128, "step {step}: {} places", places.len());
        }
        assert_ne!(hash(&[1, 2]), hash(&[2, 1]));
        let mut bytes = Fast::default();
        bytes.write(&[1, 0, 0, 0, 0, 0, 0, 0, 9]);
        let mut words = Fast::default();
        words.write_u64(1);
        words.write_u8(9);
        assert_eq!(bytes.finish(), words.finish());
    }
}

//! Chance, for splits, shares and ids.
//!
//! Owns one shard's generator (xoshiro256++, Blackman and Vigna 2019). Leaves secrets to others: whoever sees many ids can
//! tell the next ones. Invariant: two shards, and two processes, do not give the same numbers.

use std::hash::{BuildHasher, RandomState};

/// A generator of 64-bit numbers.
pub(crate) struct Random([u64; 4]);

impl Random {
    /// One that starts where the operating system's chance says.
    pub(crate) fn new() -> Random {
        Random(seed())
    }

    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let number = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        number
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        bytes
    }
}

/// Numbers of a pseudo-random function whose key comes from the operating system: the hasher of the standard library's
/// maps, keyed once for each thread.
pub(crate) fn seed() -> [u64; 4] {
    let keyed = RandomState::new();
    [1_u64, 2, 3, 4].map(|number| keyed.hash_one(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_that_the_authors_published() {
        let mut random = Random([1, 2, 3, 4]);
        let first: Vec<u64> = (0..4).map(|_| random.next()).collect();
        assert_eq!(first, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    #[test]
    fn two_generators_differ() {
        assert_ne!(Random::new().bytes::<16>(), Random::new().bytes::<16>());
    }
}

//! Owns the randomness of tests: one seed per test, printed when the test fails, given back to
//! repeat it.
//!
//! Leaves what is random to the tests. Invariant: the same seed gives the same numbers on every
//! machine.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// The variable that fixes the seed of a run, in decimal or as `0x` hexadecimal.
pub const SEED_VARIABLE: &str = "TIDEGATE_SEED";

/// A seed that prints itself when the test that holds it fails. Bind it to a name (`let seed =
/// seed();`), so that it lives until the end of the test.
#[derive(Debug)]
pub struct Seed {
    value: u64,
}

impl Seed {
    /// The number itself.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value
    }

    /// A generator that starts at this seed.
    #[must_use]
    pub fn rng(&self) -> Rng {
        Rng::new(self.value)
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the failing test used a seed; repeat it with {SEED_VARIABLE}={:#x}",
                self.value
            );
        }
    }
}

/// The seed of this test: from [`SEED_VARIABLE`] when it is set, otherwise a fresh one.
///
/// # Panics
/// When the variable does not hold a number.
#[must_use]
pub fn seed() -> Seed {
    let value = match std::env::var(SEED_VARIABLE) {
        Ok(text) => {
            parse(&text).unwrap_or_else(|| panic!("{SEED_VARIABLE}={text} is not a number"))
        }
        // The standard library's hash keys are the one source of randomness it offers.
        Err(_) => RandomState::new().build_hasher().finish(),
    };
    Seed { value }
}

fn parse(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// `SplitMix64`: small, fast, good enough to choose test cases, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    /// A generator that starts at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number, uniform over all of `u64`.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 when `bound` is 0. The bias is below `bound` / 2^64.
    pub fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.next_u64()) * (bound as u128);
        usize::try_from(product >> 64)
            .expect("the product's upper half is below the bound, which is a usize")
    }

    /// One element of `choices`.
    ///
    /// # Panics
    /// When there is none.
    pub fn choose<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// `length` random bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next_u64().to_le_bytes()[0]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_known_sequence() {
        // The first outputs of SplitMix64 from state 0, from its reference implementation.
        let mut rng = Rng::new(0);
        assert_eq!(rng.next_u64(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(rng.next_u64(), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn bounded_numbers_stay_below_the_bound_and_reach_every_value() {
        let seed = seed();
        let mut rng = seed.rng();
        let mut seen = [false; 7];
        for _ in 0..1000 {
            seen[rng.below(7)] = true;
        }
        assert_eq!(seen, [true; 7]);
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn seeds_are_read_in_decimal_and_hexadecimal() {
        assert_eq!(parse("12"), Some(12));
        assert_eq!(parse("0xff"), Some(255));
        assert_eq!(parse("twelve"), None);
    }
}

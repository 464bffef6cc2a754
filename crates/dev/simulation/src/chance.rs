//! What is drawn from the seed.
//!
//! Owns the forms in which a history draws; leaves the numbers to the generator of `tidegate-testkit`. Invariant: nothing else
//! in this package is random.

use std::time::Duration;

use tidegate_testkit::Rng;

/// Microseconds since the history began.
pub(crate) type Micros = u64;

pub(crate) trait Chance {
    /// True once in so many times.
    fn one_in(&mut self, times: usize) -> bool;
    /// From `low` to `high`.
    fn between(&mut self, low: u64, high: u64) -> u64;
    /// Milliseconds from `low` to `high`.
    fn millis(&mut self, low: u64, high: u64) -> Duration;
    /// Exponentially distributed.
    fn exponential(&mut self, mean: Micros) -> Micros;
}

impl Chance for Rng {
    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next_u64() % (high - low + 1)
    }

    fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }

    fn exponential(&mut self, mean: Micros) -> Micros {
        // 53 bits, so that the logarithm is of a number above zero.
        let fraction = ((self.next_u64() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        let factor = -fraction.ln();
        Duration::from_micros(mean).mul_f64(factor).as_micros().try_into().unwrap_or(mean)
    }
}

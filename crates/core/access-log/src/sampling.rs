//! Which records are logged when not all are.
//!
//! Owns the decision; leaves randomness to the caller. Invariant: over any m records in a row `n in m` logs n, and
//! errors are logged always if that was asked for.

use std::fmt;

/// How many records to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    rate: Rate,
    errors: Errors,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rate {
    All,
    Every {
        logged: u32,
        of: u32,
    },
    /// Logged if 32 random bits are below it.
    Share(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errors {
    Always,
    Sampled,
}

/// Why a sampling is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplingError {
    /// `n in m` with m zero or n more than m.
    Ratio,
    /// A share below 0, above 1, or not a number.
    Share,
}

impl fmt::Display for SamplingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ratio => "n in m needs an m of at least 1 and an n of at most m",
            Self::Share => "a share is a number from 0 to 1",
        })
    }
}

impl std::error::Error for SamplingError {}

impl Sampling {
    /// Everything is logged.
    pub const ALL: Self = Self { rate: Rate::All, errors: Errors::Sampled };

    /// `logged` in each `of` records, evenly spread.
    ///
    /// # Errors
    ///
    /// [`SamplingError::Ratio`].
    pub fn every(logged: u32, of: u32) -> Result<Self, SamplingError> {
        if of == 0 || logged > of {
            return Err(SamplingError::Ratio);
        }
        Ok(Self { rate: Rate::Every { logged, of }, errors: Errors::Sampled })
    }

    /// A share from 0 to 1 of the records, by chance.
    ///
    /// # Errors
    ///
    /// [`SamplingError::Share`].
    pub fn share(share: f64) -> Result<Self, SamplingError> {
        if !(0.0..=1.0).contains(&share) {
            return Err(SamplingError::Share);
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the share is between 0 and 1"
        )]
        let below = (share * 4_294_967_296.0) as u64;
        Ok(Self { rate: Rate::Share(below), errors: Errors::Sampled })
    }

    /// The same, but records for which [`Record::is_error`](crate::Record::is_error) holds are always logged, and
    /// take nobody's place.
    #[must_use]
    pub fn with_all_errors(self) -> Self {
        Self { errors: Errors::Always, ..self }
    }
}

/// The decisions of one shard for one log.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    /// Grows by n for each record; at m one is logged.
    owed: u32,
}

impl Sampler {
    /// A sampler whose first record of `n in m` is logged.
    #[must_use]
    pub fn new(sampling: Sampling) -> Self {
        let owed = match sampling.rate {
            // At most m - 1: with n of zero nothing is ever owed.
            Rate::Every { logged, of } => of.saturating_sub(logged.max(1)),
            Rate::All | Rate::Share(_) => 0,
        };
        Self { sampling, owed }
    }

    /// Whether to log the next record. `random` holds 32 random bits, which only a share needs.
    #[inline]
    pub fn is_logged(&mut self, record: &crate::Record<'_>, random: u32) -> bool {
        if self.sampling.rate == Rate::All {
            return true;
        }
        if self.sampling.errors == Errors::Always && record.is_error() {
            return true;
        }
        match self.sampling.rate {
            Rate::All => true,
            Rate::Share(below) => u64::from(random) < below,
            Rate::Every { logged, of } => {
                // `owed` is below `of`, so the sum may pass `u32::MAX`, but not twice `of`.
                let owed = u64::from(self.owed) + u64::from(logged);
                let rest = owed.checked_sub(u64::from(of));
                self.owed = u32::try_from(rest.unwrap_or(owed)).unwrap_or(0);
                rest.is_some()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Address, Protocol, Record, Timestamp};
    use tidegate_testkit::seed;

    fn record(status: u16) -> Record<'static> {
        let new = Record::new(Protocol::Http, Timestamp(0), Address::Unix, Address::Unix, "web");
        Record { status: Some(status), ..new }
    }

    #[test]
    fn n_in_m_logs_n_of_any_m_in_a_row() {
        for (logged, of) in [(1, 1), (1, 10), (3, 7), (0, 5), (5, 5), (u32::MAX - 1, u32::MAX)] {
            let mut sampler = Sampler::new(Sampling::every(logged, of).expect("it is a ratio"));
            let window = of.min(1000);
            let decisions: Vec<bool> =
                (0..window * 3).map(|_| sampler.is_logged(&record(200), 0)).collect();
            assert_eq!(decisions[0], logged > 0);
            if of < 1000 {
                for row in decisions.windows(of as usize) {
                    let count = row.iter().filter(|logged| **logged).count();
                    assert_eq!(count, logged as usize, "{logged} in {of}");
                }
            }
        }
    }

    #[test]
    fn a_share_is_kept_over_many_records() {
        let seed = seed();
        let mut rng = seed.rng();
        for share in [0.0, 0.01, 0.5, 1.0] {
            let mut sampler = Sampler::new(Sampling::share(share).expect("it is a share"));
            let mut random = || u32::try_from(rng.next_u64() >> 32).expect("32 bits are left");
            let logged = (0..100_000).filter(|_| sampler.is_logged(&record(200), random())).count();
            let expected = share * 100_000.0;
            // Six standard deviations at most: fewer than one run in 10^8 fails by chance.
            assert!((logged as f64 - expected).abs() <= 6.0 * (expected * (1.0 - share)).sqrt());
        }
    }

    #[test]
    fn errors_are_logged_always_when_asked_for() {
        let nothing = Sampling::every(0, 1).expect("it is a ratio");
        let mut sampled = Sampler::new(nothing);
        let mut always = Sampler::new(nothing.with_all_errors());
        for (status, expected) in [(200, false), (404, false), (503, true)] {
            assert!(!sampled.is_logged(&record(status), 0));
            assert_eq!(always.is_logged(&record(status), 0), expected);
        }
        assert!(Sampler::new(Sampling::ALL).is_logged(&record(200), u32::MAX));
    }

    #[test]
    fn impossible_samplings_are_refused() {
        for (logged, of) in [(0, 0), (2, 1)] {
            assert_eq!(Sampling::every(logged, of), Err(SamplingError::Ratio));
        }
        for share in [-0.1, 1.1, f64::NAN] {
            assert_eq!(Sampling::share(share), Err(SamplingError::Share));
        }
    }
}

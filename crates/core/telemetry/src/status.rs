//! Responses counted by the class of their status code.
//!
//! Owns the mapping from status to class (RFC 9110 §15). Leaves what is a response worth counting
//! to the data plane.
//!
//! **Invariant:** every status falls into exactly one class, so the six counts add up to the number
//! of responses.

use crate::Counter;
use std::ops::AddAssign;

/// The class of a status code (RFC 9110 §15); anything outside 100..=599 is [`StatusClass::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusClass {
    /// 1xx; as a final status only 101, a connection that switched protocols.
    Informational,
    /// 2xx
    Success,
    /// 3xx
    Redirection,
    /// 4xx
    ClientError,
    /// 5xx
    ServerError,
    /// Not a status of RFC 9110, or no response at all.
    Other,
}

impl StatusClass {
    /// Every class, in the order of [`StatusCounts`].
    pub const ALL: [Self; 6] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
        Self::Other,
    ];

    /// The class of `status`.
    #[inline]
    #[must_use]
    pub const fn of(status: u16) -> Self {
        match status {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirection,
            400..=499 => Self::ClientError,
            500..=599 => Self::ServerError,
            _ => Self::Other,
        }
    }

    /// The name in metrics: `1xx` to `5xx`, or `other`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::Other => "other",
        }
    }
}

/// One counter per [`StatusClass`]: one writer, any number of readers.
#[derive(Debug, Default)]
pub struct StatusCounters([Counter; StatusClass::ALL.len()]);

impl StatusCounters {
    /// Six counters at zero.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { Counter::new() }; StatusClass::ALL.len()])
    }

    /// Counts a response with this status code. Only the owning shard may call it.
    #[inline]
    pub fn record(&self, status: u16) {
        self.record_class(StatusClass::of(status));
    }

    /// Counts a response of this class. Only the owning shard may call it.
    #[inline]
    pub fn record_class(&self, class: StatusClass) {
        self.0[class as usize].increment();
    }

    /// The counts now, from any thread.
    #[must_use]
    pub fn snapshot(&self) -> StatusCounts {
        StatusCounts(std::array::from_fn(|class| self.0[class].value()))
    }
}

/// The values of a [`StatusCounters`], or their sum over shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusCounts([u64; StatusClass::ALL.len()]);

impl StatusCounts {
    /// The count of one class.
    #[must_use]
    pub const fn of(&self, class: StatusClass) -> u64 {
        self.0[class as usize]
    }

    /// The count over all classes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.wrapping_add(*count))
    }

    /// Each class with its count.
    pub fn iter(&self) -> impl Iterator<Item = (StatusClass, u64)> {
        StatusClass::ALL.into_iter().zip(self.0)
    }
}

impl AddAssign<&Self> for StatusCounts {
    fn add_assign(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.wrapping_add(more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_code_falls_into_one_class() {
        let counters = StatusCounters::new();
        for status in 0..=u16::MAX {
            counters.record(status);
        }
        let counts = counters.snapshot();
        for class in &StatusClass::ALL[..5] {
            assert_eq!(counts.of(*class), 100, "{class:?}");
        }
        assert_eq!(counts.total(), 1 << 16);
    }

    #[test]
    fn labels_follow_the_first_digit() {
        for (status, label) in [
            (99, "other"),
            (101, "1xx"),
            (200, "2xx"),
            (304, "3xx"),
            (404, "4xx"),
            (599, "5xx"),
            (600, "other"),
        ] {
            assert_eq!(StatusClass::of(status).label(), label);
        }
    }

    #[test]
    fn class_order_matches_the_counts() {
        for (position, class) in StatusClass::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, position);
        }
    }
}

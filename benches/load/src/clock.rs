//! Monotonic time as nanoseconds since a start. Owns the conversion; decides nothing about when to
//! read it. Invariant: readings of one clock never go backwards.

use std::time::{Duration, Instant};

/// A monotonic clock whose zero is its creation.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// Starts a clock at zero.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the start (584 years fit).
    #[inline]
    pub fn now_ns(self) -> u64 {
        nanos(self.0.elapsed())
    }
}

/// A duration in nanoseconds, saturating.
#[inline]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

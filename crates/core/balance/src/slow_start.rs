//! How a server that came up reaches its weight.
//!
//! Owns the ramp: a sixteenth of the weight at first, and a sixteenth more after each sixteenth of the time. Steps are
//! taken no more often than [`STEPS`] times in the time of one ramp, however many servers are on theirs, so that the
//! cost of weighing anew is bounded. Invariant: a server on its ramp has more than nothing and at most its weight.

use std::time::{Duration, Instant};

use crate::server::{ServerState, Share};

/// Times that weights are reckoned anew in the time of one ramp.
const STEPS: u32 = 32;

#[derive(Debug)]
pub(crate) struct SlowStart {
    period: Duration,
    /// When weights are to be reckoned anew; none: no server is on its ramp.
    due: Option<Instant>,
}

impl SlowStart {
    pub(crate) const fn new(period: Duration) -> Self {
        Self { period, due: None }
    }

    #[inline]
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Whether a server was found on its ramp.
    pub(crate) const fn is_under_way(&self) -> bool {
        self.due.is_some()
    }

    /// Begins to reckon anew: nothing is due until a server is found on its ramp.
    pub(crate) fn restart(&mut self) {
        self.due = None;
    }

    /// The share of a server now.
    pub(crate) fn share(&mut self, state: &ServerState, now: Instant) -> Share {
        let whole = state.weight.value() * Share::PER_WEIGHT;
        let Some(since) = state.since.filter(|_| !self.period.is_zero()) else {
            return Share(whole);
        };
        let up_for = now.saturating_duration_since(since);
        if up_for >= self.period {
            return Share(whole);
        }
        self.due = Some(now + self.period / STEPS);
        let steps = up_for.as_nanos() * u128::from(Share::PER_WEIGHT) / self.period.as_nanos();
        let steps = u16::try_from(steps).unwrap_or(Share::PER_WEIGHT - 1) + 1;
        Share(state.weight.value() * steps.min(Share::PER_WEIGHT))
    }
}

//! The shard's clock: read once a turn, so that everything handled in a turn sees the same time.
//!
//! Owns the cached time; leaves waiting to `timers`. Invariant: it never goes back.

use std::cell::Cell;
use std::time::Instant;

/// Time as of the start of the current turn.
#[derive(Debug)]
pub struct Clock {
    now: Cell<Instant>,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { now: Cell::new(Instant::now()) }
    }
}

impl Clock {
    /// The time of this turn.
    #[inline]
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// Reads the system's monotonic clock.
    #[inline]
    pub fn update(&self) -> Instant {
        let now = Instant::now().max(self.now.get());
        self.now.set(now);
        now
    }
}

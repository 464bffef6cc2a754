//! Chores of a shard: what is looked after once a second, as long as there is something to look after.
//!
//! Owns their timers; leaves what they do to `reuse` and to the ring. Invariant: an idle shard has no chore, so that it
//! sleeps undisturbed.

use std::cell::Cell;
use std::time::Duration;

use tidegate_shard::{Shard, TimerId, own_payload};

use crate::worker::Worker;

/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// The value of the timer that looks for idle server connections that are too old.
const SWEEP: u32 = (1 << 31) - 1;

/// The value of the timer that gives receive buffers back. All others are indices of parked connections.
const TRIM: u32 = (1 << 31) - 2;

/// One chore's timer.
#[derive(Default)]
struct Chore {
    timer: Cell<Option<TimerId>>,
    is_due: Cell<bool>,
}

impl Chore {
    /// Sets the timer unless it is set.
    fn start(&self, shard: &Shard, value: u32) {
        if !self.is_due.replace(true) {
            let mut timers = shard.timers.borrow_mut();
            let timer = self.timer.get().unwrap_or_else(|| timers.insert(own_payload(value)));
            self.timer.set(Some(timer));
            timers.set(timer, shard.clock.now() + INTERVAL);
        }
    }
}

/// The chores of one shard.
#[derive(Default)]
pub(crate) struct Chores {
    sweep: Chore,
    trim: Chore,
}

impl Worker {
    /// Looks after idle server connections from now on.
    pub(crate) fn start_sweeping(&self) {
        self.chores.sweep.start(&self.shard, SWEEP);
    }

    /// Gives memory back that a burst needed, if one has.
    pub(crate) fn start_trimming(&self) {
        if self.shard.ring.has_grown() {
            self.chores.trim.start(&self.shard, TRIM);
        }
    }

    /// Does the chore whose timer has fired; `false` for any other timer.
    pub(crate) fn do_chore(&self, value: u32) -> bool {
        match value {
            SWEEP => {
                self.chores.sweep.is_due.set(false);
                self.sweep_idle();
            }
            TRIM => {
                self.chores.trim.is_due.set(false);
                self.shard.ring.trim();
                self.start_trimming();
            }
            _ => return false,
        }
        true
    }
}

//! A limit on connections over all shards: the one place where shards share a counter, touched per connection only.
//!
//! Owns the count and the wake-ups of shards that wait at the limit. Invariant: with [`Budget::try_take`] alone the count
//! never exceeds the limit.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_ring::Wakeup;

/// A count of open connections with a limit that may change.
pub struct Budget {
    open: AtomicU32,
    max: AtomicU32,
    /// Shards that wait for room; not locked on a path that a connection below the limit takes.
    waiting: AtomicU32,
    waiters: Mutex<Vec<Arc<Waiter>>>,
}

/// Somebody who waits for room in one budget. Called once for each time it asks; what it was called for may be gone when
/// it looks, taken by another shard, and then it has to ask again.
#[derive(Debug)]
pub(crate) struct Waiter {
    asked: AtomicBool,
    wakeup: Wakeup,
}

impl Waiter {
    /// One that has not asked yet.
    pub(crate) fn new(wakeup: Wakeup) -> Arc<Waiter> {
        Arc::new(Waiter { asked: AtomicBool::new(false), wakeup })
    }

    /// Whether there may have been room since it asked.
    pub(crate) fn was_called(&self) -> bool {
        !self.asked.load(Ordering::SeqCst)
    }

    fn call(&self) {
        self.asked.store(false, Ordering::SeqCst);
        self.wakeup.wake();
    }
}

impl Budget {
    /// Nothing open, at most `max`.
    pub fn new(max: u32) -> Budget {
        Budget {
            open: AtomicU32::new(0),
            max: AtomicU32::new(max),
            waiting: AtomicU32::new(0),
            waiters: Mutex::new(Vec::new()),
        }
    }

    /// Changes the limit; connections open beyond it stay.
    pub fn set_max(&self, max: u32) {
        self.max.store(max, Ordering::SeqCst);
        self.wake_waiting();
    }

    /// Connections open.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::SeqCst)
    }

    /// Room below the limit.
    pub fn room(&self) -> u32 {
        self.max.load(Ordering::SeqCst).saturating_sub(self.open())
    }

    /// Counts one more connection whatever the limit: it has been accepted already.
    pub fn take(&self) {
        self.open.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts one more connection if there is room.
    pub fn try_take(&self) -> bool {
        let max = self.max.load(Ordering::SeqCst);
        let below = |open: u32| (open < max).then_some(open + 1);
        self.open.fetch_update(Ordering::SeqCst, Ordering::SeqCst, below).is_ok()
    }

    /// One connection is gone: shards that wait are woken.
    pub fn give_back(&self) {
        let before = self.open.fetch_sub(1, Ordering::SeqCst);
        debug_assert!(before > 0, "more connections closed than opened");
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.wake_waiting();
        }
    }

    /// Calls `waiter` when room may have come; once, however often it asks before that. Look at the room again afterwards:
    /// it may have come in between.
    pub(crate) fn wait(&self, waiter: &Arc<Waiter>) {
        if waiter.asked.swap(true, Ordering::SeqCst) {
            return;
        }
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner).push(waiter.clone());
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    fn wake_waiting(&self) {
        let waiters =
            std::mem::take(&mut *self.waiters.lock().unwrap_or_else(PoisonError::into_inner));
        self.waiting.fetch_sub(u32::try_from(waiters.len()).unwrap_or(u32::MAX), Ordering::SeqCst);
        waiters.iter().for_each(|waiter| waiter.call());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn threads_together_never_take_more_than_the_limit() {
        let budget = Arc::new(Budget::new(100));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let budget = budget.clone();
                std::thread::spawn(move || (0..100).filter(|_| budget.try_take()).count())
            })
            .collect();
        let taken: usize = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        assert_eq!((taken, budget.open(), budget.room()), (100, 100, 0));
        budget.give_back();
        assert!(budget.try_take());
    }

    #[test]
    fn a_lowered_limit_keeps_what_is_open_and_admits_nothing() {
        let budget = Budget::new(10);
        (0..5).for_each(|_| budget.take());
        budget.set_max(3);
        assert!(!budget.try_take());
        assert_eq!((budget.open(), budget.room()), (5, 0));
    }
}

//! The words that shards share.
//!
//! Owns nothing but their ordering: each access is sequentially consistent, since both sides of a transfer write one word and
//! then read another. Invariant: every access of this crate to shared memory goes through here, so that the tests can stop a
//! thread before each of them.

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

/// Called before each access.
#[inline]
pub(crate) fn step() {
    #[cfg(test)]
    crate::tests::schedule::step();
}

/// Alone on its pair of cache lines: written by one shard, read by all.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

#[derive(Debug, Default)]
pub(crate) struct Word(AtomicU64);

impl Word {
    pub(crate) fn new(value: u64) -> Word {
        Word(AtomicU64::new(value))
    }

    #[inline]
    pub(crate) fn load(&self) -> u64 {
        step();
        self.0.load(SeqCst)
    }

    #[inline]
    pub(crate) fn store(&self, value: u64) {
        step();
        self.0.store(value, SeqCst);
    }

    #[inline]
    pub(crate) fn next(&self) -> u64 {
        step();
        self.0.fetch_add(1, SeqCst)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU32);

impl Count {
    pub(crate) fn new(value: u32) -> Count {
        Count(AtomicU32::new(value))
    }

    #[inline]
    pub(crate) fn load(&self) -> u32 {
        step();
        self.0.load(SeqCst)
    }

    #[inline]
    pub(crate) fn store(&self, value: u32) {
        step();
        self.0.store(value, SeqCst);
    }

    /// One more if it is below `max`.
    #[inline]
    pub(crate) fn raise_below(&self, max: u32) -> bool {
        step();
        let raised = |value: u32| (value < max).then_some(value + 1);
        self.0.fetch_update(SeqCst, SeqCst, raised).is_ok()
    }

    /// One fewer if it is above `max`.
    #[inline]
    pub(crate) fn lower_above(&self, max: u32) -> bool {
        step();
        let lowered = |value: u32| (value > max).then(|| value - 1);
        self.0.fetch_update(SeqCst, SeqCst, lowered).is_ok()
    }

    /// One fewer.
    #[inline]
    pub(crate) fn lower(&self) {
        step();
        let before = self.0.fetch_sub(1, SeqCst);
        debug_assert!(before > 0, "lowered once for each time it was raised");
    }
}

#[derive(Debug, Default)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    #[inline]
    pub(crate) fn load(&self) -> bool {
        step();
        self.0.load(SeqCst)
    }

    /// Sets it; whether it was set.
    #[inline]
    pub(crate) fn raise(&self) -> bool {
        step();
        self.0.swap(true, SeqCst)
    }

    /// Clears it; whether it was set.
    #[inline]
    pub(crate) fn lower(&self) -> bool {
        step();
        self.0.swap(false, SeqCst)
    }
}

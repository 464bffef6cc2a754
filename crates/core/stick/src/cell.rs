//! The words that shards share.
//!
//! Owns nothing but their ordering: each access is sequentially consistent, since two shards that store one key each write a word
//! and then read the other's. Invariant: every access of this crate to shared memory goes through here, so that the tests can stop
//! a thread before each of them.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

/// Called before each access.
#[inline]
fn step() {
    #[cfg(test)]
    crate::tests::schedule::step();
}

#[derive(Debug, Default)]
pub(crate) struct Word(AtomicU64);

impl Word {
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

    /// Makes it `new` if it is `current`; whether it was.
    #[inline]
    pub(crate) fn replace(&self, current: u64, new: u64) -> bool {
        step();
        self.0.compare_exchange(current, new, SeqCst, SeqCst).is_ok()
    }
}

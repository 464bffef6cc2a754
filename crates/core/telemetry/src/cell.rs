//! The two scalar cells: a counter that only grows and a gauge that moves both ways.
//!
//! Owns how one number is written by one shard and read by any thread. Leaves grouping and padding
//! to `stats`.
//!
//! **Invariant:** one writer per cell, so a load and a store replace the locked read-modify-write
//! (about 20 cycles on the request path). `Relaxed` is enough: a reader wants a recent value of
//! each number, not an order between numbers.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows, wrapping at 2^64: one writer, any number of readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// A counter at zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts one. Only the owning shard may call it.
    #[inline]
    pub fn increment(&self) {
        self.add(1);
    }

    /// Counts `amount`. Only the owning shard may call it.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(amount), Relaxed);
    }

    /// Publishes a total that the owning shard keeps elsewhere, such as the counters of its ring.
    /// The total must not be smaller than the one published before.
    #[inline]
    pub fn publish(&self, total: u64) {
        debug_assert!(total >= self.0.load(Relaxed), "a published total never goes back");
        self.0.store(total, Relaxed);
    }

    /// The value now, from any thread.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number of things that exist now: one writer, any number of readers.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// A gauge at zero.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// One more. Only the owning shard may call it.
    #[inline]
    pub fn increment(&self) {
        self.0.store(self.0.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// One fewer. Only the owning shard may call it, once for each increment; at zero it stays at
    /// zero.
    #[inline]
    pub fn decrement(&self) {
        let value = self.0.load(Relaxed);
        debug_assert!(value > 0, "a gauge is decremented once per increment");
        self.0.store(value.saturating_sub(1), Relaxed);
    }

    /// Replaces the value. Only the owning shard may call it.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value now, from any thread.
    #[inline]
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn counter_counts_and_publishes_totals() {
        let counter = Counter::new();
        counter.increment();
        counter.add(41);
        assert_eq!(counter.value(), 42);
        counter.publish(100);
        assert_eq!(counter.value(), 100);
    }

    #[test]
    fn counter_wraps_instead_of_panicking() {
        let counter = Counter::new();
        counter.publish(u64::MAX);
        counter.add(2);
        assert_eq!(counter.value(), 1);
    }

    #[test]
    fn gauge_moves_both_ways() {
        let gauge = Gauge::new();
        gauge.increment();
        gauge.increment();
        gauge.decrement();
        assert_eq!(gauge.value(), 1);
        gauge.set(7);
        assert_eq!(gauge.value(), 7);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "decremented once per increment")]
    fn gauge_reports_an_unmatched_decrement_in_debug_builds() {
        Gauge::new().decrement();
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "never goes back")]
    fn counter_reports_a_published_total_that_goes_back_in_debug_builds() {
        let counter = Counter::new();
        counter.add(2);
        counter.publish(1);
    }

    #[test]
    fn reader_never_sees_a_counter_go_back_nor_lose_a_count() {
        const INCREMENTS: u64 = 2_000_000;
        let counter = Counter::new();
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                start.wait();
                let (mut last, mut changes) = (0, 0_u64);
                while last < INCREMENTS {
                    let now = counter.value();
                    assert!(now >= last, "went from {last} back to {now}");
                    changes += u64::from(now != last);
                    last = now;
                }
                changes
            });
            start.wait();
            for _ in 0..INCREMENTS {
                counter.increment();
            }
            assert!(reader.join().expect("the reader saw only growth") > 0);
        });
        assert_eq!(counter.value(), INCREMENTS);
    }
}

//! A number over all shards, without asking them each time.
//!
//! Owns how old what is known of the other shards may be; leaves counting to whoever owns the gauges. Invariant: this shard's
//! part is exact, and the lines that other shards write to are not read for every request.

use std::cell::Cell;
use std::time::{Duration, Instant};

use tidegate_telemetry::{Gauge, PerShard, Stats};

/// How old the others' part may be: a line of the log is read later than this.
const AGE_MAX: Duration = Duration::from_millis(10);

/// How old it may be where servers are chosen by it: choices by the same old number would all fall on the same server.
const CHOICE_AGE_MAX: Duration = Duration::from_millis(1);

/// So many other shards are read for each choice. With more, the lines that they write to would be fetched from their cores
/// too often, and [`CHOICE_AGE_MAX`] holds.
const SHARDS_READ_MAX: usize = 4;

/// One gauge of a group, over all shards.
pub(crate) struct Tally<T> {
    shards: PerShard<T>,
    own: usize,
    count: usize,
    others: Cell<u64>,
    read_at: Cell<Option<Instant>>,
}

impl<T: Stats> Tally<T> {
    /// As seen by `shard`.
    pub(crate) fn new(shards: &PerShard<T>, shard: u16, shards_count: u16) -> Tally<T> {
        Tally {
            shards: shards.clone(),
            own: shard.into(),
            count: shards_count.into(),
            others: Cell::new(0),
            read_at: Cell::new(None),
        }
    }

    /// The sum of `gauge`, which must be the same one in each call.
    pub(crate) fn total(&self, now: Instant, gauge: impl Fn(&T) -> &Gauge) -> u32 {
        self.sum(now, AGE_MAX, gauge)
    }

    /// The same, as new as a choice between servers needs it.
    #[inline]
    pub(crate) fn total_for_choice(&self, now: Instant, gauge: impl Fn(&T) -> &Gauge) -> u32 {
        let is_small = self.count <= SHARDS_READ_MAX + 1;
        self.sum(now, if is_small { Duration::ZERO } else { CHOICE_AGE_MAX }, gauge)
    }

    #[inline]
    fn sum(&self, now: Instant, age_max: Duration, gauge: impl Fn(&T) -> &Gauge) -> u32 {
        let own = gauge(self.shards.shard(self.own)).value();
        u32::try_from(own + self.others(now, age_max, gauge)).unwrap_or(u32::MAX)
    }

    fn others(&self, now: Instant, age_max: Duration, gauge: impl Fn(&T) -> &Gauge) -> u64 {
        let is_fresh = |at: Instant| now.saturating_duration_since(at) < age_max;
        if self.count > 1 && !self.read_at.get().is_some_and(is_fresh) {
            let others = (0..self.count).filter(|shard| *shard != self.own);
            self.others.set(others.map(|shard| gauge(self.shards.shard(shard)).value()).sum());
            self.read_at.set(Some(now));
        }
        self.others.get()
    }
}

#[cfg(test)]
mod tests {
    use tidegate_telemetry::{Registry, ServerStats};

    use super::*;
    use crate::settings::reasons;

    #[test]
    fn the_others_part_is_read_again_after_a_while_and_ones_own_each_time() {
        let mut registry = Registry::new(3, reasons());
        let stats = registry.server("app", "a").clone();
        let tally: Tally<ServerStats> = Tally::new(&stats, 1, 3);
        let now = Instant::now();
        let total = |now| tally.total(now, |stats| &stats.in_flight);
        stats.shard(0).in_flight.increment();
        stats.shard(1).in_flight.increment();
        assert_eq!(total(now), 2);
        stats.shard(1).in_flight.increment();
        stats.shard(2).in_flight.increment();
        assert_eq!((total(now), total(now + AGE_MAX)), (3, 4));
        stats.shard(2).in_flight.increment();
        assert_eq!(tally.total_for_choice(now, |stats| &stats.in_flight), 5, "few shards are read");
    }
}

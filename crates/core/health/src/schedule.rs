//! When which server is due for a check.
//!
//! Owns the order of what is planned; leaves making checks, and how many at once, to the caller.
//! Planning and taking cost the logarithm of the number of servers. Invariant: a server that was
//! taken is not given again before it is planned anew, so that at most one check of it is in flight.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// Between the first checks of two servers, while all of them fit into an interval: a check a
/// millisecond is no burst for anyone, and the first verdicts come soon.
const FIRST_SPACING: Duration = Duration::from_millis(1);

/// An interval is shortened by up to this share of itself, one part in so many: enough for servers
/// that fell into step to drift apart, and a change is never seen later than the interval says.
const JITTER_PART: u64 = 20;

/// The plan of all checks. Servers are known by numbers that the caller chooses, small ones.
#[derive(Debug)]
pub struct Schedule {
    due: BinaryHeap<Reverse<(Instant, u32, u32)>>,
    /// The newest plan of each server, 0 for none; older ones are passed over when they come up.
    plans: Vec<u32>,
    plans_made: u32,
    random: u64,
}

impl Schedule {
    /// Nothing is planned; `seed` decides the jitter.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { due: BinaryHeap::new(), plans: Vec::new(), plans_made: 0, random: seed }
    }

    /// Plans the next check of `server`, in place of one that was planned.
    pub fn plan(&mut self, server: u32, at: Instant) {
        let index = server as usize;
        if index >= self.plans.len() {
            self.plans.resize(index + 1, 0);
        }
        self.plans_made = self.plans_made.checked_add(1).unwrap_or(1);
        self.plans[index] = self.plans_made;
        self.due.push(Reverse((at, server, self.plans_made)));
    }

    /// Forgets what is planned for `server`, and says whether something was.
    pub fn cancel(&mut self, server: u32) -> bool {
        let plan = self.plans.get_mut(server as usize);
        plan.is_some_and(|plan| std::mem::take(plan) != 0)
    }

    /// When the next check is due.
    pub fn next_due(&mut self) -> Option<Instant> {
        while let Some(Reverse((at, server, plan))) = self.due.peek() {
            if self.plans[*server as usize] == *plan {
                return Some(*at);
            }
            self.due.pop();
        }
        None
    }

    /// The server that has been due for longest at `now`, and since when.
    pub fn take(&mut self, now: Instant) -> Option<(u32, Instant)> {
        self.next_due().filter(|at| *at <= now)?;
        let Reverse((at, server, _)) = self.due.pop()?;
        self.plans[server as usize] = 0;
        Some((server, at))
    }

    /// How long after the start the first check of the `index`th of `count` servers is made: spread
    /// evenly over as much of `interval` as that many servers need.
    pub fn first_delay(&mut self, index: usize, count: usize, interval: Duration) -> Duration {
        let count = u32::try_from(count.max(1)).unwrap_or(u32::MAX);
        let index = u32::try_from(index).unwrap_or(u32::MAX).min(count);
        let spacing = (interval / count).min(FIRST_SPACING);
        spacing * index + self.below(spacing)
    }

    /// `interval`, a little shortened by chance.
    pub fn jittered(&mut self, interval: Duration) -> Duration {
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        interval - self.below(Duration::from_nanos(nanos / JITTER_PART))
    }

    fn below(&mut self, end: Duration) -> Duration {
        let end = u64::try_from(end.as_nanos()).unwrap_or(u64::MAX);
        let scaled = (u128::from(self.random()) * u128::from(end)) >> 64;
        Duration::from_nanos(u64::try_from(scaled).unwrap_or(u64::MAX))
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first_checks_are_spread_over_the_interval_and_of_few_servers_over_little() {
        let second = Duration::from_secs(1);
        let mut schedule = Schedule::new(7);
        let delays = |schedule: &mut Schedule, count| -> Vec<Duration> {
            (0..count).map(|index| schedule.first_delay(index, count, second)).collect()
        };
        assert!(delays(&mut schedule, 3).iter().all(|delay| *delay < 3 * FIRST_SPACING));
        let many = delays(&mut schedule, 10_000);
        for (tenth, part) in many.chunks(1_000).enumerate() {
            let from = second / 10 * u32::try_from(tenth).expect("0 to 9");
            assert!(part.iter().all(|delay| (from..from + second / 10).contains(delay)));
        }
    }

    #[test]
    fn jitter_only_shortens_and_differs() {
        let mut schedule = Schedule::new(1);
        let interval = Duration::from_secs(2);
        let jittered: Vec<_> = (0..1000).map(|_| schedule.jittered(interval)).collect();
        assert!(jittered.iter().all(|delay| (interval * 19 / 20..=interval).contains(delay)));
        assert!(jittered.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(schedule.jittered(Duration::ZERO), Duration::ZERO);
    }

    proptest! {
        /// Against a map of deadlines.
        #[test]
        fn gives_each_server_once_and_the_earliest_first(
            steps in proptest::collection::vec((0_u32..8, 0_u64..1000, 0_u8..4), 1..300),
        ) {
            let start = Instant::now();
            let mut schedule = Schedule::new(3);
            let mut model: BTreeMap<u32, Instant> = BTreeMap::new();
            for (server, offset, kind) in steps {
                let at = start + Duration::from_millis(offset);
                match kind {
                    0 | 1 => {
                        schedule.plan(server, at);
                        model.insert(server, at);
                    }
                    2 => {
                        schedule.cancel(server);
                        model.remove(&server);
                    }
                    _ => {
                        let earliest = model.values().min().copied();
                        prop_assert_eq!(schedule.next_due(), earliest);
                        match schedule.take(at) {
                            None => prop_assert!(earliest.is_none_or(|earliest| earliest > at)),
                            Some((taken, since)) => {
                                prop_assert_eq!(Some(since), earliest);
                                prop_assert_eq!(model.remove(&taken), earliest);
                            }
                        }
                    }
                }
            }
        }
    }
}

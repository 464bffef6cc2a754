//! How long servers take, as this shard sees it.
//!
//! Owns a peak-sensitive moving average for each server, as in Finagle: a longer time counts at once, shorter ones
//! pull it down over seconds. Invariant: a server that was never heard of has no average.

use std::time::{Duration, Instant};

/// After so long, half of what was known has faded. Finagle's decay time of 10 s is a half-life of 7 s.
const HALF_LIFE_MICROS: u64 = 7_000_000;

#[derive(Debug)]
pub(crate) struct Latencies {
    servers: Vec<Latency>,
    /// The mean of all, over the last hundred or so.
    mean_micros: u64,
}

/// One server's average.
#[derive(Clone, Copy, Debug, Default)]
struct Latency {
    micros: u64,
    at: Option<Instant>,
}

impl Latencies {
    pub(crate) fn new(servers_count: usize) -> Self {
        Self { servers: vec![Latency::default(); servers_count], mean_micros: 0 }
    }

    pub(crate) fn observe(&mut self, server: u32, latency: Duration, now: Instant) {
        let Some(known) = self.servers.get_mut(server as usize) else { return };
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).clamp(1, 1 << 32);
        let before = known.micros;
        known.micros = match known.at {
            Some(at) if before > micros => micros + faded(before - micros, at, now),
            _ => micros,
        };
        known.at = Some(now);
        self.mean_micros = match self.mean_micros {
            0 => micros,
            mean => (mean * 127 + micros) / 128,
        };
    }

    /// The average in microseconds, less and less as nothing is heard; none: never heard of.
    #[inline]
    pub(crate) fn fading(&self, server: u32, now: Instant) -> Option<u64> {
        let known = self.servers.get(server as usize)?;
        Some(faded(known.micros, known.at?, now))
    }

    /// The average in microseconds, nearer and nearer to that of all as nothing is heard.
    #[inline]
    pub(crate) fn levelling(&self, server: u32, now: Instant) -> u64 {
        let mean = self.mean_micros;
        match self.servers.get(server as usize) {
            Some(Latency { micros, at: Some(at) }) if *micros > mean => {
                mean + faded(micros - mean, *at, now)
            }
            Some(Latency { micros, at: Some(at) }) => mean - faded(mean - micros, *at, now),
            _ => mean,
        }
    }
}

/// What is left of an amount: halved with each half-life, in a straight line in between.
#[inline]
fn faded(amount: u64, since: Instant, now: Instant) -> u64 {
    let age = now.saturating_duration_since(since);
    let micros = age.as_secs().saturating_mul(1_000_000) + u64::from(age.subsec_micros());
    if micros < HALF_LIFE_MICROS {
        return amount - amount * micros / (2 * HALF_LIFE_MICROS);
    }
    let halved = amount >> (micros / HALF_LIFE_MICROS).min(63);
    halved - halved * (micros % HALF_LIFE_MICROS) / (2 * HALF_LIFE_MICROS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_LIFE: Duration = Duration::from_micros(HALF_LIFE_MICROS);

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let (mut latencies, start) = (Latencies::new(2), Instant::now());
        assert_eq!(latencies.fading(0, start), None);
        latencies.observe(0, Duration::from_millis(10), start);
        latencies.observe(0, Duration::from_millis(100), start);
        latencies.observe(0, Duration::from_millis(10), start);
        assert_eq!(latencies.fading(0, start), Some(100_000), "a moment is too short to fade");
        assert_eq!(latencies.fading(0, start + HALF_LIFE), Some(50_000));
        assert_eq!(latencies.fading(0, start + 2 * HALF_LIFE), Some(25_000));
        let later = start + HALF_LIFE;
        latencies.observe(0, Duration::from_millis(10), later);
        assert_eq!(latencies.fading(0, later), Some(55_000));
    }

    #[test]
    fn who_is_not_heard_of_is_taken_for_an_average_one() {
        let (mut latencies, start) = (Latencies::new(3), Instant::now());
        latencies.observe(0, Duration::from_millis(100), start);
        for _ in 0..2_000 {
            latencies.observe(1, Duration::from_millis(10), start);
        }
        let mean = latencies.levelling(2, start);
        assert!((10_000..10_200).contains(&mean), "{mean}");
        assert_eq!(latencies.levelling(0, start), 100_000);
        let later = latencies.levelling(0, start + 20 * HALF_LIFE);
        assert!((mean..mean + 10).contains(&later), "{later}");
    }
}

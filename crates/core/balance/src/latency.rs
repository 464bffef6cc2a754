//! How long servers take, as this shard sees it.
//!
//! Owns a peak-sensitive moving average for each server, as in Finagle: a longer time counts at once, shorter ones
//! pull it down over seconds. Invariant: a server that was never heard of has no average.

use std::time::{Duration, Instant};

/// After so long, about 8 s, half of what was known has faded. Finagle's decay time of 10 s is a half-life of 7 s; a power
/// of two needs no division.
const HALF_LIFE_MICROS: u64 = 1 << 23;

#[derive(Debug)]
pub(crate) struct Latencies {
    servers: Vec<Latency>,
    /// The mean of all, over the last hundred or so.
    mean_micros: u64,
    /// What times are counted from: the first observation.
    start: Option<Instant>,
}

/// A time in microseconds since the first observation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Micros(u64);

/// One server's average.
#[derive(Clone, Copy, Debug, Default)]
struct Latency {
    /// Zero: never heard of.
    micros: u64,
    at: Micros,
}

impl Latencies {
    pub(crate) fn new(servers_count: usize) -> Self {
        Self { servers: vec![Latency::default(); servers_count], mean_micros: 0, start: None }
    }

    pub(crate) fn observe(&mut self, server: u32, latency: Duration, now: Instant) {
        self.start.get_or_insert(now);
        let now = self.micros(now);
        let Some(known) = self.servers.get_mut(server as usize) else { return };
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).clamp(1, 1 << 32);
        let before = known.micros;
        known.micros = micros + faded(before.saturating_sub(micros), known.at, now);
        known.at = now;
        self.mean_micros = match self.mean_micros {
            0 => micros,
            mean => (mean * 127 + micros) / 128,
        };
    }

    /// A time as these averages count it.
    #[inline]
    pub(crate) fn micros(&self, now: Instant) -> Micros {
        let since = self.start.map_or(Duration::ZERO, |start| now.saturating_duration_since(start));
        Micros(since.as_secs() * 1_000_000 + u64::from(since.subsec_micros()))
    }

    /// The average in microseconds, less and less as nothing is heard; none: never heard of.
    #[inline]
    pub(crate) fn fading(&self, server: u32, now: Micros) -> Option<u64> {
        let known = self.servers.get(server as usize)?;
        if known.micros == 0 { None } else { Some(faded(known.micros, known.at, now)) }
    }

    /// The average in microseconds, nearer and nearer to that of all as nothing is heard.
    #[inline]
    pub(crate) fn levelling(&self, server: u32, now: Micros) -> u64 {
        let mean = self.mean_micros;
        let Some(&Latency { micros, at }) = self.servers.get(server as usize) else { return mean };
        match micros {
            0 => mean,
            _ if micros > mean => mean + faded(micros - mean, at, now),
            _ => mean - faded(mean - micros, at, now),
        }
    }
}

/// What is left of an amount of at most 2^32: halved with each half-life, in a straight line in between.
#[inline]
fn faded(amount: u64, since: Micros, now: Micros) -> u64 {
    let age = now.0.saturating_sub(since.0);
    if age < HALF_LIFE_MICROS {
        return amount - amount * age / (2 * HALF_LIFE_MICROS);
    }
    faded_long(amount, age)
}

#[cold]
fn faded_long(amount: u64, age: u64) -> u64 {
    let halved = amount >> (age / HALF_LIFE_MICROS).min(63);
    halved - halved * (age % HALF_LIFE_MICROS) / (2 * HALF_LIFE_MICROS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_LIFE: Duration = Duration::from_micros(HALF_LIFE_MICROS);

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let (mut latencies, start) = (Latencies::new(2), Instant::now());
        assert_eq!(latencies.fading(0, latencies.micros(start)), None);
        latencies.observe(0, Duration::from_millis(10), start);
        latencies.observe(0, Duration::from_millis(100), start);
        latencies.observe(0, Duration::from_millis(10), start);
        assert_eq!(
            latencies.fading(0, latencies.micros(start)),
            Some(100_000),
            "a moment is too short to fade"
        );
        assert_eq!(latencies.fading(0, latencies.micros(start + HALF_LIFE)), Some(50_000));
        assert_eq!(latencies.fading(0, latencies.micros(start + 2 * HALF_LIFE)), Some(25_000));
        let later = start + HALF_LIFE;
        latencies.observe(0, Duration::from_millis(10), later);
        assert_eq!(latencies.fading(0, latencies.micros(later)), Some(55_000));
    }

    #[test]
    fn who_is_not_heard_of_is_taken_for_an_average_one() {
        let (mut latencies, start) = (Latencies::new(3), Instant::now());
        latencies.observe(0, Duration::from_millis(100), start);
        for _ in 0..2_000 {
            latencies.observe(1, Duration::from_millis(10), start);
        }
        let mean = latencies.levelling(2, latencies.micros(start));
        assert!((10_000..10_200).contains(&mean), "{mean}");
        assert_eq!(latencies.levelling(0, latencies.micros(start)), 100_000);
        let later = latencies.levelling(0, latencies.micros(start + 20 * HALF_LIFE));
        assert!((mean..mean + 10).contains(&later), "{later}");
    }
}

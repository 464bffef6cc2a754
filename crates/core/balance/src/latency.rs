//! How long servers take, as this shard sees it.
//!
//! Owns a peak-sensitive moving average for each server, as in Finagle: a longer time counts at once, shorter ones
//! pull it down over seconds. Invariant: a server that was never heard of has no average.

use std::time::{Duration, Instant};

/// After so long, about 8 s, half of what was known has faded. Finagle's decay time of 10 s is a half-life of 7 s; a power
/// of two needs no division.
const HALF_LIFE_MICROS: u64 = 1 << 23;

/// Half-lives after which peaks are scaled anew, about 72 minutes: a scale stays below 2^513.
const SCALE_MAX: u64 = 512;
/// Distances are from a mean that may be off by this part of it.
const LEVEL_STEP: u64 = 32;
/// The peak of a server that was never heard of: above all others.
const NEVER_HEARD_OF: f64 = f64::from_bits((1023 + 900) << 52);

#[derive(Debug)]
pub(crate) struct Latencies {
    servers: Vec<Latency>,
    /// By server: its average times the [`scale`] of the time that it is of. All fade alike, so what is left of one compared
    /// with another does not depend on the present time.
    peaks: Vec<f64>,
    /// By server: that scale; zero: it was never heard of.
    scales: Vec<f64>,
    /// What the scales are counted from, in half-lives.
    scaled_from: u64,
    /// The mean of all, over the last hundred or so.
    mean_micros: u64,
    /// The mean that distances are from: it follows in steps, so that not all of them change with each observation.
    level_micros: u64,
    /// What times are counted from: the first observation.
    start: Option<Instant>,
}

/// Whose distance an observation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// That of the server that was observed.
    One,
    /// Those of all servers.
    All,
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
        Self {
            servers: vec![Latency::default(); servers_count],
            peaks: vec![NEVER_HEARD_OF; servers_count],
            scaled_from: 0,
            scales: vec![0.0; servers_count],
            mean_micros: 0,
            level_micros: 0,
            start: None,
        }
    }

    /// Takes note of how long a server took.
    pub(crate) fn observe(&mut self, server: u32, latency: Duration, now: Instant) -> Changed {
        self.start.get_or_insert(now);
        let now = self.micros(now);
        let mut changed = Changed::One;
        if now.0 / HALF_LIFE_MICROS - self.scaled_from >= SCALE_MAX {
            self.scale_anew(now);
            changed = Changed::All;
        }
        let at = server as usize;
        let Some(known) = self.servers.get_mut(at) else { return changed };
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).clamp(1, 1 << 32);
        let before = known.micros;
        known.micros = micros + faded(before.saturating_sub(micros), known.at, now);
        known.at = now;
        let scale = scale(now, self.scaled_from);
        if let (Some(peak), Some(of)) = (self.peaks.get_mut(at), self.scales.get_mut(at)) {
            (*peak, *of) = (known.micros as f64 * scale, scale);
        }
        self.mean_micros = match self.mean_micros {
            0 => micros,
            mean => (mean * 127 + micros) / 128,
        };
        if self.mean_micros.abs_diff(self.level_micros) > self.level_micros / LEVEL_STEP {
            self.level_micros = self.mean_micros;
            changed = Changed::All;
        }
        changed
    }

    /// Takes a server for one that was never heard of.
    pub(crate) fn forget(&mut self, server: u32) {
        let at = server as usize;
        if let Some(known) = self.servers.get_mut(at) {
            *known = Latency::default();
        }
        if let (Some(peak), Some(scale)) = (self.peaks.get_mut(at), self.scales.get_mut(at)) {
            (*peak, *scale) = (NEVER_HEARD_OF, 0.0);
        }
    }

    /// A time as these averages count it.
    #[inline(never)]
    fn micros(&self, now: Instant) -> Micros {
        let since = self.start.map_or(Duration::ZERO, |start| now.saturating_duration_since(start));
        Micros(since.as_secs() * 1_000_000 + u64::from(since.subsec_micros()))
    }

    /// The average, less and less as nothing is heard, in a unit that is the same for all servers; of one that was never
    /// heard of, nothing while it has no request, and otherwise more than any other's.
    #[inline]
    pub(crate) fn fading(&self, server: u32, in_flight: u32) -> f64 {
        match self.peaks.get(server as usize) {
            Some(&peak) if peak < NEVER_HEARD_OF => peak,
            _ if in_flight == 0 => 0.0,
            _ => NEVER_HEARD_OF,
        }
    }

    /// How far the average lies above that of all, less and less as nothing is heard, in a unit that is the same for all
    /// servers; of one that was never heard of, nothing.
    pub(crate) fn distance(&self, server: u32) -> f64 {
        match (self.peaks.get(server as usize), self.scales.get(server as usize)) {
            (Some(&peak), Some(&scale)) if scale > 0.0 => peak - self.level_micros as f64 * scale,
            _ => 0.0,
        }
    }

    /// Counts scales from now on. What was not heard of for so long becomes nothing.
    #[cold]
    fn scale_anew(&mut self, now: Micros) {
        let from = now.0 / HALF_LIFE_MICROS;
        let passed = (from - self.scaled_from).min(1_000);
        let less = f64::from_bits((1023 - passed) << 52);
        for peak in self.peaks.iter_mut().filter(|peak| **peak < NEVER_HEARD_OF) {
            *peak *= less;
        }
        for scale in &mut self.scales {
            *scale *= less;
        }
        self.scaled_from = from;
    }
}

/// Twice as much with each half-life, in a straight line in between: as a number with an exponent is written.
#[inline]
fn scale(at: Micros, from_half_lives: u64) -> f64 {
    let since = at.0.saturating_sub(from_half_lives * HALF_LIFE_MICROS);
    f64::from_bits((1023 << 52) + (since << (52 - HALF_LIFE_MICROS.ilog2())))
}

/// What is left of an amount of at most 2^32: halved with each half-life, in a straight line in between.
#[inline]
fn faded(amount: u64, since: Micros, now: Micros) -> u64 {
    // Before: beyond all half-lives.
    let age = now.0.wrapping_sub(since.0);
    if age < HALF_LIFE_MICROS {
        return amount - amount * age / (2 * HALF_LIFE_MICROS);
    }
    faded_long(amount, now.0.saturating_sub(since.0))
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

    /// In microseconds, some half-lives after the start.
    fn fading(latencies: &Latencies, server: u32, half_lives: u64) -> f64 {
        let at = Micros(half_lives * HALF_LIFE_MICROS);
        latencies.fading(server, 1) / scale(at, latencies.scaled_from)
    }

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let (mut latencies, start) = (Latencies::new(2), Instant::now());
        assert_eq!(latencies.fading(0, 0), 0.0, "never heard of, and asked for one request");
        let never = latencies.fading(0, 1);
        latencies.observe(0, Duration::from_millis(10), start);
        latencies.observe(0, Duration::from_millis(100), start);
        latencies.observe(0, Duration::from_millis(10), start);
        assert_eq!(fading(&latencies, 0, 0), 100_000.0, "a moment is too short to fade");
        assert_eq!(fading(&latencies, 0, 1), 50_000.0);
        assert_eq!(fading(&latencies, 0, 2), 25_000.0);
        latencies.observe(0, Duration::from_millis(10), start + HALF_LIFE);
        assert_eq!(fading(&latencies, 0, 1), 55_000.0);
        latencies.observe(0, Duration::from_secs(4_000), start + HALF_LIFE);
        assert!(latencies.fading(0, 1) < never);
    }

    #[test]
    fn peaks_are_compared_rightly_after_days() {
        let (mut latencies, start) = (Latencies::new(3), Instant::now());
        let micros = |half_lives: u64| Duration::from_micros(half_lives * HALF_LIFE_MICROS);
        for half_lives in [0, 1, 500, 511, 512, 513, 1_100, 5_000, 100_000] {
            let now = start + micros(half_lives);
            latencies.observe(0, Duration::from_millis(80), now);
            latencies.observe(1, Duration::from_millis(30), now + HALF_LIFE);
            assert_eq!(fading(&latencies, 1, half_lives + 1), 30_000.0);
            assert_eq!(fading(&latencies, 0, half_lives + 1), 40_000.0);
            assert!(latencies.fading(2, 1) > latencies.fading(0, 1), "never heard of");
        }
    }

    #[test]
    fn who_is_not_heard_of_is_taken_for_an_average_one() {
        let (mut latencies, start) = (Latencies::new(3), Instant::now());
        latencies.observe(0, Duration::from_millis(100), start);
        for _ in 0..2_000 {
            latencies.observe(1, Duration::from_millis(10), start);
        }
        let unit = scale(latencies.micros(start), latencies.scaled_from);
        assert_eq!(latencies.distance(2), 0.0, "never heard of");
        assert!((-500.0..0.0).contains(&(latencies.distance(1) / unit)), "nearly the mean");
        assert!((89_000.0..90_000.0).contains(&(latencies.distance(0) / unit)));
        latencies.observe(1, Duration::from_millis(10), start + 20 * HALF_LIFE);
        let unit = scale(latencies.micros(start + 20 * HALF_LIFE), latencies.scaled_from);
        assert!((0.0..1.0).contains(&(latencies.distance(0) / unit)), "it has faded");
    }
}

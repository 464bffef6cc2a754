//! Counts over time: rates and percentiles.
//!
//! Owns the last few samples and what follows from them; leaves taking them to `metrics` and
//! showing them to `display`. Invariant: it keeps at most [`SAMPLES_MAX`] samples, in order of
//! time, and a counter that went back (its server left the configuration and came again) counts as
//! zero.

use std::collections::VecDeque;
use std::time::Duration;

use super::metrics::Sample;

/// Percentiles are those of the last five seconds at two samples a second.
const SAMPLES_MAX: usize = 11;

/// Rates are those of the last second.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// The last few samples.
#[derive(Default)]
pub(super) struct History {
    samples: VecDeque<(Duration, Sample)>,
}

/// What is shown at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct View {
    /// In the order of their names.
    pub(super) servers: Vec<ServerView>,
    /// Requests answered with a 5xx since the start.
    pub(super) failed: u64,
    /// Upper bound in seconds of the faster half of the last requests; `None` without requests.
    pub(super) p50: Option<f64>,
    /// The same of all but the slowest hundredth.
    pub(super) p99: Option<f64>,
}

/// One server's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerView {
    /// Its name.
    pub(super) name: String,
    /// Requests that it answered since the start.
    pub(super) answered: u64,
    /// Requests a second.
    pub(super) rate: u64,
}

impl View {
    /// Requests that were answered since the start.
    pub(super) fn answered(&self) -> u64 {
        self.servers.iter().map(|server| server.answered).sum()
    }

    /// Requests a second.
    pub(super) fn rate(&self) -> u64 {
        self.servers.iter().map(|server| server.rate).sum()
    }
}

impl History {
    /// Adds a sample, taken `at` this time from the start.
    pub(super) fn push(&mut self, at: Duration, sample: Sample) {
        debug_assert!(self.samples.back().is_none_or(|(last, _)| *last <= at), "time went back");
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back((at, sample));
    }

    /// What there is to show now; nothing before the first sample.
    pub(super) fn view(&self) -> View {
        let Some((now, latest)) = self.samples.back() else { return View::default() };
        let durations = self.durations_between(latest);
        View {
            servers: self.servers(*now, latest),
            failed: latest.failed,
            p50: percentile(&durations, 500),
            p99: percentile(&durations, 990),
        }
    }

    fn servers(&self, now: Duration, latest: &Sample) -> Vec<ServerView> {
        // The newest sample that is a second old, or else the oldest one.
        let old = |(at, _): &&(Duration, Sample)| now.saturating_sub(*at) >= RATE_WINDOW;
        let earlier = self.samples.iter().rev().find(old).or(self.samples.front());
        let rate = |name: &str, answered: u64| {
            let (at, sample) = earlier?;
            let before = sample.servers.get(name).copied().unwrap_or(0);
            let millis = u64::try_from(now.saturating_sub(*at).as_millis()).ok()?;
            let since = answered.saturating_sub(before);
            since.saturating_mul(1000).saturating_add(millis / 2).checked_div(millis)
        };
        let view = |(name, answered): (&String, &u64)| ServerView {
            name: name.clone(),
            answered: *answered,
            rate: rate(name, *answered).unwrap_or(0),
        };
        latest.servers.iter().map(view).collect()
    }

    /// The cumulative counts of the requests since the oldest sample.
    fn durations_between(&self, latest: &Sample) -> Vec<(f64, u64)> {
        let oldest = self.samples.front().map_or(&[][..], |(_, sample)| &sample.durations);
        let before = |index: usize| oldest.get(index).map_or(0, |(_, count)| *count);
        let counts = latest.durations.iter().enumerate();
        counts.map(|(index, (bound, n))| (*bound, n.saturating_sub(before(index)))).collect()
    }
}

/// The smallest bound that holds this many thousandths of the requests.
fn percentile(cumulative: &[(f64, u64)], permille: u64) -> Option<f64> {
    let (_, total) = cumulative.last().filter(|(_, total)| *total > 0)?;
    let rank = total.saturating_mul(permille).div_ceil(1000);
    cumulative.iter().find(|(_, count)| *count >= rank).map(|(bound, _)| *bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(answered: &[(&str, u64)], durations: &[(f64, u64)]) -> Sample {
        let servers = answered.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Sample { servers, failed: 0, durations: durations.to_vec() }
    }

    fn history(samples: &[(u64, Sample)]) -> History {
        let mut history = History::default();
        for (millis, sample) in samples {
            history.push(Duration::from_millis(*millis), sample.clone());
        }
        history
    }

    fn rates(history: &History) -> Vec<u64> {
        history.view().servers.iter().map(|server| server.rate).collect()
    }

    #[test]
    fn there_is_nothing_to_show_before_the_first_sample_and_no_rate_before_the_second() {
        assert_eq!(History::default().view(), View::default());
        let first = history(&[(0, sample(&[("a", 5)], &[(0.1, 5)]))]);
        let server = ServerView { name: "a".into(), answered: 5, rate: 0 };
        assert_eq!(first.view(), View { servers: vec![server], ..View::default() });
    }

    #[test]
    fn rates_are_those_of_the_last_second() {
        let at = |millis, a, b| (millis, sample(&[("a", a), ("b", b)], &[]));
        assert_eq!(rates(&history(&[at(0, 0, 0), at(500, 10, 1)])), [20, 2]);
        let samples = [at(0, 0, 0), at(500, 900, 0), at(1000, 900, 5), at(1500, 910, 5)];
        assert_eq!(rates(&history(&samples)), [10, 5]);
        assert_eq!(rates(&history(&[at(0, 0, 0), at(2000, 3, 1)])), [2, 1]);
    }

    #[test]
    fn a_server_that_is_new_or_starts_again_has_a_rate_too() {
        let new = [(0, sample(&[], &[])), (1000, sample(&[("a", 7)], &[]))];
        assert_eq!(rates(&history(&new)), [7]);
        let again = [(0, sample(&[("a", 9)], &[])), (1000, sample(&[("a", 1)], &[]))];
        assert_eq!(rates(&history(&again)), [0]);
        let same_time = [(0, sample(&[("a", 9)], &[])), (0, sample(&[("a", 12)], &[]))];
        assert_eq!(rates(&history(&same_time)), [0]);
    }

    #[test]
    fn percentiles_are_upper_bounds_over_the_samples_kept() {
        let bounds = |low, high, all| sample(&[], &[(0.1, low), (1.0, high), (f64::INFINITY, all)]);
        let of = |samples: &[(u64, Sample)]| {
            let view = history(samples).view();
            (view.p50, view.p99)
        };
        assert_eq!(of(&[(0, bounds(0, 0, 0)), (500, bounds(0, 0, 0))]), (None, None));
        let mixed = [(0, bounds(0, 0, 0)), (500, bounds(50, 99, 100))];
        assert_eq!(of(&mixed), (Some(0.1), Some(1.0)));
        let slow = [(0, bounds(50, 99, 100)), (500, bounds(50, 99, 102))];
        assert_eq!(of(&slow), (Some(f64::INFINITY), Some(f64::INFINITY)));
        let one = [(0, bounds(0, 0, 0)), (500, bounds(0, 1, 1))];
        assert_eq!(of(&one), (Some(1.0), Some(1.0)));
    }

    #[test]
    fn only_the_last_samples_are_kept() {
        let mut history = History::default();
        for second in 0..100 {
            history.push(Duration::from_secs(second), sample(&[], &[]));
        }
        assert_eq!(history.samples.len(), SAMPLES_MAX);
        assert_eq!(history.samples[0].0, Duration::from_secs(89));
    }
}

//! What a run has seen: latencies inside the measured window, completions and errors by kind.
//! Owns the counting rules; when the window opens is the generator's business, presentation the
//! report's.
//!
//! Invariant: a latency is recorded exactly when the request's intended time lies in the window.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency told apart, in nanoseconds (60 s, above every time-out used here).
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// Finest step, in nanoseconds: a loopback exchange takes at least ten thousand.
const LATENCY_NS_MIN: u64 = 100;

/// Why a request did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The connection could not be opened.
    Connect,
    /// The status was not the expected one.
    Status,
    /// The body was complete but had another length than expected.
    Length,
    /// The connection was reset, or closed before a byte of the response.
    Reset,
    /// The connection ended inside a response.
    Short,
    /// No complete response within the time allowed.
    Timeout,
    /// The bytes are not a response.
    Malformed,
}

/// Failed requests by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// See [`Failure::Connect`].
    pub connect: u64,
    /// See [`Failure::Status`].
    pub status: u64,
    /// See [`Failure::Length`].
    pub length: u64,
    /// See [`Failure::Reset`].
    pub reset: u64,
    /// See [`Failure::Short`].
    pub short: u64,
    /// See [`Failure::Timeout`].
    pub timeout: u64,
    /// See [`Failure::Malformed`].
    pub malformed: u64,
    /// Open loop: meant to leave in the window, unanswered when the run was given up.
    pub unfinished: u64,
}

impl Errors {
    /// All errors.
    pub fn total(&self) -> u64 {
        self.connect
            + self.status
            + self.length
            + self.reset
            + self.short
            + self.timeout
            + self.malformed
            + self.unfinished
    }

    fn count(&mut self, failure: Failure) {
        let counter = match failure {
            Failure::Connect => &mut self.connect,
            Failure::Status => &mut self.status,
            Failure::Length => &mut self.length,
            Failure::Reset => &mut self.reset,
            Failure::Short => &mut self.short,
            Failure::Timeout => &mut self.timeout,
            Failure::Malformed => &mut self.malformed,
        };
        *counter += 1;
    }
}

/// Counts and latencies of one run.
#[derive(Debug)]
pub struct Recorder {
    histogram: Histogram<u64>,
    window_ns: std::ops::Range<u64>,
    completed: u64,
    body_bytes: u64,
    errors: Errors,
}

impl Recorder {
    /// An empty recorder whose window has not opened.
    pub fn new() -> Self {
        Self {
            histogram: empty_histogram(),
            window_ns: u64::MAX..u64::MAX,
            completed: 0,
            body_bytes: 0,
            errors: Errors::default(),
        }
    }

    /// Latencies of requests meant to leave in `[from_ns, until_ns)` are recorded from now on.
    pub fn open_window(&mut self, from_ns: u64, until_ns: u64) {
        self.window_ns = from_ns..until_ns;
    }

    /// Whether a request with this intended time belongs to the window.
    #[inline]
    pub fn in_window(&self, intended_ns: u64) -> bool {
        self.window_ns.contains(&intended_ns)
    }

    /// A correct response, complete at `done_ns`.
    #[inline]
    pub fn success(&mut self, intended_ns: u64, done_ns: u64, body_bytes: u64) {
        self.completed += 1;
        self.body_bytes += body_bytes;
        self.latency(intended_ns, done_ns);
    }

    /// A failed request. A time-out counts into the latencies too: its user waited that long.
    pub fn failure(&mut self, failure: Failure, intended_ns: u64, now_ns: u64) {
        self.errors.count(failure);
        if failure == Failure::Timeout {
            self.latency(intended_ns, now_ns);
        }
    }

    /// A request of the window that was given up at `now_ns` without an answer.
    pub fn unfinished(&mut self, intended_ns: u64, now_ns: u64) {
        self.errors.unfinished += 1;
        self.latency(intended_ns, now_ns);
    }

    /// Correct responses so far, window or not.
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// Body bytes of correct responses so far.
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Errors so far, window or not: a warm-up that fails is a failure.
    pub fn errors(&self) -> Errors {
        self.errors
    }

    /// Latencies of the window, in nanoseconds.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    #[inline]
    fn latency(&mut self, intended_ns: u64, done_ns: u64) {
        if self.in_window(intended_ns) {
            self.histogram.saturating_record(done_ns.saturating_sub(intended_ns).max(1));
        }
    }
}

/// A histogram with the bounds that all runs share, so that rounds can be added up.
pub fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, 3)
        .expect("constant bounds, high at least twice low, three digits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_window_is_recorded_but_everything_is_counted() {
        let mut recorder = Recorder::new();
        recorder.success(50, 60, 1);
        recorder.open_window(100, 200);
        recorder.success(99, 5_000, 1);
        recorder.success(100, 5_100, 1);
        recorder.success(199, 90_000, 1);
        recorder.success(200, 90_000, 1);
        assert_eq!(recorder.completed(), 5);
        assert_eq!(recorder.body_bytes(), 5);
        assert_eq!(recorder.histogram().len(), 2);
    }

    #[test]
    fn every_failure_has_its_own_counter() {
        let mut recorder = Recorder::new();
        let kinds = [
            Failure::Connect,
            Failure::Status,
            Failure::Length,
            Failure::Reset,
            Failure::Short,
            Failure::Timeout,
            Failure::Malformed,
        ];
        for kind in kinds {
            recorder.failure(kind, 0, 1);
        }
        recorder.unfinished(0, 1);
        let expected = Errors {
            connect: 1,
            status: 1,
            length: 1,
            reset: 1,
            short: 1,
            timeout: 1,
            malformed: 1,
            unfinished: 1,
        };
        assert_eq!(recorder.errors(), expected);
        assert_eq!(recorder.errors().total(), 8);
    }

    #[test]
    fn percentiles_of_a_known_distribution() {
        let mut recorder = Recorder::new();
        recorder.open_window(0, 1);
        (1..=10_000_u64).for_each(|n| recorder.success(0, n * 1_000, 0));
        for (quantile, expected) in
            [(0.5, 5_000_000.0), (0.9, 9_000_000.0), (0.99, 9_900_000.0), (0.9999, 9_999_000.0)]
        {
            let value = recorder.histogram().value_at_quantile(quantile) as f64;
            assert!((value / expected - 1.0).abs() < 0.002, "{quantile}: {value} for {expected}");
        }
    }

    #[test]
    fn time_outs_count_as_latency() {
        let mut recorder = Recorder::new();
        recorder.open_window(0, 10);
        recorder.failure(Failure::Timeout, 5, 2_000_000_005);
        assert!(recorder.histogram().max() >= 1_990_000_000);
    }
}

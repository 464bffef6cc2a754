//! Outliers: servers that fail in traffic, whatever their checks say.
//!
//! Owns the counts of a window and for how long a server is ejected; leaves counting outcomes to the
//! data plane, and how many servers may be ejected at once to `group`. Invariant: counts of all shards
//! are joined, and what a shard counted before the first look is not held against the server.

use std::time::{Duration, Instant};

use crate::statuses::StatusSet;

/// When a server is ejected, and for how long. A sign that is `None` is not looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassiveSettings {
    /// Errors within the window.
    pub errors: Option<u32>,
    /// Errors in a row, without a success between them on any shard.
    pub consecutive_errors: Option<u32>,
    /// Percent of the window's requests that are errors.
    pub error_percent: Option<u8>,
    /// Mean time to the head of a response within the window.
    pub latency: Option<Duration>,
    /// Requests in the window below which percentages and means say nothing.
    pub requests_min: u32,
    /// How far back is looked; exact to a tenth of it.
    pub window: Duration,
    /// How long a server is ejected the first time; the next time in a row twice as long, then three times.
    pub eject_for: Duration,
    /// The longest ejection.
    pub eject_for_max: Duration,
    /// Percent of a backend's servers that may be ejected at once.
    pub max_ejected_percent: u8,
    /// Statuses that count as errors.
    pub statuses: StatusSet,
}

/// What one shard has counted of one server so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Requests that failed by the server's fault.
    pub errors: u64,
    /// Requests that did not.
    pub successes: u64,
    /// Errors since the last success.
    pub errors_in_a_row: u64,
    /// Time to the heads of all responses, in microseconds.
    pub latency_micros: u64,
}

/// What gives an outlier away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// This many errors within the window.
    Errors(u64),
    /// This many errors in a row.
    ConsecutiveErrors(u64),
    /// This percentage of errors.
    ErrorPercent(u64),
    /// This mean latency.
    Latency(Duration),
}

impl Sign {
    /// Its word in the log.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Errors(_) => "errors",
            Self::ConsecutiveErrors(_) => "consecutive_errors",
            Self::ErrorPercent(_) => "error_percent",
            Self::Latency(_) => "latency",
        }
    }
}

impl std::fmt::Display for Sign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Errors(count) => write!(f, "{count} errors"),
            Self::ConsecutiveErrors(count) => write!(f, "{count} errors in a row"),
            Self::ErrorPercent(percent) => write!(f, "{percent} % errors"),
            Self::Latency(mean) => write!(f, "{} ms on average", mean.as_millis()),
        }
    }
}

/// Parts of a window: old ones leave one by one.
const PARTS: u32 = 10;

/// What happened within a part of the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    errors: u64,
    successes: u64,
    latency_micros: u64,
}

/// What traffic says of one server.
#[derive(Clone, Debug, Default)]
pub struct Outlier {
    /// The last sample of each shard.
    seen: Vec<Sample>,
    parts: [Part; PARTS as usize],
    /// When the newest part began, and which it is.
    part_begun: Option<Instant>,
    newest: usize,
    /// Errors in a row over all shards: never more than there were.
    run: u64,
    ejected_until: Option<Instant>,
    /// Ejections in a row.
    times: u32,
    /// When the last of the ejections in a row ended, or was forgotten.
    returned_at: Option<Instant>,
}

impl Outlier {
    /// Takes note of what the shards have counted until `now`; says what gives the server away. The
    /// window is empty after that.
    pub fn look(
        &mut self,
        samples: impl Iterator<Item = Sample>,
        settings: &PassiveSettings,
        now: Instant,
    ) -> Option<Sign> {
        self.forget_old(settings, now);
        let (mut part, mut tails, mut rest) = (Part::default(), None::<u64>, 0);
        for (shard, sample) in samples.enumerate() {
            if shard >= self.seen.len() {
                self.seen.push(sample);
                continue;
            }
            let before = std::mem::replace(&mut self.seen[shard], sample);
            let errors = sample.errors.wrapping_sub(before.errors);
            let successes = sample.successes.wrapping_sub(before.successes);
            part.errors += errors;
            part.successes += successes;
            part.latency_micros += sample.latency_micros.wrapping_sub(before.latency_micros);
            if successes > 0 {
                let tail = sample.errors_in_a_row.min(errors);
                tails = Some(tails.map_or(tail, |shortest| shortest.min(tail)));
            } else {
                rest += errors;
            }
        }
        // The last success of all was on one of the shards that had one: what came after it there is the least that
        // came after it anywhere.
        self.run = tails.unwrap_or(self.run + rest);
        let newest = &mut self.parts[self.newest];
        newest.errors += part.errors;
        newest.successes += part.successes;
        newest.latency_micros += part.latency_micros;
        if self.ejected_until.is_some() {
            return None;
        }
        let sign = self.sign(settings)?;
        self.clear();
        Some(sign)
    }

    fn sign(&self, settings: &PassiveSettings) -> Option<Sign> {
        let sum = |of: fn(&Part) -> u64| self.parts.iter().map(of).sum::<u64>();
        let (errors, successes) = (sum(|part| part.errors), sum(|part| part.successes));
        let requests = errors + successes;
        let reaches = |max: Option<u32>, count: u64| max.is_some_and(|max| count >= max.into());
        if reaches(settings.consecutive_errors, self.run) {
            return Some(Sign::ConsecutiveErrors(self.run));
        }
        if reaches(settings.errors, errors) {
            return Some(Sign::Errors(errors));
        }
        if requests == 0 || requests < settings.requests_min.into() {
            return None;
        }
        let percent = errors * 100 / requests;
        if settings.error_percent.is_some_and(|max| percent >= max.into()) {
            return Some(Sign::ErrorPercent(percent));
        }
        let mean = Duration::from_micros(
            sum(|part| part.latency_micros).checked_div(successes).unwrap_or(0),
        );
        settings.latency.is_some_and(|max| mean >= max).then_some(Sign::Latency(mean))
    }

    fn forget_old(&mut self, settings: &PassiveSettings, now: Instant) {
        let length = (settings.window / PARTS).max(Duration::from_nanos(1));
        let Some(begun) = self.part_begun else {
            self.part_begun = Some(now);
            return;
        };
        let passed = now.saturating_duration_since(begun).as_nanos() / length.as_nanos();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        for _ in 0..passed.min(PARTS) {
            self.newest = (self.newest + 1) % PARTS as usize;
            self.parts[self.newest] = Part::default();
        }
        if passed > 0 {
            self.part_begun = Some(if passed < PARTS { begun + length * passed } else { now });
        }
    }

    /// Forgets the window: what was seen led to something.
    fn clear(&mut self) {
        (self.parts, self.run) = ([Part::default(); PARTS as usize], 0);
    }

    /// Ejects the server; for how long.
    pub fn eject(&mut self, settings: &PassiveSettings, now: Instant) -> Duration {
        // Each `eject_for` of good conduct takes one of the ejections off the count.
        if let Some(returned) = self.returned_at {
            let good = now.saturating_duration_since(returned).as_nanos();
            let forgiven = good / settings.eject_for.as_nanos().max(1);
            self.times = self.times.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX));
        }
        self.times = self.times.saturating_add(1);
        let time = settings.eject_for.checked_mul(self.times).unwrap_or(Duration::MAX);
        let time = time.min(settings.eject_for_max.max(settings.eject_for));
        self.clear();
        self.ejected_until = now.checked_add(time);
        time
    }

    /// Ejections in a row.
    #[must_use]
    pub const fn times(&self) -> u32 {
        self.times
    }

    /// Until when it is ejected.
    #[must_use]
    pub const fn ejected_until(&self) -> Option<Instant> {
        self.ejected_until
    }

    /// Whether its ejection ends at `now`; it starts with a clean slate.
    pub fn returns(&mut self, now: Instant) -> bool {
        let ends = self.ejected_until.is_some_and(|until| until <= now);
        if ends {
            self.ejected_until = None;
            self.returned_at = Some(now);
            self.clear();
        }
        ends
    }
}

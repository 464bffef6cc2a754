//! What is known of one name over time.
//!
//! Owns when it is asked for again and how long what was known holds; leaves a single round to `round`. Invariant: between two
//! rounds passes `ttl_min` at least; addresses are given up by an answer without them, or when the time to hold them is over.

use std::time::{Duration, Instant};

use crate::finding::{Absence, Endpoint, Fault, Outcome};
use crate::settings::Settings;

/// The longest pause between two rounds while no resolver answers or the name is not there: what is set right is found by then.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What has changed about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its addresses are others than before.
    Changed,
    /// Nobody can say what its addresses are; those known before hold, if there are any.
    Failing(Fault),
    /// The answer is that there are none; those known before hold, if there are any.
    Absent(Absence),
    /// It is answered again.
    Recovered,
    /// The time to hold its addresses is over.
    GivenUp,
}

/// Why there is no answer with addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Failing(Fault),
    Absent(Absence),
}

/// One name.
#[derive(Clone, Debug)]
pub struct Watch {
    settings: Settings,
    endpoints: Vec<Endpoint>,
    /// When the TTL of the addresses ends.
    good_until: Instant,
    trouble: Option<Trouble>,
    /// Rounds without an answer with addresses in a row.
    rounds_without: u32,
    /// When the addresses are given up, while they are held.
    given_up_at: Option<Instant>,
    /// When to ask; none while a round is on its way.
    ask_at: Option<Instant>,
    /// Whether a round has ended.
    is_settled: bool,
}

impl Watch {
    /// A name of which nothing is known, to be asked for now.
    #[must_use]
    pub const fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            endpoints: Vec::new(),
            good_until: now,
            trouble: None,
            rounds_without: 0,
            given_up_at: None,
            ask_at: Some(now),
            is_settled: false,
        }
    }

    /// Other settings hold from now on; the name is asked for again by them.
    pub fn set_settings(&mut self, settings: Settings, now: Instant) {
        if self.settings != settings {
            self.settings = settings;
            self.ask_at = self.ask_at.map(|_| now);
            self.given_up_at = self.given_up_at.map(|_| self.hold_until(now));
        }
    }

    /// The addresses that hold now.
    #[must_use]
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// Whether addresses are held although nobody confirms them.
    #[must_use]
    pub const fn is_holding(&self) -> bool {
        self.given_up_at.is_some()
    }

    /// Whether what it stands for, or that nobody can say, is known.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Why there is no answer with addresses, as a word; none while there is one.
    #[must_use]
    pub const fn trouble(&self) -> Option<&'static str> {
        match self.trouble {
            Some(Trouble::Failing(fault)) => Some(fault.label()),
            Some(Trouble::Absent(absence)) => Some(absence.label()),
            None => None,
        }
    }

    /// When [`Watch::begins`] or [`Watch::gives_up`] has something to do.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        [self.ask_at, self.given_up_at].into_iter().flatten().min()
    }

    /// Whether a round is to begin now; its outcome must be told to [`Watch::concluded`].
    pub fn begins(&mut self, now: Instant) -> bool {
        let due = self.ask_at.is_some_and(|at| at <= now);
        if due {
            self.ask_at = None;
        }
        due
    }

    /// Gives up addresses that have been held long enough.
    pub fn gives_up(&mut self, now: Instant) -> Option<Event> {
        self.given_up_at.filter(|at| *at <= now)?;
        self.given_up_at = None;
        self.endpoints.clear();
        Some(Event::GivenUp)
    }

    /// Takes what a round came to.
    pub fn concluded(&mut self, outcome: Outcome, now: Instant) -> Vec<Event> {
        self.is_settled = true;
        match outcome {
            // With a part of the answer missing, what is known is more likely to be right.
            Outcome::Found { fault: Some(fault), .. } if !self.endpoints.is_empty() => {
                self.without(Trouble::Failing(fault), now)
            }
            Outcome::Found { endpoints, ttl, .. } => self.with(endpoints, ttl, now),
            Outcome::Absent(absence) => self.without(Trouble::Absent(absence), now),
            Outcome::Failed(fault) => self.without(Trouble::Failing(fault), now),
        }
    }

    fn with(&mut self, endpoints: Vec<Endpoint>, ttl: u32, now: Instant) -> Vec<Event> {
        let ttl = Duration::from_secs(ttl.into());
        let ttl = ttl.clamp(self.settings.ttl_min, self.settings.ttl_max);
        (self.good_until, self.ask_at) = (now + ttl, Some(now + ttl));
        (self.rounds_without, self.given_up_at) = (0, None);
        let mut events = Vec::new();
        if self.trouble.take().is_some() {
            events.push(Event::Recovered);
        }
        if self.endpoints != endpoints {
            self.endpoints = endpoints;
            events.push(Event::Changed);
        }
        events
    }

    fn without(&mut self, trouble: Trouble, now: Instant) -> Vec<Event> {
        self.rounds_without = self.rounds_without.saturating_add(1);
        self.ask_at = Some(now + self.pause());
        let before = self.trouble.replace(trouble);
        let same = matches!(
            (before, trouble),
            (Some(Trouble::Failing(_)), Trouble::Failing(_))
                | (Some(Trouble::Absent(_)), Trouble::Absent(_))
        );
        if same {
            return Vec::new();
        }
        let mut events = vec![match trouble {
            Trouble::Failing(fault) => Event::Failing(fault),
            Trouble::Absent(absence) => Event::Absent(absence),
        }];
        if !self.endpoints.is_empty() {
            // Trouble of another kind does not begin the time anew.
            let until = self.hold_until(now);
            self.given_up_at = Some(self.given_up_at.map_or(until, |at| at.min(until)));
            events.extend(self.gives_up(now));
        }
        events
    }

    fn hold_until(&self, now: Instant) -> Instant {
        match self.trouble {
            Some(Trouble::Absent(_)) => now + self.settings.hold_absent,
            Some(Trouble::Failing(_)) | None => self.good_until.max(now) + self.settings.hold,
        }
    }

    /// Doubles with each round without an answer.
    fn pause(&self) -> Duration {
        let (min, max) = (self.settings.ttl_min, self.settings.ttl_max.min(PAUSE_MAX));
        let factor = 1_u32 << self.rounds_without.saturating_sub(1).min(16);
        min.saturating_mul(factor).min(max.max(min))
    }
}

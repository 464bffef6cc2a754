//! How many requests may be sent a second time.
//!
//! Owns the account of one backend in one shard: requests pay in, repeats draw. Leaves to the machine what counts as a
//! repeat. Invariant: over any ten seconds no more repeats are granted than the share of the requests and the minimum of the
//! last twenty allow, so that a backend that fails altogether is not asked a multiple of what it was asked before.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How many repeats a budget grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetSettings {
    /// Repeats for every hundred requests.
    pub percent: u8,
    /// Repeats per second besides, so that a backend with few requests has some at all.
    pub per_second_min: u32,
}

impl Default for BudgetSettings {
    /// As in Finagle: a fifth of the requests, and ten per second.
    fn default() -> Self {
        Self { percent: 20, per_second_min: 10 }
    }
}

impl BudgetSettings {
    /// The part of one of `shards_count` shards: the minimum is shared, rounded up.
    #[must_use]
    pub fn of_shard(self, shards_count: u16) -> Self {
        Self { per_second_min: self.per_second_min.div_ceil(shards_count.max(1).into()), ..self }
    }
}

/// The account. Requests and repeats are kept for between one and two windows.
#[derive(Debug)]
pub struct RetryBudget {
    settings: BudgetSettings,
    began: Cell<Instant>,
    current: Cell<Window>,
    previous: Cell<Window>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    requests: u64,
    repeats: u64,
}

impl RetryBudget {
    /// How long a window is. Two are remembered, as Finagle remembers ten seconds.
    pub const WINDOW: Duration = Duration::from_secs(5);

    /// An account that has only its minimum so far.
    #[must_use]
    pub fn new(settings: BudgetSettings, now: Instant) -> Self {
        Self {
            settings,
            began: Cell::new(now),
            current: Cell::default(),
            previous: Cell::default(),
        }
    }

    /// Takes note of a request.
    #[inline]
    pub fn deposit(&self, now: Instant) {
        self.turn(now);
        let current = self.current.get();
        self.current.set(Window { requests: current.requests + 1, ..current });
    }

    /// Takes one repeat; `false` if there is none left.
    #[must_use]
    pub fn withdraw(&self, now: Instant) -> bool {
        self.turn(now);
        let (current, previous) = (self.current.get(), self.previous.get());
        let requests = current.requests + previous.requests;
        let least = u64::from(self.settings.per_second_min) * 2 * Self::WINDOW.as_secs();
        let granted = requests.saturating_mul(self.settings.percent.into()) / 100 + least;
        if current.repeats + previous.repeats >= granted {
            return false;
        }
        self.current.set(Window { repeats: current.repeats + 1, ..current });
        true
    }

    #[inline]
    fn turn(&self, now: Instant) {
        if now.saturating_duration_since(self.began.get()) >= Self::WINDOW {
            self.begin_window(now);
        }
    }

    #[cold]
    fn begin_window(&self, now: Instant) {
        let is_next = now.saturating_duration_since(self.began.get()) < 2 * Self::WINDOW;
        let ended = self.current.take();
        self.previous.set(if is_next { ended } else { Window::default() });
        self.began.set(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(budget: &RetryBudget, now: Instant) -> u64 {
        (0..).take_while(|_| budget.withdraw(now)).count() as u64
    }

    #[test]
    fn a_share_of_the_requests_and_a_minimum_are_granted() {
        let mut now = Instant::now();
        let settings = BudgetSettings { percent: 20, per_second_min: 3 };
        let budget = RetryBudget::new(settings, now);
        assert_eq!(granted(&budget, now), 30, "ten seconds of the minimum");
        (0..1_000).for_each(|_| budget.deposit(now));
        assert_eq!(granted(&budget, now), 200);
        now += RetryBudget::WINDOW;
        assert_eq!(granted(&budget, now), 0, "the window before counts");
        now += RetryBudget::WINDOW;
        assert_eq!(granted(&budget, now), 30);
    }

    #[test]
    fn a_silent_time_leaves_the_minimum() {
        let now = Instant::now();
        let budget = RetryBudget::new(BudgetSettings { percent: 100, per_second_min: 0 }, now);
        (0..50).for_each(|_| budget.deposit(now));
        assert_eq!(granted(&budget, now + 3 * RetryBudget::WINDOW), 0);
        budget.deposit(now + 3 * RetryBudget::WINDOW);
        assert_eq!(granted(&budget, now + 3 * RetryBudget::WINDOW), 1);
    }

    #[test]
    fn shards_share_the_minimum() {
        let settings = BudgetSettings { percent: 20, per_second_min: 10 };
        assert_eq!(settings.of_shard(4), BudgetSettings { percent: 20, per_second_min: 3 });
        assert_eq!(settings.of_shard(0).per_second_min, 10);
    }
}

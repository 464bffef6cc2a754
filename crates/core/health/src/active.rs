//! The rise and fall of one checked server.
//!
//! Owns counting checks in a row; leaves when they are made to the schedule. Invariant: the streak is
//! shorter than what a change takes, and zero streaks mean that the last check agreed with the state.

use std::time::Duration;

use crate::settings::{Initial, Timing};

/// What a check has brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The server is up now.
    Up,
    /// The server is down now.
    Down,
}

/// What checks say of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    up: bool,
    /// Checks in a row that disagree with `up`.
    streak: u32,
    /// No check has been made yet: the first one settles it.
    unsettled: bool,
}

impl Checked {
    /// A server that has not been checked.
    #[must_use]
    pub const fn new(initial: Initial) -> Self {
        Self { up: matches!(initial, Initial::Up), streak: 0, unsettled: true }
    }

    /// Whether it is up.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.up
    }

    /// Whether no check has been made yet.
    #[must_use]
    pub const fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    /// Takes note of a check, and says what it has brought about.
    pub fn record(&mut self, passed: bool, timing: &Timing) -> Option<Change> {
        let first = std::mem::replace(&mut self.unsettled, false);
        if passed == self.up {
            self.streak = 0;
            return None;
        }
        self.streak = self.streak.saturating_add(1);
        let needed = if passed { timing.rise } else { timing.fall };
        if self.streak < needed && !first {
            return None;
        }
        (self.up, self.streak) = (passed, 0);
        Some(if passed { Change::Up } else { Change::Down })
    }

    /// Checks in a row that disagree with the state, and how many a change takes.
    #[must_use]
    pub const fn progress(&self, timing: &Timing) -> (u32, u32) {
        (self.streak, if self.up { timing.fall } else { timing.rise })
    }

    /// From the last check to the next.
    #[must_use]
    pub const fn interval(&self, timing: &Timing) -> Duration {
        match (self.up, self.streak) {
            (_, 1..) => timing.fast_interval,
            (true, 0) => timing.interval,
            (false, 0) => timing.down_interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn timing(rise: u32, fall: u32) -> Timing {
        let ms = Duration::from_millis;
        Timing {
            interval: ms(2000),
            fast_interval: ms(100),
            down_interval: ms(500),
            timeout: ms(50),
            rise,
            fall,
            initial: Initial::Up,
        }
    }

    /// Checks as `+` and `-`; the state after each: `U`, `D`, small while it is on its way.
    fn history(initial: Initial, rise: u32, fall: u32, checks: &str) -> String {
        let (mut checked, timing) = (Checked::new(initial), timing(rise, fall));
        checks
            .chars()
            .map(|check| {
                checked.record(check == '+', &timing);
                let state = if checked.is_up() { 'U' } else { 'D' };
                if checked.streak > 0 { state.to_ascii_lowercase() } else { state }
            })
            .collect()
    }

    #[test]
    fn a_server_rises_and_falls_by_checks_in_a_row() {
        use Initial::{Down, Up};
        for (initial, rise, fall, checks, expected) in [
            (Up, 2, 3, "+---+++", "UuuDdUU"),
            (Up, 2, 3, "+--+--+---", "UuuUuuUuuD"),
            (Up, 2, 3, "+---+-+-++", "UuuDdDdDdU"),
            (Up, 1, 1, "+-+-", "UDUD"),
            // The first check settles it.
            (Up, 2, 3, "-++", "DdU"),
            (Down, 5, 3, "+", "U"),
            (Down, 2, 3, "-+-++", "DdDdU"),
        ] {
            assert_eq!(history(initial, rise, fall, checks), expected, "{initial:?} {checks}");
        }
    }

    #[test]
    fn checks_come_faster_while_a_change_is_on_its_way() {
        let (mut checked, timing) = (Checked::new(Initial::Up), timing(2, 2));
        let mut intervals = Vec::new();
        for passed in [true, false, false, true, true] {
            checked.record(passed, &timing);
            intervals.push(checked.interval(&timing).as_millis());
        }
        assert_eq!(intervals, [2000, 100, 500, 100, 2000]);
    }

    proptest! {
        /// Against the last checks looked at as a list.
        #[test]
        fn agrees_with_the_list_of_checks(
            checks in proptest::collection::vec(any::<bool>(), 1..200),
            rise in 1_u32..5,
            fall in 1_u32..5,
        ) {
            let timing = timing(rise, fall);
            let mut checked = Checked::new(Initial::Up);
            let mut up = true;
            for (at, passed) in checks.iter().enumerate() {
                let before = up;
                let needed = if up { fall } else { rise } as usize;
                let last = &checks[(at + 1).saturating_sub(needed)..=at];
                if at == 0 {
                    up = *passed;
                } else if last.len() == needed && last.iter().all(|check| *check != up) {
                    up = !up;
                }
                let change = checked.record(*passed, &timing);
                prop_assert_eq!(checked.is_up(), up);
                prop_assert_eq!(change.is_some(), before != up);
                let (streak, needed) = checked.progress(&timing);
                prop_assert!(streak < needed);
            }
        }
    }
}

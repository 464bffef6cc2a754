//! What a comparison tells the terminal while it runs: scenario, round, proxy, share done, time
//! left. Owns the arithmetic and the lines; knows nothing about measuring.
//!
//! Invariant: the share never goes backwards and reaches 100 % with the last step.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Progress over steps of known expected length.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    expected: Duration,
    done: Duration,
    terminal: bool,
}

impl Progress {
    /// Of steps that are expected to take `expected` together.
    pub fn new(expected: Duration) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { started: Instant::now(), expected, done: Duration::ZERO, terminal }
    }

    /// Shows what is about to run.
    pub fn begin(&self, what: &str) {
        let left = remaining(self.expected, self.done, self.started.elapsed());
        let line = format!(
            "[{:3.0} %  {} left]  {what}",
            100.0 * share(self.done, self.expected),
            clock(left)
        );
        // A terminal that is gone is no reason to stop measuring.
        let _ = if self.terminal {
            write!(std::io::stderr(), "\r\x1b[K{line}")
        } else {
            writeln!(std::io::stderr(), "{line}")
        };
    }

    /// Shows what a step that was expected to take `step` has found.
    pub fn end(&mut self, step: Duration, found: &str) {
        self.done = (self.done + step).min(self.expected);
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        let _ = writeln!(std::io::stderr(), "{clear}  {found}");
    }
}

fn share(done: Duration, expected: Duration) -> f64 {
    done.as_secs_f64() / expected.as_secs_f64().max(f64::EPSILON)
}

/// Time left, from how long the finished share really took.
fn remaining(expected: Duration, done: Duration, elapsed: Duration) -> Duration {
    let left = expected.saturating_sub(done);
    if done.is_zero() {
        return left;
    }
    left.mul_f64(elapsed.as_secs_f64() / done.as_secs_f64())
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{:2}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_follows_the_real_pace() {
        let seconds = Duration::from_secs;
        assert_eq!(remaining(seconds(100), seconds(0), seconds(3)), seconds(100));
        assert_eq!(remaining(seconds(100), seconds(50), seconds(75)), seconds(75));
        assert_eq!(remaining(seconds(100), seconds(100), seconds(150)), seconds(0));
        assert_eq!(clock(seconds(125)), " 2:05");
    }

    #[test]
    fn share_ends_at_one() {
        let mut progress = Progress::new(Duration::from_secs(10));
        progress.end(Duration::from_secs(6), "first");
        progress.end(Duration::from_secs(6), "second");
        assert!((share(progress.done, progress.expected) - 1.0).abs() < 1e-9);
    }
}

//! Owns the one way tests wait: a point in time after which waiting is a failure, and events to
//! wait for.
//!
//! Leaves what is waited for to the callers. Invariant: no wait of the test kit is unbounded, and
//! none is a fixed sleep; each returns as soon as its event happens.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the kit waits for anything before it fails the test. Generous, because a test machine
/// may be busy compiling; a test that passes never waits this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A point in time until which an operation may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
}

impl Deadline {
    /// A deadline `patience` from now.
    #[must_use]
    pub fn after(patience: Duration) -> Self {
        Self { at: Instant::now() + patience }
    }

    /// The time left, or `None` when there is none.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let left = self.at.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

impl Default for Deadline {
    fn default() -> Self {
        Self::after(PATIENCE)
    }
}

/// A value that one thread changes and others wait on: the kit's replacement for sleeping and
/// looking again.
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Condvar::new() }
    }

    /// Changes the value and wakes whoever waits on it.
    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        // A panic elsewhere in the test must not hide behind a second one about a poisoned lock.
        let result = change(&mut self.value.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
        result
    }

    /// Looks at the value without waiting.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.value.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until `condition` yields something; `None` when the deadline passes first.
    pub(crate) fn wait<R>(
        &self,
        deadline: Deadline,
        mut condition: impl FnMut(&T) -> Option<R>,
    ) -> Option<R> {
        let mut value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = condition(&value) {
                return Some(result);
            }
            let left = deadline.remaining()?;
            value =
                self.changed.wait_timeout(value, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// An event that the test makes happen and scripts wait for: it starts closed, is opened once and
/// stays open.
#[derive(Clone)]
pub struct Gate {
    open: Arc<Watched<bool>>,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self { open: Arc::new(Watched::new(false)) }
    }

    /// Lets everyone through who waits now or later.
    pub fn open(&self) {
        self.open.update(|open| *open = true);
    }

    /// Whether the gate has been opened.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.look(|open| *open)
    }

    /// Waits until the gate opens, at most for `duration`, and says whether it did: what a script or
    /// a client does slowly, it does between two such waits.
    #[must_use]
    pub fn wait_at_most(&self, duration: Duration) -> bool {
        self.open.wait(Deadline::after(duration), |open| open.then_some(())).is_some()
    }

    /// Waits until the gate opens.
    ///
    /// # Panics
    /// When nobody opens it within [`PATIENCE`].
    #[track_caller]
    pub fn wait(&self) {
        let opened = self.open.wait(Deadline::default(), |open| open.then_some(()));
        assert!(opened.is_some(), "the gate was not opened within {PATIENCE:?}");
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("open", &self.is_open()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_lets_a_waiting_thread_through_once_opened() {
        let gate = Gate::new();
        let waiter = std::thread::spawn({
            let gate = gate.clone();
            move || gate.wait()
        });
        assert!(!gate.is_open());
        assert!(!gate.wait_at_most(Duration::from_millis(1)));
        gate.open();
        assert!(gate.wait_at_most(Duration::ZERO));
        waiter.join().expect("the waiter returns");
        gate.wait();
    }

    #[test]
    fn waiting_ends_at_the_deadline() {
        let watched = Watched::new(0);
        let deadline = Deadline::after(Duration::from_millis(5));
        assert_eq!(watched.wait(deadline, |value| (*value > 0).then_some(())), None);
        assert_eq!(deadline.remaining(), None);
    }
}

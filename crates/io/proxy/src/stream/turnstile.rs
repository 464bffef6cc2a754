//! How much of a shard the handshakes with clients may take.
//!
//! Owns who may begin a handshake and who may compute a step of one; leaves the steps to `handshake`. Invariant: while other work
//! waits, steps take no more than their share of the time, in order of arrival; while nothing else waits, they are never held up.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::Poll;
use std::time::{Duration, Instant};

use tidegate_shard::TaskId;

use crate::settings::HandshakeLimits;

/// What may be saved up of the share. Other work waits for so long at once: a few handshakes.
const CREDIT_MAX: Duration = Duration::from_micros(500);

/// Steps that are let in at the end of one turn, of those that wait.
const STEPS_PER_TURN_MAX: i64 = 16;

/// A step's duration before one was measured: a signature with ECDSA P-256 and a key agreement.
const FIRST_GUESS_NANOS: i64 = 100_000;

/// One shard's turnstile.
pub(crate) struct Turnstile {
    limits: Cell<HandshakeLimits>,
    under_way: Cell<u32>,
    /// Tasks without a place, first come first.
    without_place: RefCell<VecDeque<TaskId>>,
    /// Tasks whose next step waits for its turn, first come first.
    waiting: RefCell<VecDeque<TaskId>>,
    /// So many of the first of them have their turn.
    let_in: Cell<usize>,
    credit_nanos: Cell<i64>,
    refilled: Cell<Instant>,
    /// Of a step, as a moving average.
    step_nanos: Cell<i64>,
}

impl Turnstile {
    pub(crate) fn new(limits: HandshakeLimits, now: Instant) -> Turnstile {
        Turnstile {
            limits: Cell::new(limits),
            under_way: Cell::new(0),
            without_place: RefCell::default(),
            waiting: RefCell::default(),
            let_in: Cell::new(0),
            credit_nanos: Cell::new(0),
            refilled: Cell::new(now),
            step_nanos: Cell::new(FIRST_GUESS_NANOS),
        }
    }

    pub(crate) fn set_limits(&self, limits: HandshakeLimits) {
        self.limits.set(limits);
    }

    /// Handshakes that have a place.
    pub(crate) fn under_way(&self) -> u32 {
        self.under_way.get()
    }

    /// A place for `task`'s handshake, which [`Turnstile::leave`] gives back. A task that gives up waiting says so by
    /// [`Turnstile::forget`].
    pub(crate) fn poll_place(&self, task: TaskId) -> Poll<()> {
        let mut queue = self.without_place.borrow_mut();
        let is_next = queue.front().is_none_or(|first| *first == task);
        if is_next && self.under_way.get() < self.limits.get().concurrent_max {
            queue.pop_front();
            self.under_way.set(self.under_way.get() + 1);
            return Poll::Ready(());
        }
        if !queue.contains(&task) {
            queue.push_back(task);
        }
        Poll::Pending
    }

    /// Gives a place back; the task that is to be woken for it.
    pub(crate) fn leave(&self) -> Option<TaskId> {
        self.under_way.set(self.under_way.get() - 1);
        self.without_place.borrow().front().copied()
    }

    /// The turn for `task`'s next step. [`Turnstile::charge`] follows the step.
    pub(crate) fn poll_turn(&self, task: TaskId, now: Instant) -> Poll<()> {
        self.refill(now);
        let mut waiting = self.waiting.borrow_mut();
        match waiting.iter().position(|known| *known == task) {
            Some(place) if place < self.let_in.get() => {
                waiting.remove(place);
                self.let_in.set(self.let_in.get() - 1);
                Poll::Ready(())
            }
            Some(_) => Poll::Pending,
            None if waiting.is_empty() && self.credit_nanos.get() > 0 => Poll::Ready(()),
            None => {
                waiting.push_back(task);
                Poll::Pending
            }
        }
    }

    /// `task` waits no longer; the task that is to be woken instead, if it held a turn or a place up.
    pub(crate) fn forget(&self, task: TaskId) -> Option<TaskId> {
        let mut waiting = self.waiting.borrow_mut();
        if let Some(place) = waiting.iter().position(|known| *known == task) {
            waiting.remove(place);
            if place < self.let_in.get() {
                self.let_in.set(self.let_in.get() - 1);
            }
        }
        let mut queue = self.without_place.borrow_mut();
        let was_first = queue.front() == Some(&task);
        queue.retain(|known| *known != task);
        was_first.then(|| queue.front().copied()).flatten()
    }

    /// A step has taken so long.
    pub(crate) fn charge(&self, took: Duration) {
        let nanos = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX);
        self.credit_nanos.set(self.credit_nanos.get().saturating_sub(nanos));
        let average = self.step_nanos.get();
        self.step_nanos.set((average + (nanos - average) / 8).max(1));
    }

    /// The end of a turn of the shard: `wake` is called for each task that has its turn now. `idle`: nothing else waits.
    pub(crate) fn turned(&self, now: Instant, idle: bool, mut wake: impl FnMut(TaskId)) {
        let waiting = self.waiting.borrow();
        if waiting.is_empty() || self.let_in.get() > 0 {
            return;
        }
        self.refill(now);
        let affordable = self.credit_nanos.get() / self.step_nanos.get();
        let steps =
            if affordable > 0 { affordable.min(STEPS_PER_TURN_MAX) } else { i64::from(idle) };
        let steps = usize::try_from(steps).unwrap_or(0).min(waiting.len());
        self.let_in.set(steps);
        waiting.iter().take(steps).for_each(|task| wake(*task));
    }

    fn refill(&self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled.replace(now));
        let share = i64::from(self.limits.get().share_percent);
        let earned =
            i64::try_from(passed.as_nanos()).unwrap_or(i64::MAX).saturating_mul(share) / 100;
        let max = i64::try_from(CREDIT_MAX.as_nanos()).unwrap_or(i64::MAX);
        // A debt is remembered as long as a saving: one long step, with RSA, is not paid for by many turns.
        let credit = self.credit_nanos.get().max(-max).saturating_add(earned);
        self.credit_nanos.set(credit.min(max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_micros(100);

    fn turnstile(concurrent_max: u32, share_percent: u8, now: Instant) -> Turnstile {
        Turnstile::new(HandshakeLimits { concurrent_max, share_percent }, now)
    }

    #[test]
    fn places_go_to_those_who_came_first_and_never_beyond_the_limit() {
        let turnstile = turnstile(2, 50, Instant::now());
        let tasks = [1, 2, 3, 4].map(TaskId);
        let places = tasks.map(|task| turnstile.poll_place(task).is_ready());
        assert_eq!((places, turnstile.under_way()), ([true, true, false, false], 2));
        assert_eq!(turnstile.leave(), Some(tasks[2]));
        // The last one asks first.
        assert!(turnstile.poll_place(tasks[3]).is_pending());
        assert!(turnstile.poll_place(tasks[2]).is_ready());
        assert_eq!(turnstile.leave(), Some(tasks[3]));
        // It gives up, and the place is anybody's.
        assert_eq!(turnstile.forget(tasks[3]), None);
        assert!(turnstile.poll_place(TaskId(5)).is_ready());
        assert_eq!(turnstile.under_way(), 2);
    }

    #[test]
    fn who_gives_up_at_the_head_lets_the_next_one_know() {
        let turnstile = turnstile(1, 50, Instant::now());
        assert!(turnstile.poll_place(TaskId(1)).is_ready());
        for task in [2, 3] {
            assert!(turnstile.poll_place(TaskId(task)).is_pending());
        }
        assert_eq!(turnstile.leave(), Some(TaskId(2)));
        assert_eq!(turnstile.forget(TaskId(2)), Some(TaskId(3)));
        assert!(turnstile.poll_place(TaskId(3)).is_ready());
    }

    /// Steps that are made in so many turns of so long, each with other work.
    fn steps_in(turnstile: &Turnstile, start: Instant, turns: u32, turn: Duration) -> u32 {
        let mut made = 0;
        let mut task = 1_000;
        let mut waiting = VecDeque::new();
        for nth in 1..=turns {
            let now = start + turn * nth;
            // There is always somebody who wants to.
            while waiting.len() < 64 {
                task += 1;
                if turnstile.poll_turn(TaskId(task), now).is_ready() {
                    turnstile.charge(STEP);
                    made += 1;
                } else {
                    waiting.push_back(TaskId(task));
                }
            }
            let mut woken = Vec::new();
            turnstile.turned(now, false, |task| woken.push(task));
            for task in woken {
                assert_eq!(waiting.pop_front(), Some(task), "not the first one");
                assert!(turnstile.poll_turn(task, now).is_ready());
                turnstile.charge(STEP);
                made += 1;
            }
        }
        made
    }

    #[test]
    fn a_flood_of_handshakes_gets_its_share_of_a_busy_shard_and_no_more() {
        for (share, turn_micros) in [(50, 200), (50, 1_000), (20, 200), (5, 500), (100, 400)] {
            let start = Instant::now();
            let turnstile = turnstile(u32::MAX, share, start);
            let (turns, turn) = (5_000, Duration::from_micros(turn_micros));
            let made = steps_in(&turnstile, start, turns, turn);
            let most = turn * turns * u32::from(share) / 100;
            let got = STEP * made;
            let slack = CREDIT_MAX + STEP * 16;
            assert!(got <= most + slack, "{share} %: {got:?} of {most:?}");
            assert!(got * 10 >= most * 8, "{share} %: {got:?} of {most:?}");
        }
    }

    #[test]
    fn an_idle_shard_holds_nobody_up() {
        let start = Instant::now();
        let turnstile = turnstile(u32::MAX, 1, start);
        for task in 1..=5 {
            assert!(turnstile.poll_turn(TaskId(task), start).is_pending(), "without credit");
        }
        let mut order = Vec::new();
        for _ in 0..5 {
            let mut woken = Vec::new();
            turnstile.turned(start, true, |task| woken.push(task));
            assert_eq!(woken.len(), 1, "one step, then a look at what has come");
            assert!(turnstile.poll_turn(woken[0], start).is_ready());
            turnstile.charge(STEP);
            order.push(woken[0].0);
        }
        assert_eq!(order, [1, 2, 3, 4, 5]);
        // While other work waits, the debt is paid first.
        assert!(turnstile.poll_turn(TaskId(6), start).is_pending());
        turnstile.turned(start, false, |_| panic!("it has no credit"));
    }

    #[test]
    fn a_turn_that_nobody_takes_is_the_next_ones() {
        let start = Instant::now();
        let turnstile = turnstile(u32::MAX, 50, start);
        for task in 1..=3 {
            assert!(turnstile.poll_turn(TaskId(task), start).is_pending());
        }
        turnstile.turned(start, true, |task| assert_eq!(task, TaskId(1)));
        turnstile.forget(TaskId(1));
        let mut woken = Vec::new();
        turnstile.turned(start, true, |task| woken.push(task));
        assert_eq!(woken, [TaskId(2)]);
        assert!(turnstile.poll_turn(TaskId(3), start).is_pending(), "before its turn");
        assert!(turnstile.poll_turn(TaskId(2), start).is_ready());
    }
}

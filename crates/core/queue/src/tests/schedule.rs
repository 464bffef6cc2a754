//! Runs threads one step at a time, in every order that has at most so many preemptions.
//!
//! Owns the search over schedules; a step is what lies between two accesses to shared memory (`cell::step`). Invariant: one thread
//! runs at a time, so that a history depends on the choices alone and can be run again.

use std::cell::RefCell;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

thread_local! {
    static CURRENT: RefCell<Option<(Arc<Schedule>, usize)>> = const { RefCell::new(None) };
}

/// Before an access to shared memory: other threads may run now.
pub(crate) fn step() {
    let current = CURRENT.with_borrow(Clone::clone);
    if let Some((schedule, thread)) = current {
        schedule.step(thread);
    }
}

struct Schedule {
    state: Mutex<State>,
    turned: Condvar,
}

struct State {
    running: usize,
    is_over: Vec<bool>,
    preemptions_left: usize,
    /// The choices of this history, each with how many there were.
    path: Vec<(usize, usize)>,
    taken: usize,
}

impl State {
    /// The next choice of the path, or the first one where it ends.
    fn choose(&mut self, count: usize) -> usize {
        if self.taken == self.path.len() {
            self.path.push((0, count));
        }
        let (choice, known) = self.path[self.taken];
        assert_eq!(known, count, "a history depends on nothing but its choices");
        self.taken += 1;
        choice
    }

    fn others(&self, thread: usize) -> Vec<usize> {
        (0..self.is_over.len()).filter(|other| *other != thread && !self.is_over[*other]).collect()
    }
}

impl Schedule {
    fn step(&self, thread: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let others = state.others(thread);
        if state.preemptions_left > 0 && !others.is_empty() {
            let choice = state.choose(others.len() + 1);
            if choice > 0 {
                state.preemptions_left -= 1;
                state.running = others[choice - 1];
                self.turned.notify_all();
            }
        }
        drop(self.turned.wait_while(state, |state| state.running != thread));
    }

    fn begin(&self, thread: usize) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.turned.wait_while(state, |state| state.running != thread));
    }

    fn end(&self, thread: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_over[thread] = true;
        let others = state.others(thread);
        if !others.is_empty() {
            let choice = state.choose(others.len());
            state.running = others[choice];
        }
        self.turned.notify_all();
    }
}

/// Runs `scripts`, one thread each, made anew for each history, and gives what they return to `check`. How many histories there
/// were.
pub(super) fn explore<T: Send>(
    preemptions_max: usize,
    scripts: impl Fn() -> Vec<Box<dyn FnOnce() -> T + Send>>,
    check: impl Fn(Vec<T>, &str),
) -> usize {
    let (mut path, mut histories) = (Vec::new(), 0);
    loop {
        let scripts = scripts();
        let state = State {
            running: 0,
            is_over: vec![false; scripts.len()],
            preemptions_left: preemptions_max,
            path: std::mem::take(&mut path),
            taken: 0,
        };
        // Which thread begins is a choice too.
        let mut state = state;
        state.running = state.choose(scripts.len());
        let schedule = Arc::new(Schedule { state: Mutex::new(state), turned: Condvar::new() });
        let results = std::thread::scope(|scope| {
            let spawn = |(thread, script): (usize, Box<dyn FnOnce() -> T + Send>)| {
                let schedule = schedule.clone();
                scope.spawn(move || {
                    schedule.begin(thread);
                    CURRENT.set(Some((schedule.clone(), thread)));
                    let result = script();
                    CURRENT.set(None);
                    schedule.end(thread);
                    result
                })
            };
            let threads: Vec<_> = scripts.into_iter().enumerate().map(spawn).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a script does not panic"))
                .collect()
        });
        let state = schedule.state.lock().unwrap_or_else(PoisonError::into_inner);
        check(results, &format!("{:?}", state.path));
        histories += 1;
        path = state.path.clone();
        while let Some((choice, count)) = path.pop() {
            if choice + 1 < count {
                path.push((choice + 1, count));
                break;
            }
        }
        if path.is_empty() {
            return histories;
        }
    }
}

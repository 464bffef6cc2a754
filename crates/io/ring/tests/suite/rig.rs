//! Drives one ring by hand and counts what it holds.
//!
//! Owns the loop of turns, tasks that are polled only when they were woken, and the accounting
//! around a test. Leaves the other ends of the sockets to `peers`. Invariant: a missed wake-up ends
//! a test at the deadline, and nothing may be left when a test is over.

use std::collections::BTreeMap;
use std::fs;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tidegate_ring::{Ring, Settings};
use tidegate_testkit::Deadline;

use crate::peers::PATIENCE;

/// One test at a time: they count the descriptors of the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// A small ring, so that a test reaches its limits and starts quickly.
pub fn small() -> Settings {
    Settings {
        submissions: 256,
        completions: 1024,
        buffers_max: 256,
        buffers_initial: 16,
        completions_per_turn_max: 256,
        pipes_max: 4,
    }
}

/// Keeps the other tests from beginning. For a test that counts by itself, or several times.
pub fn take_turn() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `body` with the process to itself and checks that it left the descriptors as they were.
pub fn alone<T>(body: impl FnOnce() -> T) -> T {
    let _turn = take_turn();
    leaving_no_descriptor(body)
}

/// Runs `body` with the process and a ring to itself, then checks that the ring has everything back
/// and that the process has no descriptor more than before.
pub fn with_ring(settings: &Settings, body: impl FnOnce(&Rig)) {
    let _turn = take_turn();
    in_turn_with_ring(settings, body);
}

/// As [`with_ring`], for a test that has taken its turn.
pub fn in_turn_with_ring(settings: &Settings, body: impl FnOnce(&Rig)) {
    leaving_no_descriptor(|| {
        let rig = Rig { ring: Ring::new(settings).expect("this kernel has what the ring needs") };
        body(&rig);
        rig.settle();
    });
}

/// Runs `body` and checks that it left the descriptors as they were.
pub fn leaving_no_descriptor<T>(body: impl FnOnce() -> T) -> T {
    let before = descriptors();
    let result = body();
    let after = descriptors();
    assert_eq!(before.len(), after.len(), "descriptors before: {before:?}\nafter: {after:?}");
    result
}

/// The open descriptors of this process and what they are.
fn descriptors() -> BTreeMap<String, String> {
    let listed = fs::read_dir("/proc/self/fd").expect("procfs is mounted");
    listed
        .flatten()
        .map(|entry| {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            (entry.file_name().to_string_lossy().into_owned(), target.display().to_string())
        })
        .collect()
}

/// A waker that remembers being called.
#[derive(Default)]
pub struct Bell {
    rung: AtomicBool,
    count: AtomicUsize,
}

impl Bell {
    pub fn new() -> Arc<Bell> {
        Arc::default()
    }

    pub fn waker(self: &Arc<Self>) -> Waker {
        self.clone().into()
    }

    /// Calls `poll` once with this waker.
    pub fn poll<T>(self: &Arc<Self>, poll: impl FnOnce(&Context<'_>) -> T) -> T {
        let waker = self.waker();
        poll(&Context::from_waker(&waker))
    }

    /// Whether it was called since the last time this was asked.
    pub fn answer(&self) -> bool {
        self.rung.swap(false, Ordering::Acquire)
    }

    /// How often it was called.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.rung.store(true, Ordering::Release);
    }
}

/// A future with a waker of its own, polled by hand.
pub struct Task<'a, T> {
    future: Pin<Box<dyn Future<Output = T> + 'a>>,
    bell: Arc<Bell>,
}

impl<'a, T> Task<'a, T> {
    /// Not polled yet; its first [`Task::poll_if_woken`] polls it.
    pub fn new(future: impl Future<Output = T> + 'a) -> Self {
        let bell = Bell::new();
        bell.wake_by_ref();
        Task { future: Box::pin(future), bell }
    }

    pub fn poll(&mut self) -> Poll<T> {
        self.future.as_mut().poll(&mut Context::from_waker(&self.bell.waker()))
    }

    pub fn poll_if_woken(&mut self) -> Poll<T> {
        if self.bell.answer() { self.poll() } else { Poll::Pending }
    }
}

/// One ring and the means to drive it.
pub struct Rig {
    pub ring: Ring,
}

impl Rig {
    /// Turns the ring `count` times.
    pub fn turns(&self, count: usize) {
        for _ in 0..count {
            self.ring.turn();
        }
    }

    /// Turns the ring until `condition` holds.
    #[track_caller]
    pub fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Deadline::after(PATIENCE);
        while !condition() {
            self.turn_or_fail(&deadline, what);
        }
    }

    /// Runs `future` to its end, polling it only when it was woken.
    #[track_caller]
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let deadline = Deadline::after(PATIENCE);
        let mut task = Task::new(future);
        loop {
            if let Poll::Ready(result) = task.poll_if_woken() {
                return result;
            }
            self.turn_or_fail(&deadline, "a future");
        }
    }

    /// Runs all `tasks` to their ends, each polled only when it was woken.
    #[track_caller]
    pub fn run_all<'a>(&self, tasks: impl IntoIterator<Item = Task<'a, ()>>) {
        let deadline = Deadline::after(PATIENCE);
        let mut tasks: Vec<_> = tasks.into_iter().collect();
        while !tasks.is_empty() {
            tasks.retain_mut(|task| task.poll_if_woken().is_pending());
            self.turn_or_fail(&deadline, "tasks");
        }
    }

    #[track_caller]
    fn turn_or_fail(&self, deadline: &Deadline, what: &str) {
        let turn = self.ring.turn();
        if turn.completed == 0 {
            let ring = &self.ring;
            assert!(
                deadline.remaining().is_some(),
                "waited in vain for {what}: in use {:?}, buffers {:?}, {:?}",
                ring.in_use(),
                ring.buffers(),
                ring.counters()
            );
            std::thread::yield_now();
        }
    }

    /// Waits until the ring has everything back: call it when every handle is dropped.
    #[track_caller]
    pub fn settle(&self) {
        self.until("everything to return", || {
            let (made, available) = self.ring.buffers();
            self.ring.in_use() == (0, 0) && made == available
        });
        assert_eq!(self.ring.next_unparked(), None, "a token nobody took");
        assert_eq!(self.ring.counters().detached_failures, 0, "a close or a cancel failed");
    }
}

/// Lets the other tasks and the ring take a turn.
pub fn pause() -> impl Future<Output = ()> {
    let mut paused = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

//! The shard's own tasks: a slab of futures and a queue of those that can go on.
//!
//! Owns the futures and contains their panics; leaves waking to whatever they wait for. Invariant: a task is in the ready
//! queue at most once, and a task that panicked is dropped, counted and reported, and touches no other.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tidegate_ring::{Wakeup, prefetch};

/// A task of this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TaskId(pub u32);

/// How many tasks ahead of the one being polled the cache is told of: a poll takes longer than a miss, so two are enough.
const PREFETCH_AHEAD: usize = 2;

/// Cache lines of a task's future that are fetched: all of a connection's.
const PREFETCH_LINES: usize = 36;

thread_local! {
    /// The set of tasks that this thread runs, 0 for none.
    static SET: Cell<u64> = const { Cell::new(0) };
    static READY: RefCell<VecDeque<u32>> = const { RefCell::new(VecDeque::new()) };
}

static SETS_MADE: AtomicU64 = AtomicU64::new(0);

/// Wake-ups from other threads. No part of the data plane makes one; a waker may not refuse them.
struct Remote {
    set: u64,
    woken: Mutex<Vec<u32>>,
    any: AtomicBool,
    wakeup: Wakeup,
}

struct TaskWaker {
    id: u32,
    /// Whether the task is queued already.
    queued: AtomicBool,
    remote: Arc<Remote>,
}

impl TaskWaker {
    fn schedule(&self) {
        if SET.get() == self.remote.set {
            // One thread sets and clears the mark, so a load and a store do.
            if !self.queued.load(Ordering::Relaxed) {
                self.queued.store(true, Ordering::Relaxed);
                READY.with_borrow_mut(|ready| ready.push_back(self.id));
            }
            return;
        }
        self.remote.woken.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
        self.remote.any.store(true, Ordering::Release);
        self.remote.wakeup.wake();
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.schedule();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.schedule();
    }
}

type BoxedTask = Pin<Box<dyn Future<Output = ()>>>;

struct Entry {
    /// `None` while it is being polled and when the task is over.
    future: Option<BoxedTask>,
    state: Arc<TaskWaker>,
    waker: Waker,
    alive: bool,
}

/// The tasks of one shard. One set per thread.
pub struct Tasks {
    entries: RefCell<Vec<Entry>>,
    free: RefCell<Vec<u32>>,
    remote: Arc<Remote>,
    current: Cell<Option<TaskId>>,
}

/// What a task said when it panicked.
pub type PanicPayload = Box<dyn Any + Send>;

impl Tasks {
    /// An empty set run by this thread; `wakeup` ends the thread's sleep.
    pub fn new(wakeup: Wakeup) -> Tasks {
        let set = SETS_MADE.fetch_add(1, Ordering::Relaxed) + 1;
        SET.set(set);
        READY.with_borrow_mut(VecDeque::clear);
        let remote =
            Remote { set, woken: Mutex::new(Vec::new()), any: AtomicBool::new(false), wakeup };
        Tasks {
            entries: RefCell::new(Vec::new()),
            free: RefCell::new(Vec::new()),
            remote: Arc::new(remote),
            current: Cell::new(None),
        }
    }

    /// Adds a task and makes it ready.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) -> TaskId {
        self.spawn_boxed(Box::pin(future))
    }

    #[allow(clippy::cast_possible_truncation, reason = "bounded by connections")]
    fn spawn_boxed(&self, future: BoxedTask) -> TaskId {
        let reused = self.free.borrow_mut().pop();
        let mut entries = self.entries.borrow_mut();
        let id = if let Some(id) = reused {
            let entry = &mut entries[id as usize];
            (entry.future, entry.alive) = (Some(future), true);
            id
        } else {
            let id = entries.len() as u32;
            let state = Arc::new(TaskWaker {
                id,
                queued: AtomicBool::new(false),
                remote: self.remote.clone(),
            });
            entries.push(Entry {
                future: Some(future),
                waker: state.clone().into(),
                state,
                alive: true,
            });
            id
        };
        entries[id as usize].state.schedule();
        TaskId(id)
    }

    /// Makes a task ready; nothing when it is ready already or over.
    #[inline]
    pub fn wake(&self, task: TaskId) {
        let entries = self.entries.borrow();
        if let Some(entry) = entries.get(task.0 as usize) {
            entry.state.schedule();
        }
    }

    /// The task being polled now.
    pub fn current(&self) -> Option<TaskId> {
        self.current.get()
    }

    /// Tasks that are not over.
    pub fn len(&self) -> usize {
        self.entries.borrow().len() - self.free.borrow().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a task can go on.
    #[inline]
    pub fn has_ready(&self) -> bool {
        self.remote.any.load(Ordering::Acquire) || READY.with_borrow(|ready| !ready.is_empty())
    }

    /// Polls the tasks that are ready now, at most `budget`; how many. Tasks woken meanwhile wait for the next call. A
    /// task that panics is dropped and reported to `panicked`.
    pub fn run(&self, budget: usize, mut panicked: impl FnMut(TaskId, PanicPayload)) -> usize {
        self.take_remote();
        let ready = READY.with_borrow(VecDeque::len).min(budget);
        for _ in 0..ready {
            let (next, later) = READY
                .with_borrow_mut(|ready| (ready.pop_front(), ready.get(PREFETCH_AHEAD).copied()));
            let Some(id) = next else { break };
            if let Some(later) = later {
                self.prefetch(later);
            }
            if let Err(payload) = self.poll(id) {
                panicked(TaskId(id), payload);
            }
        }
        ready
    }

    /// The future of a task that is polled soon: with thousands of them each is cold, and their misses can overlap.
    fn prefetch(&self, id: u32) {
        if let Some(Entry { future: Some(future), .. }) = self.entries.borrow().get(id as usize) {
            prefetch(&**future, PREFETCH_LINES);
        }
    }

    fn take_remote(&self) {
        if self.remote.any.swap(false, Ordering::Acquire) {
            let woken = std::mem::take(
                &mut *self.remote.woken.lock().unwrap_or_else(PoisonError::into_inner),
            );
            woken.into_iter().for_each(|id| self.wake(TaskId(id)));
        }
    }

    fn poll(&self, id: u32) -> Result<(), PanicPayload> {
        let (mut future, waker) = {
            let mut entries = self.entries.borrow_mut();
            let entry = &mut entries[id as usize];
            entry.state.queued.store(false, Ordering::Relaxed);
            let Some(future) = entry.future.take() else { return Ok(()) };
            // Lent and not cloned, which would count it twice for each poll.
            (future, std::mem::replace(&mut entry.waker, Waker::noop().clone()))
        };
        self.current.set(Some(TaskId(id)));
        let polled = catch_unwind(AssertUnwindSafe(|| {
            future.as_mut().poll(&mut Context::from_waker(&waker))
        }));
        self.current.set(None);
        let is_pending = matches!(polled, Ok(Poll::Pending));
        let mut entries = self.entries.borrow_mut();
        entries[id as usize].waker = waker;
        if is_pending {
            entries[id as usize].future = Some(future);
            return Ok(());
        }
        drop(entries);
        match polled {
            Ok(_) => {
                self.finish(id);
                Ok(())
            }
            Err(payload) => {
                self.finish(id);
                // What the task held may panic again while it goes: that is contained too.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
                Err(payload)
            }
        }
    }

    fn finish(&self, id: u32) {
        self.entries.borrow_mut()[id as usize].alive = false;
        self.free.borrow_mut().push(id);
    }

    /// Drops every task, in no particular order.
    pub fn clear(&self) {
        let mut dropped = Vec::new();
        for (id, entry) in self.entries.borrow_mut().iter_mut().enumerate() {
            if std::mem::take(&mut entry.alive) {
                dropped.push(entry.future.take());
                self.free.borrow_mut().push(u32::try_from(id).unwrap_or(u32::MAX));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::rc::Rc;

    use tidegate_ring::{Ring, Settings};

    use super::*;

    fn tasks() -> Tasks {
        let ring =
            Ring::new(&Settings { buffers_max: 4, buffers_initial: 1, ..Settings::default() })
                .expect("io_uring");
        Tasks::new(ring.wakeup())
    }

    fn run(tasks: &Tasks) -> (usize, usize) {
        let mut panics = 0;
        let polled = tasks.run(100, |_, _| panics += 1);
        (polled, panics)
    }

    #[test]
    fn a_task_runs_when_woken_and_only_once_however_often() {
        let tasks = tasks();
        let polls = Rc::new(Cell::new(0));
        let counted = polls.clone();
        let id = tasks.spawn(poll_fn(move |_| {
            counted.set(counted.get() + 1);
            Poll::Pending
        }));
        assert_eq!(run(&tasks), (1, 0));
        assert_eq!(run(&tasks), (0, 0));
        tasks.wake(id);
        tasks.wake(id);
        assert_eq!(run(&tasks), (1, 0));
        assert_eq!(polls.get(), 2);
    }

    #[test]
    fn a_panic_ends_its_task_and_no_other() {
        let tasks = tasks();
        let dropped = Rc::new(());
        let held = dropped.clone();
        tasks.spawn(async move {
            let _held = held;
            panic!("on purpose");
        });
        tasks.spawn(pending());
        assert_eq!(run(&tasks), (2, 1));
        assert_eq!((tasks.len(), Rc::strong_count(&dropped)), (1, 1));
        let again = tasks.spawn(async {});
        assert_eq!(again, TaskId(0));
        assert_eq!(run(&tasks), (1, 0));
    }

    #[test]
    fn a_wake_from_another_thread_arrives() {
        let tasks = tasks();
        let waker = Rc::new(RefCell::new(None));
        let place = waker.clone();
        tasks.spawn(poll_fn(move |context| {
            *place.borrow_mut() = Some(context.waker().clone());
            Poll::<()>::Pending
        }));
        assert_eq!(run(&tasks), (1, 0));
        let sent = waker.borrow_mut().take().expect("polled once");
        std::thread::spawn(move || sent.wake()).join().expect("waking does not panic");
        assert!(tasks.has_ready());
        assert_eq!(run(&tasks), (1, 0));
    }

    #[test]
    fn clearing_drops_what_the_tasks_held() {
        let tasks = tasks();
        let held = Rc::new(());
        let in_task = held.clone();
        tasks.spawn(async move {
            let _in_task = in_task;
            pending::<()>().await;
        });
        run(&tasks);
        tasks.clear();
        assert_eq!((tasks.len(), Rc::strong_count(&held)), (0, 1));
    }
}

//! Owns the memory of a shard's encoders: how much they may hold, and the states that wait for
//! their next body.
//!
//! Leaves encoding to `encoder`. Invariant: states in use and states that wait together never cost
//! more than the limit, and a state is given back however its encoder ends.

use crate::encoder::{Encoder, State};
use crate::level::{Coding, Level};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What a shard's encoders may hold. An encoder costs [`Level::state_bytes_max`], whatever it
/// uses of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// In use and waiting, in bytes. At it, a response goes out as it came: a body that is not
    /// compressed costs bandwidth, and running out of memory costs every connection.
    ///
    /// 64 MiB by default: 170 responses in gzip, 32 in zstd or 16 in brotli at the same moment on
    /// one shard. A body of 64 KiB takes 0.2 to 0.9 ms of a core, so that the encoders fill a core
    /// long before they fill this, unless servers or clients are slow.
    pub bytes_max: usize,
    /// Waiting, in bytes, after the responses that used them. A warm state spares the allocation of
    /// 320 KiB to 2 MiB and their page faults.
    ///
    /// 16 MiB by default, a quarter: what a burst left goes back to the system.
    pub idle_bytes_max: usize,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { bytes_max: 64 * 1024 * 1024, idle_bytes_max: 16 * 1024 * 1024 }
    }
}

/// The encoders of one shard. Clones share the same states and limits.
#[derive(Clone, Debug)]
pub struct Pool {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: Cell<PoolLimits>,
    active_bytes: Cell<usize>,
    idle: RefCell<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    /// The oldest first.
    waiting: Vec<Waiting>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    state: State,
    bytes: usize,
}

impl Pool {
    /// An empty pool: states are made when they are asked for.
    #[must_use]
    pub fn new(limits: PoolLimits) -> Self {
        let (limits, active_bytes, idle) = (Cell::new(limits), Cell::default(), RefCell::default());
        Self { shared: Rc::new(Shared { limits, active_bytes, idle }) }
    }

    /// An encoder for one body. `None` when the limit is reached, or there is no memory: the caller
    /// sends the body as it is, and counts it.
    #[must_use]
    pub fn start(&self, level: Level) -> Option<Encoder> {
        let coding = level.coding();
        let bytes = level.state_bytes_max();
        let active_bytes = self.shared.active_bytes.get() + bytes;
        let bytes_max = self.shared.limits.get().bytes_max;
        if active_bytes > bytes_max {
            return None;
        }
        let mut idle = self.shared.idle.borrow_mut();
        let warm = idle.take(coding);
        idle.shrink_to(bytes_max - active_bytes);
        drop(idle);
        let state = warm.and_then(|state| state.renew(level)).or_else(|| State::new(level))?;
        self.shared.active_bytes.set(active_bytes);
        let shared = Rc::clone(&self.shared);
        Some(Encoder::new(Lease { coding, bytes, state: Some(state), shared }))
    }

    /// Takes new limits. Encoders at work go on; states that wait beyond them are freed.
    pub fn set_limits(&self, limits: PoolLimits) {
        self.shared.limits.set(limits);
        let idle_bytes_max = self.shared.idle_bytes_max();
        self.shared.idle.borrow_mut().shrink_to(idle_bytes_max);
    }

    /// What the encoders at work cost, in bytes.
    #[must_use]
    pub fn active_bytes(&self) -> usize {
        self.shared.active_bytes.get()
    }

    /// What the states cost that wait for a body, in bytes.
    #[must_use]
    pub fn idle_bytes(&self) -> usize {
        self.shared.idle.borrow().bytes
    }
}

impl Shared {
    /// What may wait now, beside the encoders at work.
    fn idle_bytes_max(&self) -> usize {
        let limits = self.limits.get();
        limits.idle_bytes_max.min(limits.bytes_max.saturating_sub(self.active_bytes.get()))
    }
}

impl Idle {
    /// The state of this coding that was used last, and is therefore the likeliest to be in the
    /// processor's cache.
    fn take(&mut self, coding: Coding) -> Option<State> {
        let index = self.waiting.iter().rposition(|waiting| waiting.state.coding() == coding)?;
        let waiting = self.waiting.remove(index);
        self.bytes -= waiting.bytes;
        Some(waiting.state)
    }

    fn put(&mut self, state: State, bytes: usize) {
        self.bytes += bytes;
        self.waiting.push(Waiting { state, bytes });
    }

    /// Frees the oldest until the rest costs at most `bytes_max`.
    fn shrink_to(&mut self, bytes_max: usize) {
        let mut freed_count = 0;
        for waiting in &self.waiting {
            if self.bytes <= bytes_max {
                break;
            }
            self.bytes -= waiting.bytes;
            freed_count += 1;
        }
        self.waiting.drain(..freed_count);
        debug_assert!(self.bytes <= bytes_max);
    }
}

/// A state in use. Dropped, it gives the state back.
#[derive(Debug)]
pub(crate) struct Lease {
    coding: Coding,
    bytes: usize,
    /// `None` after a failure, and while it is dropped.
    state: Option<State>,
    shared: Rc<Shared>,
}

impl Lease {
    pub(crate) const fn coding(&self) -> Coding {
        self.coding
    }

    /// # Panics
    /// After [`discard`](Self::discard).
    pub(crate) fn state_mut(&mut self) -> &mut State {
        self.state.as_mut().expect("an encoder that failed does not step again")
    }

    /// Frees a state that failed, instead of ever using it again.
    pub(crate) fn discard(&mut self) {
        self.state = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let active_bytes = self.shared.active_bytes.get();
        self.shared.active_bytes.set(active_bytes - self.bytes);
        let Some(state) = self.state.take().and_then(State::wipe) else {
            return;
        };
        let idle_bytes_max = self.shared.idle_bytes_max();
        let mut idle = self.shared.idle.borrow_mut();
        idle.put(state, self.bytes);
        idle.shrink_to(idle_bytes_max);
    }
}

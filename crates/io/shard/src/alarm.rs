//! A task's deadline: one timer for all its waits.
//!
//! Owns the timer; leaves what a passed deadline means to the waits. Invariant: while a task waits with a deadline, the
//! wheel holds a timer at or before it.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::executor::{Shard, task_payload};
use crate::tasks::TaskId;
use crate::timers::TimerId;

/// The deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired;

/// The timer of one task.
pub struct Alarm {
    shard: Rc<Shard>,
    timer: TimerId,
    /// When the wheel will wake the task; setting a later deadline costs nothing.
    armed: Cell<Option<Instant>>,
}

impl Alarm {
    /// The alarm of `task`, which must be the task that waits on it.
    pub fn new(shard: &Rc<Shard>, task: TaskId) -> Alarm {
        let timer = shard.timers.borrow_mut().insert(task_payload(task));
        Alarm { shard: shard.clone(), timer, armed: Cell::new(None) }
    }

    /// The shard's time.
    pub fn now(&self) -> Instant {
        self.shard.clock.now()
    }

    /// Ready when `deadline` has passed; otherwise the task is woken then at the latest.
    #[inline]
    pub fn poll(&self, deadline: Instant) -> Poll<Expired> {
        let now = self.now();
        if now >= deadline {
            return Poll::Ready(Expired);
        }
        let armed = self.armed.get().is_some_and(|armed| armed > now && armed <= deadline);
        if !armed {
            self.armed.set(Some(deadline));
            self.shard.timers.borrow_mut().set(self.timer, deadline);
        }
        Poll::Pending
    }

    /// Waits for `ready`, no longer than until `deadline`.
    ///
    /// # Errors
    /// The deadline passed first.
    pub async fn within<T>(
        &self,
        deadline: Instant,
        mut ready: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, Expired> {
        poll_fn(|context| match ready(context) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => self.poll(deadline).map(Err),
        })
        .await
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.shard.timers.borrow_mut().remove(self.timer);
    }
}

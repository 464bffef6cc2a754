//! A request's place in a queue for slots.
//!
//! Owns entering and leaving; leaves the slots to `queue`. Invariant: a place is given back by a drop, with what it was granted
//! meanwhile.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tidegate_queue::{Line, Outcome, WaiterId, Waiting};
use tidegate_shard::TaskId;

use super::queue::{BackendQueue, Grant};
use crate::site::Server;
use crate::worker::Worker;

/// Where a request waits.
pub(crate) enum Queue {
    /// For any server of its backend.
    Backend(Rc<BackendQueue>),
    /// For this one.
    Server(Rc<Server>),
}

impl Queue {
    /// The queue for a request that found `servers` full: that of the backend, or after a reload that of the server for which
    /// the fewest wait.
    pub(crate) fn of(backend: Option<&Rc<BackendQueue>>, servers: &[Rc<Server>]) -> Option<Queue> {
        let backend = backend?;
        if !backend.is_retired.get() {
            return Some(Queue::Backend(backend.clone()));
        }
        Queue::shortest(servers.iter())
    }

    /// The queue of the server with a limit for which the fewest wait.
    pub(crate) fn shortest<'a>(servers: impl Iterator<Item = &'a Rc<Server>>) -> Option<Queue> {
        let limited = servers.filter(|server| server.limited.is_some());
        limited.min_by_key(|server| server.queued()).cloned().map(Queue::Server)
    }

    fn with<T>(&self, f: impl FnOnce(&RefCell<Waiting<TaskId, Grant>>, &Line) -> T) -> Option<T> {
        match self {
            Queue::Backend(queue) => Some(f(&queue.waiting, &queue.line)),
            Queue::Server(server) => {
                let limited = server.limited.as_ref()?;
                Some(f(&limited.own, limited.limit.own()))
            }
        }
    }
}

/// A request in a queue, which it leaves by a drop.
pub(crate) struct Queued<'a> {
    worker: &'a Worker,
    pub(crate) queue: Queue,
    id: WaiterId,
    /// How many were before it.
    pub(crate) before: u32,
    is_over: Cell<bool>,
}

impl<'a> Queued<'a> {
    /// The task waits from now on; `None` if as many wait as may.
    pub(crate) fn enter(
        worker: &'a Worker,
        queue: Queue,
        servers: &[Rc<Server>],
        task: TaskId,
        priority: i16,
    ) -> Option<Queued<'a>> {
        let index = worker.office.index;
        let entered = queue.with(|waiting, line| {
            let before = line.enter().ok()?;
            let key = match &queue {
                Queue::Backend(queue) => queue.line.key(priority),
                // One row of tickets for both queues.
                Queue::Server(server) => server.limited.as_ref()?.key(priority),
            };
            let mut waiting = waiting.borrow_mut();
            let id = waiting.insert(key, task);
            line.publish(index, waiting.first());
            Some((id, before))
        });
        let (id, before) = entered??;
        let queued = Queued { worker, queue, id, before, is_over: Cell::new(false) };
        match &queued.queue {
            Queue::Backend(_) => servers.iter().for_each(|server| worker.muster(server)),
            Queue::Server(server) => worker.muster(server),
        }
        Some(queued)
    }

    /// What became of it, if anything: a slot, or word to look again. It is out of the queue then.
    pub(crate) fn take(&self) -> Option<Outcome<Grant>> {
        let outcome = self.queue.with(|waiting, _| waiting.borrow_mut().take(self.id))??;
        self.is_over.set(true);
        Some(outcome)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if self.is_over.get() {
            return;
        }
        let index = self.worker.office.index;
        let outcome = self.queue.with(|waiting, line| {
            let mut waiting = waiting.borrow_mut();
            let outcome = waiting.leave(self.id);
            if outcome.is_none() {
                line.publish(index, waiting.first());
                line.leave();
            }
            outcome
        });
        // With no borrow left: the slot may go to the next one here.
        if let Some(Some(Outcome::Granted(Grant { pass, connection, .. }))) = outcome
            && let Some(server) = pass.into_server()
        {
            server.pass_on(connection);
        }
    }
}

//! How a request gets a slot of a server: at once, or after a wait.
//!
//! Owns the pick, the wait with its counting, and what ends it: a slot, the deadline, a client that leaves; leaves the choice to
//! `upstream::pick` and the order of those who wait to `upstream::queue`. Invariant: whatever ends the wait, the place in the queue
//! is given back by a drop.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Instant;

use tidegate_access_log::RequestCookie;
use tidegate_balance::{NoServer, ServerId};
use tidegate_exchange::{Action, Avoided, Input, NoServerCause};
use tidegate_queue::Outcome;
use tidegate_telemetry::Gauge;

use super::exchange::Driver;
use crate::settings::BackendProtocol;
use crate::site::Backend;
use crate::upstream::connect::{Connection, Slot};
use crate::upstream::connecting::Wanted;
use crate::upstream::pick::cause;
use crate::upstream::queue::Grant;
use crate::upstream::waiting::{Queue, Queued};

/// What the exchange makes of a pick, with what was picked.
pub(super) type Acquired = (Action, Option<Slot>, Option<Connection>);

/// What came of picking a server.
enum Picked {
    Ready(Acquired),
    /// Every server that may be picked is full: where to wait.
    Full(Option<Queue>),
}

/// What ended a wait.
enum End {
    Granted(Grant),
    Roused,
    Action(Action),
}

/// A wait, counted while it lasts.
struct Wait<'a> {
    backend: &'a Backend,
    gauge: &'a Gauge,
    since: Instant,
}

impl<'a> Wait<'a> {
    fn begin(backend: &'a Backend, queue: &'a Queue, now: Instant) -> Wait<'a> {
        let gauge = match queue {
            Queue::Backend(_) => &backend.stats.queued,
            Queue::Server(server) => &server.stats.queued,
        };
        gauge.increment();
        backend.stats.queued_total.increment();
        Wait { backend, gauge, since: now }
    }

    fn end(self, now: Instant) {
        let micros = now.saturating_duration_since(self.since).as_micros();
        self.backend.stats.queued_micros.add(u64::try_from(micros).unwrap_or(u64::MAX));
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.gauge.decrement();
    }
}

impl Driver<'_> {
    /// A server's slot and perhaps a connection, and what the exchange makes of that.
    pub(super) async fn acquire(&self, avoid: &Avoided, fresh_only: bool) -> Acquired {
        match self.pick(avoid, fresh_only) {
            Picked::Ready(acquired) => acquired,
            Picked::Full(queue) => self.wait_for_slot(queue, avoid, fresh_only).await,
        }
    }

    fn pick(&self, avoid: &Avoided, fresh_only: bool) -> Picked {
        if let Some(pinned) = self.pinned(avoid) {
            return self.take_slot(pinned, avoid, fresh_only, true);
        }
        let mut avoided = [ServerId(0); Avoided::SERVERS_MAX];
        let avoided = server_ids(avoid, &mut avoided);
        let random = self.worker.scratch.random();
        let picked = self.backend.pick(self.alarm.now(), random, self.key, avoided);
        let ServerId(index) = match picked {
            Ok(picked) => picked,
            Err(NoServer::AllFull) => return Picked::Full(self.queue(avoid)),
            Err(none) => {
                return Picked::Ready((self.input(Input::NoServer(cause(none))), None, None));
            }
        };
        if avoid.contains(index)
            && let Some(other) = self.other_to_wait_for(avoid)
        {
            return Picked::Full(Some(other));
        }
        // What a hash has chosen is not for another server to answer.
        self.take_slot(index, avoid, fresh_only, self.key.is_some())
    }

    /// The server that the client stays with, if it still takes such clients and has not failed.
    #[inline]
    fn pinned(&self, avoid: &Avoided) -> Option<u32> {
        let server = self.pin.filter(|server| !avoid.contains(*server))?;
        if !self.backend.balance.borrow().takes_pinned(ServerId(server)) {
            if self.backend.persistence.is_some() {
                self.marks.request_cookie.set(RequestCookie::Down);
            }
            return None;
        }
        Some(server)
    }

    /// A slot of this server, or where to wait: for no other one if it is `bound`.
    fn take_slot(&self, index: u32, avoid: &Avoided, fresh_only: bool, bound: bool) -> Picked {
        let server = &self.backend.servers[index as usize];
        match self.worker.acquire(server, &self.backend.pool, fresh_only) {
            Some(acquired) => Picked::Ready(self.use_slot(index, avoid, acquired)),
            None if bound => Picked::Full(Some(Queue::Server(server.clone()))),
            None => Picked::Full(self.queue(avoid)),
        }
    }

    fn queue(&self, avoid: &Avoided) -> Option<Queue> {
        let other = if avoid.is_empty() { None } else { self.other_to_wait_for(avoid) };
        other.or_else(|| Queue::of(self.backend.queue.as_ref(), &self.backend.servers))
    }

    /// The queue of a full server besides those that have failed: their slots are free because they fail, and whoever waits
    /// for any server would get one of them again.
    #[cold]
    fn other_to_wait_for(&self, failed: &Avoided) -> Option<Queue> {
        let balance = self.backend.balance.borrow();
        let others = (0..).zip(&self.backend.servers);
        let usable = others
            .filter(|(index, _)| !failed.contains(*index) && balance.takes_new(ServerId(*index)));
        Queue::shortest(usable.map(|(_, server)| server))
    }

    /// The slot of a server is the request's now.
    fn use_slot(
        &self,
        index: u32,
        avoid: &Avoided,
        (slot, connection): (Slot, Option<Connection>),
    ) -> Acquired {
        let connection = connection.filter(|connection| self.suits(connection, &slot));
        if !avoid.is_empty() && !avoid.contains(index) {
            self.backend.stats.redispatches.increment();
        }
        self.last_server.set(Some(index));
        self.last_epoch.set(slot.epoch());
        self.marks.note_pick(index, self.alarm.now(), connection.is_some());
        let action = self.input(Input::Picked { server: index, reused: connection.is_some() });
        (action, Some(slot), connection)
    }

    /// Whether a request for another protocol can be made on a connection of this server; if not, one of its own is.
    fn suits(&self, connection: &Connection, slot: &Slot) -> bool {
        let may_choose = slot.server.protocol == BackendProtocol::Auto;
        !(may_choose && self.wanted == Wanted::Http1 && connection.socket().is_shared())
    }

    /// Waits in `queue`, and whenever it is told to look again there or elsewhere, until there is a slot or a reason to give up.
    async fn wait_for_slot(
        &self,
        mut queue: Option<Queue>,
        avoid: &Avoided,
        fresh_only: bool,
    ) -> Acquired {
        let priority = self.notes.borrow().overlay.priority().unwrap_or_default();
        loop {
            let servers = &self.backend.servers;
            let task = self.worker.shard.tasks.current();
            let queued = queue.zip(task).and_then(|(queue, task)| {
                Queued::enter(self.worker, queue, servers, task, priority)
            });
            let Some(queued) = queued else {
                return (self.input(Input::NoServer(NoServerCause::PoolFull)), None, None);
            };
            self.marks.note_queued(matches!(queued.queue, Queue::Server(_)), queued.before);
            let end = self.wait(&queued).await;
            self.marks.left_queue.set(Some(self.alarm.now()));
            drop(queued);
            match end {
                End::Action(action) => return (action, None, None),
                End::Granted(grant) => {
                    let acquired = self.worker.lend(grant, &self.backend.pool, fresh_only);
                    let is_it = |server: &_| std::rc::Rc::ptr_eq(server, &acquired.0.server);
                    if let Some(index) = servers.iter().position(is_it) {
                        let index = u32::try_from(index).unwrap_or(u32::MAX);
                        return self.use_slot(index, avoid, acquired);
                    }
                }
                End::Roused => {}
            }
            match self.pick(avoid, fresh_only) {
                Picked::Ready(acquired) => return acquired,
                Picked::Full(next) => queue = next,
            }
        }
    }

    async fn wait(&self, queued: &Queued<'_>) -> End {
        let wait = Wait::begin(self.backend, &queued.queue, self.alarm.now());
        let end = poll_fn(|context| {
            match queued.take() {
                Some(Outcome::Granted(grant)) => return Poll::Ready(End::Granted(grant)),
                Some(Outcome::Roused) => return Poll::Ready(End::Roused),
                None => {}
            }
            if self.client.socket.poll_gone(context).is_ready() {
                return Poll::Ready(End::Action(self.input(Input::ClientGone)));
            }
            self.poll_deadline().map(End::Action)
        })
        .await;
        wait.end(self.alarm.now());
        end
    }
}

/// The avoided servers in the words of balancing.
#[inline]
pub(super) fn server_ids<'a>(
    avoid: &Avoided,
    ids: &'a mut [ServerId; Avoided::SERVERS_MAX],
) -> &'a [ServerId] {
    let servers = avoid.as_slice();
    ids.iter_mut().zip(servers).for_each(|(id, server)| *id = ServerId(*server));
    &ids[..servers.len()]
}

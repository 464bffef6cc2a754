//! Slots of servers whose connections are limited.
//!
//! Owns what becomes of a slot that a request is done with, and what other shards send; leaves who is first to `tidegate-queue`
//! and the wait of one request to `waiting`.
//! Invariant: a slot belongs to a [`Pass`], to an idle connection, or to a parcel on its way, and a connection is closed for the
//! server before its slot is passed on without it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use tidegate_idle::Kept;
use tidegate_queue::{
    Desk, Found, Hub, Key, Limit, Line, Parcel, Place, Waiting, acquire, keep, muster, recall,
    settle,
};
use tidegate_shard::{Shard, TaskId};

use crate::settings::PoolSettings;
use crate::site::{Server, Site};
use crate::stream::{Stream, Travelling};
use crate::upstream::connect::{Connection, Held, Slot};
use crate::worker::Worker;

/// A server connection on its way from one shard to another.
#[derive(Debug)]
pub struct Handed {
    pub(super) connection: Travelling,
    pub(super) opened: Instant,
    pub(super) requests: u32,
    pub(super) epoch: u32,
}

impl Kept for Handed {
    fn opened(&self) -> Instant {
        self.opened
    }

    fn requests(&self) -> u32 {
        self.requests
    }
}

/// One shard's part in the traffic of slots.
pub(crate) struct Office {
    hub: Arc<Hub<Handed>>,
    pub(super) index: usize,
    shard: Rc<Shard>,
    /// By the address of the limit, which lives as long as the server: parcels name limits.
    servers: RefCell<HashMap<usize, Weak<Server>>>,
}

impl Office {
    pub(crate) fn new(hub: &Arc<Hub<Handed>>, index: u16, shard: &Rc<Shard>) -> Rc<Office> {
        let wakeup = shard.ring.wakeup();
        hub.set_bell(index.into(), move || wakeup.wake());
        Rc::new(Office {
            hub: hub.clone(),
            index: index.into(),
            shard: shard.clone(),
            servers: RefCell::default(),
        })
    }

    /// Takes note of the servers that there are now.
    pub(crate) fn note<'a>(&self, servers: impl Iterator<Item = &'a Rc<Server>>) {
        let mut known = self.servers.borrow_mut();
        known.retain(|_, server| server.strong_count() > 0);
        for server in servers {
            if let Some(limited) = &server.limited {
                known.insert(Arc::as_ptr(&limited.limit).addr(), Rc::downgrade(server));
            }
        }
    }

    /// Whether parcels may have come.
    #[inline]
    pub(crate) fn has_rung(&self) -> bool {
        self.hub.has_rung(self.index)
    }

    fn server(&self, limit: &Arc<Limit>) -> Option<Rc<Server>> {
        self.servers.borrow().get(&Arc::as_ptr(limit).addr())?.upgrade()
    }
}

/// The requests of this shard that wait for any server of a backend.
pub(crate) struct BackendQueue {
    pub(crate) line: Arc<Line>,
    pub(super) waiting: RefCell<Waiting<TaskId, Grant>>,
    /// For servers that none of those who wait may be given: a queue that nobody enters.
    nobody: Arc<Line>,
    /// A reload has brought another one: slots are not looked for here any more.
    pub(super) is_retired: Cell<bool>,
    office: Rc<Office>,
}

impl BackendQueue {
    pub(crate) fn new(line: &Arc<Line>, office: &Rc<Office>) -> Rc<BackendQueue> {
        Rc::new(BackendQueue {
            line: line.clone(),
            waiting: RefCell::default(),
            nobody: Arc::new(Line::new(0, 0)),
            is_retired: Cell::new(false),
            office: office.clone(),
        })
    }

    /// Sends those who wait to look again, and whoever comes later to the queues of the servers.
    pub(crate) fn retire(&self) {
        self.is_retired.set(true);
        self.rouse();
    }

    /// Sends those who wait to look again: a server has come or gone.
    pub(crate) fn rouse(&self) {
        while let Some(task) = self.waiting.borrow_mut().rouse() {
            self.line.leave();
            self.office.shard.tasks.wake(task);
        }
        self.line.publish(self.office.index, None);
    }
}

/// What a server with a limit has besides.
pub(crate) struct Limited {
    pub(crate) limit: Arc<Limit>,
    /// The requests of this shard that wait for this server alone.
    pub(super) own: RefCell<Waiting<TaskId, Grant>>,
    /// The queue of the backend, that of the last reload.
    backend: RefCell<Rc<BackendQueue>>,
    /// Idle connections that this shard keeps as long as there is no limit, which would bound them.
    pub(crate) idle_max: Cell<usize>,
    /// Whether those who wait there may be given this server: not one that is down or drains, nor a backup that is not needed.
    is_spread_over: Cell<bool>,
    office: Rc<Office>,
}

impl Limited {
    pub(crate) fn new(limit: &Arc<Limit>, backend: &Rc<BackendQueue>) -> Limited {
        Limited {
            limit: limit.clone(),
            own: RefCell::default(),
            backend: RefCell::new(backend.clone()),
            idle_max: Cell::new(0),
            is_spread_over: Cell::new(false),
            office: backend.office.clone(),
        }
    }

    /// Sends those who wait for this server alone to look again, for it takes no requests any more.
    pub(crate) fn rouse(&self) {
        while let Some(task) = self.own.borrow_mut().rouse() {
            self.limit.own().leave();
            self.office.shard.tasks.wake(task);
        }
        self.limit.own().publish(self.office.index, None);
    }

    /// Takes note of the backend's queue after a reload.
    pub(crate) fn set_backend(&self, backend: &Rc<BackendQueue>) {
        *self.backend.borrow_mut() = backend.clone();
    }

    /// Takes note of whether requests are spread over the server; whether that is new.
    pub(crate) fn set_spread_over(&self, is: bool) -> bool {
        self.is_spread_over.replace(is) != is
    }

    /// The place of who begins to wait now, in one row for the queue of the backend and those of its servers.
    pub(super) fn key(&self, priority: i16) -> Key {
        self.backend.borrow().line.key(priority)
    }

    /// The queue of those who may be given this server.
    fn line(&self) -> Arc<Line> {
        let backend = self.backend.borrow();
        if self.is_spread_over.get() { backend.line.clone() } else { backend.nobody.clone() }
    }
}

/// One slot of a server, given back or passed on by its drop.
pub(crate) struct Pass(Option<Rc<Server>>);

impl Pass {
    /// The server; the slot is somebody else's business from now on.
    pub(super) fn into_server(mut self) -> Option<Rc<Server>> {
        self.0.take()
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(server) = self.0.take() {
            server.pass_on(None);
        }
    }
}

/// What a waiter gets.
pub(crate) struct Grant {
    server: Rc<Server>,
    pub(super) pass: Pass,
    pub(super) connection: Option<Connection>,
}

impl Grant {
    fn new(server: &Rc<Server>, connection: Option<Connection>) -> Grant {
        Grant { server: server.clone(), pass: Pass(Some(server.clone())), connection }
    }
}

/// This shard's side of one server; without a worker nothing can be parked.
struct At<'a> {
    server: &'a Rc<Server>,
    limited: &'a Limited,
    worker: Option<&'a Worker>,
}

impl At<'_> {
    fn publish_idle(&self) {
        self.limited.limit.publish_idle(self.limited.office.index, self.server.idle.len());
    }
}

impl Desk for At<'_> {
    type Connection = Connection;
    type Sent = Handed;

    fn shard(&self) -> usize {
        self.limited.office.index
    }

    fn hub(&self) -> &Hub<Handed> {
        &self.limited.office.hub
    }

    fn serve(
        &self,
        place: Place,
        connection: Option<Connection>,
    ) -> Result<(), Option<Connection>> {
        let office = &self.limited.office;
        let backend = self.limited.backend.borrow().clone();
        let (waiting, line) = match place {
            Place::Server => (&self.limited.own, self.limited.limit.own()),
            Place::Backend => (&backend.waiting, &*backend.line),
        };
        let mut waiting = waiting.borrow_mut();
        let granted = waiting.grant(Grant::new(self.server, connection));
        line.publish(office.index, waiting.first());
        match granted {
            Ok(task) => {
                line.leave();
                office.shard.tasks.wake(task);
                Ok(())
            }
            Err(Grant { pass, connection, .. }) => {
                pass.into_server();
                Err(connection)
            }
        }
    }

    fn pack(&self, connection: Connection) -> Option<Handed> {
        let Held { socket, opened, requests, epoch } = connection.into_sent()?;
        match socket.into_travelling() {
            Ok(connection) => Some(Handed { connection, opened, requests, epoch }),
            Err(socket) => {
                socket.end_now();
                None
            }
        }
    }

    fn close(&self, connection: Connection) {
        drop(connection);
    }

    fn park(&self, connection: Connection) -> Result<(), Connection> {
        let Some(worker) = self.worker else { return Err(connection) };
        if self.server.retired.get() || worker.draining.get() || !connection.is_current() {
            return Err(connection);
        }
        // Their number is limited by the slots, unless it is an agent that has set no limit.
        let has_limit = self.limited.limit.max() < u32::MAX;
        let idle_max = if has_limit { usize::MAX } else { self.limited.idle_max.get() };
        worker.park_idle(connection, self.server, idle_max)?;
        self.publish_idle();
        Ok(())
    }

    fn unpark(&self) -> Option<Connection> {
        let connection = self.worker?.pop_idle(self.server)?;
        self.publish_idle();
        Some(connection)
    }
}

impl Server {
    /// A slot is not needed here any more, nor its connection.
    pub(super) fn pass_on(self: &Rc<Server>, connection: Option<Connection>) {
        if let Some(limited) = &self.limited {
            let at = At { server: self, limited, worker: None };
            settle(&at, &limited.limit, &limited.line(), connection);
        }
    }

    /// An idle connection was closed: its slot is free.
    pub(crate) fn free_idle_slot(self: &Rc<Server>) {
        if let Some(limited) = &self.limited {
            limited.limit.publish_idle(limited.office.index, self.idle.len());
            self.pass_on(None);
        }
    }

    /// Whether a request that comes now would have to wait for it.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.limited.as_ref().is_some_and(|limited| {
            let has_room = limited.limit.has_room() || !self.idle.is_empty();
            !has_room || limited.limit.is_waited_for(&limited.backend.borrow().line)
        })
    }

    /// Requests that wait for it alone, on all shards.
    pub(super) fn queued(&self) -> u32 {
        self.limited.as_ref().map_or(0, |limited| limited.limit.own().waiting())
    }
}

impl Worker {
    /// A slot of the server and perhaps a connection; `None` if a request has to wait for one.
    #[inline]
    pub(crate) fn acquire(
        &self,
        server: &Rc<Server>,
        pool: &PoolSettings,
        fresh_only: bool,
    ) -> Option<(Slot, Option<Connection>)> {
        if server.limited.is_some() {
            return self.acquire_limited(server, pool, fresh_only);
        }
        server.pace.note_use(self.shard.clock.now(), pool);
        let connection = if fresh_only { None } else { self.take_idle(server, pool) };
        Some((Slot::new(server.clone(), None), connection))
    }

    fn acquire_limited(
        &self,
        server: &Rc<Server>,
        pool: &PoolSettings,
        fresh_only: bool,
    ) -> Option<(Slot, Option<Connection>)> {
        let limited = server.limited.as_ref()?;
        let at = At { server, limited, worker: Some(self) };
        let connection = match acquire(&at, &limited.limit, &limited.line()) {
            Found::Connection(connection) => Some(connection),
            Found::Slot => None,
            Found::Full => return None,
        };
        Some(self.lend(Grant::new(server, connection), pool, fresh_only))
    }

    /// What a request gets of a slot: the connection only if it can be used.
    pub(crate) fn lend(
        &self,
        grant: Grant,
        pool: &PoolSettings,
        fresh_only: bool,
    ) -> (Slot, Option<Connection>) {
        let Grant { server, pass, connection } = grant;
        let usable = |connection: &Connection| !fresh_only && self.is_usable(connection, pool);
        let connection = connection.filter(usable);
        let connection =
            connection.or_else(|| if fresh_only { None } else { self.open_shared(&server) });
        if connection.is_some() {
            server.stats.connections_reused.increment();
        }
        (Slot::new(server, Some(pass)), connection)
    }

    /// A request is done with a connection of a server with a limit.
    pub(crate) fn keep_limited(&self, pass: Pass, connection: Connection) {
        if let Some(server) = pass.into_server()
            && let Some(limited) = &server.limited
        {
            let at = At { server: &server, limited, worker: Some(self) };
            keep(&at, &limited.limit, &limited.line(), connection);
        }
    }

    /// Those who wait for servers that have changed look again, and slots go where limits have moved.
    pub(crate) fn follow_queues(&self, before: &Site, site: &Site) {
        let queues = |site: &Site| -> Vec<_> {
            site.backends.iter().filter_map(|backend| backend.queue.clone()).collect()
        };
        let kept = queues(site);
        for queue in queues(before) {
            if !kept.iter().any(|kept| Rc::ptr_eq(kept, &queue)) {
                queue.retire();
            }
        }
        self.muster_all();
    }

    /// Slots may have become free, or too many: after a reload, and after parcels got lost.
    pub(crate) fn muster_all(&self) {
        let site = self.site.borrow().clone();
        site.servers().for_each(|server| self.muster(server));
    }

    pub(super) fn muster(&self, server: &Rc<Server>) {
        if let Some(limited) = &server.limited {
            let at = At { server, limited, worker: Some(self) };
            muster(&at, &limited.limit, &limited.line());
        }
    }

    /// Takes what other shards have sent.
    #[cold]
    pub(crate) fn take_parcels(&self) {
        let office = &self.office;
        office.hub.answer(office.index);
        while let Some(parcel) = office.hub.receive(office.index) {
            match parcel {
                Parcel::Recall(limit) => {
                    if let Some(server) = office.server(&limit)
                        && let Some(limited) = &server.limited
                    {
                        let at = At { server: &server, limited, worker: Some(self) };
                        recall(&at, &limit, &limited.line());
                    }
                }
                Parcel::Slot(limit, handed) => match office.server(&limit) {
                    Some(server) => self.take_slot(&server, handed),
                    None => {
                        drop(handed);
                        limit.give_back();
                    }
                },
            }
        }
        if office.hub.take_overflow(office.index) {
            self.muster_all();
        }
    }

    fn take_slot(&self, server: &Rc<Server>, handed: Option<Handed>) {
        let Some(handed) = handed else { return server.pass_on(None) };
        let Handed { connection, opened, requests, epoch } = handed;
        server.stats.connections_handed_over.increment();
        let socket = Stream::arrived(&self.shard.ring, connection);
        let held = Held { socket, opened, requests, epoch };
        let connection = Connection::received(held, server);
        if !connection.is_current() {
            drop(connection);
            return server.pass_on(None);
        }
        self.keep_limited(Pass(Some(server.clone())), connection);
    }
}

//! One shard: its replica of the servers, its idle connections, its waiters, and its side of the traffic of slots.
//!
//! Owns what `upstream` owns in `tidegate-proxy`; leaves requests to `driver`. Invariant: a slot is held by a request, by an idle
//! connection, by a waiter that has not looked yet, or by a parcel.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_balance::{Loads, Pool, ServerId, ServerState, ShardId};
use tidegate_health::{Sample, Standing};
use tidegate_queue::{
    Desk, Found, Hub, Limit, Line, Outcome, Parcel, Place, WaiterId, Waiting, acquire, keep,
    muster, recall, settle,
};

use crate::driver::server_id;
use crate::server::{Connection, Truth};
use crate::setup::Setup;

/// A request by its number.
pub(crate) type RequestId = u64;

/// What all shards share.
pub(crate) struct Shared {
    hub: Hub<Connection>,
    pub(crate) line: Line,
    pub(crate) limits: Vec<Option<Arc<Limit>>>,
    pub(crate) truths: Vec<Rc<Truth>>,
    /// By shard and server: requests there.
    pub(crate) in_flight: Vec<Vec<Cell<u32>>>,
}

impl Shared {
    pub(crate) fn new(setup: &Setup) -> Rc<Shared> {
        let shards = setup.shards_count;
        let limit = |max| Arc::new(Limit::new(shards, max, setup.waiting_max));
        Rc::new(Shared {
            hub: Hub::new(shards),
            line: Line::new(shards, setup.waiting_max),
            limits: setup.servers.iter().map(|server| server.limit.map(limit)).collect(),
            truths: setup.servers.iter().map(|_| Truth::new()).collect(),
            in_flight: (0..shards)
                .map(|_| setup.servers.iter().map(|_| Cell::new(0)).collect())
                .collect(),
        })
    }

    pub(crate) fn requests_at(&self, server: usize) -> u32 {
        self.in_flight.iter().map(|shard| shard[server].get()).sum()
    }
}

/// A slot of a server, or leave to use one without a limit, and perhaps a connection.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) server: usize,
    pub(crate) connection: Option<Connection>,
}

/// Where a request waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    Backend,
    Server(usize),
}

/// Why a request is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Granted,
    Roused,
}

pub(crate) struct Shard {
    pub(crate) index: usize,
    pub(crate) shared: Rc<Shared>,
    pub(crate) pool: RefCell<Pool>,
    backend: RefCell<Waiting<RequestId, Grant>>,
    own: Vec<RefCell<Waiting<RequestId, Grant>>>,
    idle: Vec<RefCell<Vec<Connection>>>,
    down: Vec<Cell<bool>>,
    /// Whether those who wait for any server may be given this one.
    spreads: Vec<Cell<bool>>,
    /// The queue of the backend for servers that none of its waiters may be given.
    nobody: Line,
    pub(crate) samples: Vec<Cell<Sample>>,
    /// Its bell has been rung and nobody has come.
    pub(crate) rung: Arc<AtomicBool>,
    /// Requests that have to be woken.
    pub(crate) woken: RefCell<Vec<(RequestId, Call)>>,
}

struct At<'a>(&'a Shard, usize);

impl Desk for At<'_> {
    type Connection = Connection;
    type Sent = Connection;

    fn shard(&self) -> usize {
        self.0.index
    }

    fn hub(&self) -> &Hub<Connection> {
        &self.0.shared.hub
    }

    fn serve(
        &self,
        place: Place,
        connection: Option<Connection>,
    ) -> Result<(), Option<Connection>> {
        let At(shard, server) = *self;
        let queue = match place {
            Place::Server => Queue::Server(server),
            Place::Backend => Queue::Backend,
        };
        let (waiting, line) = shard.queue(queue);
        let mut waiting = waiting.borrow_mut();
        let may_be_given =
            place == Place::Server || shard.pool.borrow().spreads_over(server_id(server));
        assert!(waiting.is_empty() || may_be_given, "a slot of a server that takes nothing new");
        let granted = waiting.grant(Grant { server, connection });
        line.publish(shard.index, waiting.first());
        let request = granted.map_err(|grant| grant.connection)?;
        line.leave();
        shard.woken.borrow_mut().push((request, Call::Granted));
        Ok(())
    }

    fn pack(&self, connection: Connection) -> Option<Connection> {
        Some(connection)
    }

    fn close(&self, connection: Connection) {
        drop(connection);
    }

    fn park(&self, connection: Connection) -> Result<(), Connection> {
        let mut idle = self.0.idle[self.1].borrow_mut();
        idle.push(connection);
        self.0.publish_idle(self.1, idle.len());
        Ok(())
    }

    fn unpark(&self) -> Option<Connection> {
        let mut idle = self.0.idle[self.1].borrow_mut();
        let connection = idle.pop()?;
        self.0.publish_idle(self.1, idle.len());
        Some(connection)
    }
}

impl Shard {
    pub(crate) fn new(setup: &Setup, shared: &Rc<Shared>, index: usize) -> Shard {
        let rung = Arc::new(AtomicBool::new(false));
        let bell = rung.clone();
        shared.hub.set_bell(index, move || bell.store(true, Ordering::Relaxed));
        let short = |number: usize| u16::try_from(number).expect("few shards");
        let count = setup.servers.len();
        Shard {
            index,
            shared: shared.clone(),
            pool: RefCell::new(Pool::new(
                &setup.plan,
                ShardId(short(index)),
                short(setup.shards_count),
            )),
            backend: RefCell::default(),
            own: (0..count).map(|_| RefCell::default()).collect(),
            idle: (0..count).map(|_| RefCell::default()).collect(),
            down: (0..count).map(|_| Cell::new(false)).collect(),
            spreads: setup
                .servers
                .iter()
                .map(|server| Cell::new(!server.settings.backup))
                .collect(),
            nobody: Line::new(0, 0),
            samples: (0..count).map(|_| Cell::default()).collect(),
            rung,
            woken: RefCell::default(),
        }
    }

    pub(crate) fn servers(&self) -> std::ops::Range<usize> {
        0..self.down.len()
    }

    pub(crate) fn is_down(&self, server: usize) -> bool {
        self.down[server].get()
    }

    pub(crate) fn idle_count(&self, server: usize) -> usize {
        self.idle[server].borrow().len()
    }

    pub(crate) fn queue(&self, queue: Queue) -> (&RefCell<Waiting<RequestId, Grant>>, &Line) {
        match queue {
            Queue::Backend => (&self.backend, &self.shared.line),
            Queue::Server(server) => {
                let limit = self.shared.limits[server].as_ref();
                (&self.own[server], limit.expect("only servers with a limit are waited for").own())
            }
        }
    }

    /// Those of the backend's waiters that may be given this server.
    fn line(&self, server: usize) -> &Line {
        if self.spreads[server].get() { &self.shared.line } else { &self.nobody }
    }

    fn publish_idle(&self, server: usize, count: usize) {
        if let Some(limit) = &self.shared.limits[server] {
            limit.publish_idle(self.index, count);
        }
    }

    /// Whether a request that comes now would have to wait for the server.
    pub(crate) fn is_full(&self, server: usize) -> bool {
        self.shared.limits[server].as_ref().is_some_and(|limit| {
            let has_room = limit.has_room() || self.idle_count(server) > 0;
            !has_room || limit.is_waited_for(&self.shared.line)
        })
    }

    /// What a request may use of the server; `None` if it has to wait.
    pub(crate) fn acquire(&self, server: usize) -> Option<Grant> {
        let Some(limit) = &self.shared.limits[server] else {
            let connection = self.idle[server].borrow_mut().pop();
            return Some(Grant { server, connection });
        };
        match acquire(&At(self, server), limit, self.line(server)) {
            Found::Connection(connection) => Some(Grant { server, connection: Some(connection) }),
            Found::Slot => Some(Grant { server, connection: None }),
            Found::Full => None,
        }
    }

    /// A slot is not needed any more, and its connection is closed or goes to who waits.
    pub(crate) fn pass_on(&self, server: usize, connection: Option<Connection>) {
        if let Some(limit) = &self.shared.limits[server] {
            settle(&At(self, server), limit, self.line(server), connection);
        }
    }

    /// A connection may carry a further request.
    pub(crate) fn keep(&self, server: usize, connection: Connection) {
        match &self.shared.limits[server] {
            Some(limit) => keep(&At(self, server), limit, self.line(server), connection),
            None => self.idle[server].borrow_mut().push(connection),
        }
    }

    /// The server closes an idle connection, the oldest.
    pub(crate) fn lose_idle(&self, server: usize) {
        let mut idle = self.idle[server].borrow_mut();
        if idle.is_empty() {
            return;
        }
        drop(idle.remove(0));
        self.publish_idle(server, idle.len());
        drop(idle);
        self.pass_on(server, None);
    }

    /// Looks for slots that nobody uses.
    pub(crate) fn muster(&self, server: usize) {
        if let Some(limit) = &self.shared.limits[server] {
            muster(&At(self, server), limit, self.line(server));
        }
    }

    /// Takes parcels, at most so many; whether there may be more.
    pub(crate) fn receive(&self, count_max: usize) -> bool {
        let hub = &self.shared.hub;
        self.rung.store(false, Ordering::Relaxed);
        hub.answer(self.index);
        for _ in 0..count_max {
            let Some(parcel) = hub.receive(self.index) else {
                if hub.take_overflow(self.index) {
                    self.servers().for_each(|server| self.muster(server));
                }
                return false;
            };
            let (Parcel::Slot(limit, _) | Parcel::Recall(limit)) = &parcel;
            let is_it = |known: &Option<Arc<Limit>>| {
                known.as_ref().is_some_and(|known| Arc::ptr_eq(known, limit))
            };
            let server = self.shared.limits.iter().position(is_it).expect("a known server");
            match parcel {
                Parcel::Recall(limit) => recall(&At(self, server), &limit, self.line(server)),
                Parcel::Slot(_, Some(connection)) => self.keep(server, connection),
                Parcel::Slot(_, None) => self.pass_on(server, None),
            }
        }
        true
    }

    /// Takes note of what a server is now.
    pub(crate) fn set_standing(&self, server: usize, standing: &Standing) {
        let Standing { availability, weight, since, .. } = *standing;
        let id = ServerId(u32::try_from(server).expect("few servers"));
        self.pool.borrow_mut().set_state(id, ServerState { availability, weight, since });
        let is_down = availability == tidegate_balance::Availability::Down;
        let was_down = self.down[server].replace(is_down);
        let new = self.note_spread();
        if is_down && !was_down {
            while self.idle_count(server) > 0 {
                self.lose_idle(server);
            }
            if self.shared.limits[server].is_some() {
                self.rouse(Queue::Server(server));
            }
        }
        if let Some(new) = new {
            self.rouse(Queue::Backend);
            new.into_iter().for_each(|server| self.muster(server));
        }
    }

    /// Takes note of the servers that those who wait may be given; if they are not what they were, which are new.
    fn note_spread(&self) -> Option<Vec<usize>> {
        let pool = self.pool.borrow();
        let now = |server: &usize| pool.spreads_over(server_id(*server));
        let changed = |server: &usize| self.spreads[*server].replace(now(server)) != now(server);
        let changed: Vec<usize> = self.servers().filter(changed).collect();
        let is_other = !changed.is_empty();
        is_other.then(|| changed.into_iter().filter(now).collect())
    }

    /// Sends those who wait to look again.
    fn rouse(&self, queue: Queue) {
        let (waiting, line) = self.queue(queue);
        while let Some(request) = waiting.borrow_mut().rouse() {
            line.leave();
            self.woken.borrow_mut().push((request, Call::Roused));
        }
        line.publish(self.index, None);
    }

    /// What became of a waiter.
    pub(crate) fn look(&self, queue: Queue, id: WaiterId) -> Option<Outcome<Grant>> {
        self.queue(queue).0.borrow_mut().take(id)
    }

    /// A waiter gives up.
    pub(crate) fn leave(&self, queue: Queue, id: WaiterId) {
        let (waiting, line) = self.queue(queue);
        let mut waiting = waiting.borrow_mut();
        let outcome = waiting.leave(id);
        if outcome.is_none() {
            line.publish(self.index, waiting.first());
            line.leave();
        }
        drop(waiting);
        if let Some(Outcome::Granted(Grant { server, connection })) = outcome {
            self.pass_on(server, connection);
        }
    }
}

/// The loads as one shard sees them.
pub(crate) struct ShardLoads<'a>(pub(crate) &'a Shard);

impl Loads for ShardLoads<'_> {
    fn in_flight(&self, ServerId(server): ServerId) -> u32 {
        self.0.shared.requests_at(server as usize)
    }

    fn total(&self) -> u32 {
        self.0.servers().map(|server| self.0.shared.requests_at(server)).sum()
    }

    fn is_full(&self, ServerId(server): ServerId) -> bool {
        self.0.is_full(server as usize)
    }
}

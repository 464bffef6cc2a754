//! Shards, servers and connections without sockets, for the tests.
//!
//! Owns what the data plane owns otherwise: idle lists, waiters and what they got. Invariant: a connection counts at its server
//! from its making to its drop, so that the server's own count can be held against the limit.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use crate::*;

/// A server, which counts for itself.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) limit: Arc<Limit>,
    open: AtomicU32,
    open_most: AtomicU32,
}

impl Server {
    pub(super) fn open(&self) -> u32 {
        self.open.load(SeqCst)
    }

    pub(super) fn open_most(&self) -> u32 {
        self.open_most.load(SeqCst)
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection(Arc<Server>);

impl Connection {
    fn open(server: &Arc<Server>) -> Connection {
        let now = server.open.fetch_add(1, SeqCst) + 1;
        server.open_most.fetch_max(now, SeqCst);
        Connection(server.clone())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
    }
}

/// A server and the connection in use, made where none came with the slot.
#[derive(Debug)]
pub(super) struct Grant {
    pub(super) server: usize,
    pub(super) connection: Option<Connection>,
}

/// What all shards share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) hub: Arc<Hub<Connection>>,
    pub(super) line: Arc<Line>,
    pub(super) servers: Vec<Arc<Server>>,
}

impl Shared {
    pub(super) fn new(shards: usize, servers: usize, max: u32) -> Shared {
        let server = |_| {
            Arc::new(Server {
                limit: Arc::new(Limit::new(shards, max, u32::MAX)),
                open: AtomicU32::new(0),
                open_most: AtomicU32::new(0),
            })
        };
        Shared {
            hub: Arc::new(Hub::new(shards)),
            line: Arc::new(Line::new(shards, u32::MAX)),
            servers: (0..servers).map(server).collect(),
        }
    }
}

/// Whom a request may be served by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Any,
    Only(usize),
}

/// What a request got at once.
#[derive(Debug)]
pub(super) enum Came {
    Served(Grant),
    Waits(Wish, WaiterId, Key),
}

/// One shard.
pub(super) struct Shard {
    pub(super) index: usize,
    pub(super) shared: Shared,
    backend: RefCell<Waiting<(), Grant>>,
    own: Vec<RefCell<Waiting<(), Grant>>>,
    idle: Vec<RefCell<Vec<Connection>>>,
    /// By server: whether those who wait for any server get none of its slots, as far as this shard knows.
    reserved: Vec<Cell<bool>>,
    /// The queue of the backend for such servers.
    nobody: Line,
    /// Waiters served by this shard.
    pub(super) granted: Cell<usize>,
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
        let mut queue = match place {
            Place::Server => shard.own[server].borrow_mut(),
            Place::Backend => shard.backend.borrow_mut(),
        };
        let granted = queue.grant(Grant { server, connection });
        let line = shard.line(place, server);
        line.publish(shard.index, queue.first());
        granted.map_err(|grant| grant.connection)?;
        line.leave();
        shard.granted.set(shard.granted.get() + 1);
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
        self.0.limit(self.1).publish_idle(self.0.index, idle.len());
        Ok(())
    }

    fn unpark(&self) -> Option<Connection> {
        let mut idle = self.0.idle[self.1].borrow_mut();
        let connection = idle.pop()?;
        self.0.limit(self.1).publish_idle(self.0.index, idle.len());
        Some(connection)
    }
}

impl Shard {
    pub(super) fn new(shared: &Shared, index: usize) -> Shard {
        Shard {
            index,
            shared: shared.clone(),
            backend: RefCell::default(),
            own: shared.servers.iter().map(|_| RefCell::default()).collect(),
            idle: shared.servers.iter().map(|_| RefCell::default()).collect(),
            reserved: shared.servers.iter().map(|_| Cell::new(false)).collect(),
            nobody: Line::new(0, 0),
            granted: Cell::new(0),
        }
    }

    fn limit(&self, server: usize) -> &Arc<Limit> {
        &self.shared.servers[server].limit
    }

    fn line(&self, place: Place, server: usize) -> &Line {
        match place {
            Place::Server => self.limit(server).own(),
            Place::Backend => &self.shared.line,
        }
    }

    /// Those of the backend's waiters that may be given the server.
    fn takers(&self, server: usize) -> &Line {
        if self.reserved[server].get() { &self.nobody } else { &self.shared.line }
    }

    /// The shard hears whether a server is only for those who wait for it and no other.
    pub(super) fn reserve(&self, server: usize, is_reserved: bool) {
        self.reserved[server].set(is_reserved);
        self.apply(server);
    }

    fn candidates(&self, wish: Wish) -> std::ops::Range<usize> {
        match wish {
            Wish::Any => 0..self.shared.servers.len(),
            Wish::Only(server) => server..server + 1,
        }
    }

    fn queue(&self, wish: Wish) -> (&RefCell<Waiting<(), Grant>>, &Line) {
        match wish {
            Wish::Any => (&self.backend, &self.shared.line),
            Wish::Only(server) => (&self.own[server], self.limit(server).own()),
        }
    }

    /// A request comes.
    pub(super) fn come(&self, wish: Wish, priority: i16) -> Came {
        for server in self.candidates(wish) {
            match acquire(&At(self, server), self.limit(server), self.takers(server)) {
                Found::Connection(connection) => {
                    return Came::Served(Grant { server, connection: Some(connection) });
                }
                Found::Slot => {
                    return Came::Served(self.connect(Grant { server, connection: None }));
                }
                Found::Full => {}
            }
        }
        let (queue, line) = self.queue(wish);
        line.enter().expect("without limit");
        let key = self.shared.line.key(priority);
        let id = queue.borrow_mut().insert(key, ());
        line.publish(self.index, queue.borrow().first());
        for server in self.candidates(wish) {
            muster(&At(self, server), self.limit(server), self.takers(server));
        }
        Came::Waits(wish, id, key)
    }

    /// Makes the connection that did not come with the slot.
    pub(super) fn connect(&self, mut grant: Grant) -> Grant {
        let server = &self.shared.servers[grant.server];
        grant.connection.get_or_insert_with(|| Connection::open(server));
        grant
    }

    /// What a waiter got.
    pub(super) fn look(&self, wish: Wish, id: WaiterId) -> Option<Grant> {
        match self.queue(wish).0.borrow_mut().take(id)? {
            Outcome::Granted(grant) => Some(self.connect(grant)),
            Outcome::Roused => panic!("nobody rouses here"),
        }
    }

    /// A waiter gives up.
    pub(super) fn give_up(&self, wish: Wish, id: WaiterId) {
        let (queue, line) = self.queue(wish);
        let outcome = queue.borrow_mut().leave(id);
        match outcome {
            Some(Outcome::Granted(Grant { server, connection })) => {
                self.pass_on(server, connection);
            }
            Some(Outcome::Roused) => panic!("nobody rouses here"),
            None => {
                line.publish(self.index, queue.borrow().first());
                line.leave();
            }
        }
    }

    /// A request is over, and its connection may carry another one.
    pub(super) fn keep(&self, grant: Grant) {
        let connection = grant.connection.expect("in use");
        keep(
            &At(self, grant.server),
            self.limit(grant.server),
            self.takers(grant.server),
            connection,
        );
    }

    /// A request is over, and its connection with it.
    pub(super) fn close(&self, grant: Grant) {
        drop(grant.connection);
        self.pass_on(grant.server, None);
    }

    fn pass_on(&self, server: usize, connection: Option<Connection>) {
        settle(&At(self, server), self.limit(server), self.takers(server), connection);
    }

    /// The limit was changed, or who may be given the server.
    pub(super) fn apply(&self, server: usize) {
        muster(&At(self, server), self.limit(server), self.takers(server));
    }

    /// Takes one parcel.
    pub(super) fn receive(&self) -> bool {
        self.shared.hub.answer(self.index);
        if self.shared.hub.take_overflow(self.index) {
            (0..self.shared.servers.len()).for_each(|server| self.apply(server));
        }
        let index_of = |limit: &Arc<Limit>| {
            let is_it = |server: &Arc<Server>| Arc::ptr_eq(&server.limit, limit);
            self.shared.servers.iter().position(is_it).expect("known")
        };
        match self.shared.hub.receive(self.index) {
            None => return false,
            Some(Parcel::Recall(limit)) => {
                let server = index_of(&limit);
                recall(&At(self, server), &limit, self.takers(server));
            }
            Some(Parcel::Slot(limit, connection)) => {
                let server = index_of(&limit);
                match connection {
                    Some(connection) => {
                        keep(&At(self, server), &limit, self.takers(server), connection);
                    }
                    None => self.pass_on(server, None),
                }
            }
        }
        true
    }

    /// Waiters of this shard.
    pub(super) fn waiting(&self) -> usize {
        self.backend.borrow().len() + self.own.iter().map(|own| own.borrow().len()).sum::<usize>()
    }

    /// Idle connections to a server.
    pub(super) fn idle(&self, server: usize) -> usize {
        self.idle[server].borrow().len()
    }
}

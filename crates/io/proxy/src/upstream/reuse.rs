//! Lending and keeping idle server connections.
//!
//! Owns when an idle connection is taken, kept, or too old; leaves the order of those of one server to `tidegate-idle`, and those
//! that any shard may take to `shelf`. Invariant: an idle
//! connection is in its server's list and in the table of parked sockets, or in neither; one of a server with a limit has a slot.

use std::rc::Rc;
use std::time::Instant;

use tidegate_idle::Kept;
use tidegate_ring::ParkToken;

use crate::parked::Parked;
use crate::settings::PoolSettings;
use crate::site::Server;
use crate::upstream::connect::{Connection, Held, Slot};
use crate::worker::Worker;

/// An idle connection, parked under its token.
pub(crate) struct Resting {
    token: ParkToken,
    held: Held,
}

impl Kept for Resting {
    fn opened(&self) -> Instant {
        self.held.opened
    }

    fn requests(&self) -> u32 {
        self.held.requests
    }
}

impl Worker {
    /// Takes a server's idle connection, when a living one is left.
    pub(crate) fn take_idle(&self, server: &Rc<Server>, pool: &PoolSettings) -> Option<Connection> {
        if let Some(shared) = self.open_shared(server) {
            server.stats.connections_reused.increment();
            return Some(shared);
        }
        while let Some(connection) = self.pop_idle(server) {
            if self.is_usable(&connection, pool) {
                server.stats.connections_reused.increment();
                return Some(connection);
            }
        }
        self.take_shelved(server, pool)
    }

    /// Whether an idle connection can carry a request: the server is where it goes, nothing has come on it, and it is not too old.
    #[inline]
    pub(crate) fn is_usable(&self, connection: &Connection, pool: &PoolSettings) -> bool {
        connection.is_current()
            && !connection.socket().has_arrived()
            && pool.may_carry_more(connection.held(), self.shard.clock.now())
    }

    /// The connection used last, no longer parked.
    #[inline]
    pub(crate) fn pop_idle(&self, server: &Rc<Server>) -> Option<Connection> {
        let Resting { token: ParkToken(index), held } = server.idle.pop()?;
        held.socket.unpark();
        self.parked.borrow_mut().take(index);
        server.stats.connections_idle.decrement();
        Some(Connection::from_idle(held, server))
    }

    /// A request is done with a connection and its slot: kept for the next request, passed to one that waits, or closed when
    /// there are enough.
    pub(crate) fn keep_idle(&self, connection: Connection, slot: &mut Slot, pool: &PoolSettings) {
        // A place on a shared one is given back by its drop.
        if connection.socket().is_shared()
            || slot.server.retired.get()
            || slot.server.down.get()
            || self.draining.get()
            || !connection.is_current()
            || !pool.may_carry_more(connection.held(), self.shard.clock.now())
        {
            return;
        }
        match slot.take_pass() {
            Some(pass) => self.keep_limited(pass, connection),
            None => {
                if let Err(connection) = self.shelve(connection, &slot.server, pool) {
                    drop(self.park_idle(connection, &slot.server, pool.idle_max));
                }
            }
        }
    }

    /// Keeps a connection; one that cannot be kept comes back.
    pub(crate) fn park_idle(
        &self,
        connection: Connection,
        server: &Rc<Server>,
        idle_max: usize,
    ) -> Result<(), Connection> {
        if server.idle.len() >= idle_max {
            return Err(connection);
        }
        connection.socket().set_recv_on_demand(server.receives_on_demand());
        let index = self.parked.borrow_mut().insert(Parked::Server(server.clone()));
        if !connection.socket().park(ParkToken(index)) {
            self.parked.borrow_mut().take(index);
            return Err(connection);
        }
        if let Some(held) = connection.into_idle() {
            server.stats.connections_idle.increment();
            let resting = Resting { token: ParkToken(index), held };
            server.idle.push(resting, self.shard.clock.now());
            self.start_sweeping();
        }
        Ok(())
    }

    pub(crate) fn sweep_idle(&self) {
        let (site, now) = (self.site.borrow().clone(), self.shard.clock.now());
        let mut left = 0;
        for backend in &*site.backends {
            for server in &backend.servers {
                while let Some(Resting { token: ParkToken(index), held }) =
                    server.idle.pop_expired(now, &backend.pool)
                {
                    self.parked.borrow_mut().take(index);
                    self.drop_idle(server, held);
                }
                left += server.idle.len() + self.sweep_shelf(server, &backend.pool);
            }
        }
        if left > 0 {
            self.start_sweeping();
        }
    }

    pub(crate) fn close_idle(&self, server: &Rc<Server>) {
        while let Some(connection) = self.pop_idle(server) {
            drop(connection);
            server.free_idle_slot();
        }
        self.clear_shelf(server);
        server.trunks.leave();
    }

    /// The idle connection with this token, on which something arrived, in no list any more.
    pub(crate) fn remove_idle(&self, server: &Server, token: ParkToken) -> Option<Held> {
        server.idle.remove(|resting| resting.token == token).map(|resting| resting.held)
    }

    /// Something has arrived on an idle connection, which is in no list any more: its end or bytes of no response as a rule, and
    /// with TLS also what means nothing to a request, such as a ticket.
    pub(crate) fn look_at_idle(&self, server: &Rc<Server>, held: Held) {
        if held.socket.has_arrived() {
            return self.drop_idle(server, held);
        }
        let index = self.parked.borrow_mut().insert(Parked::Server(server.clone()));
        if held.socket.park(ParkToken(index)) {
            // Its place by age is the last one used now: it goes later than it might, within the pool's limits.
            let resting = Resting { token: ParkToken(index), held };
            server.idle.push(resting, self.shard.clock.now());
        } else {
            self.parked.borrow_mut().take(index);
            self.drop_idle(server, held);
        }
    }

    /// An idle connection that is in no list any more: something arrived on it, or its time is over.
    pub(crate) fn drop_idle(&self, server: &Rc<Server>, held: Held) {
        server.stats.connections_idle.decrement();
        drop(Connection::from_idle(held, server));
        server.free_idle_slot();
    }
}

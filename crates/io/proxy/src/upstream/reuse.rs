//! Lending and keeping idle server connections.
//!
//! Owns when an idle connection is taken, kept, or too old; leaves the list of one server to `idle_pool`. Invariant: an idle
//! connection is in its server's list and in the table of parked sockets, or in neither.

use std::rc::Rc;

use tidegate_ring::{ParkToken, Socket};

use crate::parked::Parked;
use crate::site::Server;
use crate::upstream::connect::Connection;
use crate::worker::Worker;

impl Worker {
    /// Takes a server's idle connection, when a living one is left.
    pub(crate) fn take_idle(&self, server: &Rc<Server>) -> Option<Connection> {
        while let Some((ParkToken(index), socket)) = server.idle.pop() {
            self.parked.borrow_mut().take(index);
            server.stats.connections_idle.decrement();
            let connection = Connection::from_idle(socket, server);
            if !connection.socket().has_arrived() {
                server.stats.connections_reused.increment();
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a server connection for the next request, or closes it when there are enough.
    pub(crate) fn keep_idle(&self, connection: Connection, server: &Rc<Server>, idle_max: usize) {
        if server.retired.get()
            || server.down.get()
            || server.idle.len() >= idle_max
            || self.draining.get()
        {
            return;
        }
        connection.socket().set_recv_on_demand(server.receives_on_demand());
        let index = self.parked.borrow_mut().insert(Parked::Server(server.clone()));
        if !connection.socket().park(ParkToken(index)) {
            self.parked.borrow_mut().take(index);
            return;
        }
        if let Some(socket) = connection.into_idle() {
            server.stats.connections_idle.increment();
            server.idle.push(ParkToken(index), socket, self.shard.clock.now());
            self.start_sweeping();
        }
    }

    pub(crate) fn sweep_idle(&self) {
        let (site, now) = (self.site.borrow().clone(), self.shard.clock.now());
        let mut left = 0;
        for backend in &*site.backends {
            for server in &backend.servers {
                while let Some(expired) = server.idle.pop_expired(now, backend.idle_timeout) {
                    self.drop_idle(server, expired);
                }
                left += server.idle.len();
            }
        }
        if left > 0 {
            self.start_sweeping();
        }
    }

    pub(crate) fn close_idle(&self, server: &Rc<Server>) {
        while let Some(idle) = server.idle.pop() {
            self.drop_idle(server, idle);
        }
    }

    fn drop_idle(&self, server: &Rc<Server>, (ParkToken(index), socket): (ParkToken, Socket)) {
        self.parked.borrow_mut().take(index);
        server.stats.connections_idle.decrement();
        drop(Connection::from_idle(socket, server));
    }
}

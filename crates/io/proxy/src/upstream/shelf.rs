//! Idle connections of a server that any shard may take.
//!
//! Owns making connections ready to change shards, and asking whether one that was taken still lives; leaves which ones are offered
//! to `tidegate-idle`. Servers with a limit have none: their connections travel with their slots. Invariant: on a shelved connection
//! nothing is in flight, and it is counted as neither open nor idle by any shard, but as put on the shelf and not taken off.

use std::rc::Rc;

use crate::settings::PoolSettings;
use crate::site::Server;
use crate::stream::Stream;
use crate::upstream::connect::{Connection, Held};
use crate::upstream::queue::Handed;
use crate::worker::Worker;

impl Worker {
    /// Leaves a connection to whichever shard needs one first, where this one needs it seldom.
    ///
    /// # Errors
    /// The connection, when it is better kept here, or cannot go.
    pub(super) fn shelve(
        &self,
        connection: Connection,
        server: &Server,
        pool: &PoolSettings,
    ) -> Result<(), Connection> {
        let Some(shelf) = server.shelf.as_ref().filter(|_| server.pace.is_seldom()) else {
            return Err(connection);
        };
        if shelf.len() >= pool.idle_max {
            return Err(connection);
        }
        let handed = connection.into_handed()?;
        // With no room left it is closed here.
        if shelf.offer(handed, self.shard.clock.now()).is_ok() {
            server.stats.connections_shelved.increment();
            self.start_sweeping();
        }
        Ok(())
    }

    /// Takes a living connection that another shard has left.
    #[cold]
    pub(super) fn take_shelved(
        &self,
        server: &Rc<Server>,
        pool: &PoolSettings,
    ) -> Option<Connection> {
        let shelf = server.shelf.as_ref()?;
        while let Some(handed) = shelf.take() {
            server.stats.connections_unshelved.increment();
            if !pool.may_carry_more(&handed, self.shard.clock.now())
                || !server.place.is_at(handed.epoch)
                || !handed.connection.is_silent()
            {
                continue;
            }
            let Handed { connection, opened, requests, epoch } = handed;
            server.stats.connections_handed_over.increment();
            server.stats.connections_reused.increment();
            let socket = Stream::arrived(&self.shard.ring, connection);
            let held = Held { socket, opened, requests, epoch };
            return Some(Connection::received(held, server));
        }
        None
    }

    /// Closes those that are too old, and those on which something has come; how many are left.
    pub(super) fn sweep_shelf(&self, server: &Server, pool: &PoolSettings) -> usize {
        let Some(shelf) = &server.shelf else { return 0 };
        let closed =
            shelf.sweep(self.shard.clock.now(), pool, |handed| handed.connection.is_silent());
        server.stats.connections_unshelved.add(closed);
        shelf.len()
    }

    /// Closes all, for the server takes no requests any more.
    pub(super) fn clear_shelf(&self, server: &Server) {
        if let Some(shelf) = &server.shelf {
            server.stats.connections_unshelved.add(shelf.clear());
        }
    }
}

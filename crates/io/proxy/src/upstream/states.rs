//! Carrying out what the control plane says of servers.
//!
//! Owns what becomes of the connections to a server that goes down or moves to another address, and of requests that wait; leaves
//! picks to the backend. Invariant: what is about another snapshot than this shard's changes nothing.

use crate::command::ServerStates;
use crate::site::Site;
use crate::upstream::place::Location;
use crate::worker::Worker;

impl Worker {
    /// Servers that go down lose their idle connections, and where it is configured those in use; servers that move lose their idle
    /// ones.
    pub(crate) fn set_states(&self, states: &ServerStates) {
        let site = self.site.borrow().clone();
        if site.snapshot.generation != states.generation {
            return;
        }
        for change in &states.changes {
            let Some(backend) = site.backends.get(change.backend) else { continue };
            let Some(server) = backend.servers.get(change.server) else { continue };
            let was_down = server.down.get();
            if server.place.move_to(change.spot) {
                self.close_idle(server);
            }
            backend.set_standing(change.server, &change.standing);
            if server.down.get() == was_down {
                continue;
            }
            if !was_down {
                self.close_idle(server);
                server.in_use.abort(&self.shard.ring);
                if let Some(limited) = &server.limited {
                    limited.rouse();
                }
            }
            if let Some(queue) = &backend.queue {
                queue.rouse();
            }
        }
    }

    /// Takes from a new snapshot which servers have moved since this shard was last told.
    pub(crate) fn follow_names(&self, site: &Site) {
        for (settings, backend) in site.snapshot.backends.iter().zip(&*site.backends) {
            for (settings, server) in settings.servers.iter().zip(&backend.servers) {
                if let Location::Named { spot, .. } = settings.address
                    && server.place.move_to(spot)
                {
                    self.close_idle(server);
                }
            }
        }
    }
}

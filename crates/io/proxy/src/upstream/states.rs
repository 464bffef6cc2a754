//! Carrying out what the control plane says of servers.
//!
//! Owns what becomes of the connections to a server that goes down, and of requests that wait; leaves picks to the backend. Invariant: what is about another
//! snapshot than this shard's changes nothing.

use crate::command::ServerStates;
use crate::worker::Worker;

impl Worker {
    /// Servers that go down lose their idle connections, and where it is configured those in use.
    pub(crate) fn set_states(&self, states: &ServerStates) {
        let site = self.site.borrow().clone();
        if site.snapshot.generation != states.generation {
            return;
        }
        for change in &states.changes {
            let Some(backend) = site.backends.get(change.backend) else { continue };
            let Some(server) = backend.servers.get(change.server) else { continue };
            let was_down = server.down.get();
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
}

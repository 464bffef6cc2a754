//! Carrying out what the control plane says of servers.
//!
//! Owns what becomes of the connections to a server that goes down or moves to another address, and of requests that wait; leaves
//! picks to the backend. Invariant: what is about another snapshot than this shard's changes nothing.

use std::rc::Rc;
use std::time::Instant;

use crate::command::{ServerChange, ServerStates};
use crate::site::{Backend, Server, Site};
use crate::upstream::place::Location;
use crate::worker::Worker;

impl Worker {
    /// Servers that go down lose their idle connections, and where it is configured those in use; servers that move lose their idle
    /// ones; those who wait for servers look again when others take requests than before.
    pub(crate) fn set_states(&self, states: &ServerStates) {
        let site = self.site.borrow().clone();
        if site.snapshot.generation != states.generation {
            return;
        }
        // All changes of a backend before what follows from them: who waits is to see the servers as they are.
        for changes in states.changes.chunk_by(|one, other| one.backend == other.backend) {
            let Some(backend) =
                changes.first().and_then(|change| site.backends.get(change.backend))
            else {
                continue;
            };
            self.set_states_of(backend, changes);
        }
        // Not the time of the turn, which began before the message came.
        let delay = Instant::now().saturating_duration_since(states.decided);
        self.stats.server_change_delay.record(delay);
    }

    fn set_states_of(&self, backend: &Backend, changes: &[ServerChange]) {
        let (mut fallen, mut has_moved) = (Vec::new(), false);
        for change in changes {
            let Some(server) = backend.servers.get(change.server) else { continue };
            let (was_down, took) = (server.down.get(), backend.takes_new(change.server));
            if server.place.move_to(change.spot) {
                self.server_moved(backend, change.server, server);
            }
            backend.set_standing(change.server, &change.standing);
            has_moved |= took != backend.takes_new(change.server);
            if server.down.get() && !was_down {
                fallen.push(server);
            }
        }
        // Before slots get free that none of those who wait may have.
        let new = backend.note_spread();
        fallen.into_iter().for_each(|server| self.server_fell(server));
        if let Some(queue) = backend.queue.as_ref().filter(|_| has_moved) {
            queue.rouse();
            new.iter().for_each(|server| self.muster(server));
        }
        // Their limits may have been moved by their agents.
        let changed = changes.iter().filter_map(|change| backend.servers.get(change.server));
        changed.filter(|server| !server.down.get()).for_each(|server| self.muster(server));
    }

    /// What was known of the machine at the address before is not true of the one that is there now.
    fn server_moved(&self, backend: &Backend, index: usize, server: &Rc<Server>) {
        self.close_idle(server);
        server.note_response(true);
        server.trunks.forget();
        backend.forget(index);
    }

    fn server_fell(&self, server: &Rc<Server>) {
        self.close_idle(server);
        server.in_use.abort(&self.shard.ring);
        if server.closes_sessions.get() {
            server.trunks.abort();
        }
        if let Some(limited) = &server.limited {
            limited.rouse();
        }
    }

    /// Takes from a new snapshot which servers have moved since this shard was last told.
    pub(crate) fn follow_names(&self, site: &Site) {
        for (settings, backend) in site.snapshot.backends.iter().zip(&*site.backends) {
            let servers = settings.servers.iter().zip(&backend.servers).enumerate();
            for (index, (settings, server)) in servers {
                if let Location::Named { spot, .. } = settings.address
                    && server.place.move_to(spot)
                {
                    self.server_moved(backend, index, server);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "states_tests.rs"]
mod tests;

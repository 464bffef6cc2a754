//! Carrying out what the control plane says of servers.
//!
//! Owns what becomes of the connections to a server that goes down, and of requests that wait; leaves picks to the backend. Invariant: what is about another
//! snapshot than this shard's changes nothing.

use std::rc::Rc;

use crate::command::{ServerChange, ServerStates};
use crate::site::Backend;
use crate::worker::Worker;

impl Worker {
    /// Servers that go down lose their idle connections, and where it is configured those in use.
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
    }

    fn set_states_of(&self, backend: &Rc<Backend>, changes: &[ServerChange]) {
        let servers = || {
            let server = |change: &ServerChange| backend.servers.get(change.server);
            changes.iter().filter_map(move |change| Some((change, server(change)?)))
        };
        let before: Vec<bool> = servers().map(|(_, server)| server.down.get()).collect();
        for (change, _) in servers() {
            backend.set_standing(change.server, &change.standing);
        }
        let mut rouses = backend.mark_in_use();
        for ((_, server), was_down) in servers().zip(before) {
            match (was_down, server.down.get()) {
                (false, true) => {
                    self.close_idle(server);
                    server.in_use.abort(&self.shard.ring);
                    if let Some(limited) = &server.limited {
                        limited.rouse();
                    }
                    rouses = true;
                }
                (true, false) => rouses = true,
                // Its limit may have been moved by its agent.
                (false, false) => self.muster(server),
                (true, true) => {}
            }
        }
        if let Some(queue) = backend.queue.as_ref().filter(|_| rouses) {
            queue.rouse();
        }
    }
}

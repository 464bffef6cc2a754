//! The end of a shard: first nothing new is accepted, then what is there is finished.
//!
//! Owns the order of both; leaves closing a listener to `accept` and the deadline to the control core. Invariant: draining begins
//! when no listener is open any more, and the shard stops when no client is left.

use std::time::Duration;

use super::Worker;
use crate::command::Report;
use crate::http1;

/// How long a shard that drains waits for the first request of a connection: it mostly comes along with the last segment of the
/// handshake.
const DRAIN_PATIENCE: Duration = Duration::from_millis(50);

impl Worker {
    /// Ends accepting, then draining begins. Not before: a client whose connection is closed comes again at once, and should be
    /// refused then instead of waiting for an answer to its handshake.
    pub(super) fn end(&self) {
        self.ending.set(true);
        self.listen(Vec::new());
        if self.acceptors_open.get() == 0 {
            self.drain();
        }
    }

    fn drain(&self) {
        if self.draining.replace(true) {
            return;
        }
        let clients = self.parked.borrow_mut().take_clients();
        for client in clients {
            if client.socket.has_arrived() {
                // Its next request is here: it is the last one.
                client.socket.unpark();
                self.dispatch(client);
            } else if client.requests.get() == 0 {
                // Its first request may be on its way.
                client.socket.unpark();
                self.park(client, self.shard.clock.now() + DRAIN_PATIENCE);
            } else if client.socket.queued_bytes() == 0 {
                self.log_unused(&client);
                drop(client);
                self.clients_open.set(self.clients_open.get() - 1);
            } else if let Some(worker) = self.this.upgrade() {
                // Still taking the end of its last response. Its place is another's from now on, so its token must not come any more.
                client.socket.unpark();
                self.shard.tasks.spawn(async move {
                    http1::close_idle(&worker, &client).await;
                    drop(client);
                    worker.client_closed();
                });
            }
        }
        self.http2.tasks().into_iter().for_each(|task| self.shard.tasks.wake(task));
        self.finish_draining();
    }

    fn finish_draining(&self) {
        if self.draining.get() && self.clients_open.get() == 0 {
            self.report(Report::Drained);
            self.shard.stop();
        }
    }

    pub(super) fn client_closed(&self) {
        self.clients_open.set(self.clients_open.get() - 1);
        self.finish_draining();
    }

    /// An accepting task has ended; what it accepted has been welcomed.
    pub(crate) fn acceptor_ended(&self) {
        self.acceptors_open.set(self.acceptors_open.get() - 1);
        if self.ending.get() && self.acceptors_open.get() == 0 {
            self.drain();
        }
    }
}

//! A client's connection, busy or idle, or one of its streams.
//!
//! Owns the socket and its counting; leaves what is said on it to the protocol. Invariant: a connection is counted as
//! open from its accept to its drop, and its streams are not, in the process's budget, the frontend's and its gauge.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_ring::PeerAddress;

use crate::budget::Budget;
use crate::http2::{Http2Stream, Protocols};
use crate::site::Entrance;
use crate::stream::{Stream, Tls};

/// A client's connection. Kept small: most of them are idle.
pub(crate) struct Client {
    pub(crate) socket: Stream,
    pub(crate) entrance: Rc<Entrance>,
    pub(crate) peer: PeerAddress,
    /// When it was accepted.
    pub(crate) accepted: Instant,
    /// Requests begun.
    pub(crate) requests: Cell<u32>,
    /// An empty line came after the last request.
    pub(crate) empty_line_seen: bool,
    /// Versions of HTTP that it may speak.
    pub(crate) protocols: Protocols,
    /// What it is counted in; none: it is a stream of a connection that is.
    process: Option<Arc<Budget>>,
    /// Bytes handed over for sending that have been counted.
    counted: Cell<u64>,
    /// Bytes that had left when the idle client was last looked at.
    seen_sent: Cell<u64>,
}

impl Client {
    /// A connection that has been accepted and taken from both budgets.
    pub(crate) fn new(
        socket: Stream,
        entrance: Rc<Entrance>,
        process: Arc<Budget>,
        accepted: Instant,
        protocols: Protocols,
    ) -> Client {
        let stats = &entrance.frontend().stats;
        stats.connections_total.increment();
        stats.connections_open.increment();
        Client {
            peer: socket.peer_address(),
            accepted,
            socket,
            entrance,
            requests: Cell::new(0),
            empty_line_seen: false,
            protocols,
            process: Some(process),
            counted: Cell::new(0),
            seen_sent: Cell::new(0),
        }
    }

    /// How long a client that has just come in may take before it has sent anything whole: a handshake or a head.
    pub(crate) fn first_patience(&self) -> Duration {
        let timeouts = self.entrance.frontend().timeouts;
        if self.socket.awaits_handshake() { timeouts.tls_handshake } else { timeouts.request_head }
    }

    /// A stream of the connection of `client`.
    pub(crate) fn of_stream(stream: Rc<Http2Stream>, client: &Client, opened: Instant) -> Client {
        Client {
            peer: client.peer,
            accepted: opened,
            socket: Stream::Http2(stream),
            entrance: client.entrance.clone(),
            requests: Cell::new(0),
            empty_line_seen: false,
            protocols: Protocols::Http1,
            process: None,
            counted: Cell::new(0),
            seen_sent: Cell::new(0),
        }
    }

    /// A request has begun.
    pub(crate) fn count_request(&self) {
        self.requests.set(self.requests.get().saturating_add(1));
    }

    /// Whether an idle client is still taking the end of its last response, and took some of it since the last call.
    pub(crate) fn is_still_taking(&self) -> bool {
        let sent = self.socket.sent_bytes();
        self.socket.queued_bytes() > 0 && self.seen_sent.replace(sent) != sent
    }

    /// Bytes handed over for sending since the last call.
    pub(crate) fn newly_sent(&self) -> u64 {
        let handed_over = self.socket.handed_over_bytes();
        // After a send error the queue is dropped: what had been counted stays counted.
        handed_over.saturating_sub(self.counted.replace(handed_over))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let Some(process) = &self.process else { return };
        let stats = &self.entrance.frontend().stats;
        stats.connections_open.decrement();
        if self.requests.get() == 0 {
            stats.connections_empty.increment();
        }
        if self.socket.tls().is_some_and(Tls::has_flooded) {
            stats.tls_floods.increment();
        }
        self.entrance.connections.give_back();
        process.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_costs_little() {
        assert!(size_of::<Client>() <= 112, "{}", size_of::<Client>());
    }
}

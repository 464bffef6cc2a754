//! Idle connections to one server, kept by one shard.
//!
//! Owns the sockets while nobody uses them; leaves noticing that one died to the worker, which is told by the ring.
//! Invariant: every socket in the list is parked under its token; the last one in is the first one out, so that the
//! spare ones age and go.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use tidegate_ring::{ParkToken, Socket};

struct Idle {
    token: ParkToken,
    socket: Socket,
    since: Instant,
}

/// The idle connections to one server, oldest first.
#[derive(Default)]
pub(crate) struct IdleList(RefCell<Vec<Idle>>);

impl IdleList {
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub(crate) fn push(&self, token: ParkToken, socket: Socket, since: Instant) {
        self.0.borrow_mut().push(Idle { token, socket, since });
    }

    /// Takes the connection used last; it is not parked any more.
    pub(crate) fn pop(&self) -> Option<(ParkToken, Socket)> {
        let idle = self.0.borrow_mut().pop()?;
        idle.socket.unpark();
        Some((idle.token, idle.socket))
    }

    /// Takes the connection with this token, on which something arrived.
    pub(crate) fn remove(&self, token: ParkToken) -> Option<Socket> {
        let mut list = self.0.borrow_mut();
        let at = list.iter().position(|idle| idle.token == token)?;
        Some(list.remove(at).socket)
    }

    /// Takes the oldest connection if it has been idle for longer than `limit`.
    pub(crate) fn pop_expired(&self, now: Instant, limit: Duration) -> Option<(ParkToken, Socket)> {
        let mut list = self.0.borrow_mut();
        let oldest = list.first()?;
        if now.saturating_duration_since(oldest.since) < limit {
            return None;
        }
        let idle = list.remove(0);
        Some((idle.token, idle.socket))
    }
}

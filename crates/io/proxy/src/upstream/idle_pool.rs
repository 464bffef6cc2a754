//! Idle connections to one server, kept by one shard.
//!
//! Owns the sockets while nobody uses them; leaves noticing that one died to the worker, which is told by the ring.
//! Invariant: every socket in the list is parked under its token; the last one in is the first one out, so that the
//! spare ones age and go.

use std::cell::RefCell;
use std::time::Instant;

use tidegate_ring::ParkToken;

use crate::settings::PoolSettings;
use crate::upstream::connect::Held;

struct Idle {
    token: ParkToken,
    held: Held,
    since: Instant,
}

/// The idle connections to one server, oldest first.
#[derive(Default)]
pub(crate) struct IdleList(RefCell<Vec<Idle>>);

impl IdleList {
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub(crate) fn push(&self, token: ParkToken, held: Held, since: Instant) {
        self.0.borrow_mut().push(Idle { token, held, since });
    }

    /// Takes the connection used last; it is not parked any more.
    pub(crate) fn pop(&self) -> Option<(ParkToken, Held)> {
        let idle = self.0.borrow_mut().pop()?;
        idle.held.socket.unpark();
        Some((idle.token, idle.held))
    }

    /// Takes the connection with this token, on which something arrived.
    pub(crate) fn remove(&self, token: ParkToken) -> Option<Held> {
        let mut list = self.0.borrow_mut();
        let at = list.iter().position(|idle| idle.token == token)?;
        Some(list.remove(at).held)
    }

    /// Takes a connection that has been idle for longer than the pool allows, or is too old.
    pub(crate) fn pop_expired(
        &self,
        now: Instant,
        pool: &PoolSettings,
    ) -> Option<(ParkToken, Held)> {
        let mut list = self.0.borrow_mut();
        let oldest = list.first()?;
        let at = if now.saturating_duration_since(oldest.since) >= pool.idle_timeout {
            0
        } else {
            pool.max_lifetime?;
            list.iter().position(|idle| !pool.may_carry_more(&idle.held, now))?
        };
        let idle = list.remove(at);
        Some((idle.token, idle.held))
    }
}

//! The idle connections of one shard to one server.
//!
//! Owns their order; leaves closing them to whoever takes them out. Invariant: the last one in is the first one out, so that the
//! spare ones age and go.

use std::cell::RefCell;
use std::time::Instant;

use crate::settings::{Kept, PoolSettings};

/// The idle connections to one server, oldest first.
#[derive(Debug)]
pub struct IdleList<C>(RefCell<Vec<(C, Instant)>>);

impl<C> Default for IdleList<C> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<C: Kept> IdleList<C> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps a connection that is idle since `since`.
    pub fn push(&self, connection: C, since: Instant) {
        self.0.borrow_mut().push((connection, since));
    }

    /// Takes the connection used last.
    pub fn pop(&self) -> Option<C> {
        self.0.borrow_mut().pop().map(|(connection, _)| connection)
    }

    /// Takes the connection that `is_it`.
    pub fn remove(&self, is_it: impl Fn(&C) -> bool) -> Option<C> {
        let mut list = self.0.borrow_mut();
        let at = list.iter().position(|(connection, _)| is_it(connection))?;
        Some(list.remove(at).0)
    }

    /// Takes a connection that has been idle for longer than the pool allows, or may carry no further request.
    pub fn pop_expired(&self, now: Instant, pool: &PoolSettings) -> Option<C> {
        let mut list = self.0.borrow_mut();
        let (_, since) = list.first()?;
        let at = if now.saturating_duration_since(*since) >= pool.idle_timeout {
            0
        } else {
            pool.max_lifetime?;
            list.iter().position(|(connection, _)| !pool.may_carry_more(connection, now))?
        };
        Some(list.remove(at).0)
    }
}

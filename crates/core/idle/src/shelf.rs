//! The idle connections to one server that any shard may take.
//!
//! Owns a bounded queue that all shards share; leaves making connections ready to change shards, and asking whether one still lives,
//! to the data plane. Invariant: no connection is on it twice, and one that leaves it is whose it is given to.

use std::time::Instant;

use crossbeam_queue::ArrayQueue;

use crate::settings::{Kept, PoolSettings};

/// Connections on one shelf: it serves servers that are used seldom, which need few. More stay with their shards. 3 KiB a server.
pub const SHELF_MAX: usize = 64;

/// What all shards have to spare of one server.
#[derive(Debug)]
pub struct Shelf<C>(ArrayQueue<(C, Instant)>);

impl<C> Default for Shelf<C> {
    fn default() -> Self {
        Self(ArrayQueue::new(SHELF_MAX))
    }
}

impl<C: Kept> Shelf<C> {
    /// How many there are, as of a moment ago.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none, as of a moment ago.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Leaves a connection to whoever needs one.
    ///
    /// # Errors
    /// The connection, when there is no room.
    pub fn offer(&self, connection: C, now: Instant) -> Result<(), C> {
        self.0.push((connection, now)).map_err(|(connection, _)| connection)
    }

    /// Takes the connection that has been here for longest. Whether it may still be used is for the caller to judge.
    #[must_use]
    pub fn take(&self) -> Option<C> {
        self.0.pop().map(|(connection, _)| connection)
    }

    /// Closes those that are too old or not alive; how many. Two shards that sweep at the same time, or one that takes meanwhile, find
    /// less, and lose nothing.
    pub fn sweep(&self, now: Instant, pool: &PoolSettings, is_alive: impl Fn(&C) -> bool) -> u64 {
        let mut closed = 0;
        for _ in 0..self.0.len() {
            let Some((connection, since)) = self.0.pop() else { break };
            let is_good = is_alive(&connection) && is_young(&connection, since, now, pool);
            // One that finds no room any more is surplus.
            let is_kept = is_good && self.0.push((connection, since)).is_ok();
            closed += u64::from(!is_kept);
        }
        closed
    }

    /// Closes all; how many.
    pub fn clear(&self) -> u64 {
        let mut closed = 0;
        while self.0.pop().is_some() {
            closed += 1;
        }
        closed
    }
}

fn is_young(connection: &impl Kept, since: Instant, now: Instant, pool: &PoolSettings) -> bool {
    now.saturating_duration_since(since) < pool.idle_timeout && pool.may_carry_more(connection, now)
}

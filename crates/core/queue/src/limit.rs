//! How many connections one server has, over all shards.
//!
//! Owns the count of slots taken, each shard's number of idle ones among them, and the server's own queue; leaves connections to
//! their shards. Invariant: slots are taken below the limit only, so their number exceeds it only after it was lowered.

use crate::cell::{Count, Flag, Padded};
use crate::line::Line;

/// The slots of a server whose connections are limited.
#[derive(Debug)]
pub struct Limit {
    max: Count,
    taken: Count,
    idle: Box<[Padded<Idle>]>,
    /// Those who wait for this server and no other.
    own: Line,
}

/// What one shard tells of its idle connections.
#[derive(Debug, Default)]
struct Idle {
    count: Count,
    /// It was asked for them and has not looked yet.
    recalled: Flag,
}

impl Limit {
    /// No slot is taken, at most `max` may be. At most `waiting_max` requests wait for this server alone.
    #[must_use]
    pub fn new(shards_count: usize, max: u32, waiting_max: u32) -> Limit {
        Limit {
            max: Count::new(max),
            taken: Count::new(0),
            idle: (0..shards_count).map(|_| Padded::default()).collect(),
            own: Line::new(shards_count, waiting_max),
        }
    }

    /// Changes the limit. Slots taken beyond it stay until they are given back; each shard has to [`muster`](crate::muster) then.
    pub fn set_max(&self, max: u32) {
        self.max.store(max);
    }

    /// The most slots that may be taken.
    #[must_use]
    pub fn max(&self) -> u32 {
        self.max.load()
    }

    /// Slots taken: connections in use, idle, being made, or on their way to another shard.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.taken.load()
    }

    /// Whether a slot can be taken at once.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.taken.load() < self.max.load()
    }

    /// The queue for this server alone.
    #[must_use]
    pub fn own(&self) -> &Line {
        &self.own
    }

    /// Whether anybody waits here or in `line`, as far as counted: who comes now has to wait behind them.
    #[must_use]
    pub fn is_waited_for(&self, line: &Line) -> bool {
        self.own.waiting() > 0 || line.waiting() > 0
    }

    /// Takes a slot if there is one.
    pub(crate) fn take(&self) -> bool {
        self.taken.raise_below(self.max.load())
    }

    /// Gives up a slot beyond the limit; `false` if it is not.
    pub(crate) fn give_up_surplus(&self) -> bool {
        self.taken.lower_above(self.max.load())
    }

    /// Whether more slots are taken than may be, since the limit was lowered.
    #[must_use]
    pub fn has_surplus(&self) -> bool {
        self.taken.load() > self.max.load()
    }

    /// Gives a slot back that this shard has no server for any more, and so no waiter.
    pub fn give_back(&self) {
        self.taken.lower();
    }

    /// Tells the others how many idle connections `shard` has. To be called by that shard alone, after each change.
    pub fn publish_idle(&self, shard: usize, count: usize) {
        if let Some(idle) = self.idle.get(shard) {
            idle.0.count.store(u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    /// The next shard from `from` on that has idle connections and has not been asked for them, which is noted.
    pub(crate) fn next_to_recall(&self, from: usize, except: usize) -> Option<usize> {
        let shards = (0..).zip(&self.idle).skip(from);
        let mut others = shards.filter(|(shard, _)| *shard != except);
        others
            .find(|(_, idle)| idle.0.count.load() > 0 && !idle.0.recalled.raise())
            .map(|(at, _)| at)
    }

    /// The shard looks for idle connections that it was asked for.
    pub(crate) fn note_recalled(&self, shard: usize) {
        if let Some(idle) = self.idle.get(shard) {
            idle.0.recalled.lower();
        }
    }
}

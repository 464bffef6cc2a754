//! Who waits on all shards, as far as the shards tell each other.
//!
//! Owns the tickets, the count of waiters with its limit, and each shard's best waiter; leaves the waiters themselves to
//! `waiting`, one for each shard. Invariant: a shard's word holds the key of its best waiter, or of nobody.

use crate::cell::{Count, Padded, Word};
use crate::key::Key;

/// The queue of a backend, or of one server, over all shards.
#[derive(Debug)]
pub struct Line {
    tickets: Word,
    waiting: Count,
    max: Count,
    bests: Box<[Padded<Word>]>,
}

/// As many wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Line {
    /// Nobody waits, and at most `waiting_max` may, on all of `shards_count` shards together.
    #[must_use]
    pub fn new(shards_count: usize, waiting_max: u32) -> Line {
        Line {
            tickets: Word::new(0),
            waiting: Count::new(0),
            max: Count::new(waiting_max),
            bests: (0..shards_count).map(|_| Padded(Word::new(Key::NOBODY.0))).collect(),
        }
    }

    /// Changes the limit; those who wait stay.
    pub fn set_max(&self, waiting_max: u32) {
        self.max.store(waiting_max);
    }

    /// Waiters of all shards.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.waiting.load()
    }

    /// Counts one more waiter, and says how many were there before.
    ///
    /// # Errors
    /// As many wait as may.
    pub fn enter(&self) -> Result<u32, Full> {
        let before = self.waiting.load();
        if self.waiting.raise_below(self.max.load()) { Ok(before) } else { Err(Full) }
    }

    /// One waiter fewer: it was served, or has left.
    pub fn leave(&self) {
        self.waiting.lower();
    }

    /// The place in the order of who begins to wait now.
    #[must_use]
    pub fn key(&self, priority: i16) -> Key {
        Key::new(priority, self.tickets.next())
    }

    /// Tells the others who is first on `shard`. To be called by that shard alone, after each change of its first.
    pub fn publish(&self, shard: usize, best: Option<Key>) {
        if let Some(word) = self.bests.get(shard) {
            word.0.store(best.unwrap_or(Key::NOBODY).0);
        }
    }

    /// The first of all shards, and the shard that it waits on.
    #[must_use]
    pub fn first(&self) -> Option<(Key, usize)> {
        let keys = (0..).zip(&self.bests).map(|(shard, word)| (Key(word.0.load()), shard));
        keys.min().filter(|(key, _)| *key != Key::NOBODY)
    }
}

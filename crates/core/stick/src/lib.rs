//! A table of clients and the servers that they stay with, for all shards, without I/O.
//!
//! Owns the entries and their eviction ([`Table`]), the numbers by which entries name servers ([`Roster`]), and one
//! configuration's view of both ([`Pins`]). Leaves to others: what a client is known by, whether its server still takes it,
//! the hash of keys, and the time.
//!
//! Invariant: whatever shards do at once, what is found for a key was stored for that key; nothing here locks, waits for another
//! thread, or allocates once a table is made.
//!
//! ```
//! use std::hash::RandomState;
//! use std::time::{Duration, Instant};
//! use tidegate_stick::{Keeper, Kind};
//!
//! let now = Instant::now();
//! let mut keeper = Keeper::new(1000, now, RandomState::new());
//! let pins = keeper.follow(1000, Duration::from_secs(60), ["a", "b"], now);
//! let mark = pins.mark(Kind::Text, b"session 7");
//! assert_eq!(pins.find(mark, now), None);
//! pins.store(mark, 1, now);
//! assert_eq!(pins.find(mark, now), Some(1));
//! ```

mod cell;
mod entry;
mod pins;
mod roster;
mod table;

#[cfg(test)]
mod tests;

pub use pins::{Keeper, Pins};
pub use roster::{NUMBERS_MAX, Roster};
pub use table::{Kind, Mark, Number, Stored, Table, WAYS};

//! Idle server connections, without I/O: which one is used next, which are too old, and which go to other shards.
//!
//! Owns the list of one shard ([`IdleList`]), what its shards have to spare of one server ([`Shelf`]), and the decision between the
//! two ([`Pace`]). Leaves sockets, and noticing that one has died, to the data plane; connections of servers with a limit, which
//! travel with their slot, to `tidegate-queue`. Invariant: nothing here locks or blocks, and nothing allocates once it has grown.

mod list;
mod pace;
mod settings;
mod shelf;

pub use list::IdleList;
pub use pace::Pace;
pub use settings::{Kept, PoolSettings};
pub use shelf::{SHELF_MAX, Shelf};

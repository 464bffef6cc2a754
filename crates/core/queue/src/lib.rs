//! Slots of servers and the requests that wait for them, over all shards, without I/O.
//!
//! Owns how many connections a server with a limit has ([`Limit`]), the order in which requests of all shards wait ([`Line`],
//! [`Waiting`]), and the way of a slot from who had it to who has waited longest ([`acquire`], [`settle`], [`keep`], [`muster`]). Leaves to
//! others what a connection is, how a shard is woken ([`Hub`] is given a bell for each), deadlines, and which server is asked for.
//!
//! A shard keeps its own waiters, and publishes the best of them in a word that only it writes. Who has a slot to give looks at
//! the words of all shards and gives it to the best one's shard, by a parcel in that shard's inbox. Whoever begins to wait first
//! publishes, then looks for slots; whoever frees a slot first frees it, then looks for waiters: one of the two sees the other
//! (Dekker's argument, all accesses sequentially consistent).
//!
//! Invariant: no more slots are taken than the limit allows, no slot stays free while somebody waits for it, and nothing here
//! locks, blocks, or allocates once it has grown.

mod cell;
mod hub;
mod key;
mod limit;
mod line;
mod transfer;
mod waiting;

#[cfg(test)]
mod tests;

pub use hub::{Hub, INBOX_MAX, Parcel};
pub use key::Key;
pub use limit::Limit;
pub use line::{Full, Line};
pub use transfer::{Desk, Found, Place, acquire, keep, muster, recall, settle};
pub use waiting::{Outcome, WaiterId, Waiting};

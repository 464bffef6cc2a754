//! Owns the tables that make the cost of a lookup independent of how much is in them.
//!
//! Leaves what the values mean to the matcher, the index of rules, lists and maps. Invariant: they are
//! built once and looked up without allocation.

mod bytes;
mod ranges;
mod trie;

pub(crate) use bytes::ByteTable;
pub use ranges::Network;
pub(crate) use ranges::{NetworkError, RangeTable};
pub(crate) use trie::{End, Trie};

//! What requests are spread by, and clients known by.
//!
//! Owns the comparison of two such keys; leaves their meaning to `tidegate-routing`. Invariant: the key is what the text
//! says.

use std::time::Duration;

use tidegate_routing::BalanceKey;

/// A table of clients and their servers.
#[derive(Clone, Debug, PartialEq)]
pub struct Stick {
    /// What a client is known by in its requests.
    pub on: HashKey,
    /// What it will be known by, in responses; `None`: the keys of requests make the entries.
    pub learn: Option<HashKey>,
    /// The most entries, which are rounded up to whole sets.
    pub entries_max: usize,
    /// An entry that was not used for so long is forgotten. In whole seconds.
    pub expire: Duration,
}

/// The key of a hash, or of a table.
#[derive(Clone, Debug)]
pub struct HashKey {
    /// Its expression, as it would stand in `key`.
    pub expression: String,
    /// Segments of the path that count; `None`: all of the expression's text.
    pub depth: Option<u16>,
    /// Makes the key of requests.
    pub key: BalanceKey,
}

impl PartialEq for HashKey {
    fn eq(&self, other: &Self) -> bool {
        self.expression == other.expression && self.depth == other.depth
    }
}

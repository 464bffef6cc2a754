//! What requests are spread by.
//!
//! Owns the comparison of two such keys; leaves their meaning to `tidegate-routing`. Invariant: the key is what the text
//! says.

use tidegate_routing::BalanceKey;

/// The key of a hash.
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

//! The place of a waiter in the order of all shards.
//!
//! Owns the packing of priority and ticket into one word. Invariant: a smaller key goes first, and none equals the word that
//! stands for nobody.

/// Priority, then arrival, in one word that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub(crate) u64);

/// Bits of a ticket: at 10 million waits a second they last ten months, after which the order of two waiters may be wrong
/// once.
const TICKET_BITS: u32 = 48;

impl Key {
    /// Behind everybody: stands for nobody.
    pub(crate) const NOBODY: Key = Key(u64::MAX);

    /// A lower `priority` goes first; among equals the lower ticket.
    #[must_use]
    pub fn new(priority: i16, ticket: u64) -> Key {
        // The order of signed numbers as that of unsigned ones.
        let class = u64::from(priority.cast_unsigned() ^ 0x8000);
        let ticket = ticket & ((1 << TICKET_BITS) - 1);
        Key((class << TICKET_BITS | ticket).min(u64::MAX - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_priority_goes_first_then_who_came_first() {
        let keys = [
            Key::new(i16::MIN, 9),
            Key::new(-1, 0),
            Key::new(-1, 1),
            Key::new(0, 0),
            Key::new(0, (1 << 48) - 1),
            Key::new(1, 0),
            Key::new(i16::MAX, u64::MAX),
        ];
        assert!(keys.is_sorted_by(|one, other| one < other));
        assert!(keys.iter().all(|key| *key < Key::NOBODY));
    }
}

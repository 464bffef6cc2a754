//! What one place of the table says besides its mark, in one word.
//!
//! Owns the packing: the second in which it ends, the server's number, and how often the place has got another tenant. Invariant:
//! two states of a place with one tenancy are of one mark, as long as nobody is stopped between two reads while the place gets
//! 65,536 other tenants.

use crate::table::Number;

/// The state of a place. All zero: nothing was ever there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State(pub(crate) u64);

/// A second of the table's time; 0 ended before it began.
pub(crate) type Second = u32;

/// Stands for a place whose next tenant is being written.
const BUSY: Second = Second::MAX;

/// The last second that an entry can end in: 136 years after the table was made.
pub(crate) const SECOND_MAX: Second = BUSY - 1;

impl State {
    fn new(end: Second, server: u16, tenancy: u16) -> State {
        State(u64::from(end) << 32 | u64::from(server) << 16 | u64::from(tenancy))
    }

    pub(crate) const fn end(self) -> Second {
        (self.0 >> 32) as Second
    }

    #[expect(clippy::cast_possible_truncation, reason = "16 bits of the word")]
    pub(crate) const fn server(self) -> Number {
        Number((self.0 >> 16) as u16)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lowest 16 bits of the word")]
    const fn tenancy(self) -> u16 {
        self.0 as u16
    }

    pub(crate) const fn is_busy(self) -> bool {
        self.end() == BUSY
    }

    #[inline]
    pub(crate) const fn lives(self, now: Second) -> bool {
        self.end() > now && !self.is_busy()
    }

    /// Whether nobody has moved in between the two.
    #[inline]
    pub(crate) const fn is_tenancy_of(self, other: State) -> bool {
        self.tenancy() == other.tenancy()
    }

    /// While the mark of the next tenant is written.
    pub(crate) fn claimed(self) -> State {
        State::new(BUSY, 0, self.tenancy().wrapping_add(1))
    }

    /// The tenant stays, with this server until that second.
    #[inline]
    pub(crate) fn with(self, server: Number, end: Second) -> State {
        State::new(end, server.0, self.tenancy())
    }

    /// The tenant is gone.
    pub(crate) fn vacated(self) -> State {
        State::new(0, 0, self.tenancy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_says_what_was_put_into_it() {
        let state = State(0).claimed();
        assert!(state.is_busy() && !state.lives(0) && !state.is_tenancy_of(State(0)));
        let state = state.with(Number(65_535), SECOND_MAX);
        assert_eq!(
            (state.server(), state.end(), state.is_busy()),
            (Number(65_535), SECOND_MAX, false)
        );
        assert!(state.lives(SECOND_MAX - 1) && !state.lives(SECOND_MAX));
        assert!(state.vacated().is_tenancy_of(state) && !state.vacated().lives(0));
        assert!(State(0xffff).claimed().is_tenancy_of(State(0)), "tenancies begin again");
    }
}

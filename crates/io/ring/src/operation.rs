//! What a completion belongs to: the packing of an operation's kind and slot into the 64-bit user data.
//!
//! Owns the encoding; the slots themselves live in `slots` and `core`. Invariant: `unpack(pack(x)) == x`.

/// The operation a completion answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nobody waits for it: cancels and closes, whose success posts no completion.
    Detached,
    /// A receive (multishot or single) into a provided buffer.
    Recv,
    /// A send; the slot's transmit state owns the bytes.
    Send,
    /// A connect; the slot's address box is owned by the core.
    Connect,
    /// An accept (multishot or single) on a listener's slot.
    Accept,
    /// A wait for a connection in a listener's queue.
    Readable,
    /// The wait for a wake-up from another thread.
    Wakeup,
    /// A wait for the peer's disappearance, on a socket that is not received from.
    Hangup,
    /// A receive of the ring's own, for the buffer that it takes from the kernel.
    Recall,
    /// A wait until a socket has something to be taken.
    Incoming,
    /// A wait until a socket has room for what is to be sent.
    Outgoing,
}

const KINDS: [Kind; 11] = [
    Kind::Detached,
    Kind::Recv,
    Kind::Send,
    Kind::Connect,
    Kind::Accept,
    Kind::Readable,
    Kind::Wakeup,
    Kind::Hangup,
    Kind::Recall,
    Kind::Incoming,
    Kind::Outgoing,
];

/// Packs `kind` and the slot's index and generation: `kind:8 | generation:24 | index:32`.
#[inline]
pub(crate) fn pack(kind: Kind, index: u32, generation: u32) -> u64 {
    (kind as u64) << 56 | u64::from(generation & GENERATION_MASK) << 32 | u64::from(index)
}

/// The bits of a generation that travel through the kernel.
pub(crate) const GENERATION_MASK: u32 = 0x00ff_ffff;

/// Undoes [`pack`]; an unknown kind can only be memory corruption and reads as `Detached`.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the fields were packed from these widths")]
pub(crate) fn unpack(user_data: u64) -> (Kind, u32, u32) {
    let kind = KINDS.get((user_data >> 56) as usize).copied().unwrap_or(Kind::Detached);
    (kind, user_data as u32, (user_data >> 32) as u32 & GENERATION_MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_kind_index_and_generation() {
        for kind in KINDS {
            for (index, generation) in [(0, 0), (1, 7), (u32::MAX, GENERATION_MASK)] {
                assert_eq!(unpack(pack(kind, index, generation)), (kind, index, generation));
            }
        }
    }
}

//! The table of sockets and listeners: one small slot each, with what has arrived and who waits.
//!
//! Owns the slots and the queues of arrived completions; leaves submitting to `core`. Invariant: a slot is reused
//! only when none of its operations is in flight, so a completion always finds the slot it was made for.

use std::task::Waker;

use crate::prefetch::{prefetch, prefetch_address};
use crate::send::Transmit;

/// Completions queued on one socket before receiving pauses: what one connection may hold of the shared buffers, beyond
/// what the kernel delivers in the burst that crosses it.
pub const RECV_QUEUE_MAX: u16 = 4;

/// Slots a chunk holds: the table grows by chunks, so that growing moves nothing and wastes little.
const CHUNK: usize = 256;

/// "No entry" in the index-linked lists.
const NONE: u32 = u32::MAX;

/// Facts about a slot, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    /// A receive or accept is in flight.
    pub(crate) const ARMED: Flags = Flags(1);
    /// Its cancel has been submitted.
    pub(crate) const CANCELLING: Flags = Flags(1 << 1);
    /// Receive one buffer at a time, on demand.
    pub(crate) const ON_DEMAND: Flags = Flags(1 << 2);
    /// The peer has closed its side.
    pub(crate) const EOF: Flags = Flags(1 << 3);
    /// The receive ended for lack of buffers and waits in the core's list.
    pub(crate) const STARVED: Flags = Flags(1 << 4);
    /// A send is in flight.
    pub(crate) const SENDING: Flags = Flags(1 << 5);
    /// A connect is in flight.
    pub(crate) const CONNECTING: Flags = Flags(1 << 6);
    /// The handle is gone; the slot waits for its last completion.
    pub(crate) const RELEASED: Flags = Flags(1 << 7);

    /// What is armed is a wait for a connection, not an accept; or a wait for bytes, not a receive; or a splice takes what
    /// arrives, and no receive may be armed.
    pub(crate) const POLLING: Flags = Flags(1 << 8);
    /// A connection was in the listen queue.
    pub(crate) const READABLE: Flags = Flags(1 << 9);
    /// Once what is armed has ended, one connection is to be accepted.
    pub(crate) const NEXT_ONE: Flags = Flags(1 << 10);
    /// Once what is armed has ended, connections are to be accepted.
    pub(crate) const NEXT_MANY: Flags = Flags(1 << 11);

    /// The peer has closed its side, and bytes from before that may wait in the kernel.
    pub(crate) const HALF_CLOSED: Flags = Flags(1 << 12);
    /// The peer has disappeared.
    pub(crate) const GONE: Flags = Flags(1 << 13);
    /// A wait for the peer's disappearance is in flight.
    pub(crate) const WATCHED: Flags = Flags(1 << 14);
    /// What is sent is the last before the connection's end.
    pub(crate) const LAST: Flags = Flags(1 << 15);

    #[inline]
    pub(crate) fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }

    #[inline]
    pub(crate) fn set(&mut self, flag: Flags) {
        self.0 |= flag.0;
    }

    #[inline]
    pub(crate) fn clear(&mut self, flag: Flags) {
        self.0 &= !flag.0;
    }

    /// Whether the kernel still holds a usual operation of this slot.
    #[inline]
    fn in_flight(self) -> bool {
        self.0 & (Flags::ARMED.0 | Flags::SENDING.0 | Flags::CONNECTING.0 | Flags::WATCHED.0) != 0
    }
}

/// What splices have to do with a slot, and the waits that a socket in non-blocking mode needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Splicing {
    /// A splice takes what arrives; the slot is armed and polling meanwhile.
    pub(crate) source: bool,
    /// A splice sends; nothing may be queued meanwhile.
    pub(crate) sink: bool,
    /// A wait for bytes is in flight.
    pub(crate) awaits_incoming: bool,
    /// A wait for room is in flight.
    pub(crate) awaits_outgoing: bool,
    /// What is called a send in flight begins only when there is room.
    pub(crate) send_due: bool,
}

/// One socket or listener. What a request touches stands in the first cache line.
#[repr(C, align(64))]
pub(crate) struct Slot {
    pub(crate) fd: i32,
    pub(crate) generation: u32,
    pub(crate) flags: Flags,
    /// Completions queued.
    pub(crate) queued: u16,
    /// First and last queued completion.
    front: u32,
    back: u32,
    /// The owner's token while parked, [`Slot::TOKEN_DUE`] until it is taken, [`Slot::NOT_PARKED`] otherwise.
    pub(crate) parked: u32,
    pub(crate) transmit: Option<Box<Transmit>>,
    pub(crate) recv_waker: Option<Waker>,
    /// Bytes the kernel has taken since the socket was made.
    pub(crate) sent_bytes: u64,
    /// The `errno` that ended receiving, accepting or connecting; 0 for none.
    pub(crate) recv_errno: i32,
    /// The `errno` that ended sending; 0 for none.
    pub(crate) send_errno: i32,
    pub(crate) send_waker: Option<Waker>,
    pub(crate) splicing: Splicing,
}

impl Slot {
    pub(crate) const NOT_PARKED: u32 = NONE;
    /// Something arrived and the token waits to be taken.
    pub(crate) const TOKEN_DUE: u32 = NONE - 1;

    #[inline]
    pub(crate) fn is_parked(&self) -> bool {
        self.parked < Slot::TOKEN_DUE
    }

    /// Whether the kernel still holds an operation of this slot.
    #[inline]
    pub(crate) fn in_flight(&self) -> bool {
        self.flags.in_flight() || self.splicing.awaits_incoming || self.splicing.awaits_outgoing
    }

    fn vacant() -> Slot {
        Slot {
            fd: -1,
            generation: 0,
            flags: Flags::default(),
            queued: 0,
            recv_errno: 0,
            send_errno: 0,
            front: NONE,
            back: NONE,
            parked: NONE,
            sent_bytes: 0,
            transmit: None,
            recv_waker: None,
            send_waker: None,
            splicing: Splicing::default(),
        }
    }
}

/// A completion that arrived and was not yet asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrived {
    /// Received bytes in a shared buffer: its id and their length.
    Buffer { id: u16, len: u32 },
    /// Received bytes copied out of a shared buffer because few were left.
    Copied(Box<[u8]>),
    /// An accepted descriptor.
    Descriptor(i32),
}

struct Node {
    arrived: Arrived,
    next: u32,
}

/// All slots and the queued completions of all of them.
pub(crate) struct Slots {
    chunks: Vec<Box<[Slot]>>,
    free: Vec<u32>,
    used: u32,
    nodes: Vec<Node>,
    nodes_free: u32,
}

impl Slots {
    pub(crate) fn new() -> Slots {
        Slots { chunks: Vec::new(), free: Vec::new(), used: 0, nodes: Vec::new(), nodes_free: NONE }
    }

    /// Slots in use, released ones that wait for a completion included.
    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "slots are bounded by descriptors, far below u32::MAX"
    )]
    pub(crate) fn insert(&mut self, fd: i32) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            let first = (self.chunks.len() * CHUNK) as u32;
            self.chunks.push((0..CHUNK).map(|_| Slot::vacant()).collect());
            self.free.extend((first + 1..first + CHUNK as u32).rev());
            first
        });
        self.used += 1;
        self.get_mut(index).fd = fd;
        index
    }

    /// Makes the slot free for reuse. Nothing of it may be in flight or queued.
    pub(crate) fn remove(&mut self, index: u32) {
        let slot = self.get_mut(index);
        assert!(!slot.in_flight(), "a slot was freed with an operation in flight");
        debug_assert!(slot.queued == 0 && slot.transmit.is_none());
        let generation = slot.generation.wrapping_add(1);
        *slot = Slot { generation, ..Slot::vacant() };
        self.used -= 1;
        self.free.push(index);
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> &Slot {
        &self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    /// A hint that the slot is needed soon; nothing for one that does not exist.
    #[inline]
    pub(crate) fn prefetch(&self, index: u32) {
        if let Some(chunk) = self.chunks.get(index as usize / CHUNK) {
            prefetch(&chunk[index as usize % CHUNK], 1);
        }
    }

    /// A hint that who waits for the slot to receive is woken soon.
    #[inline]
    pub(crate) fn prefetch_waiter(&self, index: u32) {
        let chunk = self.chunks.get(index as usize / CHUNK);
        if let Some(waker) =
            chunk.and_then(|chunk| chunk[index as usize % CHUNK].recv_waker.as_ref())
        {
            prefetch_address(waker.data());
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> &mut Slot {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "nodes are bounded by buffers and descriptors"
    )]
    pub(crate) fn push_arrived(&mut self, index: u32, arrived: Arrived) {
        let node = Node { arrived, next: NONE };
        let at = if self.nodes_free == NONE {
            self.nodes.push(node);
            (self.nodes.len() - 1) as u32
        } else {
            let at = self.nodes_free;
            self.nodes_free = self.nodes[at as usize].next;
            self.nodes[at as usize] = node;
            at
        };
        let slot = self.get_mut(index);
        let back = std::mem::replace(&mut slot.back, at);
        slot.queued += 1;
        if back == NONE {
            slot.front = at;
        } else {
            self.nodes[back as usize].next = at;
        }
    }

    pub(crate) fn pop_arrived(&mut self, index: u32) -> Option<Arrived> {
        let slot = self.get_mut(index);
        let at = slot.front;
        if at == NONE {
            return None;
        }
        slot.queued -= 1;
        let node = &mut self.nodes[at as usize];
        let arrived = std::mem::replace(&mut node.arrived, Arrived::Descriptor(-1));
        let next = node.next;
        node.next = self.nodes_free;
        self.nodes_free = at;
        let slot = self.get_mut(index);
        slot.front = next;
        if next == NONE {
            slot.back = NONE;
        }
        Some(arrived)
    }

    /// The descriptors still open, for the end of the ring.
    pub(crate) fn open_descriptors(&self) -> impl Iterator<Item = i32> {
        self.chunks.iter().flatten().map(|slot| slot.fd).filter(|fd| *fd >= 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_leave_in_order_per_slot_and_their_nodes_are_reused() {
        let mut slots = Slots::new();
        let (a, b) = (slots.insert(3), slots.insert(4));
        for round in 0..3 {
            for value in 0..4 {
                slots.push_arrived(a, Arrived::Descriptor(value));
                slots.push_arrived(b, Arrived::Descriptor(-value));
            }
            for value in 0..4 {
                assert_eq!(
                    slots.pop_arrived(b),
                    Some(Arrived::Descriptor(-value)),
                    "round {round}"
                );
                assert_eq!(slots.pop_arrived(a), Some(Arrived::Descriptor(value)), "round {round}");
            }
            assert_eq!(slots.pop_arrived(a), None);
            assert_eq!(slots.nodes.len(), 8);
        }
    }

    #[test]
    fn a_reused_slot_has_a_new_generation_and_no_memory_of_the_old_one() {
        let mut slots = Slots::new();
        let a = slots.insert(3);
        slots.get_mut(a).flags.set(Flags::EOF);
        slots.get_mut(a).sent_bytes = 9;
        let before = slots.get(a).generation;
        slots.remove(a);
        let again = slots.insert(5);
        assert_eq!(again, a);
        let slot = slots.get(again);
        assert_eq!(
            (slot.generation, slot.flags, slot.sent_bytes, slot.fd),
            (before + 1, Flags::default(), 0, 5)
        );
    }

    #[test]
    fn a_slot_is_small_enough_for_the_promise_on_idle_connections() {
        assert!(size_of::<Slot>() <= 128, "{}", size_of::<Slot>());
    }
}

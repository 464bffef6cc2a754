//! Watching a socket that is not received from for its peer's disappearance.
//!
//! Owns that wait; leaves the end that a receive sees to its parent. Invariant: a half-close is not a disappearance.

use io_uring::{opcode, types};

use super::Core;
use crate::operation::Kind;
use crate::slots::Flags;

/// `POLLERR | POLLHUP` of `poll(2)`.
const DISAPPEARED: i32 = 0x18;

impl Core {
    /// Waits for the peer to disappear (a reset, or both directions closed), without receiving.
    pub(crate) fn watch(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        let known = slot.flags.has(Flags::WATCHED) || slot.flags.has(Flags::HALF_CLOSED);
        if known || slot.flags.has(Flags::CONNECTING) {
            return;
        }
        slot.flags.set(Flags::WATCHED);
        // Errors and hang-ups are reported whatever is asked for.
        let entry = opcode::PollAdd::new(types::Fd(slot.fd), 0).build();
        self.push_for(Kind::Hangup, index, entry);
    }

    pub(super) fn hangup_completed(&mut self, index: u32, result: i32) {
        let slot = self.slots.get_mut(index);
        slot.flags.clear(Flags::WATCHED);
        if slot.flags.has(Flags::RELEASED) {
            return;
        }
        if result > 0 && result & DISAPPEARED != 0 {
            slot.flags.set(Flags::GONE);
            self.notify_recv(index);
        } else if result > 0 {
            // The kernel reports a half-close too, and would again at once: what was sent before it is still to be taken.
            slot.flags.set(Flags::HALF_CLOSED);
        }
    }
}

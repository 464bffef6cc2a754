//! Accepting: what is armed on a listener and what its completions mean.
//!
//! Owns the listeners' half of the core; leaves slots and submission to its parent. Invariant: an accepted descriptor is
//! queued on its listener or closed.

use io_uring::{opcode, types};

use super::{Core, READABLE};
use crate::operation::{Kind, pack};
use crate::slots::{Arrived, Flags};

/// How an operation that takes connections or bytes is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shots {
    One,
    Many,
}

impl Core {
    /// Accepts unless an accept is in flight already; after a stop or a wait, once that has ended.
    pub(crate) fn accept(&mut self, index: u32, shots: Shots) {
        let slot = self.slots.get_mut(index);
        if !slot.flags.has(Flags::ARMED) {
            self.arm_accept(index, shots);
        } else if slot.flags.has(Flags::CANCELLING) || slot.flags.has(Flags::POLLING) {
            slot.flags.set(match shots {
                Shots::One => Flags::NEXT_ONE,
                Shots::Many => Flags::NEXT_MANY,
            });
            self.cancel_accept(index);
        }
    }

    /// Ends accepting, and what was to follow the end of an earlier accept.
    pub(crate) fn stop_accepting(&mut self, index: u32) {
        self.take_next(index);
        self.cancel_accept(index);
    }

    /// What was asked for while something else was in flight.
    fn take_next(&mut self, index: u32) -> Option<Shots> {
        let flags = &mut self.slots.get_mut(index).flags;
        let next = match (flags.has(Flags::NEXT_MANY), flags.has(Flags::NEXT_ONE)) {
            (true, _) => Some(Shots::Many),
            (false, true) => Some(Shots::One),
            (false, false) => None,
        };
        flags.clear(Flags::NEXT_MANY);
        flags.clear(Flags::NEXT_ONE);
        next
    }

    /// Begins what was asked for meanwhile, if what was in flight has ended without an error.
    fn accept_next(&mut self, index: u32) {
        let slot = self.slots.get(index);
        if slot.flags.has(Flags::ARMED) || slot.flags.has(Flags::RELEASED) {
            return;
        }
        let failed = slot.recv_errno != 0;
        if let Some(shots) = self.take_next(index).filter(|_| !failed) {
            self.arm_accept(index, shots);
        }
    }

    fn arm_accept(&mut self, index: u32, shots: Shots) {
        let slot = self.slots.get_mut(index);
        debug_assert!(!slot.flags.has(Flags::ARMED) && !slot.flags.has(Flags::RELEASED));
        slot.flags.set(Flags::ARMED);
        let fd = types::Fd(slot.fd);
        let flags = libc::SOCK_CLOEXEC;
        let entry = match shots {
            Shots::Many => opcode::AcceptMulti::new(fd).flags(flags).build(),
            Shots::One => opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut())
                .flags(flags)
                .build(),
        };
        self.push_for(Kind::Accept, index, entry);
    }

    /// Waits until a connection is in the listen queue, without taking it.
    pub(crate) fn arm_readable(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        debug_assert!(!slot.flags.has(Flags::ARMED) && !slot.flags.has(Flags::RELEASED));
        slot.flags.set(Flags::ARMED);
        slot.flags.set(Flags::POLLING);
        let entry = opcode::PollAdd::new(types::Fd(slot.fd), READABLE).build();
        self.push_for(Kind::Readable, index, entry);
    }

    pub(super) fn readable_completed(&mut self, index: u32, result: i32) {
        let slot = self.slots.get_mut(index);
        slot.flags.clear(Flags::ARMED);
        slot.flags.clear(Flags::CANCELLING);
        slot.flags.clear(Flags::POLLING);
        if result >= 0 {
            slot.flags.set(Flags::READABLE);
        } else if result != -libc::ECANCELED {
            slot.recv_errno = -result;
        }
        self.accept_next(index);
        self.notify_recv(index);
    }

    /// Asks the kernel to end the accept in flight; connections accepted before that still arrive.
    pub(crate) fn cancel_accept(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        if slot.flags.has(Flags::ARMED) && !slot.flags.has(Flags::CANCELLING) {
            slot.flags.set(Flags::CANCELLING);
            let kind = if slot.flags.has(Flags::POLLING) { Kind::Readable } else { Kind::Accept };
            let target = pack(kind, index, slot.generation);
            self.push_detached(opcode::AsyncCancel::new(target).build());
        }
    }

    pub(super) fn accept_completed(&mut self, index: u32, result: i32, more: bool) {
        let slot = self.slots.get_mut(index);
        if !more {
            slot.flags.clear(Flags::ARMED);
            slot.flags.clear(Flags::CANCELLING);
        }
        if result >= 0 && slot.flags.has(Flags::RELEASED) {
            self.push_detached(opcode::Close::new(types::Fd(result)).build());
            return;
        }
        if result >= 0 {
            self.slots.push_arrived(index, Arrived::Descriptor(result));
        } else if result != -libc::ECANCELED {
            slot.recv_errno = -result;
        }
        self.accept_next(index);
        self.notify_recv(index);
    }
}

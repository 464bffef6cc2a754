//! What splices change about their two sockets: who may receive and send, and the mode that keeps system calls from waiting.
//!
//! Owns claims, the mode and the waits for readiness; leaves moving bytes to `splice`. Invariant: a socket is in non-blocking
//! mode exactly while a splice uses it. Receives and sends that the ring starts then do not wait in the kernel, so each is
//! preceded by a wait for readiness once it said so.

use std::os::fd::BorrowedFd;

use io_uring::{opcode, types};

use super::Core;
use crate::operation::Kind;
use crate::slots::{Flags, Slot};

/// `POLLIN | POLLRDHUP` of `poll(2)`.
const INCOMING: u32 = 0x2001;

/// `POLLOUT` of `poll(2)`.
const OUTGOING: u32 = 4;

impl Core {
    /// Claims both sockets for a splice. Refused while bytes could overtake others: when something has arrived or a receive is
    /// in flight; and when one of them is claimed in the same direction already, not connected, or broken.
    pub(crate) fn begin_splice(&mut self, from: u32, to: u32) -> bool {
        let (source, sink) = (self.slots.get(from), self.slots.get(to));
        let held_up = [Flags::ARMED, Flags::STARVED, Flags::EOF, Flags::CONNECTING];
        let source_idle = !held_up.into_iter().any(|flag| source.flags.has(flag))
            && source.queued == 0
            && source.recv_errno == 0;
        let sink_usable = !sink.flags.has(Flags::CONNECTING)
            && !sink.splicing.sink
            && sink.send_errno == 0
            && from != to;
        if !source_idle || !sink_usable || !self.set_nonblocking(from, true) {
            return false;
        }
        let source = self.slots.get_mut(from);
        source.splicing.source = true;
        source.flags.set(Flags::ARMED);
        source.flags.set(Flags::POLLING);
        if !self.set_nonblocking(to, true) {
            self.end_source(from);
            return false;
        }
        self.slots.get_mut(to).splicing.sink = true;
        true
    }

    /// Gives both sockets back to receives and sends.
    pub(crate) fn end_splice(&mut self, from: u32, to: u32) {
        self.end_source(from);
        self.slots.get_mut(to).splicing.sink = false;
        self.set_nonblocking(to, false);
    }

    fn end_source(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        slot.splicing.source = false;
        if !slot.splicing.awaits_incoming {
            slot.flags.clear(Flags::ARMED);
            slot.flags.clear(Flags::POLLING);
        }
        self.set_nonblocking(index, false);
    }

    /// Sets the mode, unless a splice uses the socket in the other direction. `false` when the kernel refuses.
    fn set_nonblocking(&self, index: u32, nonblocking: bool) -> bool {
        let slot = self.slots.get(index);
        if slot.splicing.source || slot.splicing.sink {
            return true;
        }
        // The mode belongs to the socket and not to a call: `splice(2)` and a stream's own part of it look at nothing else.
        rustix::io::ioctl_fionbio(descriptor(slot), nonblocking).is_ok()
    }

    /// Waits until there is something to be taken, an end or an error included, in place of a receive.
    pub(crate) fn await_incoming(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        debug_assert!(!slot.splicing.awaits_incoming && !slot.flags.has(Flags::RELEASED));
        slot.splicing.awaits_incoming = true;
        slot.flags.set(Flags::ARMED);
        slot.flags.set(Flags::POLLING);
        let entry = opcode::PollAdd::new(types::Fd(slot.fd), INCOMING).build();
        self.push_for(Kind::Incoming, index, entry);
    }

    /// Waits until there is room to send, or an error, unless that is being waited for.
    pub(crate) fn await_outgoing(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        if !std::mem::replace(&mut slot.splicing.awaits_outgoing, true) {
            let entry = opcode::PollAdd::new(types::Fd(slot.fd), OUTGOING).build();
            self.push_for(Kind::Outgoing, index, entry);
        }
    }

    pub(super) fn incoming_completed(&mut self, index: u32, result: i32) {
        let slot = self.slots.get_mut(index);
        slot.splicing.awaits_incoming = false;
        slot.flags.clear(Flags::CANCELLING);
        if !slot.splicing.source {
            slot.flags.clear(Flags::ARMED);
            slot.flags.clear(Flags::POLLING);
        }
        if slot.flags.has(Flags::RELEASED) {
            return;
        }
        if result < 0 && result != -libc::ECANCELED {
            slot.recv_errno = -result;
        }
        if slot.is_parked() && slot.recv_errno == 0 {
            self.arm_recv(index);
        } else {
            self.notify_recv(index);
        }
    }

    pub(super) fn outgoing_completed(&mut self, index: u32, result: i32) {
        let slot = self.slots.get_mut(index);
        slot.splicing.awaits_outgoing = false;
        let send_due = std::mem::take(&mut slot.splicing.send_due);
        if send_due {
            slot.flags.clear(Flags::SENDING);
        }
        if slot.flags.has(Flags::RELEASED) {
            return;
        }
        if result < 0 && result != -libc::ECANCELED {
            self.send_failed(index, -result);
        } else if send_due {
            self.flush(index);
        }
        if let Some(waker) = &self.slots.get(index).send_waker {
            waker.wake_by_ref();
        }
    }

    /// Makes `errno` the answer to all that is sent from here on; what is queued is lost. No send may be in flight.
    pub(crate) fn send_failed(&mut self, index: u32, errno: i32) {
        let slot = self.slots.get_mut(index);
        debug_assert!(!slot.flags.has(Flags::SENDING));
        slot.send_errno = errno;
        if let Some(transmit) = &mut slot.transmit {
            transmit.clear(&mut self.recycled);
            self.recycle_transmit(index);
        }
    }
}

/// The slot's descriptor.
pub(crate) fn descriptor(slot: &Slot) -> BorrowedFd<'_> {
    // SAFETY: the slot owns the descriptor and keeps it open until it is released, which a borrow of it excludes; a released
    // slot is used by no handle.
    unsafe { BorrowedFd::borrow_raw(slot.fd) }
}

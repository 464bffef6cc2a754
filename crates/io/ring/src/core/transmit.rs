//! Sending and connecting: what is in flight towards a peer and what its completions mean.
//!
//! Owns the sending half of the core; leaves the queue of one socket to `send`. Invariant: at most one send is in flight on
//! a socket, so bytes leave in the order in which they were queued.

use io_uring::{opcode, types};
use socket2::SockAddr;

use super::{Core, TRANSMITS_KEPT_MAX};
use crate::operation::Kind;
use crate::send::{SendBuf, Transmit};
use crate::slots::Flags;

impl Core {
    pub(crate) fn queue_send(&mut self, index: u32, piece: SendBuf) {
        let slot = self.slots.get_mut(index);
        debug_assert!(!slot.splicing.sink, "bytes queued behind a splice that has not ended");
        if slot.send_errno != 0 {
            if let SendBuf::Vec(vec) = piece {
                self.recycled.put(vec);
            }
            return;
        }
        if slot.transmit.is_none() {
            slot.transmit = Some(self.transmits.pop().unwrap_or_else(Transmit::new));
        }
        if let Some(transmit) = &mut slot.transmit {
            transmit.push(piece, &mut self.recycled);
        }
    }

    /// Starts sending what is queued unless a send is in flight, which then takes the rest along when it completes.
    pub(crate) fn flush(&mut self, index: u32) {
        let slot = self.slots.get_mut(index);
        if slot.flags.has(Flags::SENDING) || slot.flags.has(Flags::CONNECTING) {
            return;
        }
        let Some(transmit) = &mut slot.transmit else { return };
        if transmit.is_empty() {
            return;
        }
        let entry = transmit.prepare(slot.fd, slot.flags.has(Flags::LAST));
        slot.flags.set(Flags::SENDING);
        self.push_for(Kind::Send, index, entry);
    }

    #[allow(clippy::cast_sign_loss, reason = "only a positive result is read as a count")]
    pub(super) fn send_completed(&mut self, index: u32, result: i32) {
        let slot = self.slots.get_mut(index);
        if result == -libc::EAGAIN && !slot.flags.has(Flags::RELEASED) {
            // In non-blocking mode the kernel does not wait with a send.
            slot.splicing.send_due = true;
            self.await_outgoing(index);
            return;
        }
        slot.flags.clear(Flags::SENDING);
        let Some(transmit) = &mut slot.transmit else { return };
        let retry = matches!(-result, libc::EAGAIN | libc::EINTR);
        if result > 0 {
            slot.sent_bytes += result as u64;
            transmit.taken(result as usize, &mut self.recycled);
        } else if !retry {
            slot.send_errno = if result == 0 { libc::EPIPE } else { -result };
            transmit.clear(&mut self.recycled);
        }
        let released = slot.flags.has(Flags::RELEASED);
        if released {
            transmit.clear(&mut self.recycled);
        }
        if transmit.is_empty() {
            self.recycle_transmit(index);
        } else {
            self.flush(index);
        }
        let slot = self.slots.get_mut(index);
        if let Some(waker) = &slot.send_waker {
            waker.wake_by_ref();
        }
        if slot.send_errno != 0 && slot.is_parked() {
            self.notify_recv(index);
        }
    }

    pub(super) fn recycle_transmit(&mut self, index: u32) {
        if let Some(transmit) = self.slots.get_mut(index).transmit.take()
            && self.transmits.len() < TRANSMITS_KEPT_MAX
        {
            self.transmits.push(transmit);
        }
    }

    pub(crate) fn start_connect(&mut self, index: u32, address: SockAddr) {
        let fd = types::Fd(self.slots.get(index).fd);
        let address = Box::new(address);
        let entry = opcode::Connect::new(fd, address.as_ptr().cast(), address.len()).build();
        self.addresses.insert(index, address);
        self.slots.get_mut(index).flags.set(Flags::CONNECTING);
        self.push_for(Kind::Connect, index, entry);
    }

    pub(super) fn connect_completed(&mut self, index: u32, result: i32) {
        self.addresses.remove(&index);
        let slot = self.slots.get_mut(index);
        slot.flags.clear(Flags::CONNECTING);
        if slot.flags.has(Flags::RELEASED) {
            return;
        }
        if let Some(waker) = &slot.send_waker {
            waker.wake_by_ref();
        }
        if result < 0 {
            self.connect_failed(index, -result);
            self.notify_recv(index);
            return;
        }
        // What was asked for meanwhile begins now.
        if slot.recv_waker.is_some() || slot.is_parked() {
            self.arm_recv(index);
        }
        self.flush(index);
    }

    /// Makes `errno` the answer to everything asked of this socket.
    pub(crate) fn connect_failed(&mut self, index: u32, errno: i32) {
        let slot = self.slots.get_mut(index);
        slot.recv_errno = errno;
        slot.send_errno = errno;
    }
}

//! A listening socket: accepting many at a time, or exactly as many as asked.
//!
//! Owns one slot and the connections accepted but not yet taken; leaves limits to its user. Invariant: every accepted
//! descriptor becomes a [`Socket`] or is closed.
#![allow(
    unsafe_code,
    reason = "borrows and closes its raw descriptor; the blocks say why it is sound"
)]

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::task::{Context, Poll};

use socket2::{SockFilter, SockRef};

use crate::core::{Core, Shots};
use crate::ring::Ring;
use crate::slots::{Arrived, Flags};
use crate::socket::Socket;

/// Drops what asks for a new connection, a SYN without an ACK (RFC 9293 section 3.5), and lets everything else pass. A filter of
/// a TCP socket sees the packet from the TCP header on; the flags are its byte 13.
#[expect(clippy::cast_possible_truncation, reason = "codes of instructions have 16 bits")]
const NO_NEW_CONNECTIONS: [SockFilter; 5] = {
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    [
        SockFilter::new((libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16, 0, 0, 13),
        SockFilter::new((libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16, 0, 0, SYN | ACK),
        SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 0, 1, SYN),
        SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, 0),
        SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, u32::MAX),
    ]
};

/// A listening socket of one ring.
pub struct Listener {
    ring: Ring,
    index: u32,
}

impl Listener {
    /// Takes over a socket that listens already. It must be in blocking mode.
    pub fn new(ring: &Ring, socket: OwnedFd) -> Listener {
        let index = ring.0.core.borrow_mut().slots.insert(socket.into_raw_fd());
        Listener { ring: ring.clone(), index }
    }

    /// Changes how many connections the kernel completes ahead of an accept; it cuts the number to `net.core.somaxconn`.
    /// Those that wait already stay.
    ///
    /// # Errors
    /// The kernel refuses, which it does to no socket that listens.
    pub fn set_backlog(&self, connections: u32) -> io::Result<()> {
        let Some(fd) = self.descriptor() else { return Ok(()) };
        rustix::net::listen(fd, i32::try_from(connections).unwrap_or(i32::MAX))?;
        Ok(())
    }

    /// Lets no connection begin from now on, so that there is a moment at which none can be lost by closing: handshakes that
    /// have begun still end in the listen queue. The kernel drops what asks anew without a word; who asked does so again after a
    /// second, and finds whoever listens then. For TCP, and a queue that is this ring's alone.
    ///
    /// # Errors
    /// The kernel has no memory for the filter; connections go on to begin.
    pub fn refuse_new(&self) -> io::Result<()> {
        let Some(fd) = self.descriptor() else { return Ok(()) };
        SockRef::from(&fd).attach_filter(&NO_NEW_CONNECTIONS)
    }

    /// None once it is closed.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        let fd = self.with(|core, index| core.slots.get(index).fd);
        // SAFETY: the slot owns the descriptor and keeps it open as long as this handle exists or until it is closed, when it has
        // none.
        (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
    }

    /// Closes the socket at once and gives what waited in its listen queue, at most `count_max` connections: the kernel resets
    /// what it still holds, with the requests that have come along. For a queue that is this ring's alone; nothing is accepted
    /// afterwards.
    pub fn close(&self, count_max: usize) -> Vec<Socket> {
        let fd = self.with(|core, index| std::mem::replace(&mut core.slots.get_mut(index).fd, -1));
        if fd < 0 {
            return Vec::new();
        }
        // SAFETY: the slot owned the descriptor, was its only user by number, and has just given it away.
        let listener = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut sockets = Vec::new();
        if rustix::io::ioctl_fionbio(&listener, true).is_ok() {
            let accept =
                || rustix::net::accept_with(&listener, rustix::net::SocketFlags::CLOEXEC).ok();
            sockets.extend(std::iter::from_fn(accept).take(count_max));
        }
        drop(listener);
        sockets.into_iter().map(|socket| self.ring.adopt(socket)).collect()
    }

    fn with<T>(&self, f: impl FnOnce(&mut Core, u32) -> T) -> T {
        f(&mut self.ring.0.core.borrow_mut(), self.index)
    }

    /// Accepts until told to stop. Nothing happens when an accept is in flight already.
    pub fn accept_many(&self) {
        self.arm(Shots::Many);
    }

    /// Accepts one connection and leaves the next in the listen queue. Nothing happens when an accept is in flight already.
    pub fn accept_one(&self) {
        self.arm(Shots::One);
    }

    /// Ready once a connection waits in the listen queue; it stays there until [`Listener::accept_one`].
    ///
    /// # Errors
    /// Waiting failed and has ended.
    pub fn poll_waiting(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.with(|core, index| {
            let slot = core.slots.get_mut(index);
            if slot.flags.has(Flags::READABLE) {
                slot.flags.clear(Flags::READABLE);
                return Poll::Ready(Ok(()));
            }
            if slot.recv_errno != 0 {
                let errno = std::mem::take(&mut slot.recv_errno);
                return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
            }
            slot.recv_waker = Some(context.waker().clone());
            if !slot.flags.has(Flags::ARMED) {
                core.arm_readable(index);
            }
            Poll::Pending
        })
    }

    fn arm(&self, shots: Shots) {
        self.with(|core, index| core.accept(index, shots));
    }

    /// Stops accepting; connections accepted until the kernel hears of it are still given out.
    pub fn stop(&self) {
        self.with(Core::stop_accepting);
    }

    /// Whether an accept is in flight.
    pub fn is_accepting(&self) -> bool {
        self.with(|core, index| core.slots.get(index).flags.has(Flags::ARMED))
    }

    /// The next accepted connection. Pending also when nothing is being accepted.
    ///
    /// # Errors
    /// Accepting failed and has ended (no descriptors left, the listener was shut down); it may be started again.
    pub fn poll_accept(&self, context: &Context<'_>) -> Poll<io::Result<Socket>> {
        let accepted = self.with(|core, index| {
            if let Some(Arrived::Descriptor(fd)) = core.slots.pop_arrived(index) {
                return Poll::Ready(Ok(core.slots.insert(fd)));
            }
            let slot = core.slots.get_mut(index);
            if slot.recv_errno != 0 {
                return Poll::Ready(Err(std::mem::take(&mut slot.recv_errno)));
            }
            slot.recv_waker = Some(context.waker().clone());
            Poll::Pending
        });
        accepted.map(|accepted| match accepted {
            Ok(index) => Ok(Socket::new(self.ring.clone(), index)),
            Err(errno) => Err(io::Error::from_raw_os_error(errno)),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.with(|core, index| core.release(index, true));
    }
}

//! A connected socket: receiving, sending, parking, closing.
//!
//! Owns one slot; leaves the meaning of completions to `core`. Invariant: dropping a socket at any moment cancels what
//! is in flight and closes the descriptor; bytes that were queued but not taken by the kernel are lost.
#![allow(
    unsafe_code,
    reason = "borrows and closes raw descriptors; each block says why it is sound"
)]

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::mem::ManuallyDrop;
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use socket2::SockRef;

use crate::address::PeerAddress;
use crate::buffers::{Buffers, RecvBuf};
use crate::core::Core;
use crate::ring::Ring;
use crate::send::SendBuf;
use crate::slots::{Arrived, Flags, Slot, Splicing};

/// What the owner of a parked socket gave to recognise it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParkToken(pub u32);

/// A socket of a ring, for who does not hold it; meaningless once its holder has dropped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// A connected (or connecting) stream socket of one ring.
pub struct Socket {
    ring: Ring,
    index: u32,
}

pub(crate) fn register(place: &mut Option<Waker>, context: &Context<'_>) {
    match place {
        Some(waker) if waker.will_wake(context.waker()) => {}
        _ => *place = Some(context.waker().clone()),
    }
}

impl Socket {
    pub(crate) fn new(ring: Ring, index: u32) -> Socket {
        Socket { ring, index }
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// The ring that it belongs to.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// What [`Ring::abort`] recognises it by.
    pub fn key(&self) -> SocketKey {
        let generation = self.with(|core, index| core.slots.get(index).generation);
        SocketKey { index: self.index, generation }
    }

    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut Core, u32) -> T) -> T {
        f(&mut self.ring.0.core.borrow_mut(), self.index)
    }

    /// Whether a connect started by [`Ring::connect`] has succeeded.
    ///
    /// # Errors
    /// The connect failed: refused, unreachable, timed out in the kernel, or no local port is left.
    pub fn poll_connected(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.with(|core, index| {
            let slot = core.slots.get_mut(index);
            if slot.flags.has(Flags::CONNECTING) {
                register(&mut slot.send_waker, context);
                return Poll::Pending;
            }
            Poll::Ready(error_of(slot.send_errno))
        })
    }

    /// Waits for the outcome of [`Ring::connect`].
    ///
    /// # Errors
    /// As [`Socket::poll_connected`].
    pub async fn connected(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_connected(context)).await
    }

    /// Received bytes, or `None` when the peer has closed its side.
    ///
    /// # Errors
    /// The connection was reset or failed.
    pub fn poll_recv(&self, context: &Context<'_>) -> Poll<io::Result<Option<RecvBuf>>> {
        let arrived = self.with(|core, index| {
            if let Some(arrived) = core.slots.pop_arrived(index) {
                return Poll::Ready(Ok(Some(arrived)));
            }
            let slot = core.slots.get_mut(index);
            if slot.flags.has(Flags::EOF) {
                return Poll::Ready(Ok(None));
            }
            if slot.recv_errno != 0 {
                return Poll::Ready(Err(slot.recv_errno));
            }
            debug_assert!(!slot.splicing.source, "a receive beside a splice");
            register(&mut slot.recv_waker, context);
            start_receiving(core, index);
            Poll::Pending
        });
        arrived.map(|arrived| match arrived {
            Ok(Some(Arrived::Buffer { id, len })) => {
                let buffers: Rc<Buffers> = (*self.ring.0.buffers).clone();
                Ok(Some(RecvBuf::new(buffers, id, len)))
            }
            Ok(Some(Arrived::Copied(bytes))) => Ok(Some(RecvBuf::from_vec(bytes.into_vec()))),
            Ok(Some(Arrived::Descriptor(_))) => unreachable!("descriptors arrive on listeners"),
            Ok(None) => Ok(None),
            Err(errno) => Err(io::Error::from_raw_os_error(errno)),
        })
    }

    /// Waits for [`Socket::poll_recv`].
    ///
    /// # Errors
    /// The connection was reset or failed.
    pub async fn recv(&self) -> io::Result<Option<RecvBuf>> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// Ready once the peer has reset, or has closed and everything it sent before has been taken.
    ///
    /// Keeps receiving in the background, at most what one socket's queue holds, so that the end is seen; while a splice takes
    /// what arrives, only a reset or both ends closed are seen here, and the splice sees the rest.
    pub fn poll_gone(&self, context: &Context<'_>) -> Poll<()> {
        self.with(|core, index| {
            let slot = core.slots.get_mut(index);
            let ended = slot.queued == 0 && slot.flags.has(Flags::EOF);
            if ended || slot.recv_errno != 0 || slot.flags.has(Flags::GONE) {
                return Poll::Ready(());
            }
            if slot.queued == 0 && !slot.flags.has(Flags::POLLING) {
                start_receiving(core, index);
            } else {
                core.watch(index);
            }
            let slot = core.slots.get_mut(index);
            register(&mut slot.recv_waker, context);
            Poll::Pending
        })
    }

    /// Whether something is waiting to be taken by [`Socket::poll_recv`]: bytes, the end, or an error.
    pub fn has_arrived(&self) -> bool {
        self.with(|core, index| {
            let slot = core.slots.get(index);
            slot.queued > 0 || slot.flags.has(Flags::EOF) || slot.recv_errno != 0
        })
    }

    /// Whether the kernel holds received bytes that no receive has taken: asked from the kernel.
    pub fn has_unread(&self) -> bool {
        let unread = self.sock(|socket| rustix::io::ioctl_fionread(&*socket));
        unread.is_ok_and(|bytes| bytes > 0)
    }

    /// Receives one buffer at a time and only when asked (`true`), or as bytes come (`false`, the start).
    ///
    /// On demand is for large bodies, whose sender must be slowed down by a slow receiver; as they come is cheaper.
    pub fn set_recv_on_demand(&self, on_demand: bool) {
        self.with(|core, index| {
            let slot = core.slots.get_mut(index);
            if !on_demand {
                slot.flags.clear(Flags::ON_DEMAND);
            } else if !slot.flags.has(Flags::ON_DEMAND) {
                slot.flags.set(Flags::ON_DEMAND);
                core.cancel_recv(index);
            }
        });
    }

    /// Queues `piece`; nothing is sent before [`Socket::flush`]. After a send error it is dropped.
    #[inline]
    pub fn queue(&self, piece: SendBuf) {
        self.with(|core, index| core.queue_send(index, piece));
    }

    /// Sends what is queued, gathered into as few sends as possible; returns at once.
    #[inline]
    pub fn flush(&self) {
        self.with(Core::flush);
    }

    /// As [`Socket::flush`], for the last bytes before [`Socket::shutdown_write`] or a close, which must follow as soon as
    /// they are flushed: the kernel keeps them back (up to 200 ms) to send them with the FIN in one segment.
    #[inline]
    pub fn flush_last(&self) {
        self.with(|core, index| {
            core.slots.get_mut(index).flags.set(Flags::LAST);
            core.flush(index);
        });
    }

    /// Ready when at most `queued_max` queued bytes are left for the kernel to take. The waker is called on progress too.
    ///
    /// # Errors
    /// The connection was reset or failed; what was queued is lost.
    pub fn poll_flushed(&self, context: &Context<'_>, queued_max: usize) -> Poll<io::Result<()>> {
        self.with(|core, index| {
            let slot = core.slots.get_mut(index);
            if slot.send_errno != 0 {
                return Poll::Ready(error_of(slot.send_errno));
            }
            if slot.transmit.as_ref().is_none_or(|transmit| transmit.queued_bytes() <= queued_max) {
                return Poll::Ready(Ok(()));
            }
            register(&mut slot.send_waker, context);
            Poll::Pending
        })
    }

    /// Waits for [`Socket::poll_flushed`].
    ///
    /// # Errors
    /// The connection was reset or failed.
    pub async fn flushed(&self, queued_max: usize) -> io::Result<()> {
        poll_fn(|context| self.poll_flushed(context, queued_max)).await
    }

    /// Bytes the kernel has taken from this socket since it was made.
    pub fn sent_bytes(&self) -> u64 {
        self.with(|core, index| core.slots.get(index).sent_bytes)
    }

    /// Bytes queued and not yet taken by the kernel.
    pub fn queued_bytes(&self) -> usize {
        self.with(|core, index| {
            core.slots.get(index).transmit.as_ref().map_or(0, |transmit| transmit.queued_bytes())
        })
    }

    /// Tells the peer that nothing more comes, once what is queued was flushed: wait for [`Socket::flushed`] first.
    pub fn shutdown_write(&self) {
        debug_assert_eq!(self.queued_bytes(), 0, "shutdown before the queued bytes have left");
        // Called here and not through the ring, whose workers look the descriptor up later, when it may have been closed
        // and be another connection's. It does not wait. A peer that is gone already needs no telling.
        let _ = self.sock(|socket| socket.shutdown(Shutdown::Write));
    }

    /// Waits without a task: when something arrives, [`Ring::next_unparked`] gives `token` back, once.
    ///
    /// `false`, and not parked, when something has arrived already.
    pub fn park(&self, token: ParkToken) -> bool {
        assert!(token.0 < Slot::TOKEN_DUE, "a token that cannot be told from none");
        self.with(|core, index| {
            let slot = core.slots.get_mut(index);
            if slot.queued > 0
                || slot.flags.has(Flags::EOF)
                || slot.recv_errno != 0
                || slot.send_errno != 0
            {
                return false;
            }
            debug_assert!(!slot.splicing.source && !slot.splicing.sink, "parked in a splice");
            slot.parked = token.0;
            slot.recv_waker = None;
            slot.send_waker = None;
            start_receiving(core, index);
            true
        })
    }

    /// Ends parking: the socket's own futures are told again.
    pub fn unpark(&self) {
        self.with(Core::end_parking);
    }

    /// The address of the other end, asked from the kernel.
    pub fn peer_address(&self) -> PeerAddress {
        self.sock(|socket| socket.peer_addr())
            .map_or(PeerAddress::Unknown, |address| PeerAddress::of(&address))
    }

    /// The address of this end, asked from the kernel.
    pub fn local_address(&self) -> PeerAddress {
        self.sock(|socket| socket.local_addr())
            .map_or(PeerAddress::Unknown, |address| PeerAddress::of(&address))
    }

    /// Gives the kernel a few last bytes at once, if it takes them without waiting and nothing is queued before them: a farewell of
    /// a socket that is about to be dropped, when what is queued would be lost.
    pub fn try_send(&self, bytes: &[u8]) {
        if self.queued_bytes() == 0 {
            // A peer that is gone, or does not read, goes without.
            let flags = socket2_flags();
            let _ = self.sock(|socket| socket.send_with_flags(bytes, flags));
        }
    }

    /// Makes closing a reset, so that a peer that reads until the end cannot take a cut answer for a whole one.
    pub fn reset_when_closed(&self) {
        let _ = self.sock(|socket| socket.set_linger(Some(Duration::ZERO)));
    }

    /// Closes with a reset.
    pub fn reset(self) {
        self.reset_when_closed();
    }

    /// Ends the connection at once in both directions, before the ring gets to closing the descriptor: when this returns the
    /// peer has been told, or, on the way to it, will be before anything of a later connection.
    pub fn end_now(&self) {
        // A connection that is gone already needs no ending.
        let _ = self.sock(|socket| socket.shutdown(Shutdown::Both));
    }

    /// The descriptor, for another ring. Only a socket on which nothing is in flight and nothing has come has it to give.
    ///
    /// # Errors
    /// The socket, when the kernel holds an operation of it, or something has arrived.
    pub fn into_descriptor(self) -> Result<OwnedFd, Socket> {
        let fd = self.with(|core, index| {
            let slot = core.slots.get_mut(index);
            let is_quiet = !slot.in_flight()
                && slot.splicing == Splicing::default()
                && !slot.flags.has(Flags::STARVED)
                && !slot.flags.has(Flags::EOF)
                && !slot.flags.has(Flags::HALF_CLOSED)
                && slot.queued == 0
                && slot.recv_errno == 0
                && slot.send_errno == 0
                && slot.transmit.as_ref().is_none_or(|transmit| transmit.queued_bytes() == 0);
            is_quiet.then(|| std::mem::replace(&mut slot.fd, -1))
        });
        match fd {
            // SAFETY: the slot owned the descriptor, which is open, and has forgotten it; nothing in flight refers to it.
            Some(fd) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
            None => Err(self),
        }
    }

    fn sock<T>(&self, f: impl FnOnce(SockRef<'_>) -> T) -> T {
        let fd = self.with(|core, index| core.slots.get(index).fd);
        // SAFETY: the slot owns the descriptor and keeps it open as long as this handle exists.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        f(SockRef::from(&fd))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.with(|core, index| core.release(index, false));
    }
}

/// Without waiting, and without a signal where the peer is gone.
fn socket2_flags() -> i32 {
    let flags = rustix::net::SendFlags::DONTWAIT | rustix::net::SendFlags::NOSIGNAL;
    flags.bits().cast_signed()
}

fn start_receiving(core: &mut Core, index: u32) {
    let flags = core.slots.get(index).flags;
    if !flags.has(Flags::ARMED) && !flags.has(Flags::STARVED) && !flags.has(Flags::CONNECTING) {
        core.arm_recv(index);
    }
}

pub(crate) fn error_of(errno: i32) -> io::Result<()> {
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

/// Closes a descriptor that a slot still owned when its ring ended.
pub(crate) fn close_now(fd: i32) {
    // SAFETY: the descriptor is open and the slot that owned it is never used again.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
}

/// Frees the core and its buffers, in this order, when nothing is in flight any more.
pub(crate) fn free(
    core: &mut ManuallyDrop<RefCell<Core>>,
    buffers: &mut ManuallyDrop<Rc<Buffers>>,
) {
    // SAFETY: called once, from the drop of the structure that holds both, which does not touch them again. The ring is
    // closed by the first drop, the memory registered with it is unmapped by the second at the earliest.
    unsafe {
        ManuallyDrop::drop(core);
        ManuallyDrop::drop(buffers);
    }
}

//! What is being sent on one socket: a queue of owned pieces and the vectors that point into them.
//!
//! Owns the bytes until the kernel has taken them; leaves submitting to `core`. Invariant: while a send is in flight
//! no piece it covers is dropped, moved in memory or changed; pieces may only be added behind them.
#![allow(unsafe_code, reason = "builds the pointers of a send; each block says why it is sound")]

use std::collections::VecDeque;
use std::rc::Rc;

use io_uring::{opcode, squeue, types};

use crate::buffers::RecvBuf;

/// Pieces one send covers. More are sent by the next one: past a few the gain of gathering is gone.
pub const IO_VECTORS_MAX: usize = 16;

/// Capacity above which a used vector is freed instead of kept for reuse: the default limit of a head.
const RECYCLED_CAPACITY_MAX: usize = 16 * 1024;

/// Bytes up to which built pieces are joined.
const JOINED_BYTES_MAX: usize = 16 * 1024;

/// Vectors kept for reuse by one ring; a shard has at most so many heads between building and sending in one turn.
const RECYCLED_COUNT_MAX: usize = 1024;

/// Bytes to send, owned until the kernel has taken them.
#[derive(Debug)]
pub enum SendBuf {
    /// Built bytes, for example a head; the vector is reused, see [`crate::Ring::take_vec`].
    Vec(Vec<u8>),
    /// Received bytes passed on.
    Recv(RecvBuf),
    /// Bytes of the program.
    Static(&'static [u8]),
    /// Bytes shared by many responses.
    Shared(Rc<[u8]>),
}

impl SendBuf {
    /// The bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            SendBuf::Vec(bytes) => bytes,
            SendBuf::Recv(bytes) => bytes,
            SendBuf::Static(bytes) => bytes,
            SendBuf::Shared(bytes) => bytes,
        }
    }
}

/// Vectors waiting to be reused, so that a warm connection allocates nothing.
#[derive(Default)]
pub(crate) struct Recycled(Vec<Vec<u8>>);

impl Recycled {
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_else(|| Vec::with_capacity(1024))
    }

    pub(crate) fn put(&mut self, mut bytes: Vec<u8>) {
        if self.0.len() < RECYCLED_COUNT_MAX
            && (1..=RECYCLED_CAPACITY_MAX).contains(&bytes.capacity())
        {
            bytes.clear();
            self.0.push(bytes);
        }
    }
}

/// The transmit side of one socket. Boxed by its owner: the kernel reads `vectors` and `message` in place.
pub(crate) struct Transmit {
    queue: VecDeque<SendBuf>,
    /// Bytes of the first piece already taken by the kernel.
    front_sent: usize,
    /// Bytes queued and not yet taken.
    queued_bytes: usize,
    /// Pieces from the front that a send in flight points to.
    covered: usize,
    vectors: [libc::iovec; IO_VECTORS_MAX],
    message: libc::msghdr,
}

impl Transmit {
    pub(crate) fn new() -> Box<Transmit> {
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: a msghdr is plain data for which all zeroes is a valid value (null pointers, zero lengths).
        let message = unsafe { std::mem::zeroed() };
        Box::new(Transmit {
            queue: VecDeque::with_capacity(4),
            front_sent: 0,
            queued_bytes: 0,
            covered: 0,
            vectors: [empty; IO_VECTORS_MAX],
            message,
        })
    }

    /// Queues `piece`. Small built ones join the last one, so that memory follows the bytes queued and not the pieces.
    pub(crate) fn push(&mut self, piece: SendBuf, recycled: &mut Recycled) {
        let bytes = piece.as_bytes().len();
        self.queued_bytes += bytes;
        if self.queue.len() > self.covered
            && let (Some(SendBuf::Vec(last)), SendBuf::Vec(next)) = (self.queue.back_mut(), &piece)
            && last.len() + bytes <= JOINED_BYTES_MAX
        {
            last.extend_from_slice(next);
        } else if bytes > 0 {
            self.queue.push_back(piece);
            return;
        }
        if let SendBuf::Vec(vec) = piece {
            recycled.put(vec);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// The send of everything queued (at most [`IO_VECTORS_MAX`] pieces). The caller keeps `self` in place and its
    /// queue's front untouched until the completion.
    ///
    /// `last`: the connection's end follows at once, so the kernel may keep a short rest back to send both in one segment.
    pub(crate) fn prepare(&mut self, fd: i32, last: bool) -> squeue::Entry {
        let mut count = 0;
        for (piece, vector) in self.queue.iter().zip(self.vectors.iter_mut()) {
            let skip = if count == 0 { self.front_sent } else { 0 };
            let bytes = &piece.as_bytes()[skip..];
            *vector =
                libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
            count += 1;
        }
        debug_assert!(count > 0, "a send of nothing");
        self.covered = count;
        let flags = libc::MSG_NOSIGNAL | if last { libc::MSG_MORE } else { 0 };
        if let (1, Ok(len)) = (count, u32::try_from(self.vectors[0].iov_len)) {
            let base = self.vectors[0].iov_base.cast_const().cast();
            return opcode::Send::new(types::Fd(fd), base, len).flags(flags).build();
        }
        self.message.msg_iov = self.vectors.as_mut_ptr();
        self.message.msg_iovlen = count;
        opcode::SendMsg::new(types::Fd(fd), &raw const self.message)
            .flags(flags.cast_unsigned())
            .build()
    }

    /// The kernel took `bytes`: pieces wholly sent leave, their vectors to `recycled`.
    pub(crate) fn taken(&mut self, mut bytes: usize, recycled: &mut Recycled) {
        debug_assert!(bytes <= self.queued_bytes, "more sent than queued");
        self.queued_bytes -= bytes;
        self.covered = 0;
        while let Some(front) = self.queue.front() {
            let left = front.as_bytes().len() - self.front_sent;
            if bytes < left {
                self.front_sent += bytes;
                return;
            }
            bytes -= left;
            self.front_sent = 0;
            if let Some(SendBuf::Vec(vec)) = self.queue.pop_front() {
                recycled.put(vec);
            }
        }
        debug_assert_eq!(bytes, 0, "more sent than queued");
    }

    /// Forgets what is queued, after an error or a cancel. No send may be in flight.
    pub(crate) fn clear(&mut self, recycled: &mut Recycled) {
        let queued = self.queued_bytes;
        self.taken(queued, recycled);
        debug_assert!(self.queue.is_empty() && self.queued_bytes == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queued(pieces: &[&'static [u8]]) -> Box<Transmit> {
        let mut transmit = Transmit::new();
        let mut recycled = Recycled::default();
        pieces.iter().for_each(|piece| transmit.push(SendBuf::Static(piece), &mut recycled));
        transmit
    }

    #[test]
    fn a_partial_send_continues_inside_the_piece_it_stopped_in() {
        let mut recycled = Recycled::default();
        let mut transmit = queued(&[b"head", b"body"]);
        transmit.taken(6, &mut recycled);
        assert_eq!(transmit.queued_bytes(), 2);
        let _ = transmit.prepare(0, false);
        assert_eq!(transmit.vectors[0].iov_len, 2);
        transmit.taken(2, &mut recycled);
        assert!(transmit.is_empty());
    }

    #[test]
    fn every_split_of_the_pieces_sends_each_byte_once() {
        let total = 12;
        for first in 0..=total {
            let mut recycled = Recycled::default();
            let mut transmit = queued(&[b"abc", b"", b"defgh", b"ijkl"]);
            transmit.taken(first, &mut recycled);
            assert_eq!(transmit.queued_bytes(), total - first);
            transmit.clear(&mut recycled);
            assert!(transmit.is_empty());
        }
    }

    #[test]
    fn sent_vectors_are_reused_and_large_ones_are_not() {
        let mut recycled = Recycled::default();
        let mut transmit = Transmit::new();
        transmit.push(SendBuf::Vec(vec![1; 10]), &mut recycled);
        transmit.push(SendBuf::Vec(vec![1; RECYCLED_CAPACITY_MAX + 1]), &mut recycled);
        transmit.clear(&mut recycled);
        assert_eq!(recycled.0.len(), 1);
        assert!(recycled.take().is_empty());
    }

    #[test]
    fn small_pieces_join_but_never_one_that_a_send_in_flight_points_to() {
        let mut recycled = Recycled::default();
        let mut transmit = Transmit::new();
        transmit.push(SendBuf::Vec(vec![1; 4]), &mut recycled);
        let _ = transmit.prepare(0, false);
        let covered = transmit.vectors[0].iov_base;
        for _ in 0..1000 {
            transmit.push(SendBuf::Vec(vec![2]), &mut recycled);
        }
        assert_eq!((transmit.queue.len(), transmit.queued_bytes()), (2, 1004));
        assert_eq!(transmit.queue[0].as_bytes().as_ptr(), covered.cast_const().cast());
        transmit.taken(4, &mut recycled);
        assert_eq!((transmit.queue.len(), transmit.queue[0].as_bytes().len()), (1, 1000));
    }
}

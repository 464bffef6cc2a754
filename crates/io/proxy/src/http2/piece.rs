//! Data of a response on its way through the library.
//!
//! Owns the count of what a stream has queued there and who waits for it to fall; leaves windows to the library. Invariant: a
//! byte is counted from its queueing until it is written to the connection or dropped.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Buf;
use tidegate_ring::{Ring, SendBuf};

/// What one stream has queued.
pub(super) struct Queued {
    bytes: Cell<usize>,
    /// The same of all streams of the connection.
    total: Rc<Cell<usize>>,
    /// Bytes that have been written to the connection.
    written: Cell<u64>,
    waker: RefCell<Option<Waker>>,
    /// Where the memory of what has been written goes back to.
    ring: Ring,
}

impl Queued {
    /// Of a stream whose connection has `total` queued.
    pub(super) fn of(total: &Rc<Cell<usize>>, ring: &Ring) -> Rc<Queued> {
        Rc::new(Queued {
            bytes: Cell::default(),
            total: total.clone(),
            written: Cell::default(),
            waker: RefCell::default(),
            ring: ring.clone(),
        })
    }

    /// Gives the memory of a piece back, if nothing else needs it.
    pub(super) fn release(&self, whole: &mut Rc<SendBuf>) {
        if let Some(piece) = Rc::get_mut(whole) {
            self.ring.put_sent(std::mem::replace(piece, NOTHING));
        }
    }

    fn rise(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes);
        self.total.set(self.total.get() + bytes);
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.get()
    }

    pub(super) fn written(&self) -> u64 {
        self.written.get()
    }

    /// Wakes whoever polls here at the next progress.
    fn wait(&self, context: &Context<'_>) {
        let waker = &mut *self.waker.borrow_mut();
        match waker {
            Some(known) if known.will_wake(context.waker()) => {}
            _ => *waker = Some(context.waker().clone()),
        }
    }

    /// Ready when at most `bytes_max` bytes are left.
    pub(super) fn poll_at_most(&self, bytes_max: usize, context: &Context<'_>) -> Poll<()> {
        if self.bytes() <= bytes_max {
            return Poll::Ready(());
        }
        self.wait(context);
        Poll::Pending
    }

    fn fall(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() - bytes);
        self.total.set(self.total.get() - bytes);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

const NOTHING: SendBuf = SendBuf::Static(b"");

/// A part of something queued for a client.
pub(crate) struct Piece {
    whole: Rc<SendBuf>,
    part: Range<usize>,
    queued: Rc<Queued>,
}

impl Piece {
    pub(super) fn new(whole: &Rc<SendBuf>, part: Range<usize>, queued: &Rc<Queued>) -> Piece {
        debug_assert!(part.end <= whole.as_bytes().len());
        queued.rise(part.len());
        Piece { whole: whole.clone(), part, queued: queued.clone() }
    }

    /// Nothing, where the end of a stream is all there is to say.
    pub(super) fn empty(queued: &Rc<Queued>) -> Piece {
        Piece::new(&Rc::new(NOTHING), 0..0, queued)
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.part.len()
    }

    fn chunk(&self) -> &[u8] {
        self.whole.as_bytes().get(self.part.clone()).unwrap_or_default()
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.part.len(), "advance beyond a piece");
        self.part.start += count;
        self.queued.written.set(self.queued.written.get() + count as u64);
        self.queued.fall(count);
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if !self.part.is_empty() {
            self.queued.fall(self.part.len());
        }
        self.queued.release(&mut self.whole);
    }
}

#[cfg(test)]
mod tests {
    use tidegate_ring::Settings;

    use super::*;

    #[test]
    fn what_is_written_or_dropped_is_no_longer_queued() {
        let total = Rc::new(Cell::new(5));
        let ring = Ring::new(&Settings::default()).expect("a ring");
        let queued = Queued::of(&total, &ring);
        let whole = Rc::new(SendBuf::Static(b"0123456789"));
        let mut first = Piece::new(&whole, 0..4, &queued);
        let second = Piece::new(&whole, 6..10, &queued);
        assert_eq!(
            (queued.bytes(), first.chunk(), second.chunk()),
            (8, &b"0123"[..], &b"6789"[..])
        );
        assert_eq!(total.get(), 13, "other streams have 5");
        first.advance(3);
        assert_eq!((queued.bytes(), queued.written(), first.chunk()), (5, 3, &b"3"[..]));
        drop((first, second));
        assert_eq!((queued.bytes(), queued.written(), total.get()), (0, 3, 5));
    }

    #[test]
    fn vectors_go_back_to_the_ring_when_nothing_needs_them() {
        let ring = Ring::new(&Settings::default()).expect("a ring");
        let queued = Queued::of(&Rc::default(), &ring);
        let built = |bytes: &[u8]| {
            let mut vec = ring.take_vec();
            vec.reserve_exact(5_000);
            vec.extend_from_slice(bytes);
            Rc::new(SendBuf::Vec(vec))
        };
        let is_back = || {
            let vec = ring.take_vec();
            let is_it = vec.capacity() >= 5_000;
            ring.put_vec(vec);
            is_it
        };
        let mut whole = built(b"0123");
        let piece = Piece::new(&whole, 0..4, &queued);
        queued.release(&mut whole);
        drop(whole);
        assert!(!is_back(), "a piece needs it");
        drop(piece);
        assert!(is_back());
        let vec = ring.take_vec();
        assert!(!is_back());
        queued.release(&mut Rc::new(SendBuf::Vec(vec)));
        assert!(is_back(), "a head has no piece");
    }
}

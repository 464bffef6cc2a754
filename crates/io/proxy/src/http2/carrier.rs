//! A connection's bytes as the library reads and writes them.
//!
//! Owns the bound on what is queued towards the peer and the metering of what comes; leaves frames to the library.
//! Invariant: no byte reaches the library that has not been metered, and once the peer is found to flood, none at all.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tidegate_ring::{RecvBuf, SendBuf};
use tidegate_shard::Shard;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::Stream;

/// Bytes queued towards the peer that stop the library from writing more: enough for the kernel to always have something to
/// send.
const QUEUED_BYTES_MAX: usize = 64 * 1024;

/// Whose connection it is.
pub(crate) trait End {
    fn stream(&self) -> &Stream;

    /// These bytes have come and go to the library.
    fn note_received(&self, now: Instant, bytes: &[u8]);

    fn is_flooding(&self) -> bool;

    /// These bytes of the library go to the peer.
    fn note_sent(&self, _: &[u8]) {}

    /// Takes note that the end has been sent; whether it had been before.
    fn note_finished(&self) -> bool;
}

/// One connection.
pub(crate) struct Carrier<E> {
    end: E,
    shard: Rc<Shard>,
    /// Received and not yet read by the library.
    received: RefCell<Option<RecvBuf>>,
}

impl<E: End> Carrier<E> {
    /// `first` came before the library was there.
    pub(crate) fn new(end: E, shard: &Rc<Shard>, first: Option<RecvBuf>) -> Carrier<E> {
        let carrier = Carrier { end, shard: shard.clone(), received: RefCell::new(None) };
        if let Some(piece) = first {
            carrier.meter(&piece);
            *carrier.received.borrow_mut() = Some(piece);
        }
        carrier
    }

    /// Meters what has come.
    fn meter(&self, piece: &RecvBuf) {
        self.end.note_received(self.shard.clock.now(), piece);
    }

    fn write(&self, context: &Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let socket = self.end.stream();
        ready!(socket.poll_flushed(context, QUEUED_BYTES_MAX))?;
        let mut bytes = self.shard.ring.take_vec();
        slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
        self.end.note_sent(&bytes);
        let written = bytes.len();
        socket.queue(SendBuf::Vec(bytes));
        Poll::Ready(Ok(written))
    }
}

impl<E: End + Unpin> AsyncRead for Carrier<E> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &*self;
        let mut received = this.received.borrow_mut();
        if received.is_none() && !this.end.is_flooding() {
            let piece = ready!(this.end.stream().poll_recv(context))?;
            let Some(piece) = piece else { return Poll::Ready(Ok(())) };
            this.meter(&piece);
            *received = Some(piece);
        }
        if this.end.is_flooding() {
            // Its owner ends the connection before it reads again.
            *received = None;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(piece) = &mut *received {
            let count = piece.len().min(into.remaining());
            into.put_slice(&piece[..count]);
            piece.advance(count);
            if piece.is_empty() {
                *received = None;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<E: End + Unpin> AsyncWrite for Carrier<E> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end.stream().flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.end.stream();
        if !self.end.note_finished() {
            socket.finish();
            socket.flush_last();
        }
        ready!(socket.poll_flushed(context, 0))?;
        socket.shutdown_write();
        Poll::Ready(Ok(()))
    }
}

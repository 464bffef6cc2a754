//! A connection's bytes as the library reads and writes them.
//!
//! Owns the bound on what is queued towards the client and the metering of what comes; leaves frames to the library.
//! Invariant: no byte reaches the library that has not been metered, and once the client is found to flood, none at all.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tidegate_ring::{RecvBuf, SendBuf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::shared::Shared;
use crate::client::Client;
use crate::worker::Worker;

/// Bytes queued towards the client that stop the library from writing more: enough for the kernel to always have something to
/// send.
const QUEUED_BYTES_MAX: usize = 64 * 1024;

/// One client's connection.
pub(super) struct Carrier {
    pub(super) client: Rc<Client>,
    pub(super) shared: Rc<Shared>,
    pub(super) worker: Rc<Worker>,
    /// Received and not yet read by the library.
    pub(super) received: RefCell<Option<RecvBuf>>,
}

impl Carrier {
    /// Meters what has come.
    fn meter(&self, piece: &RecvBuf) {
        self.shared.note_received(self.worker.shard.clock.now(), piece);
    }

    /// A piece that came before the library was there.
    pub(super) fn put_back(&self, piece: RecvBuf) {
        self.meter(&piece);
        *self.received.borrow_mut() = Some(piece);
    }

    fn write(&self, context: &Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let socket = &self.client.socket;
        ready!(socket.poll_flushed(context, QUEUED_BYTES_MAX))?;
        let mut bytes = self.worker.shard.ring.take_vec();
        slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
        let written = bytes.len();
        socket.queue(SendBuf::Vec(bytes));
        Poll::Ready(Ok(written))
    }
}

impl AsyncRead for Carrier {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &*self;
        let mut received = this.received.borrow_mut();
        if received.is_none() && !this.shared.is_flooding() {
            let piece = ready!(this.client.socket.poll_recv(context))?;
            let Some(piece) = piece else { return Poll::Ready(Ok(())) };
            this.meter(&piece);
            *received = Some(piece);
        }
        if this.shared.is_flooding() {
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

impl AsyncWrite for Carrier {
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
        self.client.socket.flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = &self.client.socket;
        if !self.shared.is_finished.replace(true) {
            socket.finish();
            socket.flush_last();
        }
        ready!(socket.poll_flushed(context, 0))?;
        socket.shutdown_write();
        Poll::Ready(Ok(()))
    }
}

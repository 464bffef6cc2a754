//! The bytes of one connection, whatever carries them.
//!
//! Owns the choice between what carries them; leaves each carrier's workings to its own module, and the meaning of the bytes to
//! the protocols. Invariant: what is sent and received here is what the protocol says, never what is on the wire.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use tidegate_ring::{ParkToken, PeerAddress, RecvBuf, Ring, SendBuf, Socket, SocketKey};

mod ends;
mod handshake;
mod keys;
mod tls;
mod turnstile;

pub(crate) use handshake::{Handshake, HandshakeError};
pub(crate) use tls::{Facts, Tls};
pub(crate) use turnstile::Turnstile;

/// A connection as the protocols see it.
pub(crate) enum Stream {
    /// Bytes as they are on the wire.
    Plain(Socket),
    /// TLS; before its handshake nothing can be sent or received.
    Tls(Box<Tls>),
}

/// A connection on its way to another shard.
#[derive(Debug)]
pub(crate) enum Travelling {
    /// As [`Stream::Plain`].
    Plain(OwnedFd),
    /// As [`Stream::Tls`].
    Tls(tls::Parts),
}

impl From<Socket> for Stream {
    fn from(socket: Socket) -> Stream {
        Stream::Plain(socket)
    }
}

impl Stream {
    /// The socket, if its bytes are the protocol's.
    pub(crate) fn plain(&self) -> Option<&Socket> {
        match self {
            Stream::Plain(socket) => Some(socket),
            Stream::Tls(_) => None,
        }
    }

    /// The TLS connection, if it is one.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        match self {
            Stream::Plain(_) => None,
            Stream::Tls(tls) => Some(tls),
        }
    }

    /// What its TLS handshake has said, if there was one.
    #[inline]
    pub(crate) fn tls_facts(&self) -> Option<&Facts> {
        self.tls().and_then(Tls::facts)
    }

    /// Whether nothing can be sent or received before a TLS handshake.
    pub(crate) fn awaits_handshake(&self) -> bool {
        self.tls().is_some_and(|tls| !tls.is_established())
    }

    /// The socket that carries it.
    fn socket(&self) -> &Socket {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(tls) => tls.socket(),
        }
    }

    /// What [`Ring::abort`] recognises it by.
    pub(crate) fn key(&self) -> SocketKey {
        self.socket().key()
    }

    /// As [`Socket::poll_connected`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn poll_connected(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_connected(context)
    }

    /// Received bytes, or `None` when the peer has ended its side.
    ///
    /// # Errors
    /// The connection was reset or failed.
    #[inline]
    pub(crate) fn poll_recv(&self, context: &Context<'_>) -> Poll<io::Result<Option<RecvBuf>>> {
        match self {
            Stream::Plain(socket) => socket.poll_recv(context),
            Stream::Tls(tls) => tls.poll_recv(context),
        }
    }

    /// Waits for [`Stream::poll_recv`].
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn recv(&self) -> io::Result<Option<RecvBuf>> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// Ready once the peer has reset, or has ended its side and everything it sent before has been taken.
    #[inline]
    pub(crate) fn poll_gone(&self, context: &Context<'_>) -> Poll<()> {
        match self {
            Stream::Plain(socket) => socket.poll_gone(context),
            Stream::Tls(tls) => tls.poll_gone(context),
        }
    }

    /// Whether something is waiting to be taken by [`Stream::poll_recv`]: bytes, the end, or an error.
    #[inline]
    pub(crate) fn has_arrived(&self) -> bool {
        match self {
            Stream::Plain(socket) => socket.has_arrived(),
            Stream::Tls(tls) => tls.has_arrived(),
        }
    }

    /// Whether the kernel holds received bytes that no receive has taken.
    pub(crate) fn has_unread(&self) -> bool {
        self.socket().has_unread()
    }

    /// As [`Socket::set_recv_on_demand`].
    pub(crate) fn set_recv_on_demand(&self, on_demand: bool) {
        self.socket().set_recv_on_demand(on_demand);
    }

    /// Queues `piece`; nothing is sent before [`Stream::flush`]. After a send error it is dropped.
    #[inline]
    pub(crate) fn queue(&self, piece: SendBuf) {
        match self {
            Stream::Plain(socket) => socket.queue(piece),
            Stream::Tls(tls) => tls.queue(piece),
        }
    }

    /// Sends what is queued; returns at once.
    #[inline]
    pub(crate) fn flush(&self) {
        match self {
            Stream::Plain(socket) => socket.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }

    /// As [`Stream::flush`], for the last bytes before [`Stream::shutdown_write`] or a close, which must follow as soon as they
    /// are flushed.
    #[inline]
    pub(crate) fn flush_last(&self) {
        match self {
            Stream::Plain(socket) => socket.flush_last(),
            Stream::Tls(tls) => tls.flush_last(),
        }
    }

    /// Queues and sends what tells the peer, by the carrier's own means, that nothing more comes. Before
    /// [`Stream::shutdown_write`], once nothing more is to be queued.
    pub(crate) fn finish(&self) {
        match self {
            Stream::Plain(_) => {}
            Stream::Tls(tls) => tls.finish(),
        }
    }

    /// Ready when at most `queued_max` queued bytes are left for the kernel to take. The waker is called on progress too.
    ///
    /// # Errors
    /// The connection was reset or failed; what was queued is lost.
    #[inline]
    pub(crate) fn poll_flushed(
        &self,
        context: &Context<'_>,
        queued_max: usize,
    ) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(socket) => socket.poll_flushed(context, queued_max),
            Stream::Tls(tls) => tls.poll_flushed(context, queued_max),
        }
    }

    /// Bytes that have left, as they are on the wire: it grows when the peer takes something.
    #[inline]
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.socket().sent_bytes()
    }

    /// The protocol's bytes that were handed over for sending, whether they have left or not. After a send error it may fall.
    #[inline]
    pub(crate) fn handed_over_bytes(&self) -> u64 {
        match self {
            Stream::Plain(socket) => socket.sent_bytes() + socket.queued_bytes() as u64,
            Stream::Tls(tls) => tls.handed_over_bytes(),
        }
    }

    /// Bytes queued and not yet taken by the kernel.
    #[inline]
    pub(crate) fn queued_bytes(&self) -> usize {
        match self {
            Stream::Plain(socket) => socket.queued_bytes(),
            Stream::Tls(tls) => tls.queued_bytes(),
        }
    }

    /// Tells the peer that nothing more comes, once what is queued was flushed.
    pub(crate) fn shutdown_write(&self) {
        self.socket().shutdown_write();
    }

    /// As [`Socket::park`].
    #[inline]
    pub(crate) fn park(&self, token: ParkToken) -> bool {
        match self {
            Stream::Plain(socket) => socket.park(token),
            Stream::Tls(tls) => tls.park(token),
        }
    }

    /// As [`Socket::unpark`].
    #[inline]
    pub(crate) fn unpark(&self) {
        self.socket().unpark();
    }

    /// The address of the other end, asked from the kernel.
    pub(crate) fn peer_address(&self) -> PeerAddress {
        self.socket().peer_address()
    }

    /// The address of this end, asked from the kernel.
    pub(crate) fn local_address(&self) -> PeerAddress {
        self.socket().local_address()
    }

    /// Makes closing a reset, so that a peer that reads until the end cannot take a cut answer for a whole one.
    pub(crate) fn reset_when_closed(&self) {
        if let Some(tls) = self.tls() {
            tls.forget_goodbye();
        }
        self.socket().reset_when_closed();
    }

    /// As [`Socket::end_now`].
    pub(crate) fn end_now(&self) {
        if let Some(tls) = self.tls() {
            tls.say_goodbye_at_once();
        }
        self.socket().end_now();
    }

    /// The connection for another shard, as [`Socket::into_descriptor`].
    ///
    /// # Errors
    /// The connection, when something is in flight on it or has come.
    pub(crate) fn into_travelling(self) -> Result<Travelling, Stream> {
        match self {
            Stream::Plain(socket) => {
                socket.into_descriptor().map(Travelling::Plain).map_err(Stream::Plain)
            }
            Stream::Tls(tls) => {
                tls.into_parts().map(Travelling::Tls).map_err(|tls| Stream::Tls(Box::new(tls)))
            }
        }
    }

    /// A connection that has come from another shard.
    pub(crate) fn arrived(ring: &Ring, travelling: Travelling) -> Stream {
        match travelling {
            Travelling::Plain(descriptor) => Stream::Plain(ring.adopt(descriptor)),
            Travelling::Tls(parts) => Stream::Tls(Box::new(Tls::arrived(ring, parts))),
        }
    }
}

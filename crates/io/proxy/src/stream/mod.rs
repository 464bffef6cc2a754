//! The bytes of one connection, whatever carries them.
//!
//! Owns the choice between what carries them; leaves each carrier's workings to its own module, and the meaning of the bytes to
//! the protocols. Invariant: what is sent and received here is what the protocol says, never what is on the wire.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tidegate_ring::{ParkToken, PeerAddress, RecvBuf, Ring, SendBuf, Socket, SocketKey};

mod ends;
mod handshake;
mod keys;
mod tls;
mod turnstile;

pub(crate) use handshake::{Handshake, HandshakeError};
pub(crate) use tls::{Facts, Tls};
pub(crate) use turnstile::Turnstile;

use crate::http2::Http2Stream;
use crate::http2::servers::{Fault, Grpc, TrunkStream};

/// A connection as the protocols see it.
pub(crate) enum Stream {
    /// Bytes as they are on the wire.
    Plain(Socket),
    /// TLS; before its handshake nothing can be sent or received.
    Tls(Box<Tls>),
    /// A stream of a client's HTTP/2 connection, whose messages show as HTTP/1.1 text.
    Http2(Rc<Http2Stream>),
    /// A stream of a shared connection to a server, the same the other way round.
    Trunk(Rc<TrunkStream>),
}

/// A connection on its way to another shard.
#[derive(Debug)]
pub(crate) enum Travelling {
    /// As [`Stream::Plain`].
    Plain(OwnedFd),
    /// As [`Stream::Tls`].
    Tls(tls::Parts),
}

impl Travelling {
    /// Whether nothing has come on it, not even its end. What has come is taken away, so that its close is no reset.
    pub(crate) fn is_silent(&self) -> bool {
        let descriptor = match self {
            Travelling::Plain(descriptor) => descriptor,
            Travelling::Tls(parts) => parts.descriptor(),
        };
        let received = recv(descriptor.as_fd(), &mut [0_u8; 1024][..], RecvFlags::DONTWAIT);
        received.is_err_and(|error| error == Errno::AGAIN)
    }
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
            Stream::Tls(_) | Stream::Http2(_) | Stream::Trunk(_) => None,
        }
    }

    /// Whether it is one of the streams of a connection.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self, Stream::Http2(_))
    }

    /// Whether it is a stream of a connection to a server that others use too.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Stream::Trunk(_))
    }

    /// Why it failed, if it is a stream of a shared connection that did.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self {
            Stream::Trunk(stream) => stream.fault(),
            Stream::Plain(_) | Stream::Tls(_) | Stream::Http2(_) => None,
        }
    }

    /// What the response on it has said of its call of gRPC, if it is a stream of a shared connection.
    pub(crate) fn grpc(&self) -> Option<Grpc> {
        match self {
            Stream::Trunk(stream) => stream.grpc(),
            Stream::Plain(_) | Stream::Tls(_) | Stream::Http2(_) => None,
        }
    }

    /// The TLS connection, if it is one of its own.
    pub(crate) fn tls(&self) -> Option<&Tls> {
        match self {
            Stream::Plain(_) | Stream::Http2(_) | Stream::Trunk(_) => None,
            Stream::Tls(tls) => Some(tls),
        }
    }

    /// What its TLS handshake has said, if there was one.
    #[inline]
    pub(crate) fn tls_facts(&self) -> Option<&Facts> {
        match self {
            Stream::Plain(_) | Stream::Trunk(_) => None,
            Stream::Tls(tls) => tls.facts(),
            Stream::Http2(stream) => stream.tls_facts(),
        }
    }

    /// Whether nothing can be sent or received before a TLS handshake.
    pub(crate) fn awaits_handshake(&self) -> bool {
        self.tls().is_some_and(|tls| !tls.is_established())
    }

    /// The socket that is its own; a stream shares one.
    fn socket(&self) -> Option<&Socket> {
        match self {
            Stream::Plain(socket) => Some(socket),
            Stream::Tls(tls) => Some(tls.socket()),
            Stream::Http2(_) | Stream::Trunk(_) => None,
        }
    }

    /// What [`Ring::abort`] recognises it by; none: it is a stream.
    pub(crate) fn key(&self) -> Option<SocketKey> {
        self.socket().map(Socket::key)
    }

    /// As [`Socket::poll_connected`].
    ///
    /// # Errors
    /// As there.
    pub(crate) fn poll_connected(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.socket().map_or(Poll::Ready(Ok(())), |socket| socket.poll_connected(context))
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
            Stream::Http2(stream) => stream.poll_recv(&mut Context::from_waker(context.waker())),
            Stream::Trunk(stream) => stream.poll_recv(&mut Context::from_waker(context.waker())),
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
            Stream::Http2(stream) => stream.poll_gone(&mut Context::from_waker(context.waker())),
            Stream::Trunk(stream) => stream.poll_gone(&mut Context::from_waker(context.waker())),
        }
    }

    /// Whether something is waiting to be taken by [`Stream::poll_recv`]: bytes, the end, or an error.
    #[inline]
    pub(crate) fn has_arrived(&self) -> bool {
        match self {
            Stream::Plain(socket) => socket.has_arrived(),
            Stream::Tls(tls) => tls.has_arrived(),
            // Nothing follows its one message.
            Stream::Http2(_) | Stream::Trunk(_) => false,
        }
    }

    /// Whether the kernel holds received bytes that no receive has taken.
    pub(crate) fn has_unread(&self) -> bool {
        self.socket().is_some_and(Socket::has_unread)
    }

    /// As [`Socket::set_recv_on_demand`].
    pub(crate) fn set_recv_on_demand(&self, on_demand: bool) {
        // The data of a stream comes on demand anyway.
        if let Some(socket) = self.socket() {
            socket.set_recv_on_demand(on_demand);
        }
    }

    /// Queues `piece`; nothing is sent before [`Stream::flush`]. After a send error it is dropped.
    #[inline]
    pub(crate) fn queue(&self, piece: SendBuf) {
        match self {
            Stream::Plain(socket) => socket.queue(piece),
            Stream::Tls(tls) => tls.queue(piece),
            Stream::Http2(stream) => stream.queue(piece),
            Stream::Trunk(stream) => stream.queue(piece),
        }
    }

    /// Sends what is queued; returns at once.
    #[inline]
    pub(crate) fn flush(&self) {
        match self {
            Stream::Plain(socket) => socket.flush(),
            Stream::Tls(tls) => tls.flush(),
            // What is queued wakes the connection's task.
            Stream::Http2(_) | Stream::Trunk(_) => {}
        }
    }

    /// As [`Stream::flush`], for the last bytes before [`Stream::shutdown_write`] or a close, which must follow as soon as they
    /// are flushed.
    #[inline]
    pub(crate) fn flush_last(&self) {
        match self {
            Stream::Plain(socket) => socket.flush_last(),
            Stream::Tls(tls) => tls.flush_last(),
            // What is queued wakes the connection's task.
            Stream::Http2(_) | Stream::Trunk(_) => {}
        }
    }

    /// Queues and sends what tells the peer, by the carrier's own means, that nothing more comes. Before
    /// [`Stream::shutdown_write`], once nothing more is to be queued.
    pub(crate) fn finish(&self) {
        match self {
            Stream::Plain(_) => {}
            Stream::Tls(tls) => tls.finish(),
            Stream::Http2(stream) => stream.finish(),
            Stream::Trunk(stream) => stream.finish(),
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
            Stream::Http2(stream) => {
                stream.poll_flushed(&mut Context::from_waker(context.waker()), queued_max)
            }
            Stream::Trunk(stream) => {
                stream.poll_flushed(&mut Context::from_waker(context.waker()), queued_max)
            }
        }
    }

    /// Bytes that have left, as they are on the wire: it grows when the peer takes something.
    #[inline]
    pub(crate) fn sent_bytes(&self) -> u64 {
        match self {
            Stream::Plain(socket) => socket.sent_bytes(),
            Stream::Tls(tls) => tls.socket().sent_bytes(),
            Stream::Http2(stream) => stream.sent_bytes(),
            Stream::Trunk(stream) => stream.sent_bytes(),
        }
    }

    /// The protocol's bytes that were handed over for sending, whether they have left or not. After a send error it may fall.
    #[inline]
    pub(crate) fn handed_over_bytes(&self) -> u64 {
        match self {
            Stream::Plain(socket) => socket.sent_bytes() + socket.queued_bytes() as u64,
            Stream::Tls(tls) => tls.handed_over_bytes(),
            Stream::Http2(stream) => stream.handed_over_bytes(),
            Stream::Trunk(stream) => stream.handed_over_bytes(),
        }
    }

    /// Bytes queued and not yet taken by the kernel.
    #[inline]
    pub(crate) fn queued_bytes(&self) -> usize {
        match self {
            Stream::Plain(socket) => socket.queued_bytes(),
            Stream::Tls(tls) => tls.queued_bytes(),
            Stream::Http2(stream) => stream.queued_bytes(),
            Stream::Trunk(stream) => stream.queued_bytes(),
        }
    }

    /// Whether more may be queued, when that is so up to `queued_max` bytes.
    #[inline]
    pub(crate) fn has_room(&self, queued_max: usize) -> bool {
        match self {
            Stream::Plain(_) | Stream::Tls(_) | Stream::Trunk(_) => {
                self.queued_bytes() <= queued_max
            }
            Stream::Http2(stream) => stream.has_room(queued_max),
        }
    }

    /// Tells the peer that nothing more comes, once what is queued was flushed.
    pub(crate) fn shutdown_write(&self) {
        // A stream has said so with its last frame.
        if let Some(socket) = self.socket() {
            socket.shutdown_write();
        }
    }

    /// As [`Socket::park`].
    #[inline]
    pub(crate) fn park(&self, token: ParkToken) -> bool {
        match self {
            Stream::Plain(socket) => socket.park(token),
            Stream::Tls(tls) => tls.park(token),
            Stream::Http2(_) | Stream::Trunk(_) => false,
        }
    }

    /// As [`Socket::unpark`].
    #[inline]
    pub(crate) fn unpark(&self) {
        if let Some(socket) = self.socket() {
            socket.unpark();
        }
    }

    /// The address of the other end, asked from the kernel.
    pub(crate) fn peer_address(&self) -> PeerAddress {
        match self {
            Stream::Plain(socket) => socket.peer_address(),
            Stream::Tls(tls) => tls.socket().peer_address(),
            Stream::Http2(stream) => stream.peer_address(),
            // Nobody asks: a server is known by its configuration.
            Stream::Trunk(_) => PeerAddress::Unknown,
        }
    }

    /// The address of this end, asked from the kernel.
    pub(crate) fn local_address(&self) -> PeerAddress {
        match self {
            Stream::Plain(socket) => socket.local_address(),
            Stream::Tls(tls) => tls.socket().local_address(),
            Stream::Http2(stream) => stream.local_address(),
            Stream::Trunk(_) => PeerAddress::Unknown,
        }
    }

    /// Makes closing a reset, so that a peer that reads until the end cannot take a cut answer for a whole one.
    pub(crate) fn reset_when_closed(&self) {
        self.cut_when_closed();
        // A stream whose response was cut is reset by its drop.
        if let Some(socket) = self.socket() {
            socket.reset_when_closed();
        }
    }

    /// Lets the end look like a cut where the carrier can tell one from an end in order: what was sent is not whole.
    pub(crate) fn cut_when_closed(&self) {
        if let Some(tls) = self.tls() {
            tls.forget_goodbye();
        }
    }

    /// As [`Socket::end_now`].
    pub(crate) fn end_now(&self) {
        match self {
            Stream::Plain(socket) => socket.end_now(),
            Stream::Tls(tls) => {
                tls.say_goodbye_at_once();
                tls.socket().end_now();
            }
            Stream::Http2(stream) => stream.end_now(),
            Stream::Trunk(stream) => stream.end_now(),
        }
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
            Stream::Http2(_) | Stream::Trunk(_) => Err(self),
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

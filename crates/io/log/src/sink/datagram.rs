//! Datagram sockets: the syslog socket of this machine, and syslog over UDP (RFC 5426).
//!
//! Owns sending in batches and what a peer that is away looks like. Invariant: a message is one datagram; one that the
//! socket can never take does not hold up the others.

use super::{Outcome, Tally};
use crate::outbox::Outbox;
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

/// Messages of one call; a call for each would cost as much as the message.
const BATCH_MAX: usize = 64;

/// A connected socket.
#[derive(Debug)]
pub(crate) struct DatagramSink {
    socket: OwnedFd,
    refusals: Refusals,
}

/// What it means that the peer refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusals {
    /// The socket's peer is gone for good.
    End,
    /// A host told so about an earlier datagram, which may or may not hold for the next.
    Report,
}

impl DatagramSink {
    pub(crate) fn unix(path: &str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(path)?;
        Ok(Self { socket: socket.into(), refusals: Refusals::End })
    }

    pub(crate) fn udp(address: SocketAddr) -> io::Result<Self> {
        let any: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        socket.connect(address)?;
        Ok(Self { socket: socket.into(), refusals: Refusals::Report })
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn write(&mut self, outbox: &mut Outbox, tally: &mut Tally) -> Outcome {
        while !outbox.is_empty() {
            match self.send_batch(outbox) {
                Ok(0) => return Outcome::Full,
                Ok(sent) => (0..sent).for_each(|_| tally.wrote(outbox.pop())),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Outcome::Full,
                // The message is beyond what the socket or the path takes.
                Err(Errno::MSGSIZE) => tally.too_long += outbox.pop().lines,
                // UDP has no connection that could break: one line is counted as lost for each report.
                Err(Errno::CONNREFUSED) if self.refusals == Refusals::Report => {
                    tally.refused += outbox.pop().lines;
                }
                Err(error @ (Errno::NOBUFS | Errno::NOMEM)) => return Outcome::Stuck(error.into()),
                // Refused, no such socket, no route: a new socket may find a new peer.
                Err(error) => return Outcome::Broken(error.into()),
            }
        }
        Outcome::Done
    }

    fn send_batch(&self, outbox: &Outbox) -> rustix::io::Result<usize> {
        let slices: Vec<[IoSlice<'_>; 1]> =
            outbox.messages().take(BATCH_MAX).map(|message| [IoSlice::new(message)]).collect();
        let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> =
            slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let messages = slices.iter().zip(&mut controls);
        let mut messages: Vec<MMsgHdr<'_>> =
            messages.map(|(slice, control)| MMsgHdr::new(slice, control)).collect();
        sendmmsg(&self.socket, &mut messages, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
    }
}

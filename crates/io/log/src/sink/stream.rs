//! Syslog over TCP.
//!
//! Owns connecting without waiting, and noticing a peer that is gone. Invariant: a message is sent on one connection
//! from its first to its last byte; when the connection breaks within one, the whole of it is sent on the next.

use super::{Outcome, Tally};
use crate::bell::is_writable;
use crate::outbox::Outbox;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// How long connecting may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// How long sent bytes may be unacknowledged, and how long a silent connection goes unprobed: a peer that vanished
/// without a word is noticed, and the lines in flight to it are few.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// The most bytes that are looked at of what a peer says; it has nothing to say.
const IGNORED_BYTES: usize = 1024;

/// A connection.
#[derive(Debug)]
pub(crate) struct StreamSink {
    socket: Socket,
    /// Set until the connection is established.
    deadline: Option<Instant>,
}

impl StreamSink {
    /// Begins to connect.
    pub(crate) fn connect(address: SocketAddr, now: Instant) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_user_timeout(Some(SILENCE_MAX))?;
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(SILENCE_MAX))?;
        match socket.connect(&address.into()) {
            Ok(()) => Ok(Self { socket, deadline: None }),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => {
                Ok(Self { socket, deadline: Some(now + CONNECT_PATIENCE) })
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn write(
        &mut self,
        outbox: &mut Outbox,
        tally: &mut Tally,
        now: Instant,
    ) -> Outcome {
        if let Some(deadline) = self.deadline {
            if !is_writable(self.socket.as_fd()) {
                let timed_out = || Outcome::Broken(io::ErrorKind::TimedOut.into());
                return if now >= deadline { timed_out() } else { Outcome::Full };
            }
            if let Err(error) | Ok(Some(error)) = self.socket.take_error() {
                return Outcome::Broken(error);
            }
            self.deadline = None;
        }
        if let Err(error) = self.listen() {
            return Outcome::Broken(error);
        }
        while !outbox.is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.socket, outbox.pending(), flags) {
                Ok(bytes) => tally.wrote(outbox.wrote(bytes)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Outcome::Full,
                Err(error) => return Outcome::Broken(error.into()),
            }
        }
        Outcome::Done
    }

    /// Hears whether the peer has closed: what is sent after that would be lost without an error.
    fn listen(&self) -> io::Result<()> {
        let mut ignored = [0; IGNORED_BYTES];
        match rustix::net::recv(&self.socket, &mut ignored[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => Err(io::ErrorKind::ConnectionReset.into()),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

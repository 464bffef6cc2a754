//! One client connection: socket, protocol session, bytes not yet sent. Owns the system calls;
//! which request goes where is the generator's decision.
//!
//! Invariant: each opening has its own generation, so an event of a closed socket that is still
//! in the batch never reaches its successor.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto};

use crate::poller::Poller;
use crate::protocol::Session;

/// Generations stay below the bit that marks the origin's tokens.
const GENERATION_MASK: u32 = 0x3fff_ffff;

/// Where a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No socket.
    Closed,
    /// The handshake is under way.
    Connecting,
    /// Usable.
    Open,
    /// The response is complete; the server is expected to close.
    Finishing,
}

/// A reusable place for one connection.
#[derive(Debug)]
pub struct Slot<S> {
    socket: Option<OwnedFd>,
    /// The protocol's state.
    pub session: S,
    /// Where the connection is in its life.
    pub phase: Phase,
    /// When the connection was opened or its request was sent, for the time-out.
    pub since_ns: u64,
    /// Bytes to send.
    pub out: Vec<u8>,
    sent: usize,
    generation: u32,
}

/// What a receive brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many bytes; the socket is empty when fewer than the buffer holds.
    Bytes(usize),
    /// Nothing now.
    Nothing,
    /// The server sent its last byte.
    End,
    /// The connection is broken.
    Broken,
}

impl<S: Session> Slot<S> {
    /// A place without a socket.
    pub fn new(session: S) -> Self {
        Self {
            socket: None,
            session,
            phase: Phase::Closed,
            since_ns: 0,
            out: Vec::new(),
            sent: 0,
            generation: 0,
        }
    }

    /// The token of the present opening.
    #[inline]
    pub fn token(&self, index: usize) -> u64 {
        (u64::from(self.generation) << 32) | index as u64
    }

    /// The index inside a token.
    #[inline]
    pub fn index_of(token: u64) -> usize {
        usize::try_from(token & u64::from(u32::MAX)).expect("32 bits fit a usize on Linux")
    }

    /// Starts connecting to `target`, from `source` when given.
    ///
    /// # Errors
    /// When there is no descriptor or port left, or the target refuses at once.
    pub fn open(
        &mut self,
        index: usize,
        target: SocketAddr,
        source: Option<Ipv4Addr>,
        session: S,
        poller: &Poller,
    ) -> io::Result<()> {
        self.close();
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        if let Some(source) = source {
            rustix::net::bind(&socket, &SocketAddr::from((source, 0)))?;
        }
        match rustix::net::connect(&socket, &target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        poller.add(&socket, self.token(index))?;
        self.socket = Some(socket);
        self.session = session;
        self.phase = Phase::Connecting;
        self.session.start(&mut self.out);
        Ok(())
    }

    /// Drops the socket and everything unsent.
    pub fn close(&mut self) {
        self.socket = None;
        self.phase = Phase::Closed;
        self.out.clear();
        self.sent = 0;
        self.generation = (self.generation + 1) & GENERATION_MASK;
    }

    /// Whether the socket reports an error (a refused connection, a reset).
    pub fn has_error(&self) -> bool {
        self.socket
            .as_ref()
            .is_none_or(|socket| !matches!(rustix::net::sockopt::socket_error(socket), Ok(Ok(()))))
    }

    /// Sends what is in `out`, as far as the socket takes it.
    ///
    /// # Errors
    /// When the connection is broken.
    #[inline]
    pub fn flush(&mut self) -> Result<(), Errno> {
        let Some(socket) = &self.socket else { return Ok(()) };
        while self.sent < self.out.len() {
            match rustix::net::send(socket, &self.out[self.sent..], SendFlags::NOSIGNAL) {
                Ok(count) => {
                    self.sent += count;
                    self.phase = Phase::Open;
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }

    /// Receives once.
    #[inline]
    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        let Some(socket) = &self.socket else { return Received::Nothing };
        match rustix::net::recv(socket, buffer, RecvFlags::empty()) {
            Ok((_, 0)) => Received::End,
            Ok((_, count)) => Received::Bytes(count),
            Err(Errno::AGAIN | Errno::INTR) => Received::Nothing,
            Err(_) => Received::Broken,
        }
    }
}

//! Owns addresses with a known behaviour: reserved, refusing, never answering.
//!
//! Leaves listening to the programs under test, which bind port 0 wherever they can. Invariant: a
//! port is held by a bound socket for as long as its owner lives, so no two tests can be given the
//! same one.

use crate::deadline::Deadline;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// A TCP port on 127.0.0.1 that is bound and not listening: connecting to it is refused, nobody
/// else is given it, and a program that sets `SO_REUSEPORT` may bind and listen on it while the
/// reservation is held.
#[derive(Debug)]
pub struct ReservedPort {
    _socket: Socket,
    address: SocketAddr,
}

impl ReservedPort {
    /// Reserves a port that is free now.
    ///
    /// # Panics
    /// When the system has none.
    #[must_use]
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
            .expect("a socket can be opened");
        socket.set_reuse_port(true).expect("SO_REUSEPORT is supported by Linux");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port is free");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket());
        Self { _socket: socket, address: address.expect("a bound IPv4 socket has an address") }
    }

    /// The reserved address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Default for ReservedPort {
    fn default() -> Self {
        Self::new()
    }
}

/// An address that refuses connections for as long as the returned value lives.
#[must_use]
pub fn refused_address() -> ReservedPort {
    ReservedPort::new()
}

/// An address that never answers a connection attempt: its accept queue is full and nobody accepts,
/// so the kernel drops what comes.
#[derive(Debug)]
pub struct SilentAddress {
    _listener: TcpListener,
    _filling: Vec<TcpStream>,
    address: SocketAddr,
}

impl SilentAddress {
    /// Opens a listener with the smallest queue and fills it.
    ///
    /// # Panics
    /// When the queue does not fill.
    #[must_use]
    pub fn new() -> Self {
        const FILLING_MAX: usize = 8;
        const UNANSWERED: Duration = Duration::from_millis(100);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
            .expect("a socket can be opened");
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port is free");
        socket.listen(0).expect("a bound socket can listen");
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().expect("a bound socket has an address");
        let mut filling = Vec::new();
        while filling.len() < FILLING_MAX {
            match TcpStream::connect_timeout(&address, UNANSWERED) {
                Ok(stream) => filling.push(stream),
                Err(_) => return Self { _listener: listener, _filling: filling, address },
            }
        }
        panic!("{address} still accepts after {FILLING_MAX} connections")
    }

    /// The address that does not answer.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Default for SilentAddress {
    fn default() -> Self {
        Self::new()
    }
}

/// Connects to `address`, or says why not, within the kit's patience.
pub(crate) fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let patience = Deadline::default().remaining().unwrap_or_default();
    TcpStream::connect_timeout(&address, patience)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn a_reserved_port_refuses_until_a_reuseport_listener_takes_it() {
        let reserved = refused_address();
        let refused = connect(reserved.address()).expect_err("nobody listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        TcpListener::bind(reserved.address()).expect_err("the port is held");

        let taker = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        taker.set_reuse_port(true).expect("SO_REUSEPORT");
        taker.bind(&reserved.address().into()).expect("the reservation lets a sharing socket in");
        taker.listen(1).expect("listening");
        connect(reserved.address()).expect("somebody listens now");
    }

    #[test]
    fn a_silent_address_lets_a_connection_attempt_time_out() {
        let silent = SilentAddress::new();
        let error = TcpStream::connect_timeout(&silent.address(), Duration::from_millis(50))
            .expect_err("silence");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }
}

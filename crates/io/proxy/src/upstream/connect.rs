//! One server's slot and connection while a request uses them.
//!
//! Owns the counting of what is in flight and open; leaves deciding which server to the exchange. Invariant: every gauge
//! raised here is lowered by a drop, whatever ends the request.

use std::io;
use std::rc::Rc;

use rustix::io::Errno;
use tidegate_exchange::ConnectFailure;
use tidegate_ring::Socket;

use crate::site::Server;
use crate::upstream::in_use::Place;

/// A server picked for a request.
pub(crate) struct Slot(pub(crate) Rc<Server>);

impl Slot {
    pub(crate) fn new(server: Rc<Server>) -> Slot {
        server.stats.in_flight.increment();
        Slot(server)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.stats.in_flight.decrement();
    }
}

/// A connection to a server, counted as open.
pub(crate) struct Connection {
    socket: Option<Socket>,
    server: Rc<Server>,
    /// Where the server keeps account of it, if it does.
    place: Option<Place>,
}

impl Connection {
    /// Counts a connection that has just been established.
    pub(crate) fn opened(socket: Socket, server: &Rc<Server>) -> Connection {
        server.stats.connections_total.increment();
        server.stats.connections_open.increment();
        socket.set_recv_on_demand(server.receives_on_demand());
        Connection::used(socket, server)
    }

    fn used(socket: Socket, server: &Rc<Server>) -> Connection {
        let tracks = server.closes_sessions.get();
        let place = tracks.then(|| server.in_use.enter(socket.key()));
        Connection { socket: Some(socket), server: server.clone(), place }
    }

    /// Takes over an idle connection, which is counted as open already.
    pub(crate) fn from_idle(socket: Socket, server: &Rc<Server>) -> Connection {
        Connection::used(socket, server)
    }

    /// The connection without its counting, for the idle list.
    pub(crate) fn into_idle(mut self) -> Option<Socket> {
        self.socket.take()
    }

    pub(crate) fn socket(&self) -> &Socket {
        self.socket.as_ref().expect("taken only by into_idle, which consumes the connection")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.server.in_use.leave(place);
        }
        if self.socket.is_some() {
            self.server.stats.connections_open.decrement();
        }
    }
}

/// What an error of `connect(2)` means for the choice of the next attempt.
pub(crate) fn connect_failure(error: &io::Error) -> ConnectFailure {
    match Errno::from_io_error(error) {
        Some(Errno::TIMEDOUT) => ConnectFailure::TimedOut,
        Some(Errno::CONNRESET) => ConnectFailure::Reset,
        Some(Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::HOSTDOWN | Errno::NETDOWN) => {
            ConnectFailure::Unreachable
        }
        Some(
            Errno::MFILE
            | Errno::NFILE
            | Errno::NOMEM
            | Errno::NOBUFS
            | Errno::ADDRNOTAVAIL
            | Errno::ADDRINUSE
            | Errno::AGAIN,
        ) => ConnectFailure::LocalResource,
        _ => ConnectFailure::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_this_machine_are_not_blamed_on_the_server() {
        for (errno, expected) in [
            (Errno::CONNREFUSED, ConnectFailure::Refused),
            (Errno::NOENT, ConnectFailure::Refused),
            (Errno::TIMEDOUT, ConnectFailure::TimedOut),
            (Errno::HOSTUNREACH, ConnectFailure::Unreachable),
            (Errno::CONNRESET, ConnectFailure::Reset),
            (Errno::MFILE, ConnectFailure::LocalResource),
            (Errno::ADDRNOTAVAIL, ConnectFailure::LocalResource),
        ] {
            assert_eq!(connect_failure(&io::Error::from(errno)), expected, "{errno:?}");
        }
    }
}

//! One server's slot and connection while a request uses them.
//!
//! Owns the counting of what is in flight and open; leaves deciding which server to the exchange. Invariant: every gauge
//! raised here is lowered by a drop, whatever ends the request; a connection of a server with a limit is closed for the server
//! before its slot is anybody else's.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use rustix::io::Errno;
use tidegate_exchange::ConnectFailure;
use tidegate_idle::Kept;
use tidegate_ring::Socket;
use tidegate_tls::rustls::ClientConfig;
use tidegate_tls::rustls::pki_types::ServerName;
use tidegate_tls::{ClientTls, Protocol};

use crate::http2::servers::TrunkStream;
use crate::settings::BackendProtocol;
use crate::site::Server;
use crate::stream::{Handshake, HandshakeError, Stream, Tls};
use crate::upstream::connecting::Wanted;
use crate::upstream::in_use::Place;
use crate::upstream::queue::{Handed, Pass};

/// A server picked for a request, with one of its slots if these are limited.
pub(crate) struct Slot {
    pub(crate) server: Rc<Server>,
    pass: Option<Pass>,
    /// Which of the server's addresses it is for.
    epoch: u32,
}

impl Slot {
    pub(crate) fn new(server: Rc<Server>, pass: Option<Pass>) -> Slot {
        server.stats.in_flight.increment();
        let epoch = server.place.epoch();
        Slot { server, pass, epoch }
    }

    /// Which of the server's addresses it was picked at.
    #[inline]
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether the server is still there. What comes of a request to the address before says nothing of what is there now.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.server.place.is_at(self.epoch)
    }

    /// The slot goes on with the connection.
    pub(crate) fn take_pass(&mut self) -> Option<Pass> {
        self.pass.take()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.server.stats.in_flight.decrement();
    }
}

/// A connection to a server that is being made. To one whose connections are limited it is ended by its drop, so that the server has
/// been told before the slot goes to somebody else: whoever holds both drops this first.
pub(crate) struct Dialing {
    stream: Option<Stream>,
    /// The rest of the way, with TLS.
    handshake: Option<Handshake>,
    is_limited: bool,
    epoch: u32,
}

impl Dialing {
    /// Goes on from a socket that is being connected to `server`.
    pub(crate) fn new(socket: Socket, server: &Server) -> Dialing {
        Dialing::for_request(socket, server, Wanted::Any)
    }

    /// The same for what a request wants.
    pub(crate) fn for_request(socket: Socket, server: &Server, wanted: Wanted) -> Dialing {
        // Where the server has no choice, one protocol is offered anyway.
        let offers_less = wanted == Wanted::Http1 && server.protocol == BackendProtocol::Auto;
        let tls = server.tls.as_ref().map(|(tls, name)| {
            let mut config = tls.config();
            if offers_less {
                Arc::make_mut(&mut config).alpn_protocols = vec![Protocol::Http1.alpn().into()];
            }
            (config, name)
        });
        let mut dialing = Dialing::with(socket, tls, server.limited.is_some());
        dialing.epoch = server.place.epoch();
        dialing
    }

    /// Goes on from a socket that is being connected, with TLS to a server of this name.
    pub(crate) fn over(
        socket: Socket,
        tls: Option<&(Arc<ClientTls>, ServerName<'static>)>,
        is_limited: bool,
    ) -> Dialing {
        Dialing::with(socket, tls.map(|(tls, name)| (tls.config(), name)), is_limited)
    }

    fn with(
        socket: Socket,
        tls: Option<(Arc<ClientConfig>, &ServerName<'static>)>,
        is_limited: bool,
    ) -> Dialing {
        let handshake = tls.map(|(config, name)| {
            // Fails only on a name that the configuration has refused: the connection is then never there.
            Handshake::connect(config, name.clone())
        });
        let stream = match handshake {
            None => Stream::Plain(socket),
            Some(_) => Stream::Tls(Box::new(Tls::new(socket))),
        };
        Dialing {
            stream: Some(stream),
            handshake: handshake.and_then(Result::ok),
            is_limited,
            epoch: 0,
        }
    }

    /// Which of the server's addresses it goes to.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether that is where the server is now.
    pub(crate) fn is_current(&self, server: &Server) -> bool {
        server.place.is_at(self.epoch)
    }

    /// Ready when the connection is there, or cannot be made.
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Result<(), DialError>> {
        let stream = self.stream.as_ref().expect("taken only by established, which consumes it");
        if let Err(error) = ready!(stream.poll_connected(context)) {
            return Poll::Ready(Err(DialError::Connect(error)));
        }
        let Some(tls) = stream.tls() else { return Poll::Ready(Ok(())) };
        loop {
            let Some(handshake) = &mut self.handshake else {
                let name = HandshakeError::Unusable("a server name that cannot be used".to_owned());
                return Poll::Ready(Err(DialError::Handshake(name)));
            };
            let due = ready!(handshake.poll_step_due(tls.socket(), context));
            match due.and_then(|()| handshake.step(tls.socket())) {
                Ok(false) => {}
                Ok(true) => {
                    let done = self.handshake.take().map(|handshake| tls.establish(handshake));
                    return Poll::Ready(done.unwrap_or(Ok(())).map_err(DialError::Handshake));
                }
                Err(error) => return Poll::Ready(Err(DialError::Handshake(error))),
            }
        }
    }

    /// What the two have agreed on to speak, with TLS.
    pub(crate) fn agreed(&self) -> Option<Protocol> {
        self.stream.as_ref()?.tls_facts()?.session.protocol
    }

    /// The connection that is there, counted; it is not ended any more.
    pub(crate) fn established(self, server: &Rc<Server>, now: Instant) -> Connection {
        let epoch = self.epoch;
        Connection::opened_to(self.into_stream(), server, epoch, now)
    }

    /// The same, counted by nobody.
    pub(crate) fn into_stream(mut self) -> Stream {
        self.stream.take().expect("taken only here, which consumes it")
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.as_ref().filter(|_| self.is_limited) {
            stream.end_now();
        }
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum DialError {
    /// As the kernel says.
    Connect(io::Error),
    /// It was there, and the TLS handshake failed.
    Handshake(HandshakeError),
    /// It was there, and the server does not speak as it should: how.
    Protocol(String),
    /// Somebody else has been told why.
    Shared(ConnectFailure),
}

impl DialError {
    /// What it means for the choice of the next attempt.
    pub(crate) fn failure(&self) -> ConnectFailure {
        match self {
            DialError::Connect(error) => connect_failure(error),
            DialError::Handshake(_) => ConnectFailure::Tls,
            DialError::Protocol(_) => ConnectFailure::Protocol,
            DialError::Shared(failure) => *failure,
        }
    }
}

/// An established connection with what is known of it.
pub(crate) struct Held {
    pub(crate) socket: Stream,
    /// When it was made.
    pub(crate) opened: Instant,
    /// Requests that it has carried, the present one included.
    pub(crate) requests: u32,
    /// Which of the server's addresses it goes to.
    pub(crate) epoch: u32,
}

impl Kept for Held {
    fn opened(&self) -> Instant {
        self.opened
    }

    fn requests(&self) -> u32 {
        self.requests
    }
}

/// A connection to a server, counted as open.
pub(crate) struct Connection {
    held: Option<Held>,
    server: Rc<Server>,
    /// Where the server keeps account of it, if it does.
    place: Option<Place>,
}

impl Connection {
    /// Counts a connection that has just been established.
    #[cfg(test)]
    pub(crate) fn opened(socket: Stream, server: &Rc<Server>, now: Instant) -> Connection {
        Connection::opened_to(socket, server, server.place.epoch(), now)
    }

    /// A place on a connection that is counted by itself.
    pub(crate) fn of_stream(
        stream: Rc<TrunkStream>,
        server: &Rc<Server>,
        now: Instant,
    ) -> Connection {
        let epoch = stream.epoch();
        let held = Held { socket: Stream::Trunk(stream), opened: now, requests: 0, epoch };
        Connection { held: Some(held), server: server.clone(), place: None }
    }

    fn opened_to(socket: Stream, server: &Rc<Server>, epoch: u32, now: Instant) -> Connection {
        server.stats.connections_total.increment();
        Connection::received(Held { socket, opened: now, requests: 0, epoch }, server)
    }

    /// Whether it goes to where the server is now.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.server.place.is_at(self.held().epoch)
    }

    /// Counts a connection that another shard has established.
    pub(crate) fn received(held: Held, server: &Rc<Server>) -> Connection {
        server.stats.connections_open.increment();
        held.socket.set_recv_on_demand(server.receives_on_demand());
        Connection::used(held, server)
    }

    fn used(held: Held, server: &Rc<Server>) -> Connection {
        let tracks = server.closes_sessions.get();
        let key = held.socket.key().filter(|_| tracks);
        let place = key.map(|key| server.in_use.enter(key));
        Connection { held: Some(held), server: server.clone(), place }
    }

    /// Takes over an idle connection, which is counted as open already.
    pub(crate) fn from_idle(held: Held, server: &Rc<Server>) -> Connection {
        Connection::used(held, server)
    }

    /// The connection without its counting, for the idle list.
    pub(crate) fn into_idle(mut self) -> Option<Held> {
        self.held.take()
    }

    /// The connection for another shard, which counts it then.
    pub(crate) fn into_sent(mut self) -> Option<Held> {
        let held = self.held.take()?;
        self.server.stats.connections_open.decrement();
        Some(held)
    }

    /// The connection for whichever shard takes it, if nothing is in flight on it; it is not counted meanwhile.
    ///
    /// # Errors
    /// The connection, when it cannot go.
    pub(crate) fn into_handed(mut self) -> Result<Handed, Connection> {
        let Some(Held { socket, opened, requests, epoch }) = self.held.take() else {
            return Err(self);
        };
        match socket.into_travelling() {
            Ok(connection) => {
                self.server.stats.connections_open.decrement();
                Ok(Handed { connection, opened, requests, epoch })
            }
            Err(socket) => {
                self.held = Some(Held { socket, opened, requests, epoch });
                Err(self)
            }
        }
    }

    pub(crate) fn socket(&self) -> &Stream {
        &self.held().socket
    }

    /// One request more goes over it.
    pub(crate) fn count_request(&mut self) {
        if let Some(held) = &mut self.held {
            held.requests = held.requests.saturating_add(1);
        }
    }

    pub(crate) fn held(&self) -> &Held {
        self.held.as_ref().expect("taken only by what consumes the connection")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.server.in_use.leave(place);
        }
        if let Some(held) = self.held.as_ref().filter(|held| !held.socket.is_shared()) {
            self.server.stats.connections_open.decrement();
            if self.server.limited.is_some() {
                held.socket.end_now();
            }
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

//! A connection for a request: one of its own that is made, or a place on one that it shares.
//!
//! Owns which of the two a server has, and the way from the one to the other where the server chooses; leaves making connections to
//! `connect` and sharing them to `http2::servers`. Invariant: no request waits for a connection that cannot take it.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tidegate_tls::Protocol;

use crate::http2::servers::{Outcome, TrunkStream, Wait};
use crate::settings::BackendProtocol;
use crate::site::Server;
use crate::upstream::connect::{Connection, DialError, Dialing};
use crate::worker::Worker;

/// Connections that a request waits for before it gives up: each of them had no room for it when it was there.
const WAITS_MAX: u8 = 8;

/// What a request needs of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Whatever the server speaks.
    Any,
    /// HTTP/1.1, where the server may choose: only there every server can change protocols.
    Http1,
}

/// A connection that is being made or waited for.
pub(crate) struct Connecting {
    worker: Rc<Worker>,
    server: Rc<Server>,
    wanted: Wanted,
    way: Way,
    waits: u8,
}

enum Way {
    Own(Dialing),
    Shared(Wait),
    There(Rc<TrunkStream>),
    /// In between two of the others.
    Nowhere,
}

impl Connecting {
    /// Begins.
    ///
    /// # Errors
    /// No connection can be begun.
    pub(crate) fn begin(
        worker: &Rc<Worker>,
        server: &Rc<Server>,
        wanted: Wanted,
    ) -> io::Result<Connecting> {
        let (worker, server) = (worker.clone(), server.clone());
        let mut connecting = Connecting { worker, server, wanted, way: Way::Nowhere, waits: 0 };
        connecting.choose()?;
        Ok(connecting)
    }

    fn choose(&mut self) -> io::Result<()> {
        let (worker, server) = (&self.worker, &self.server);
        let shares = match (server.protocol, self.wanted) {
            (BackendProtocol::Http1, _) | (BackendProtocol::Auto, Wanted::Http1) => false,
            (BackendProtocol::Http2, _) => true,
            (BackendProtocol::Auto, Wanted::Any) => server.trunks.is_spoken(),
        };
        self.way = match server.trunks.open(worker).filter(|_| shares) {
            Some(stream) => Way::There(stream),
            None if shares => Way::Shared(Wait::new(worker.trunk(server)?)),
            None => {
                let socket = server.place.connect(&worker.shard.ring)?;
                Way::Own(Dialing::for_request(socket, server, self.wanted))
            }
        };
        Ok(())
    }

    /// Ready when there is a connection for the request, or cannot be one.
    pub(crate) fn poll(&mut self, context: &Context<'_>) -> Poll<Result<(), DialError>> {
        loop {
            match &mut self.way {
                Way::There(_) => return Poll::Ready(Ok(())),
                Way::Nowhere => unreachable!("it is left at once"),
                Way::Own(dialing) => {
                    ready!(dialing.poll(context))?;
                    if self.server.protocol != BackendProtocol::Auto || self.wanted != Wanted::Any {
                        return Poll::Ready(Ok(()));
                    }
                    let speaks = dialing.agreed() == Some(Protocol::Http2);
                    if dialing.is_current(&self.server) {
                        self.server.trunks.note_spoken(speaks);
                    }
                    if !speaks {
                        return Poll::Ready(Ok(()));
                    }
                    self.share();
                }
                Way::Shared(wait) => match wait.outcome(self.worker.shard.clock.now()) {
                    Outcome::Pending => return Poll::Pending,
                    Outcome::Stream(stream) => self.way = Way::There(stream),
                    Outcome::Failed(error) => return Poll::Ready(Err(error)),
                    Outcome::Again => {
                        self.waits += 1;
                        if self.waits >= WAITS_MAX {
                            let detail = "no connection had room for the request".to_owned();
                            return Poll::Ready(Err(DialError::Protocol(detail)));
                        }
                        self.choose().map_err(DialError::Connect)?;
                    }
                },
            }
        }
    }

    /// The connection that was made for this request is for others too; if there is one already, it is not needed.
    fn share(&mut self) {
        let Way::Own(dialing) = std::mem::replace(&mut self.way, Way::Nowhere) else { return };
        self.way = match self.server.trunks.open(&self.worker) {
            Some(stream) => Way::There(stream),
            None => {
                let trunk = self.worker.adopt_trunk(&self.server, dialing);
                Way::Shared(Wait::new(trunk))
            }
        };
    }

    /// The connection that is there, counted.
    ///
    /// # Panics
    /// If it is not.
    pub(crate) fn established(self, now: Instant) -> Connection {
        match self.way {
            Way::Own(dialing) => dialing.established(&self.server, now),
            Way::There(stream) => Connection::of_stream(stream, &self.server, now),
            Way::Shared(_) | Way::Nowhere => panic!("asked for a connection that is not there"),
        }
    }
}

impl Worker {
    /// A place on a connection that is there.
    pub(super) fn open_shared(&self, server: &Rc<Server>) -> Option<Connection> {
        let stream = server.trunks.open(self)?;
        Some(Connection::of_stream(stream, server, self.shard.clock.now()))
    }
}

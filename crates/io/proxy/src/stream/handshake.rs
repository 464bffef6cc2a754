//! A TLS handshake over a socket, by rustls on received bytes.
//!
//! Owns the bytes of a handshake under way; leaves certificates and trust to the configurations of `tidegate-tls`, deadlines to
//! the tasks, and everything after the handshake to `tls`. Invariant: what rustls wants sent leaves in its order, a last alert
//! included; what has come behind the handshake is handed on and not lost.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use tidegate_ring::{SendBuf, Socket};
use tidegate_tls::rustls::client::UnbufferedClientConnection;
use tidegate_tls::rustls::pki_types::ServerName;
use tidegate_tls::rustls::server::UnbufferedServerConnection;
use tidegate_tls::rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use tidegate_tls::rustls::{ClientConfig, CommonState, Error, ServerConfig};
use tidegate_tls::{Hello, Session, refine_alert, take_hello};

use super::keys::Keys;

/// Bytes of a peer that are held while a handshake message is not whole. A chain of certificates with a long client hello stays
/// below; rustls itself takes no message beyond 64 KiB.
const INCOMING_BYTES_MAX: usize = 128 * 1024;

/// Records that are encoded after a failure: the alert, and what was on its way before it.
const LAST_RECORDS_MAX: usize = 8;

/// Why a handshake has failed.
#[derive(Debug)]
pub(crate) enum HandshakeError {
    /// The peer sent something else than TLS: its first bytes.
    NotTls(Box<[u8]>),
    /// The peer closed in the middle.
    Closed,
    /// The connection was reset or failed.
    Io(io::Error),
    /// There is no certificate for the name that the client asked for.
    UnknownName(Option<Box<str>>),
    /// The two do not agree, or one is not believed.
    Tls(Error),
    /// What was agreed on cannot be used.
    Unusable(String),
}

impl std::fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotTls(_) => f.write_str("not TLS"),
            Self::Closed => f.write_str("closed in the middle of the handshake"),
            Self::Io(error) => error.fmt(f),
            Self::UnknownName(Some(name)) => write!(f, "no certificate for {name}"),
            Self::UnknownName(None) => f.write_str("no server name was asked for"),
            Self::Tls(error) => error.fmt(f),
            Self::Unusable(reason) => f.write_str(reason),
        }
    }
}

enum Side {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// A handshake under way.
pub(crate) struct Handshake {
    side: Side,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// So many bytes at the start of `incoming` are whole records that rustls has seen.
    seen: usize,
    hello: Option<Hello>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has been said or heard.
    New,
    Running,
    Done,
}

/// What rustls wants next.
enum Next {
    /// To be asked again.
    Again,
    More,
    Done,
    Failed(Error),
}

impl Handshake {
    /// With a client.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub(crate) fn accept(config: Arc<ServerConfig>) -> Result<Handshake, HandshakeError> {
        let connection = UnbufferedServerConnection::new(config).map_err(HandshakeError::Tls)?;
        Ok(Handshake::new(Side::Server(Box::new(connection))))
    }

    /// With a server of this name.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub(crate) fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Handshake, HandshakeError> {
        let connection =
            UnbufferedClientConnection::new(config, name).map_err(HandshakeError::Tls)?;
        Ok(Handshake::new(Side::Client(Box::new(connection))))
    }

    fn new(side: Side) -> Handshake {
        Handshake {
            side,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            seen: 0,
            hello: None,
            state: State::New,
        }
    }

    /// Whether the next step needs bytes from `socket`, which are not there.
    pub(crate) fn poll_step_due(
        &mut self,
        socket: &Socket,
        context: &Context<'_>,
    ) -> Poll<Result<(), HandshakeError>> {
        if self.state == State::New && matches!(self.side, Side::Client(_)) {
            return Poll::Ready(Ok(()));
        }
        let piece = match socket.poll_recv(context) {
            Poll::Ready(Ok(Some(piece))) => piece,
            Poll::Ready(Ok(None)) => return Poll::Ready(Err(HandshakeError::Closed)),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(HandshakeError::Io(error))),
            Poll::Pending => return Poll::Pending,
        };
        // A record of a handshake begins with its type, 22; old clients' SSL 2 hello is not known to anybody any more.
        if self.state == State::New && piece.first() != Some(&22) {
            return Poll::Ready(Err(HandshakeError::NotTls(Box::from(&piece[..]))));
        }
        if self.incoming.len() + piece.len() > INCOMING_BYTES_MAX {
            let error = Error::General("too many bytes without a whole message".to_owned());
            return Poll::Ready(Err(HandshakeError::Tls(error)));
        }
        self.incoming.extend_from_slice(&piece);
        Poll::Ready(Ok(()))
    }

    /// Goes on with what has come, as far as that leads; `true` once the handshake is over. This is where its time goes.
    ///
    /// # Errors
    /// It has failed; the peer is told.
    pub(crate) fn step(&mut self, socket: &Socket) -> Result<bool, HandshakeError> {
        self.state = State::Running;
        let outcome = loop {
            match self.ask() {
                Next::Again => {}
                Next::More => break Ok(false),
                Next::Done => break Ok(true),
                Next::Failed(error) => break Err(error),
            }
        };
        if let Some(hello) = take_hello() {
            self.hello = Some(hello);
        }
        let outcome = match outcome {
            Ok(done) => {
                if done {
                    self.state = State::Done;
                }
                Ok(done)
            }
            Err(error) => Err(self.failed(error)),
        };
        self.send(socket);
        outcome
    }

    /// Shows rustls one record more. What comes behind the handshake is not for it: it would answer a change of keys with
    /// a message that it keeps for its own next record, and those are ours.
    fn ask(&mut self) -> Next {
        let is_over = self.state == State::Running && !self.common().is_handshaking();
        let record = if is_over { Some(self.seen) } else { record_end(&self.incoming, self.seen) };
        let length = record.unwrap_or(self.incoming.len());
        let shown = &mut self.incoming[..length];
        let (discard, next) = match &mut self.side {
            Side::Server(connection) => {
                turn(connection.process_tls_records(shown), &mut self.outgoing)
            }
            Side::Client(connection) => {
                turn(connection.process_tls_records(shown), &mut self.outgoing)
            }
        };
        self.incoming.drain(..discard.min(length));
        self.seen = self.seen.saturating_sub(discard);
        // A server may write before it has heard the client's last message.
        let wants_more = match &next {
            Next::More => true,
            Next::Done => self.common().is_handshaking(),
            Next::Again | Next::Failed(_) => false,
        };
        if !wants_more {
            return next;
        }
        if record.is_some() {
            self.seen = length.saturating_sub(discard);
        }
        if self.incoming.len() > self.seen && record.is_some() { Next::Again } else { Next::More }
    }

    fn common(&self) -> &CommonState {
        match &self.side {
            Side::Server(connection) => connection,
            Side::Client(connection) => connection,
        }
    }

    /// Has the alert encoded. Nothing more is read: rustls would find the same fault again, or miss bytes that it remembers.
    fn failed(&mut self, error: Error) -> HandshakeError {
        for _ in 0..LAST_RECORDS_MAX {
            let before = self.outgoing.len();
            if !self.common().wants_write() || !matches!(self.ask(), Next::Again) {
                break;
            }
            if self.hello.as_ref().is_some_and(|hello| hello.refused) {
                refine_alert(&mut self.outgoing[before..]);
            }
        }
        match self.hello.take() {
            Some(hello) if hello.refused => HandshakeError::UnknownName(hello.server_name),
            _ => HandshakeError::Tls(error),
        }
    }

    fn send(&mut self, socket: &Socket) {
        if !self.outgoing.is_empty() {
            socket.queue(SendBuf::Vec(std::mem::take(&mut self.outgoing)));
            socket.flush();
        }
    }

    /// What the connection goes on with.
    ///
    /// # Errors
    /// What was agreed on cannot be used.
    pub(super) fn finish(self) -> Result<Finished, HandshakeError> {
        debug_assert!(self.state == State::Done, "finished before its end");
        let session = Session::of(self.common()).map_err(HandshakeError::Unusable)?;
        let server_name = self.hello.and_then(|hello| hello.server_name);
        let keys = match self.side {
            Side::Server(connection) => Keys::of_server(*connection),
            Side::Client(connection) => Keys::of_client(*connection),
        };
        let keys = keys.map_err(HandshakeError::Unusable)?;
        Ok(Finished { keys, session, server_name, rest: self.incoming })
    }
}

/// What a handshake leaves.
pub(super) struct Finished {
    pub(super) keys: Keys,
    pub(super) session: Session,
    pub(super) server_name: Option<Box<str>>,
    /// Records that came behind it, or the start of one.
    pub(super) rest: Vec<u8>,
}

/// Where the record ends that begins at `start`, if it is whole (RFC 8446 §5.1).
fn record_end(bytes: &[u8], start: usize) -> Option<usize> {
    let header = bytes.get(start..start + 5)?;
    let end = start + 5 + usize::from(u16::from_be_bytes([header[3], header[4]]));
    (end <= bytes.len()).then_some(end)
}

/// Does what rustls asks for; how many received bytes it is done with.
fn turn<Data>(status: UnbufferedStatus<'_, '_, Data>, outgoing: &mut Vec<u8>) -> (usize, Next) {
    let UnbufferedStatus { discard, state } = status;
    let next = match state {
        Ok(ConnectionState::EncodeTlsData(mut record)) => {
            let start = outgoing.len();
            // The first call is told how much room it takes.
            let mut encoded = record.encode(&mut []);
            if let Err(EncodeError::InsufficientSize(insufficient)) = &encoded {
                outgoing.resize(start + insufficient.required_size, 0);
                encoded = record.encode(&mut outgoing[start..]);
            }
            match encoded {
                Ok(written) => {
                    outgoing.truncate(start + written);
                    Next::Again
                }
                Err(error) => Next::Failed(Error::General(error.to_string())),
            }
        }
        Ok(ConnectionState::TransmitTlsData(transmit)) => {
            // It leaves in order with what follows.
            transmit.done();
            Next::Again
        }
        Ok(ConnectionState::BlockedHandshake) => Next::More,
        Ok(ConnectionState::WriteTraffic(_)) => Next::Done,
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
            Next::Failed(Error::General("closed in the middle of the handshake".to_owned()))
        }
        // Early data is not offered, and later data not shown.
        Ok(_) => Next::Failed(Error::General("an unexpected state".to_owned())),
        Err(error) => Next::Failed(error),
    };
    (discard, next)
}

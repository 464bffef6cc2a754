//! An established TLS connection: its records over a socket.
//!
//! Owns moving bytes between the socket and the two ends in `ends`; leaves the handshake to `handshake`. Invariant: bytes are handed out only when their record was whole and right; after the peer's
//! close_notify nothing more is read, and after ours nothing more is sealed.

use std::cell::{OnceCell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use tidegate_ring::{ParkToken, RecvBuf, Ring, SendBuf, Socket};
use tidegate_tls::Session;
use tidegate_tls_records::{Alert, Version};

use super::ends::{Core, End, State};
use super::handshake::{Finished, Handshake, HandshakeError};

/// RFC 8446 §6.2
const CERTIFICATE_EXPIRED: Alert = Alert(45);

/// What the handshake has said, for rules and the log.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Versions, ciphers and who the client is.
    pub(crate) session: Session,
    /// The name that the client asked for, in lower case.
    pub(crate) server_name: Option<Box<str>>,
}

/// A connection on its way to another shard: nothing has come on it that is not read, nothing is to be sent.
pub(crate) struct Parts {
    descriptor: OwnedFd,
    facts: Option<Arc<Facts>>,
    core: Box<Core>,
}

impl Parts {
    /// The connection's own.
    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("descriptor", &self.descriptor).finish_non_exhaustive()
    }
}

/// A TLS connection, and its socket before that is one.
pub(crate) struct Tls {
    /// Taken only by what consumes the connection.
    socket: Option<Socket>,
    /// Empty until the handshake is over.
    facts: OnceCell<Arc<Facts>>,
    /// As long.
    state: RefCell<Option<State>>,
}

impl Tls {
    /// A socket before its handshake.
    pub(crate) fn new(socket: Socket) -> Tls {
        Tls { socket: Some(socket), facts: OnceCell::new(), state: RefCell::new(None) }
    }

    /// A connection that has come from another shard.
    pub(super) fn arrived(ring: &Ring, parts: Parts) -> Tls {
        let Parts { descriptor, facts, core } = parts;
        let tls = Tls::new(ring.adopt(descriptor));
        if let Some(facts) = facts {
            let _ = tls.facts.set(facts);
        }
        *tls.state.borrow_mut() = Some(State::new(core));
        tls
    }

    pub(super) fn into_parts(mut self) -> Result<Parts, Tls> {
        let Some(state) = self.state.take() else { return Err(self) };
        let taken = if state.is_quiet() { self.socket.take() } else { None };
        match taken.map(Socket::into_descriptor) {
            Some(Ok(descriptor)) => {
                return Ok(Parts { descriptor, facts: self.facts.take(), core: state.core });
            }
            Some(Err(socket)) => self.socket = Some(socket),
            None => {}
        }
        self.state = RefCell::new(Some(state));
        Err(self)
    }

    /// The handshake is over.
    ///
    /// # Errors
    /// What was agreed on cannot be used.
    pub(crate) fn establish(&self, handshake: Handshake) -> Result<(), HandshakeError> {
        let Finished { keys, session, server_name, rest } = handshake.finish()?;
        let core = Core {
            version: if session.version == "TLSv1.2" { Version::Tls12 } else { Version::Tls13 },
            keys,
            end: End::Open,
            has_said_goodbye: false,
            has_flooded: false,
            handed_over: 0,
        };
        let mut state = State::new(Box::new(core));
        if !rest.is_empty() {
            state.feed(RecvBuf::from_vec(rest));
        }
        self.send_queued(&mut state);
        *self.state.borrow_mut() = Some(state);
        let _ = self.facts.set(Arc::new(Facts { session, server_name }));
        Ok(())
    }

    /// What the handshake is made over.
    pub(crate) fn socket(&self) -> &Socket {
        self.socket.as_ref().expect("taken only by what consumes the connection")
    }

    /// Ends a connection whose client is not believed any more: a session that is resumed brings the certificate of its first
    /// handshake, which may have expired since.
    pub(crate) fn refuse_expired(&self) -> bool {
        let facts = self.facts.get().map(|facts| &facts.session);
        let is_expired = facts.is_some_and(|session| {
            let peer = session.peer.as_ref().filter(|_| session.resumed);
            peer.is_some_and(|peer| peer.is_expired(SystemTime::now()))
        });
        if let (true, Some(state)) = (is_expired, &mut *self.state.borrow_mut()) {
            state.fail(CERTIFICATE_EXPIRED);
            self.send_queued(state);
        }
        is_expired
    }

    /// Whether the peer has done too often what costs more than it brings, for which the connection has ended.
    pub(crate) fn has_flooded(&self) -> bool {
        self.state.borrow().as_ref().is_some_and(|state| state.core.has_flooded)
    }

    pub(crate) fn is_established(&self) -> bool {
        self.facts.get().is_some()
    }

    /// What the handshake has said, once it is over.
    pub(crate) fn shared_facts(&self) -> Option<Arc<Facts>> {
        self.facts.get().cloned()
    }

    /// The same for a look.
    pub(crate) fn facts(&self) -> Option<&Facts> {
        self.facts.get().map(|facts| &**facts)
    }

    pub(super) fn poll_recv(&self, context: &Context<'_>) -> Poll<io::Result<Option<RecvBuf>>> {
        let mut state = self.state.borrow_mut();
        let Some(state) = &mut *state else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        loop {
            if let Some(piece) = state.received.take() {
                return Poll::Ready(Ok(Some(piece)));
            }
            match state.core.end {
                End::Open => {}
                End::Closed => return Poll::Ready(Ok(None)),
                End::Failed(kind) => return Poll::Ready(Err(kind.into())),
            }
            match self.socket().poll_recv(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(received) => self.take(state, received),
            }
        }
    }

    fn take(&self, state: &mut State, received: io::Result<Option<RecvBuf>>) {
        match received {
            Ok(Some(piece)) => {
                state.feed(piece);
                if !state.outgoing.is_empty() {
                    self.send_queued(state);
                }
            }
            // Without a close_notify: cut by somebody, or a peer that does not care (RFC 8446 §6.1).
            Ok(None) => state.core.end = End::Failed(io::ErrorKind::UnexpectedEof),
            Err(error) => state.core.end = End::Failed(error.kind()),
        }
    }

    /// Opens what has come, as long as nothing is to be taken.
    fn absorb(&self, state: &mut State) {
        let context = Context::from_waker(Waker::noop());
        while state.received.is_none() && state.core.end == End::Open && self.socket().has_arrived()
        {
            match self.socket().poll_recv(&context) {
                Poll::Ready(received) => self.take(state, received),
                Poll::Pending => break,
            }
        }
    }

    pub(super) fn has_arrived(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let Some(state) = &mut *state else { return self.socket().has_arrived() };
        self.absorb(state);
        state.received.is_some() || state.core.end != End::Open
    }

    pub(super) fn poll_gone(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state.borrow_mut();
        if let Some(state) = &mut *state {
            self.absorb(state);
            if state.received.is_some() {
                // What is to be taken first says nothing of the peer; a failure of the socket is seen when it is taken.
                let _ = self.socket().poll_gone(context);
                return Poll::Pending;
            }
            if state.core.end != End::Open {
                return Poll::Ready(());
            }
        }
        self.socket().poll_gone(context)
    }

    pub(super) fn park(&self, token: ParkToken) -> bool {
        !self.has_arrived() && self.socket().park(token)
    }

    pub(super) fn queue(&self, piece: SendBuf) {
        if let Some(state) = &mut *self.state.borrow_mut() {
            if state.outgoing.capacity() == 0 {
                state.outgoing = self.socket().ring().take_vec();
            }
            state.seal(piece.as_bytes());
        }
        if let SendBuf::Vec(bytes) = piece {
            self.socket().ring().put_vec(bytes);
        }
    }

    pub(super) fn flush(&self) {
        if let Some(state) = &mut *self.state.borrow_mut() {
            self.send_queued(state);
        }
    }

    pub(super) fn flush_last(&self) {
        if let Some(state) = &mut *self.state.borrow_mut() {
            state.say_goodbye();
            self.queue_sealed(state);
        }
        self.socket().flush_last();
    }

    pub(super) fn finish(&self) {
        if let Some(state) = &mut *self.state.borrow_mut() {
            state.say_goodbye();
            self.send_queued(state);
        }
    }

    /// The end is to look like a cut.
    pub(super) fn forget_goodbye(&self) {
        if let Some(state) = &mut *self.state.borrow_mut() {
            state.core.has_said_goodbye = true;
        }
    }

    /// Tells a peer that is between two messages, and about to be left, that nothing more comes; also one that has said so
    /// itself (RFC 5246 §7.2.1). Where something is on its way it is not told: it will see a cut, which it is.
    pub(super) fn say_goodbye_at_once(&self) {
        if let Some(state) = &mut *self.state.borrow_mut()
            && matches!(state.core.end, End::Open | End::Closed)
            && !state.core.has_said_goodbye
            && state.outgoing.is_empty()
            && self.socket().queued_bytes() == 0
        {
            state.say_goodbye();
            self.socket().try_send(&state.outgoing);
            state.outgoing.clear();
        }
    }

    pub(super) fn handed_over_bytes(&self) -> u64 {
        self.state.borrow().as_ref().map_or(0, |state| state.core.handed_over)
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.socket().queued_bytes() + self.unsent_bytes()
    }

    fn unsent_bytes(&self) -> usize {
        self.state.borrow().as_ref().map_or(0, |state| state.outgoing.len())
    }

    pub(super) fn poll_flushed(
        &self,
        context: &Context<'_>,
        queued_max: usize,
    ) -> Poll<io::Result<()>> {
        self.socket().poll_flushed(context, queued_max.saturating_sub(self.unsent_bytes()))
    }

    fn queue_sealed(&self, state: &mut State) {
        if !state.outgoing.is_empty() {
            self.socket().queue(SendBuf::Vec(std::mem::take(&mut state.outgoing)));
        }
    }

    fn send_queued(&self, state: &mut State) {
        self.queue_sealed(state);
        self.socket().flush();
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        if self.socket.is_some() {
            self.say_goodbye_at_once();
        }
    }
}

//! The seam between the event loop and a wire protocol: bytes to write for a request, responses
//! from bytes. HTTP/1.1 is [`http1`]; HTTP/2 is another [`Protocol`], and TLS is a [`Session`]
//! around a session (its handshake goes out through [`Session::start`] and `receive`).
//!
//! Invariant: a session never sees a socket or a clock; times are opaque numbers it hands back.

pub mod http1;

use crate::recorder::Failure;

/// One finished exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// The time given to [`Session::begin`].
    pub intended_ns: u64,
    /// Body bytes of a correct response, or what was wrong with it.
    pub outcome: Result<u64, Failure>,
    /// Whether the connection may carry another request.
    pub reusable: bool,
}

/// The client side of one connection.
pub trait Session {
    /// Bytes to send when the connection is established (a preface, a handshake); none by default.
    fn start(&mut self, _out: &mut Vec<u8>) {}

    /// Whether another request may begin now.
    fn has_room(&self) -> bool;

    /// Appends a request's bytes to `out`. Only when [`Session::has_room`].
    fn begin(&mut self, intended_ns: u64, out: &mut Vec<u8>);

    /// Takes received bytes; appends finished exchanges to `done` and bytes to send to `out`.
    ///
    /// # Errors
    /// [`Failure::Malformed`] when the bytes cannot be followed any further; every exchange in
    /// flight fails with it.
    fn receive(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        done: &mut Vec<Exchange>,
    ) -> Result<(), Failure>;

    /// The peer sent its last byte: finishes or fails what is in flight, through `done`.
    fn end_of_stream(&mut self, done: &mut Vec<Exchange>);

    /// Fails everything in flight with `failure`, through `done`.
    fn abandon(&mut self, failure: Failure, done: &mut Vec<Exchange>);
}

/// A protocol with its request and its expectations.
pub trait Protocol {
    /// The state of one connection.
    type Session: Session;

    /// A session for a fresh connection.
    fn session(&self) -> Self::Session;
}

//! A connection to a server that carries no request: a health check's.
//!
//! Owns making it as requests' connections are made, with TLS or without; leaves what is said on it, and its deadlines, to the
//! control plane. Invariant: it is counted nowhere and kept nowhere.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use tidegate_ring::{RecvBuf, SendBuf, Socket};
use tidegate_tls::ClientTls;
use tidegate_tls::rustls::pki_types::ServerName;

use crate::stream::Stream;
use crate::upstream::connect::{DialError, Dialing};

/// A connection that is being made.
pub struct ProbeDialing(Dialing);

/// One that is there.
pub struct ProbeStream(Stream);

/// Why there is none.
#[derive(Debug)]
pub enum ProbeError {
    /// As the kernel says.
    Connect(io::Error),
    /// It was there, and the TLS handshake failed: why.
    Tls(String),
}

impl ProbeDialing {
    /// Goes on from a socket that is being connected, with TLS to a server of this name.
    #[must_use]
    pub fn new(socket: Socket, tls: Option<&(Arc<ClientTls>, ServerName<'static>)>) -> Self {
        Self(Dialing::over(socket, tls, false))
    }

    /// Ready when the connection is there, or cannot be made.
    pub fn poll(&mut self, context: &Context<'_>) -> Poll<Result<(), ProbeError>> {
        self.0.poll(context).map_err(|error| match error {
            DialError::Connect(error) => ProbeError::Connect(error),
            DialError::Handshake(error) => ProbeError::Tls(error.to_string()),
            DialError::Protocol(detail) => ProbeError::Tls(detail),
            DialError::Shared(_) => ProbeError::Connect(std::io::ErrorKind::Other.into()),
        })
    }

    /// The connection that is there.
    #[must_use]
    pub fn established(self) -> ProbeStream {
        ProbeStream(self.0.into_stream())
    }
}

impl ProbeStream {
    /// Queues and sends bytes.
    pub fn send(&self, bytes: Vec<u8>) {
        self.0.queue(SendBuf::Vec(bytes));
        self.0.flush();
    }

    /// Ready when what was sent has left.
    ///
    /// # Errors
    /// The connection was reset or failed.
    pub fn poll_sent(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flushed(context, 0)
    }

    /// Received bytes, or `None` when the server has ended its side. One buffer at a time is received.
    ///
    /// # Errors
    /// The connection was reset or failed; with TLS also, if it has ended without being announced.
    pub fn poll_recv(&self, context: &Context<'_>) -> Poll<io::Result<Option<RecvBuf>>> {
        self.0.set_recv_on_demand(true);
        self.0.poll_recv(context)
    }

    /// Ends it by a reset: no port waits for late segments. Nothing can be sent after this.
    pub fn reset(self) {
        self.0.reset_when_closed();
    }
}

//! A connection to a server that carries no request: a health check's.
//!
//! Owns making it as requests' connections are made, with TLS or without; leaves what is said on it, and its deadlines, to the
//! control plane. Invariant: it is counted nowhere and kept nowhere.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use h2::client::Connection;
use rustix::io::Errno;
use tidegate_ring::{RecvBuf, SendBuf, Socket};
use tidegate_shard::Shard;
use tidegate_tls::rustls::pki_types::ServerName;
use tidegate_tls::{ClientTls, Protocol};

use crate::http2::servers::{Fault, TrunkStream};
use crate::http2::{Carrier, End, Piece};
use crate::stream::Stream;
use crate::upstream::connect::{DialError, Dialing};

/// A connection that is being made.
pub struct ProbeDialing(Dialing);

/// One that is there.
pub struct ProbeStream {
    stream: Rc<Stream>,
    http2: Option<Http2>,
}

/// What carries one request as HTTP/2.
struct Http2 {
    connection: RefCell<Connection<Carrier<Side>, Piece>>,
    request: Rc<TrunkStream>,
}

/// The server as the library's bytes see it. A check reads little and ends soon: nothing is metered.
struct Side {
    stream: Rc<Stream>,
    is_finished: Cell<bool>,
}

impl End for Side {
    fn stream(&self) -> &Stream {
        &self.stream
    }

    fn note_received(&self, _now: Instant, _bytes: &[u8]) {}

    fn is_flooding(&self) -> bool {
        false
    }

    fn note_finished(&self) -> bool {
        self.is_finished.replace(true)
    }
}

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
            DialError::Shared(_) => ProbeError::Connect(Errno::CONNREFUSED.into()),
        })
    }

    /// Whether HTTP/2 was agreed on, with TLS.
    #[must_use]
    pub fn speaks_http2(&self) -> bool {
        self.0.agreed() == Some(Protocol::Http2)
    }

    /// The connection that is there.
    #[must_use]
    pub fn established(self) -> ProbeStream {
        ProbeStream { stream: Rc::new(self.0.into_stream()), http2: None }
    }
}

impl ProbeStream {
    /// The same connection with HTTP/2 on it: what is sent from now on is the text of one HTTP/1.1 request, and what is received
    /// that of its response.
    ///
    /// # Errors
    /// The connection has failed.
    pub async fn speak_http2(self, shard: &Rc<Shard>) -> io::Result<ProbeStream> {
        let stream = self.stream;
        let side = Side { stream: stream.clone(), is_finished: Cell::new(false) };
        let carrier = Carrier::new(side, shard, None);
        let mut builder = h2::client::Builder::new();
        builder.enable_push(false);
        let begun = builder.handshake::<_, Piece>(carrier).await;
        let (send, connection) = begun.map_err(|_| io::Error::from(Errno::CONNRESET))?;
        let request =
            TrunkStream::new(None, &Rc::default(), &shard.ring, stream.tls().is_some(), send);
        let http2 = Http2 { connection: RefCell::new(connection), request };
        Ok(ProbeStream { stream, http2: Some(http2) })
    }

    /// Queues and sends bytes.
    pub fn send(&self, bytes: Vec<u8>) {
        match &self.http2 {
            Some(http2) => http2.request.queue(SendBuf::Vec(bytes)),
            None => {
                self.stream.queue(SendBuf::Vec(bytes));
                self.stream.flush();
            }
        }
    }

    /// Ready when what was sent has left.
    ///
    /// # Errors
    /// The connection was reset or failed.
    pub fn poll_sent(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        match &self.http2 {
            // It leaves while the response is waited for.
            Some(_) => Poll::Ready(Ok(())),
            None => self.stream.poll_flushed(context, 0),
        }
    }

    /// Received bytes, or `None` when the server has ended its side. One buffer at a time is received.
    ///
    /// # Errors
    /// The connection was reset or failed; with TLS also, if it has ended without being announced.
    pub fn poll_recv(&self, context: &Context<'_>) -> Poll<io::Result<Option<RecvBuf>>> {
        self.stream.set_recv_on_demand(true);
        match &self.http2 {
            Some(http2) => http2.poll_recv(&mut Context::from_waker(context.waker())),
            None => self.stream.poll_recv(context),
        }
    }

    /// Ends it by a reset: no port waits for late segments. Nothing can be sent after this.
    pub fn reset(self) {
        self.stream.reset_when_closed();
    }
}

impl Http2 {
    fn poll_recv(&self, context: &mut Context<'_>) -> Poll<io::Result<Option<RecvBuf>>> {
        let mut connection = self.connection.borrow_mut();
        // What its end means the request is told.
        let over = Pin::new(&mut *connection).poll(context);
        match self.request.poll_recv(context) {
            Poll::Ready(Err(_)) => Poll::Ready(Err(self.error())),
            Poll::Pending if over.is_ready() => Poll::Ready(Err(Errno::CONNRESET.into())),
            Poll::Pending => {
                // The request's stream may have asked for a window.
                let _ = Pin::new(&mut *connection).poll(context);
                Poll::Pending
            }
            received => received,
        }
    }

    fn error(&self) -> io::Error {
        match self.request.fault() {
            Some(Fault::Malformed(rule)) => io::Error::new(io::ErrorKind::InvalidData, rule),
            Some(Fault::Refused | Fault::Goaway | Fault::Reset | Fault::Lost) | None => {
                Errno::CONNRESET.into()
            }
        }
    }
}

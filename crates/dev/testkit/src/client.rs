//! Owns a raw HTTP/1 client: it sends exactly the bytes it is given and accepts only well-formed
//! answers.
//!
//! Leaves what to send to the tests. Invariant: every operation ends within the client's patience
//! or fails the test with what had been received by then.

use crate::deadline::{Deadline, Gate};
use crate::message::{Response, read_response, read_response_head};
use crate::stream::{End, Stream, is_cut, is_reset};
use crate::tls::{TlsClient, TlsFacts};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

/// Received bytes that a failure shows.
const SHOWN_BYTES_MAX: usize = 4_096;

/// One client connection. Every method that waits panics when its deadline passes.
pub struct Client {
    stream: Stream,
    facts: Option<TlsFacts>,
}

impl Client {
    /// Connects over TCP and makes a TLS handshake; everything sent and read from then on goes through it.
    ///
    /// # Panics
    /// When the handshake fails.
    #[must_use]
    #[track_caller]
    pub fn connect_tls(address: SocketAddr, tls: &TlsClient) -> Self {
        Self::connect(address).secured(tls)
    }

    /// As [`Client::connect_tls`].
    ///
    /// # Errors
    /// What the system says, and `InvalidData` with what TLS says, such as `received fatal alert: UnrecognizedName`.
    pub fn try_connect_tls(address: SocketAddr, tls: &TlsClient) -> io::Result<Self> {
        Self::try_connect(address)?.try_secured(tls)
    }

    /// Makes a TLS handshake on a connection.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    #[track_caller]
    pub fn secured(self, tls: &TlsClient) -> Self {
        self.try_secured(tls).unwrap_or_else(|error| panic!("no TLS connection: {error}"))
    }

    /// As [`Client::secured`].
    ///
    /// # Errors
    /// As [`Client::try_connect_tls`].
    pub fn try_secured(mut self, tls: &TlsClient) -> io::Result<Self> {
        let deadline = self.stream.deadline();
        self.facts = Some(self.stream.secure(tls.connection(), deadline)?);
        Ok(self)
    }

    /// What the handshake has agreed on.
    ///
    /// # Panics
    /// When there was none.
    #[must_use]
    #[track_caller]
    pub fn tls(&self) -> &TlsFacts {
        self.facts.as_ref().expect("the client speaks TLS")
    }

    /// What TLS makes of these bytes, to be sent by [`Client::send_wire`] in any pieces, in order.
    #[must_use]
    pub fn seal(&mut self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        self.stream.seal(bytes.as_ref())
    }

    /// Sends bytes past TLS.
    ///
    /// # Panics
    /// When the other side does not take them.
    #[track_caller]
    pub fn send_wire(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        if let Err(error) = self.stream.write_wire(self.stream.deadline(), bytes.as_ref()) {
            self.fail("cannot send", &error);
        }
        self
    }

    /// Goes over to new keys (RFC 8446 §4.6.3), which is announced with the next bytes.
    ///
    /// # Panics
    /// Without TLS 1.3.
    pub fn update_keys(&mut self) -> &mut Self {
        let tls = self.stream.tls().expect("the client speaks TLS");
        tls.refresh_traffic_keys().expect("it is TLS 1.3");
        self
    }

    /// Sends the close_notify of TLS and goes on reading; no FIN follows.
    ///
    /// # Panics
    /// When the connection is gone.
    #[track_caller]
    pub fn close_notify(&mut self) -> &mut Self {
        if let Err(error) = self.stream.say_goodbye() {
            self.fail("cannot send a close_notify", &error);
        }
        self
    }

    /// Ends the connection without a close_notify.
    pub fn cut(mut self) {
        self.stream.end_silently();
    }

    /// Connects over TCP.
    ///
    /// # Panics
    /// When the connection cannot be made.
    #[must_use]
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address)
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// Connects over TCP.
    ///
    /// # Errors
    /// What the system says, such as `ConnectionRefused`.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Self::open(address, None, None)
    }

    /// Connects over TCP from a given local address, such as another address of 127.0.0.0/8.
    ///
    /// # Panics
    /// When the connection cannot be made.
    #[must_use]
    #[track_caller]
    pub fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        let client = Self::open(address, Some(source), None);
        client.unwrap_or_else(|error| panic!("cannot connect to {address} from {source}: {error}"))
    }

    /// Connects over TCP with a small receive buffer, so that not reading is felt by the sender
    /// soon. The kernel doubles the number and has a minimum of about 2 KiB.
    ///
    /// # Panics
    /// When the connection cannot be made.
    #[must_use]
    #[track_caller]
    pub fn connect_with_receive_buffer(address: SocketAddr, bytes: usize) -> Self {
        let client = Self::open(address, None, Some(bytes));
        client.unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"))
    }

    /// Connects to a Unix socket.
    ///
    /// # Panics
    /// When the connection cannot be made.
    #[must_use]
    #[track_caller]
    pub fn connect_unix(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        let connected = || {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.connect(&SockAddr::unix(path)?)?;
            Ok::<_, io::Error>(socket)
        };
        let socket = connected()
            .unwrap_or_else(|error| panic!("cannot connect to {}: {error}", path.display()));
        Self::over(socket)
    }

    fn over(socket: Socket) -> Self {
        Self { stream: Stream::new(socket), facts: None }
    }

    fn open(
        address: SocketAddr,
        source: Option<IpAddr>,
        receive_buffer: Option<usize>,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(source) = source {
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        let patience = Deadline::default().remaining().unwrap_or_default();
        socket.connect_timeout(&address.into(), patience)?;
        socket.set_tcp_nodelay(true)?;
        Ok(Self::over(socket))
    }

    /// Sets how long each operation may take, instead of [`PATIENCE`](crate::PATIENCE).
    pub fn set_patience(&mut self, patience: Duration) {
        self.stream.set_patience(patience);
    }

    /// The address this end of a TCP connection has.
    ///
    /// # Panics
    /// For a Unix socket.
    #[must_use]
    #[track_caller]
    pub fn local_address(&self) -> SocketAddr {
        let address =
            self.stream.socket().local_addr().ok().and_then(|address| address.as_socket());
        address.expect("a connected TCP socket has an address")
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// When the other side does not take them.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        if let Err(error) = self.try_send(bytes) {
            self.fail("cannot send", &error);
        }
        self
    }

    /// Sends bytes as they are, where the other side may have gone.
    ///
    /// # Errors
    /// What the system says, `TimedOut` when the other side does not take them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write(self.stream.deadline(), bytes.as_ref())
    }

    /// Sends each byte in a segment of its own, as far as the other side still takes them: a server
    /// may answer and close before the end.
    ///
    /// # Errors
    /// As [`Client::try_send`].
    pub fn send_bytewise(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        bytes.as_ref().iter().try_for_each(|byte| self.try_send([*byte]))
    }

    /// Sends pieces, waiting for the gate that stands before each.
    ///
    /// # Panics
    /// When a gate stays closed or the other side does not take a piece.
    #[track_caller]
    pub fn send_gated(&mut self, pieces: &[(Gate, &[u8])]) -> &mut Self {
        for (gate, piece) in pieces {
            gate.wait();
            self.send(piece);
        }
        self
    }

    /// Sends a GET with a Host header and reads the response.
    ///
    /// # Panics
    /// When there is no well-formed response.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: example.test\r\n\r\n"));
        self.read_response()
    }

    /// Reads the response to a request that was neither HEAD nor CONNECT, and the interim ones
    /// before it.
    ///
    /// # Panics
    /// When there is no well-formed response.
    #[track_caller]
    pub fn read_response(&mut self) -> Response {
        self.read_response_to("GET")
    }

    /// Reads the response to a request with this method.
    ///
    /// # Panics
    /// When there is no well-formed response.
    #[track_caller]
    pub fn read_response_to(&mut self, method: &str) -> Response {
        self.try_read_response_to(method)
            .unwrap_or_else(|error| self.fail("no well-formed response", &error))
    }

    /// Reads the response to a request with this method.
    ///
    /// # Errors
    /// `InvalidData` when it is not well-formed, `UnexpectedEof` when it is cut short, `TimedOut`,
    /// `ConnectionReset`.
    pub fn try_read_response_to(&mut self, method: &str) -> io::Result<Response> {
        let deadline = self.stream.deadline();
        read_response(&mut self.stream, deadline, method)
    }

    /// Reads the head of a response, interim or final, and leaves the body unread.
    ///
    /// # Panics
    /// When it is not well-formed.
    #[track_caller]
    pub fn read_head(&mut self) -> Response {
        let deadline = self.stream.deadline();
        let head = read_response_head(&mut self.stream, deadline, "GET");
        head.unwrap_or_else(|error| self.fail("no well-formed response head", &error))
    }

    /// Reads exactly `count` bytes.
    ///
    /// # Panics
    /// When the connection ends first.
    #[track_caller]
    pub fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        match self.stream.fill_until(self.stream.deadline(), count) {
            Ok(()) => self.stream.take(count),
            Err(error) => self.fail(&format!("cannot read {count} bytes"), &error),
        }
    }

    /// Reads once, at most `bytes_max`: a slow reader is a loop over this. Empty at the end of the
    /// stream.
    ///
    /// # Panics
    /// When nothing arrives.
    #[track_caller]
    pub fn read_some(&mut self, bytes_max: usize) -> Vec<u8> {
        if self.stream.unread().is_empty()
            && let Err(error) = self.stream.fill_at_most(self.stream.deadline(), bytes_max)
        {
            self.fail("cannot read", &error);
        }
        let count = self.stream.unread().len().min(bytes_max);
        self.stream.take(count)
    }

    /// Reads until the other side ends the connection and returns everything not read before.
    ///
    /// # Panics
    /// When it does not end, or is reset.
    #[track_caller]
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let deadline = self.stream.deadline();
        loop {
            match self.stream.fill(deadline) {
                Ok(0) => return self.stream.take(self.stream.unread().len()),
                Ok(_) => {}
                Err(error) => self.fail("the connection does not end", &error),
            }
        }
    }

    /// Reads and drops whatever comes, until the other side ends the connection, in order or not, and says how.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn read_until_end(&mut self) -> End {
        let deadline = self.stream.deadline();
        self.stream.drain(deadline).unwrap_or_else(|error| self.fail("it does not end", &error))
    }

    /// Expects the other side to end the connection in order, without another byte.
    ///
    /// # Panics
    /// On bytes, a reset or silence.
    #[track_caller]
    pub fn expect_eof(&mut self) {
        let end = self.expect_end();
        assert_eq!(end, End::Eof, "the connection ended, but not in order");
    }

    /// Expects the other side to reset the connection, without another byte.
    ///
    /// # Panics
    /// On bytes, an orderly end or silence.
    #[track_caller]
    pub fn expect_reset(&mut self) {
        let end = self.expect_end();
        assert_eq!(end, End::Reset, "the connection ended, but was not reset");
    }

    /// Expects the other side to end the connection, in order or not, without another byte, and
    /// says how.
    ///
    /// # Panics
    /// On bytes or silence.
    #[track_caller]
    pub fn expect_end(&mut self) -> End {
        let ended = if self.stream.unread().is_empty() {
            self.stream.fill(self.stream.deadline())
        } else {
            Ok(1)
        };
        match ended {
            Ok(0) => End::Eof,
            Ok(_) => self.fail("expected the end of the connection", &"more bytes came"),
            Err(error) if is_reset(&error) => End::Reset,
            Err(error) if is_cut(&error) => End::Cut,
            Err(error) => self.fail("expected the end of the connection", &error),
        }
    }

    /// Expects that the connection stays open and no byte comes for `duration`. Only for proving
    /// that something does not happen; a test that waits for something should wait for it.
    ///
    /// # Panics
    /// When a byte comes or the connection ends.
    #[track_caller]
    pub fn expect_silence(&mut self, duration: Duration) {
        let outcome = if self.stream.unread().is_empty() {
            self.stream.fill(Deadline::after(duration))
        } else {
            Ok(1)
        };
        match outcome {
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            Ok(0) => self.fail("expected silence", &"the connection ended"),
            Ok(_) => self.fail("expected silence", &"bytes came"),
            Err(error) => self.fail("expected silence", &error),
        }
    }

    /// Sends FIN and goes on reading.
    ///
    /// # Panics
    /// When the connection is gone.
    #[track_caller]
    pub fn half_close(&mut self) -> &mut Self {
        if let Err(error) = self.stream.half_close() {
            self.fail("cannot half-close", &error);
        }
        self
    }

    /// As [`Client::half_close`], of a connection that the other side may have ended already.
    pub fn try_half_close(&mut self) -> &mut Self {
        let _ended = self.stream.half_close();
        self
    }

    /// Ends the connection with a reset.
    ///
    /// # Panics
    /// When the socket does not take the option.
    pub fn reset(mut self) {
        self.stream.reset_on_close().expect("an open socket takes SO_LINGER");
    }

    /// Every byte received on this connection so far.
    #[must_use]
    pub fn received(&self) -> Vec<u8> {
        self.stream.recording().look(|received| received.bytes.clone())
    }

    #[track_caller]
    fn fail(&self, what: &str, error: &dyn std::fmt::Display) -> ! {
        let received = self.received();
        let shown = &received[..received.len().min(SHOWN_BYTES_MAX)];
        panic!(
            "{what}: {error}; received on this connection, {} bytes:\n{}",
            received.len(),
            shown.escape_ascii()
        )
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

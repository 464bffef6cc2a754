//! Owns one accepted connection in the hands of a script: reading requests, sending, and the ways to end it.
//!
//! Leaves accepting and the records to `origin`. Invariant: what is read is recorded first.

use super::*;

/// One accepted connection, in the hands of a script. Dropping it closes the connection: in order,
/// or with a reset when there are bytes the script has not read, as the kernel does for any server.
pub struct Connection {
    index: usize,
    stream: Stream,
    state: Arc<Watched<State>>,
}

impl Connection {
    pub(super) fn new(stream: Stream, state: Arc<Watched<State>>) -> Self {
        let record = Record { recording: stream.recording(), socket: Some(stream.socket()) };
        let index = state.update(|state| {
            state.connections.push(record);
            let sockets = state.connections.iter().filter_map(|record| record.socket.as_ref());
            state.open_most = state.open_most.max(sockets.filter(|socket| is_open(socket)).count());
            state.connections.len() - 1
        });
        Self { index, stream, state }
    }

    /// Makes the TLS handshake, if there is to be one.
    pub(super) fn secured(mut self, tls: Option<TlsServer>) -> Option<Self> {
        let Some(tls) = tls else { return Some(self) };
        match self.stream.secure(tls.connection(), Deadline::default()) {
            Ok(facts) => {
                self.state.update(|state| state.handshakes.push(facts));
                Some(self)
            }
            Err(error) => {
                self.stream.end_silently();
                self.state.update(|state| state.failed_handshakes.push(error.to_string()));
                None
            }
        }
    }

    /// Goes over to new keys (RFC 8446 §4.6.3), and tells the other side at once.
    ///
    /// # Errors
    /// Without TLS 1.3.
    pub fn update_keys(&mut self) -> io::Result<()> {
        let tls = self.stream.tls().ok_or(ErrorKind::Unsupported)?;
        tls.refresh_traffic_keys().map_err(io::Error::other)?;
        let announcement = self.stream.seal(&[]);
        self.stream.write_wire(Deadline::default(), &announcement)
    }

    /// Ends the connection without the close_notify of TLS.
    pub fn cut(mut self) {
        self.stream.end_silently();
    }

    /// The number of this connection, from 0, in the order accepted.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Reads one request with its body; `None` when the other side has finished.
    ///
    /// # Errors
    /// `InvalidData` when it is not well-formed, which fails the test; what the system says
    /// otherwise.
    pub fn read_request(&mut self) -> io::Result<Option<Request>> {
        let request = read_request(&mut self.stream, Deadline::default())?;
        self.record(request.as_ref());
        Ok(request)
    }

    /// Reads the head of a request and leaves its body unread.
    ///
    /// # Errors
    /// As [`Connection::read_request`].
    pub fn read_request_head(&mut self) -> io::Result<Option<Request>> {
        let request = read_request_head(&mut self.stream, Deadline::default())?;
        self.record(request.as_ref());
        Ok(request)
    }

    /// Reads the body that this head, read before, declares.
    ///
    /// # Errors
    /// As [`Connection::read_request`].
    pub fn read_body(&mut self, head: Request) -> io::Result<Request> {
        read_request_body(&mut self.stream, Deadline::default(), head)
    }

    /// Reads exactly `count` bytes, whatever they are.
    ///
    /// # Errors
    /// `UnexpectedEof` when the connection ends first.
    pub fn read_exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.stream.fill_until(Deadline::default(), count)?;
        Ok(self.stream.take(count))
    }

    /// Reads once, at most `bytes_max`: a slow reader is a loop over this. Empty at the end of the
    /// stream.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_some(&mut self, bytes_max: usize) -> io::Result<Vec<u8>> {
        if self.stream.unread().is_empty() {
            self.stream.fill_at_most(Deadline::default(), bytes_max)?;
        }
        let count = self.stream.unread().len().min(bytes_max);
        Ok(self.stream.take(count))
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// What the system says, `TimedOut` when the other side does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write(Deadline::default(), bytes.as_ref())
    }

    /// Sends each byte in a segment of its own.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn send_bytewise(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        bytes.as_ref().iter().try_for_each(|byte| self.send([*byte]))
    }

    /// Sends FIN and goes on reading.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn half_close(&mut self) -> io::Result<()> {
        self.stream.half_close()
    }

    /// Ends the connection with a reset.
    ///
    /// # Errors
    /// When the socket does not take the option.
    pub fn reset(mut self) -> io::Result<()> {
        self.stream.reset_on_close()
    }

    /// Sends FIN, then reads until the other side finishes too, so that the end is in order
    /// whatever was unread.
    ///
    /// # Errors
    /// `TimedOut` when the other side does not finish.
    pub fn finish(mut self) -> io::Result<()> {
        self.stream.half_close()?;
        self.stream.drain(Deadline::default()).map(drop)
    }

    /// Reads and records, never answers, until the other side ends the connection.
    ///
    /// # Errors
    /// What the system says.
    pub fn hang(mut self) -> io::Result<()> {
        self.stream.drain(Deadline::default()).map(drop)
    }

    /// Keeps the connection open and reads nothing until the origin stops.
    ///
    /// # Errors
    /// `TimedOut` when it does not stop within [`PATIENCE`].
    pub fn ignore(self) -> io::Result<()> {
        let stopped = self.state.wait(Deadline::default(), |state| state.stopping.then_some(()));
        stopped.ok_or_else(timed_out)
    }

    /// Sends every byte back, from those already received on, until the other side finishes.
    ///
    /// # Errors
    /// What the system says.
    pub fn echo(mut self) -> io::Result<()> {
        loop {
            let bytes = self.read_some(usize::MAX)?;
            if bytes.is_empty() {
                return self.half_close();
            }
            self.send(bytes)?;
        }
    }

    fn record(&self, request: Option<&Request>) {
        if let Some(request) = request {
            self.state.update(|state| state.requests.push(request.clone()));
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The record's hold on the socket ends first, so that dropping the stream really closes it.
        self.state.update(|state| state.connections[self.index].socket = None);
    }
}

//! Owns one side of a test connection: blocking reads and writes with a deadline, and the ways to
//! end it.
//!
//! Leaves the meaning of the bytes to `message`. Invariant: every byte read is recorded once, in
//! order, before anybody interprets it.

use crate::deadline::{Deadline, PATIENCE, Watched};
use socket2::{SockRef, Socket};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

/// How much one read asks for. Small enough that a large body takes many reads, as it does in
/// production.
const READ_BYTES_MAX: usize = 16 * 1024;

/// Every byte that a connection delivered, shared with the test that asks for it.
pub(crate) type Recording = Arc<Watched<Received>>;

/// What a connection delivered so far.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: Option<End>,
}

/// How a connection ended, as seen by the side that read from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The other side finished in order (FIN).
    Eof,
    /// The other side reset the connection (RST).
    Reset,
}

/// A connected TCP or Unix socket with the bytes that were read and not yet used.
pub(crate) struct Stream {
    socket: Arc<Socket>,
    unread: Vec<u8>,
    recording: Recording,
    patience: Duration,
}

impl Stream {
    pub(crate) fn new(socket: Socket) -> Self {
        Self {
            socket: Arc::new(socket),
            unread: Vec::new(),
            recording: Arc::new(Watched::new(Received::default())),
            patience: PATIENCE,
        }
    }

    /// The socket, to shut it down from another thread.
    pub(crate) fn socket(&self) -> Arc<Socket> {
        Arc::clone(&self.socket)
    }

    pub(crate) fn recording(&self) -> Recording {
        Arc::clone(&self.recording)
    }

    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(self.patience)
    }

    /// Bytes that were read and not yet taken.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Takes the first `count` of the unread bytes.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        let rest = self.unread.split_off(count);
        std::mem::replace(&mut self.unread, rest)
    }

    /// Reads once, at most `bytes_max`; 0 at the end of the stream.
    ///
    /// # Errors
    /// `TimedOut` when nothing arrives before the deadline, otherwise what the system says.
    pub(crate) fn fill_at_most(
        &mut self,
        deadline: Deadline,
        bytes_max: usize,
    ) -> io::Result<usize> {
        let mut chunk = vec![0; bytes_max.min(READ_BYTES_MAX)];
        let left = deadline.remaining().ok_or_else(timed_out)?;
        self.socket.set_read_timeout(Some(left))?;
        let outcome = loop {
            match (&*self.socket).read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Err(timed_out()),
                outcome => break outcome,
            }
        };
        self.recording.update(|received| match &outcome {
            Ok(0) => received.end = received.end.or(Some(End::Eof)),
            Ok(count) => received.bytes.extend_from_slice(&chunk[..*count]),
            Err(error) if is_reset(error) => received.end = Some(End::Reset),
            Err(_) => {}
        });
        if let Ok(count) = outcome {
            self.unread.extend_from_slice(&chunk[..count]);
        }
        outcome
    }

    pub(crate) fn fill(&mut self, deadline: Deadline) -> io::Result<usize> {
        self.fill_at_most(deadline, READ_BYTES_MAX)
    }

    /// Reads until at least `count` bytes are unread.
    ///
    /// # Errors
    /// `UnexpectedEof` when the stream ends first.
    pub(crate) fn fill_until(&mut self, deadline: Deadline, count: usize) -> io::Result<()> {
        while self.unread.len() < count {
            if self.fill(deadline)? == 0 {
                let have = self.unread.len();
                let message = format!("the connection ended after {have} of {count} bytes");
                return Err(io::Error::new(ErrorKind::UnexpectedEof, message));
            }
        }
        Ok(())
    }

    /// Reads and discards (the recording keeps it) until the other side ends the connection.
    ///
    /// # Errors
    /// `TimedOut` when it does not, and errors other than a reset.
    pub(crate) fn drain(&mut self, deadline: Deadline) -> io::Result<End> {
        loop {
            match self.fill(deadline) {
                Ok(0) => return Ok(End::Eof),
                Ok(_) => self.unread.clear(),
                Err(error) if is_reset(&error) => return Ok(End::Reset),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes everything.
    ///
    /// # Errors
    /// `TimedOut` when the other side does not take it before the deadline, otherwise what the
    /// system says.
    pub(crate) fn write(&self, deadline: Deadline, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let left = deadline.remaining().ok_or_else(timed_out)?;
            self.socket.set_write_timeout(Some(left))?;
            match (&*self.socket).write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(timed_out()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends FIN; reading goes on.
    pub(crate) fn half_close(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    /// Makes closing the socket send RST instead of FIN.
    pub(crate) fn reset_on_close(&self) -> io::Result<()> {
        SockRef::from(&*self.socket).set_linger(Some(Duration::ZERO))
    }
}

pub(crate) fn timed_out() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "nothing happened before the deadline")
}

pub(crate) fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
    )
}

//! Owns one side of a test connection, plain or with TLS: blocking reads and writes with a deadline,
//! and the ways to end it.
//!
//! Leaves the meaning of the bytes to `message`. Invariant: every byte read is recorded once, in
//! order, before anybody interprets it; with TLS these are the bytes inside.

use crate::deadline::{Deadline, PATIENCE, Watched};
use crate::tls::TlsFacts;
use rustls::Connection as Tls;
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
    /// The other side finished (FIN) without the close_notify of TLS: what came may not be all.
    Cut,
}

/// A connected TCP or Unix socket with the bytes that were read and not yet used.
pub(crate) struct Stream {
    socket: Arc<Socket>,
    unread: Vec<u8>,
    recording: Recording,
    patience: Duration,
    tls: Option<Box<Tls>>,
    /// The end is not announced by a close_notify.
    ends_silently: bool,
}

impl Stream {
    pub(crate) fn new(socket: Socket) -> Self {
        Self {
            socket: Arc::new(socket),
            unread: Vec::new(),
            recording: Arc::new(Watched::new(Received::default())),
            patience: PATIENCE,
            tls: None,
            ends_silently: false,
        }
    }

    /// Makes a TLS handshake; everything after it goes through TLS.
    ///
    /// # Errors
    /// `InvalidData` with what TLS says, otherwise what the system says.
    pub(crate) fn secure(&mut self, tls: Tls, deadline: Deadline) -> io::Result<TlsFacts> {
        let tls = self.tls.insert(Box::new(tls));
        let mut plain = Vec::new();
        while tls.is_handshaking() {
            if tls.wants_write() {
                write_out(&self.socket, tls, deadline)?;
            } else if feed(&self.socket, tls, deadline, READ_BYTES_MAX, &mut plain)? == 0 {
                let message = "the connection ended in the handshake";
                return Err(io::Error::new(ErrorKind::UnexpectedEof, message));
            }
        }
        write_out(&self.socket, tls, deadline)?;
        let facts = TlsFacts::of(tls);
        self.recording.update(|received| received.bytes.extend_from_slice(&plain));
        self.unread.extend_from_slice(&plain);
        Ok(facts)
    }

    /// The TLS connection.
    pub(crate) fn tls(&mut self) -> Option<&mut Tls> {
        self.tls.as_deref_mut()
    }

    /// Ends without a close_notify.
    pub(crate) fn end_silently(&mut self) {
        self.ends_silently = true;
    }

    /// What TLS makes of bytes that are to be sent, and of what else it has to say.
    pub(crate) fn seal(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Some(tls) = &mut self.tls else { return bytes.to_vec() };
        let mut sealed = Vec::new();
        for piece in bytes.chunks(READ_BYTES_MAX) {
            tls.writer().write_all(piece).expect("there is room for a record");
            while tls.wants_write() {
                tls.write_tls(&mut sealed).expect("a vector takes everything");
            }
        }
        while tls.wants_write() {
            tls.write_tls(&mut sealed).expect("a vector takes everything");
        }
        sealed
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
        let outcome = match &mut self.tls {
            None => {
                let mut chunk = vec![0; bytes_max.min(READ_BYTES_MAX)];
                let count = read_wire(&self.socket, deadline, &mut chunk);
                count.map(|count| {
                    chunk.truncate(count);
                    chunk
                })
            }
            Some(tls) => read_tls(&self.socket, tls, deadline, bytes_max),
        };
        self.recording.update(|received| match &outcome {
            Ok(bytes) if bytes.is_empty() => received.end = received.end.or(Some(End::Eof)),
            Ok(bytes) => received.bytes.extend_from_slice(bytes),
            Err(error) if is_reset(error) => received.end = Some(End::Reset),
            Err(error) if is_cut(error) => received.end = Some(End::Cut),
            Err(_) => {}
        });
        outcome.map(|bytes| {
            self.unread.extend_from_slice(&bytes);
            bytes.len()
        })
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
                Err(error) if is_cut(&error) => return Ok(End::Cut),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes everything.
    ///
    /// # Errors
    /// `TimedOut` when the other side does not take it before the deadline, otherwise what the
    /// system says.
    pub(crate) fn write(&mut self, deadline: Deadline, bytes: &[u8]) -> io::Result<()> {
        if self.tls.is_none() {
            return write_wire(&self.socket, deadline, bytes);
        }
        for piece in bytes.chunks(READ_BYTES_MAX) {
            let sealed = self.seal(piece);
            write_wire(&self.socket, deadline, &sealed)?;
        }
        Ok(())
    }

    /// Writes everything past TLS, if there is any.
    ///
    /// # Errors
    /// As [`Stream::write`].
    pub(crate) fn write_wire(&self, deadline: Deadline, bytes: &[u8]) -> io::Result<()> {
        write_wire(&self.socket, deadline, bytes)
    }

    /// Sends the close_notify of TLS and leaves the socket open.
    pub(crate) fn say_goodbye(&mut self) -> io::Result<()> {
        if let Some(tls) = self.tls.as_mut().filter(|_| !self.ends_silently) {
            tls.send_close_notify();
            self.ends_silently = true;
            write_out(&self.socket, tls, Deadline::after(self.patience))?;
        }
        Ok(())
    }

    /// Sends FIN, after the close_notify of TLS; reading goes on.
    pub(crate) fn half_close(&mut self) -> io::Result<()> {
        self.say_goodbye()?;
        self.socket.shutdown(Shutdown::Write)
    }

    /// Makes closing the socket send RST instead of FIN.
    pub(crate) fn reset_on_close(&mut self) -> io::Result<()> {
        self.ends_silently = true;
        SockRef::from(&*self.socket).set_linger(Some(Duration::ZERO))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Whoever is there yet is told; nobody waits for one who does not listen.
        if let Some(tls) = self.tls.as_mut().filter(|_| !self.ends_silently) {
            tls.send_close_notify();
            let _ = write_out(&self.socket, tls, Deadline::after(GOODBYE_PATIENCE));
        }
    }
}

/// How long a close_notify may take that nobody may be there to read.
const GOODBYE_PATIENCE: Duration = Duration::from_millis(100);

fn read_wire(socket: &Socket, deadline: Deadline, chunk: &mut [u8]) -> io::Result<usize> {
    let left = deadline.remaining().ok_or_else(timed_out)?;
    socket.set_read_timeout(Some(left))?;
    loop {
        match (&*socket).read(chunk) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(timed_out()),
            outcome => return outcome,
        }
    }
}

fn write_wire(socket: &Socket, deadline: Deadline, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let left = deadline.remaining().ok_or_else(timed_out)?;
        socket.set_write_timeout(Some(left))?;
        match (&*socket).write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(timed_out()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Sends what TLS has to say.
fn write_out(socket: &Socket, tls: &mut Tls, deadline: Deadline) -> io::Result<()> {
    let mut sealed = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut sealed)?;
    }
    write_wire(socket, deadline, &sealed)
}

/// Reads from the wire once and hands it to TLS; 0 at its end. It takes nothing while many opened bytes wait to be read: they are
/// moved to `plain`, and go before what is still to be read.
fn feed(
    socket: &Socket,
    tls: &mut Tls,
    deadline: Deadline,
    bytes_max: usize,
    plain: &mut Vec<u8>,
) -> io::Result<usize> {
    let mut chunk = vec![0; bytes_max.clamp(1, READ_BYTES_MAX)];
    let count = read_wire(socket, deadline, &mut chunk)?;
    let mut rest = &chunk[..count];
    loop {
        tls.read_tls(&mut rest)?;
        if let Err(error) = tls.process_new_packets() {
            // The alert; the other side may have gone.
            let _ = write_out(socket, tls, deadline);
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        if rest.is_empty() {
            return Ok(count);
        }
        let mut opened = [0; 16_384];
        while let Ok(length @ 1..) = tls.reader().read(&mut opened) {
            plain.extend_from_slice(&opened[..length]);
        }
    }
}

/// Bytes inside TLS, as many as come with one read of the wire; none at the end.
fn read_tls(
    socket: &Socket,
    tls: &mut Tls,
    deadline: Deadline,
    bytes_max: usize,
) -> io::Result<Vec<u8>> {
    let mut plain = vec![0; 4 * READ_BYTES_MAX];
    loop {
        match tls.reader().read(&mut plain) {
            Ok(count) => {
                plain.truncate(count);
                return Ok(plain);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let mut opened = Vec::new();
        feed(socket, tls, deadline, bytes_max, &mut opened)?;
        if tls.wants_write() {
            write_out(socket, tls, deadline)?;
        }
        if !opened.is_empty() {
            return Ok(opened);
        }
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

/// The end without a close_notify.
pub(crate) fn is_cut(error: &io::Error) -> bool {
    error.kind() == ErrorKind::UnexpectedEof
}

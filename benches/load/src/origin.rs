//! The HTTP/1.1 server behind the proxies under test: fixed bodies, responses built once, one
//! receive and one send per request. It runs on its own (`origin`) or inside the runner's event
//! loop, next to the generator, so that the two cost no context switches.
//!
//! It answers `GET` for `/N`, `/Nk`, `/Nm` and `/bytes/N` with that many bytes; it is no general
//! server and closes on anything else. Invariant: never two responses under way on a connection.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};

use crate::poller::{Poller, Readiness};
use crate::protocol::http1::head_end;

/// Tokens with this bit belong to the origin; the rest of the poller is the generator's.
pub const TOKEN_BIT: u64 = 1 << 63;
const TOKEN_LISTENER: u64 = TOKEN_BIT | (1 << 62);
/// Largest body served.
const BODY_BYTES_MAX: usize = 16 << 20;
/// Longest request head accepted.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Different bodies kept built; a benchmark asks for one or two.
const RESPONSES_MAX: usize = 16;
/// As many as `net.core.somaxconn` commonly allows.
const BACKLOG: i32 = 4096;
const RECEIVE_BYTES: usize = 64 << 10;
const REFUSAL: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// What the origin has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OriginCounts {
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// The most connections open when one was accepted, where that is [watched](Origin::watch_most).
    pub open_most: u64,
    /// Requests answered since the start.
    pub requests: u64,
}

/// The server: a listener and its connections.
#[derive(Debug)]
pub struct Origin {
    listener: OwnedFd,
    address: SocketAddr,
    connections: Vec<Option<Connection>>,
    vacant: Vec<usize>,
    responses: Vec<(usize, Rc<[u8]>)>,
    buffer: Vec<u8>,
    counts: OriginCounts,
    watches_most: bool,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    /// Bytes received and not yet answered: empty unless a head arrives in pieces.
    pending: Vec<u8>,
    sending: Option<Sending>,
}

#[derive(Debug)]
struct Sending {
    response: Rc<[u8]>,
    sent: usize,
    then_close: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Request {
    Body { bytes: usize, close: bool },
    Refused,
}

/// What remains to be done for a connection.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Wait,
    Close,
}

impl Origin {
    /// Listens on `address` (port 0 picks a free one) and registers with `poller`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn listen(address: SocketAddr, poller: &Poller) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        // The standard library's backlog is 128; two thousand connections may open at once.
        rustix::net::listen(&listener, BACKLOG)?;
        listener.set_nonblocking(true)?;
        poller.add(&listener, TOKEN_LISTENER)?;
        Ok(Self {
            address: listener.local_addr()?,
            listener: listener.into(),
            connections: Vec::new(),
            vacant: Vec::new(),
            responses: Vec::new(),
            buffer: vec![0; RECEIVE_BYTES],
            counts: OriginCounts::default(),
            watches_most: false,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has seen so far.
    pub fn counts(&self) -> OriginCounts {
        self.counts
    }

    /// Counts the most connections that were open at once. A connection that the other side has ended does not count, though its
    /// event may still be to come: each accept that would be the most looks at all, which is for a few connections, not for thousands.
    pub fn watch_most(&mut self) {
        self.watches_most = true;
    }

    /// Handles one event whose token carries [`TOKEN_BIT`].
    ///
    /// # Errors
    /// When the listener fails; a connection's failure closes that connection only.
    pub fn on_event(&mut self, event: Readiness, poller: &Poller) -> io::Result<()> {
        if event.token == TOKEN_LISTENER {
            return self.accept_all(poller);
        }
        let Ok(index) = usize::try_from(event.token & !TOKEN_BIT) else { return Ok(()) };
        let Some(Some(mut connection)) = self.connections.get_mut(index).map(Option::take) else {
            return Ok(());
        };
        if self.serve(&mut connection, event) == Next::Wait {
            self.connections[index] = Some(connection);
        } else {
            self.vacant.push(index);
            self.counts.open -= 1;
        }
        Ok(())
    }

    fn accept_all(&mut self, poller: &Poller) -> io::Result<()> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(error) => return Err(error.into()),
            };
            rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
            let index = self.vacant.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            poller.add(socket.as_fd(), TOKEN_BIT | index as u64)?;
            self.connections[index] =
                Some(Connection { socket, pending: Vec::new(), sending: None });
            self.counts.accepted += 1;
            self.counts.open += 1;
            if self.watches_most && self.counts.open > self.counts.open_most {
                let open = self.connections.iter().flatten().filter(|one| is_open(&one.socket));
                self.counts.open_most = self.counts.open_most.max(open.count() as u64);
            }
        }
    }

    fn serve(&mut self, connection: &mut Connection, event: Readiness) -> Next {
        if event.writable && connection.sending.is_some() && flush(connection) == Next::Close {
            return Next::Close;
        }
        if connection.sending.is_none() && !connection.pending.is_empty() {
            let received = std::mem::take(&mut connection.pending);
            if self.answer(connection, &received) == Next::Close {
                return Next::Close;
            }
        }
        if !event.readable {
            return Next::Wait;
        }
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            let got =
                rustix::net::recv(&connection.socket, buffer.as_mut_slice(), RecvFlags::empty());
            let next = match got {
                Ok((_, 0)) => Some(Next::Close),
                Ok((_, count)) => {
                    let next = self.take(connection, &buffer[..count]);
                    // A full buffer may have left bytes behind; a short read may not.
                    (next == Next::Close || count < buffer.len()).then_some(next)
                }
                Err(Errno::AGAIN) => Some(Next::Wait),
                Err(Errno::INTR) => None,
                Err(_) => Some(Next::Close),
            };
            self.buffer = buffer;
            match next {
                Some(Next::Wait) if event.closed => return Next::Close,
                Some(next) => return next,
                None => {}
            }
        }
    }

    fn take(&mut self, connection: &mut Connection, received: &[u8]) -> Next {
        if connection.pending.is_empty() && connection.sending.is_none() {
            return self.answer(connection, received);
        }
        if connection.pending.len() + received.len() > HEAD_BYTES_MAX {
            return Next::Close;
        }
        connection.pending.extend_from_slice(received);
        if connection.sending.is_some() {
            return Next::Wait;
        }
        let pending = std::mem::take(&mut connection.pending);
        self.answer(connection, &pending)
    }

    /// Answers the requests in `received` as long as each response leaves at once; keeps the rest.
    fn answer(&mut self, connection: &mut Connection, mut received: &[u8]) -> Next {
        while let Some(end) = head_end(received) {
            let request = parse(&received[..end]);
            received = &received[end..];
            self.counts.requests += 1;
            let (response, then_close) = match request {
                Request::Body { bytes, close } => (self.response(bytes), close),
                Request::Refused => (Rc::from(REFUSAL), true),
            };
            connection.sending = Some(Sending { response, sent: 0, then_close });
            if flush(connection) == Next::Close {
                return Next::Close;
            }
            if connection.sending.is_some() {
                break;
            }
        }
        if received.len() > HEAD_BYTES_MAX {
            return Next::Close;
        }
        connection.pending.extend_from_slice(received);
        Next::Wait
    }

    fn response(&mut self, body_bytes: usize) -> Rc<[u8]> {
        if let Some((_, built)) = self.responses.iter().find(|(bytes, _)| *bytes == body_bytes) {
            return Rc::clone(built);
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {body_bytes}\r\n\r\n"
        );
        let body = (b'!'..=b'~').cycle().take(body_bytes);
        let built: Rc<[u8]> = head.into_bytes().into_iter().chain(body).collect();
        if self.responses.len() == RESPONSES_MAX {
            self.responses.remove(0);
        }
        self.responses.push((body_bytes, Rc::clone(&built)));
        built
    }
}

/// Whether the other side has not ended the connection, be there unread bytes from before that or not.
fn is_open(socket: &OwnedFd) -> bool {
    // Hang-ups and errors are told unasked.
    let mut sockets = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut sockets, Some(&Timespec::default())) == Ok(0)
}

/// Sends as much as the socket takes.
fn flush(connection: &mut Connection) -> Next {
    while let Some(sending) = &mut connection.sending {
        let rest = &sending.response[sending.sent..];
        match rustix::net::send(&connection.socket, rest, SendFlags::NOSIGNAL) {
            Ok(count) => sending.sent += count,
            Err(Errno::AGAIN) => return Next::Wait,
            Err(Errno::INTR) => {}
            Err(_) => return Next::Close,
        }
        if sending.sent == sending.response.len() {
            let close = sending.then_close;
            connection.sending = None;
            if close {
                return Next::Close;
            }
        }
    }
    Next::Wait
}

fn parse(head: &[u8]) -> Request {
    let mut lines = head.split(|&byte| byte == b'\n');
    let mut words = lines.next().unwrap_or_default().trim_ascii().split(|&byte| byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let bytes = target.and_then(body_bytes);
    let (Some(b"GET"), Some(bytes), Some(version)) = (method, bytes, version) else {
        return Request::Refused;
    };
    let mut close = version != b"HTTP/1.1";
    for line in lines {
        // One comparison skips all lines but `Connection` and `Content-*`.
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
            continue;
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"connection") {
            close = value.eq_ignore_ascii_case(b"close")
                || (close && !value.eq_ignore_ascii_case(b"keep-alive"));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding")
            || (name.eq_ignore_ascii_case(b"content-length") && value != b"0")
        {
            return Request::Refused;
        }
    }
    Request::Body { bytes, close }
}

/// `/100`, `/16k`, `/1m`, `/bytes/5000`; `/` is 100 bytes.
pub fn body_bytes(target: &[u8]) -> Option<usize> {
    let path = std::str::from_utf8(target).ok()?.strip_prefix('/')?;
    let number = path.strip_prefix("bytes/").unwrap_or(path);
    let (digits, unit) = match number.as_bytes().last() {
        None => return Some(100),
        Some(b'k') => (&number[..number.len() - 1], 1 << 10),
        Some(b'm') => (&number[..number.len() - 1], 1 << 20),
        Some(_) => (number, 1),
    };
    let bytes = digits.parse::<usize>().ok()?.checked_mul(unit)?;
    (bytes <= BODY_BYTES_MAX).then_some(bytes)
}

#[cfg(test)]
mod tests;

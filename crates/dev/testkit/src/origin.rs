//! Owns scripted origin servers: a listener on a port of the system's choice whose connections each
//! run a script.
//!
//! Leaves the scripts to `script` and to the tests. Invariant: every byte an origin reads is
//! recorded before the script sees it, and a request that is not well-formed fails the test that
//! the origin belongs to.

mod connection;

pub use connection::Connection;

use crate::deadline::{Deadline, PATIENCE, Watched};
use crate::message::{Request, read_request, read_request_body, read_request_head};
use crate::ports;
use crate::stream::{End, Recording, Stream, timed_out};
use crate::tls::{TlsFacts, TlsServer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

/// A running origin server.
pub struct Origin {
    address: SocketAddr,
    state: Arc<Watched<State>>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    connections: Vec<Record>,
    requests: Vec<Request>,
    /// The most connections that were open when one was accepted.
    open_most: usize,
    /// What scripts met that no product may send, and their panics.
    faults: Vec<String>,
    /// What TLS handshakes have agreed on, and why others failed.
    handshakes: Vec<TlsFacts>,
    failed_handshakes: Vec<String>,
    stopping: bool,
}

struct Record {
    recording: Recording,
    /// Present while the script runs, to end its reads when the origin stops.
    socket: Option<Arc<Socket>>,
}

impl Origin {
    /// Starts an origin on 127.0.0.1 that runs `script` on a thread of its own for each connection.
    /// An error from the script ends that connection; the product under test may well have closed
    /// it.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn start(script: impl Fn(Connection) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self::launch((Ipv4Addr::LOCALHOST, 0).into(), None, None, script)
    }

    /// Starts an origin that speaks TLS; a connection whose handshake fails does not come to the script.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn start_tls(
        tls: &TlsServer,
        script: impl Fn(Connection) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::launch((Ipv4Addr::LOCALHOST, 0).into(), None, Some(tls.clone()), script)
    }

    /// As [`Origin::start`], at an address of this machine.
    ///
    /// # Panics
    /// When the address is in use.
    #[must_use]
    #[track_caller]
    pub fn start_at(
        address: SocketAddr,
        script: impl Fn(Connection) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::launch(address, None, None, script)
    }

    /// Starts an origin whose connections have a small receive buffer, so that a script that does
    /// not read is felt by the sender soon. The kernel doubles the number and has a minimum of
    /// about 2 KiB.
    ///
    /// # Panics
    /// When no port is free.
    #[must_use]
    pub fn with_receive_buffer(
        bytes: Option<usize>,
        script: impl Fn(Connection) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::launch((Ipv4Addr::LOCALHOST, 0).into(), bytes, None, script)
    }

    #[track_caller]
    fn launch(
        address: SocketAddr,
        bytes: Option<usize>,
        tls: Option<TlsServer>,
        script: impl Fn(Connection) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
            .expect("a socket can be opened");
        if let Some(bytes) = bytes {
            // Accepted sockets inherit it, and the window is small from the first segment on.
            socket.set_recv_buffer_size(bytes).expect("SO_RCVBUF is always supported");
        }
        socket.bind(&address.into()).expect("a port is free");
        socket.listen(1024).expect("a bound socket can listen");
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().expect("a bound socket has an address");
        let state = Arc::new(Watched::new(State::default()));
        let accepting = {
            let state = Arc::clone(&state);
            std::thread::spawn(move || accept(&listener, &state, tls.as_ref(), &Arc::new(script)))
        };
        Self { address, state, accepting: Some(accepting) }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it accepted.
    #[must_use]
    pub fn connections_count(&self) -> usize {
        self.state.look(|state| state.connections.len())
    }

    /// The most connections that were open at once, as the kernel sees it: one that the other side has ended does not count, though
    /// its script may not know yet.
    #[must_use]
    pub fn connections_open_most(&self) -> usize {
        self.state.look(|state| state.open_most)
    }

    /// What the TLS handshakes that succeeded have agreed on, in their order.
    #[must_use]
    pub fn handshakes(&self) -> Vec<TlsFacts> {
        self.state.look(|state| state.handshakes.clone())
    }

    /// Why the other TLS handshakes failed.
    #[must_use]
    pub fn failed_handshakes(&self) -> Vec<String> {
        self.state.look(|state| state.failed_handshakes.clone())
    }

    /// How many whole requests (or heads, where the script reads those) its scripts read.
    #[must_use]
    pub fn requests_count(&self) -> usize {
        self.state.look(|state| state.requests.len())
    }

    /// The requests its scripts read, in the order read.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.state.look(|state| state.requests.clone())
    }

    /// Every byte read on connection `index` so far.
    ///
    /// # Panics
    /// When there is no such connection.
    #[must_use]
    #[track_caller]
    pub fn received(&self, index: usize) -> Vec<u8> {
        self.recording(index).look(|received| received.bytes.clone())
    }

    /// How many bytes were read on all connections together: 0 proves that nothing reached this
    /// server.
    #[must_use]
    pub fn received_bytes_total(&self) -> usize {
        let recordings = |state: &State| -> Vec<Recording> {
            state.connections.iter().map(|record| Arc::clone(&record.recording)).collect()
        };
        let recordings = self.state.look(recordings);
        recordings.iter().map(|recording| recording.look(|received| received.bytes.len())).sum()
    }

    /// Waits until it has accepted `count` connections.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    #[track_caller]
    pub fn wait_connections(&self, count: usize) {
        self.wait("connections", |state| (state.connections.len() >= count).then_some(()));
    }

    /// Waits until its scripts have read `count` requests, and returns the last of those.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`], or `count` is 0.
    #[track_caller]
    pub fn wait_requests(&self, count: usize) -> Request {
        let last = count.checked_sub(1).expect("there is nothing to wait for");
        self.wait("requests", |state| state.requests.get(last).cloned())
    }

    /// Waits until a script has read `bytes` on connection `index`.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    #[track_caller]
    pub fn wait_received(&self, index: usize, bytes: usize) {
        let arrived = self
            .recording(index)
            .wait(Deadline::default(), |received| (received.bytes.len() >= bytes).then_some(()));
        assert!(
            arrived.is_some(),
            "connection {index} did not bring {bytes} bytes within {PATIENCE:?}"
        );
    }

    /// Waits until a script has read the end of connection `index`, and says which end it was.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    #[track_caller]
    pub fn wait_end(&self, index: usize) -> End {
        self.wait_connections(index + 1);
        let end = self.recording(index).wait(Deadline::default(), |received| received.end);
        end.unwrap_or_else(|| panic!("connection {index} did not end within {PATIENCE:?}"))
    }

    /// Waits until every script has returned.
    ///
    /// # Panics
    /// When that takes longer than [`PATIENCE`].
    #[track_caller]
    pub fn wait_idle(&self) {
        self.wait("the end of every script", |state| {
            state.connections.iter().all(|record| record.socket.is_none()).then_some(())
        });
    }

    #[track_caller]
    fn wait<R>(&self, what: &str, condition: impl FnMut(&State) -> Option<R>) -> R {
        let met = self.state.wait(Deadline::default(), condition);
        met.unwrap_or_else(|| {
            let (connections, requests) = (self.connections_count(), self.requests_count());
            panic!("waited {PATIENCE:?} for {what}; there were {connections} connections and {requests} requests")
        })
    }

    #[track_caller]
    fn recording(&self, index: usize) -> Recording {
        let recording = self
            .state
            .look(|state| state.connections.get(index).map(|record| Arc::clone(&record.recording)));
        recording.unwrap_or_else(|| panic!("there is no connection {index}"))
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.state.update(|state| {
            state.stopping = true;
            for socket in state.connections.iter().filter_map(|record| record.socket.as_ref()) {
                // A socket that is closed already needs no shutting down.
                let _ = socket.shutdown(Shutdown::Both);
            }
        });
        // Only a connection wakes a thread out of accept; if it fails, the thread is gone.
        let _ = ports::connect(self.address);
        if std::thread::panicking() {
            return;
        }
        if let Some(accepting) = self.accepting.take() {
            accepting.join().expect("the accepting thread does not panic");
        }
        let faults = self.state.look(|state| state.faults.clone());
        assert!(
            faults.is_empty(),
            "the origin at {} met faults:\n{}",
            self.address,
            faults.join("\n")
        );
    }
}

fn accept<S>(
    listener: &TcpListener,
    state: &Arc<Watched<State>>,
    tls: Option<&TlsServer>,
    script: &Arc<S>,
) where
    S: Fn(Connection) -> io::Result<()> + Send + Sync + 'static,
{
    let mut scripts = Vec::new();
    while let Ok((socket, _)) = listener.accept() {
        if state.look(|state| state.stopping) {
            break;
        }
        // Without it a delayed acknowledgement would hold back scripts that write in pieces.
        socket.set_nodelay(true).expect("a TCP socket takes TCP_NODELAY");
        let connection = Connection::new(Stream::new(Socket::from(socket)), Arc::clone(state));
        let (index, script) = (connection.index(), Arc::clone(script));
        let tls = tls.cloned();
        let run = move || match connection.secured(tls) {
            Some(connection) => script(connection),
            None => Ok(()),
        };
        scripts.push((index, std::thread::spawn(run)));
    }
    for (index, script) in scripts {
        let fault = match script.join() {
            Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => error.to_string(),
            Ok(_) => continue,
            Err(_) => "the script panicked".to_owned(),
        };
        state.update(|state| state.faults.push(format!("connection {index}: {fault}")));
    }
}

/// Whether the other side has not ended the connection, be there unread bytes from before that or not.
fn is_open(socket: &Socket) -> bool {
    // Hang-ups and errors are told unasked.
    let mut sockets = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut sockets, Some(&Timespec::default())) == Ok(0)
}
#[cfg(test)]
#[path = "origin_tests.rs"]
mod tests;

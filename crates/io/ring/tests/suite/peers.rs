//! The other ends of the ring's sockets: pairs, listeners, and bytes that know their place.
//!
//! Owns making them; leaves driving them to the tests, on a thread where they must block.
//! Invariant: blocking reads and writes give up after [`PATIENCE`], so that a test fails and
//! does not hang.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use socket2::{SockRef, Socket};
use tidegate_ring::{Ring, Socket as RingSocket};

/// How long anything may take before the test fails; a test that passes never waits this long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What a connection runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Unix,
    Tcp,
}

pub const TRANSPORTS: [Transport; 2] = [Transport::Unix, Transport::Tcp];

/// The end of a connection that the ring does not have.
pub struct Peer(pub Socket);

impl Peer {
    fn new(socket: Socket) -> Peer {
        socket.set_read_timeout(Some(PATIENCE)).expect("the socket is open");
        socket.set_write_timeout(Some(PATIENCE)).expect("the socket is open");
        Peer(socket)
    }

    pub fn from_tcp(stream: TcpStream) -> Peer {
        Peer::new(stream.into())
    }

    pub fn from_unix(stream: UnixStream) -> Peer {
        Peer::new(OwnedFd::from(stream).into())
    }

    #[track_caller]
    pub fn write(&self, bytes: &[u8]) {
        (&self.0).write_all(bytes).expect("the ring's end is open");
    }

    #[track_caller]
    pub fn read_exact(&self, bytes: &mut [u8]) {
        (&self.0).read_exact(bytes).expect("the ring's end sends so much");
    }

    /// Reads to the end of the stream.
    #[track_caller]
    pub fn read_to_end(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        (&self.0).read_to_end(&mut bytes).expect("the stream ends in order");
        bytes
    }

    /// The error that ends the stream, after whatever bytes came before it.
    #[track_caller]
    pub fn read_error(&self) -> ErrorKind {
        let mut bytes = Vec::new();
        (&self.0).read_to_end(&mut bytes).expect_err("the stream is cut").kind()
    }

    pub fn shutdown_write(&self) {
        self.0.shutdown(Shutdown::Write).expect("the socket is connected");
    }

    /// Closes so that the ring's end sees a reset.
    pub fn reset(self) {
        self.0.set_linger(Some(Duration::ZERO)).expect("the socket is open");
    }
}

/// Two connected ends, neither in a ring.
pub fn pair(transport: Transport) -> (OwnedFd, Peer) {
    match transport {
        Transport::Unix => {
            let (ours, theirs) = UnixStream::pair().expect("descriptors are left");
            (ours.into(), Peer::from_unix(theirs))
        }
        Transport::Tcp => {
            let listener = listener();
            let address = listener.local_addr().expect("it is bound");
            let theirs = TcpStream::connect(address).expect("somebody listens");
            let (ours, _) = listener.accept().expect("somebody connected");
            ours.set_nodelay(true).expect("the socket is open");
            theirs.set_nodelay(true).expect("the socket is open");
            (ours.into(), Peer::from_tcp(theirs))
        }
    }
}

/// A connection with one end in `ring`.
pub fn connection(ring: &Ring, transport: Transport) -> (RingSocket, Peer) {
    let (ours, theirs) = pair(transport);
    (ring.adopt(ours), theirs)
}

/// Makes what the kernel takes from the ring's end at a time small. The peer's side stays as it is:
/// a window smaller than a segment makes TCP wait for its timers.
pub fn with_small_queue((ours, theirs): (OwnedFd, Peer)) -> (OwnedFd, Peer) {
    SockRef::from(&ours).set_send_buffer_size(8 << 10).expect("the socket is open");
    (ours, theirs)
}

/// A TCP listener on a free port of loopback.
pub fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("a port is free")
}

/// Longer than a receive buffer and prime, so that a buffer that is lost, doubled or exchanged for
/// another shows.
const PERIOD: usize = 65_521;

/// A stream of bytes of which each knows its place.
pub struct Pattern(Vec<u8>);

impl Pattern {
    /// `salt` tells one stream from another.
    pub fn new(salt: u64) -> Pattern {
        let mut rng = tidegate_testkit::Rng::new(salt);
        Pattern(rng.bytes(PERIOD).repeat(2))
    }

    /// At most `count` bytes from `offset` of the stream on.
    pub fn at(&self, offset: u64, count: usize) -> &[u8] {
        let start = usize::try_from(offset % PERIOD as u64).expect("below the period");
        &self.0[start..start + count.min(PERIOD)]
    }

    #[track_caller]
    pub fn check(&self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let expected = self.at(offset, bytes.len());
            let (now, rest) = bytes.split_at(expected.len());
            assert!(now == expected, "bytes differ in {}..+{}", offset, now.len());
            offset += now.len() as u64;
            bytes = rest;
        }
    }
}

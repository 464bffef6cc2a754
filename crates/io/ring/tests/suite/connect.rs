//! Connecting: every outcome, and giving up at every moment.
//!
//! Owns connects that the ring starts; leaves the sockets they become to the other tests.
//! Invariant: an attempt that was given up leaves no descriptor, slot or operation.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};

use socket2::SockAddr;
use tidegate_ring::{ParkToken, PeerAddress, SendBuf, Socket};
use tidegate_testkit::{SilentAddress, TempDir, refused_address};

use crate::peers::{Peer, listener};
use crate::rig::{Bell, Rig, small, with_ring};

fn connect(rig: &Rig, address: SocketAddr) -> Socket {
    rig.ring.connect(&SockAddr::from(address)).expect("a descriptor is left")
}

#[test]
fn a_listening_address_connects_and_carries_bytes() {
    with_ring(&small(), |rig| {
        let listener = listener();
        let address = listener.local_addr().expect("it is bound");
        let socket = connect(rig, address);
        rig.block_on(socket.connected()).expect("somebody listens");
        rig.block_on(socket.connected()).expect("the outcome stays");
        assert_eq!(socket.peer_address(), PeerAddress::Ip(address));
        let (stream, _) = listener.accept().expect("somebody connected");
        let peer = Peer::from_tcp(stream);
        peer.write(b"hello");
        let bytes = rig.block_on(socket.recv()).expect("no error").expect("no end");
        assert_eq!(&bytes[..], b"hello");
    });
}

#[test]
fn a_unix_path_connects() {
    with_ring(&small(), |rig| {
        let directory = TempDir::new();
        let path = directory.path().join("socket");
        let address = SockAddr::unix(&path).expect("the path is short");
        let refused = rig.ring.connect(&address).expect("a descriptor is left");
        let error = rig.block_on(refused.connected()).expect_err("nothing is there");
        assert_eq!(error.kind(), ErrorKind::NotFound);

        let listener = UnixListener::bind(&path).expect("the path is free");
        let socket = rig.ring.connect(&address).expect("a descriptor is left");
        rig.block_on(socket.connected()).expect("somebody listens");
        assert_eq!(socket.peer_address(), PeerAddress::Unix);
        let (stream, _) = listener.accept().expect("somebody connected");
        Peer::from_unix(stream).write(b"hello");
        let bytes = rig.block_on(socket.recv()).expect("no error").expect("no end");
        assert_eq!(&bytes[..], b"hello");
    });
}

#[test]
fn a_refusal_is_the_error_of_everything_that_follows() {
    with_ring(&small(), |rig| {
        let refusing = refused_address();
        let socket = connect(rig, refusing.address());
        let error = rig.block_on(socket.connected()).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = rig.block_on(socket.recv()).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        socket.queue(SendBuf::Static(b"x"));
        socket.flush();
        let error = rig.block_on(socket.flushed(0)).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(!socket.park(ParkToken(1)), "the error has arrived already");
        assert_eq!(rig.ring.in_use(), (1, 0));
    });
}

#[test]
fn an_unsupported_address_is_an_error_at_once() {
    with_ring(&small(), |rig| {
        let error = rig.ring.connect(&SockAddr::vsock(1, 1));
        // Where the kernel has vsock the attempt fails later, as any other.
        if let Ok(socket) = error {
            rig.block_on(socket.connected()).expect_err("a TCP ring does not speak vsock");
        }
    });
}

#[test]
fn an_address_that_never_answers_stays_pending_until_given_up() {
    with_ring(&small(), |rig| {
        let silent = SilentAddress::new();
        for stage in 0..3 {
            let socket = connect(rig, silent.address());
            let bell = Bell::new();
            let polled = bell.poll(|context| socket.poll_connected(context));
            assert!(polled.is_pending(), "stage {stage}");
            rig.turns(stage);
            assert_eq!(bell.count(), 0, "stage {stage}");
            assert_eq!(rig.ring.in_use(), (1, 1));
            drop(socket);
            rig.until("the attempt to end", || rig.ring.in_use() == (0, 0));
        }
    });
}

#[test]
fn an_attempt_dropped_at_any_moment_leaves_nothing() {
    with_ring(&small(), |rig| {
        let listener = listener();
        let address = listener.local_addr().expect("it is bound");
        let refusing = refused_address();
        for address in [address, refusing.address()] {
            for turns in 0..3 {
                let socket = connect(rig, address);
                let bell = Bell::new();
                let _ = bell.poll(|context| socket.poll_connected(context));
                rig.turns(turns);
                drop(socket);
                rig.until("the attempt to end", || rig.ring.in_use() == (0, 0));
            }
        }
    });
}

#[test]
fn a_unix_listener_with_a_full_queue_fails_the_attempt_at_once() {
    with_ring(&small(), |rig| {
        let directory = TempDir::new();
        let path = directory.path().join("socket");
        let address = SockAddr::unix(&path).expect("the path is short");
        let listener = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)
            .expect("a descriptor is left");
        listener.bind(&address).expect("the path is free");
        listener.listen(0).expect("it is bound");
        let _filling = UnixStream::connect(&path).expect("one fits");
        let socket = rig.ring.connect(&address).expect("a descriptor is left");
        let error = rig.block_on(socket.connected()).expect_err("the queue is full");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert_eq!(rig.ring.in_use(), (1, 0));
    });
}

#[test]
fn what_was_asked_of_a_socket_before_it_connected_happens_when_it_does() {
    with_ring(&small(), |rig| {
        let listener = listener();
        let socket = connect(rig, listener.local_addr().expect("it is bound"));
        socket.queue(SendBuf::Static(b"early"));
        socket.flush();
        let bell = Bell::new();
        assert!(bell.poll(|context| socket.poll_recv(context)).is_pending());
        rig.block_on(socket.flushed(0)).expect("somebody listens");
        let (stream, _) = listener.accept().expect("somebody connected");
        let peer = Peer::from_tcp(stream);
        let mut read = [0; 5];
        peer.read_exact(&mut read);
        assert_eq!(&read, b"early");
        peer.write(b"answer");
        rig.until("the answer", || socket.has_arrived());
        assert!(bell.answer());

        let parked = connect(rig, listener.local_addr().expect("it is bound"));
        assert!(parked.park(ParkToken(7)));
        let (stream, _) = loop {
            rig.turns(1);
            if rig.ring.counters().completed > 0 {
                break listener.accept().expect("somebody connected");
            }
        };
        let peer = Peer::from_tcp(stream);
        peer.write(b"x");
        rig.until("the token", || rig.ring.next_unparked() == Some(ParkToken(7)));
    });
}

#[test]
fn who_waits_to_receive_hears_that_the_attempt_failed() {
    with_ring(&small(), |rig| {
        let refusing = refused_address();
        let socket = connect(rig, refusing.address());
        let error = rig.block_on(socket.recv()).expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let socket = connect(rig, refusing.address());
        rig.block_on(poll_fn(|context| socket.poll_gone(context)));
        let socket = connect(rig, refusing.address());
        assert!(socket.park(ParkToken(3)));
        rig.until("the token", || rig.ring.next_unparked() == Some(ParkToken(3)));
    });
}

//! Accepting: many, exactly one, waiting without taking, stopping, and running out of descriptors.
//!
//! Owns the listener; leaves what is done with the accepted sockets to the other tests. Invariant:
//! every connection a client made is given out, left in the listen queue, or closed.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket as Socket2, Type};
use tidegate_ring::{Listener, PeerAddress, Socket};
use tidegate_testkit::TempDir;

use crate::peers::{Peer, listener};
use crate::rig::{Bell, Rig, small, with_ring};

fn listen(rig: &Rig) -> (Listener, SocketAddr) {
    let listener = listener();
    let address = listener.local_addr().expect("it is bound");
    (Listener::new(&rig.ring, listener.into()), address)
}

fn dial(address: SocketAddr) -> Peer {
    Peer::from_tcp(TcpStream::connect(address).expect("somebody listens"))
}

fn accept(rig: &Rig, listener: &Listener) -> Socket {
    rig.block_on(poll_fn(|context| listener.poll_accept(context))).expect("descriptors are left")
}

/// Whether a connection is given out in the next turns.
fn accepts_in_a_few_turns(rig: &Rig, listener: &Listener) -> bool {
    let bell = Bell::new();
    (0..5).any(|_| {
        rig.turns(1);
        bell.poll(|context| listener.poll_accept(context)).is_ready()
    })
}

/// Connects until the listen queue is full, and counts; a UNIX socket refuses then instead of waiting.
fn fill_queue(path: &std::path::Path) -> Vec<socket2::Socket> {
    let dial = || {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&socket2::SockAddr::unix(path)?)?;
        Ok::<_, std::io::Error>(socket)
    };
    std::iter::from_fn(|| dial().ok()).collect()
}

#[test]
fn the_length_of_the_listen_queue_can_be_changed() {
    with_ring(&small(), |rig| {
        let directory = TempDir::new();
        let path = directory.path().join("queue.sock");
        let socket = UnixListener::bind(&path).expect("the directory is new");
        let listener = Listener::new(&rig.ring, socket.into());
        let set = |backlog| listener.set_backlog(backlog).expect("it listens");
        set(2);
        // The kernel takes one more than it was told.
        let waiting = fill_queue(&path);
        assert_eq!(waiting.len(), 3);
        set(5);
        assert_eq!(fill_queue(&path).len(), 3);
        set(1);
        assert_eq!(fill_queue(&path).len(), 0);
        // Nobody who waits is sent away.
        listener.accept_many();
        (0..6).for_each(|_| drop(accept(rig, &listener)));
    });
}

#[test]
fn many_are_accepted_from_one_request_and_carry_bytes() {
    with_ring(&small(), |rig| {
        let (listener, address) = listen(rig);
        listener.accept_many();
        listener.accept_many();
        for round in 0..3 {
            let peers: Vec<_> = (0..40).map(|_| dial(address)).collect();
            for peer in &peers {
                let socket = accept(rig, &listener);
                let expected = peer.0.local_addr().ok().and_then(|address| address.as_socket());
                assert_eq!(Some(socket.peer_address()), expected.map(PeerAddress::Ip));
                peer.write(b"hello");
                let bytes = rig.block_on(socket.recv()).expect("no error").expect("no end");
                assert_eq!(&bytes[..], b"hello", "round {round}");
            }
            assert!(listener.is_accepting());
        }
    });
}

#[test]
fn unix_connections_are_accepted() {
    with_ring(&small(), |rig| {
        let directory = TempDir::new();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).expect("the path is free");
        let listener = Listener::new(&rig.ring, listener.into());
        listener.accept_many();
        let _peer = UnixStream::connect(&path).expect("somebody listens");
        assert_eq!(accept(rig, &listener).peer_address(), PeerAddress::Unix);
    });
}

#[test]
fn one_is_accepted_and_the_next_stays_in_the_listen_queue() {
    with_ring(&small(), |rig| {
        let (listener, address) = listen(rig);
        let _peers: Vec<_> = (0..3).map(|_| dial(address)).collect();
        for _ in 0..3 {
            assert!(!accepts_in_a_few_turns(rig, &listener), "nothing was asked for");
            listener.accept_one();
            let _socket = accept(rig, &listener);
            assert!(!listener.is_accepting());
        }
        listener.accept_one();
        assert!(!accepts_in_a_few_turns(rig, &listener), "no other is in the queue");
        assert!(listener.is_accepting());
    });
}

#[test]
fn no_connection_begins_where_new_ones_are_refused() {
    with_ring(&small(), |rig| {
        let (listener, address) = listen(rig);
        let ask = || {
            let peer = Socket2::new(Domain::IPV4, Type::STREAM.nonblocking(), None).expect("room");
            peer.connect(&address.into()).expect_err("it does not wait for the answer");
            peer
        };
        let before = ask();
        assert!(before.peer_addr().is_ok(), "over loopback the handshake has ended");
        listener.refuse_new().expect("memory for a filter");
        let after = ask();
        assert!(after.peer_addr().is_err());
        assert_eq!(listener.close(5).len(), 1);
        assert!(before.take_error().expect("open").is_none() && after.peer_addr().is_err());
        assert!(listener.refuse_new().is_ok(), "of a closed one nothing is asked");
    });
}

#[test]
fn closing_gives_what_waits_in_the_listen_queue_and_resets_the_rest() {
    with_ring(&small(), |rig| {
        let (listener, address) = listen(rig);
        let mut peers: Vec<_> = (0..3).map(|_| dial(address)).collect();
        let sockets = listener.close(2);
        assert_eq!(sockets.len(), 2, "no more than asked for");
        assert!(TcpStream::connect(address).is_err(), "it is closed");
        assert!(listener.close(2).is_empty() && listener.set_backlog(5).is_ok());
        let last = peers.pop().expect("three");
        assert_eq!(last.read_error(), ErrorKind::ConnectionReset);
        drop(listener);
        assert_eq!(rig.ring.in_use().0, 2);
    });
}

#[test]
fn waiting_tells_of_a_connection_and_does_not_take_it() {
    with_ring(&small(), |rig| {
        let (listener, address) = listen(rig);
        let bell = Bell::new();
        let poll = || bell.poll(|context| listener.poll_waiting(context));
        assert!(poll().is_pending());
        rig.turns(3);
        assert_eq!(bell.count(), 0);
        let _peer = dial(address);
        rig.until("the connection", || bell.answer());
        for _ in 0..3 {
            rig.block_on(poll_fn(|context| listener.poll_waiting(context))).expect("no error");
            assert_eq!(rig.ring.in_use(), (1, 0), "it was taken");
        }
        listener.accept_one();
        let _socket = accept(rig, &listener);
    });
}

#[test]
fn after_a_stop_the_next_connection_waits_until_accepting_begins_again() {
    with_ring(&small(), |rig| {
        let (listener, address) = listen(rig);
        for _ in 0..20 {
            listener.accept_many();
            let _first = dial(address);
            let _socket = accept(rig, &listener);
            listener.stop();
            listener.stop();
            rig.until("the accept to end", || !listener.is_accepting());
            let _second = dial(address);
            assert!(!accepts_in_a_few_turns(rig, &listener));
            listener.accept_many();
            let _socket = accept(rig, &listener);
        }
    });
}

#[test]
fn accepting_that_is_asked_for_during_a_stop_begins_after_it() {
    with_ring(&small(), |rig| {
        for request in [Listener::accept_many, Listener::accept_one] {
            for turns in 0..3 {
                let (listener, address) = listen(rig);
                listener.accept_many();
                rig.turns(1);
                listener.stop();
                rig.turns(turns);
                request(&listener);
                rig.turns(3);
                let _peer = dial(address);
                let _socket = accept(rig, &listener);
            }
        }
    });
}

#[test]
fn the_last_stop_counts() {
    with_ring(&small(), |rig| {
        let (listener, address) = listen(rig);
        listener.accept_many();
        rig.turns(1);
        listener.stop();
        listener.accept_many();
        listener.stop();
        rig.until("the accept to end", || !listener.is_accepting());
        let _peer = dial(address);
        assert!(!accepts_in_a_few_turns(rig, &listener));
    });
}

#[test]
fn accepting_that_is_asked_for_during_a_wait_takes_its_place() {
    with_ring(&small(), |rig| {
        for request in [Listener::accept_many, Listener::accept_one] {
            for turns in 0..3 {
                let (listener, address) = listen(rig);
                let bell = Bell::new();
                assert!(bell.poll(|context| listener.poll_waiting(context)).is_pending());
                rig.turns(turns);
                request(&listener);
                rig.turns(3);
                let _peer = dial(address);
                let _socket = accept(rig, &listener);
            }
        }
    });
}

#[test]
fn connections_accepted_before_the_stop_are_given_out() {
    with_ring(&small(), |rig| {
        let (listener, address) = listen(rig);
        listener.accept_many();
        rig.turns(1);
        let peers: Vec<_> = (0..10).map(|_| dial(address)).collect();
        listener.stop();
        rig.until("the accept to end", || !listener.is_accepting());
        // Those that the kernel had not accepted by then are still in its queue.
        listener.accept_many();
        for _ in &peers {
            let _socket = accept(rig, &listener);
        }
    });
}

#[test]
fn who_waits_is_told_that_a_stopped_accept_has_ended() {
    with_ring(&small(), |rig| {
        let (listener, _) = listen(rig);
        listener.accept_many();
        let bell = Bell::new();
        assert!(bell.poll(|context| listener.poll_accept(context)).is_pending());
        rig.turns(1);
        listener.stop();
        rig.until("the end", || bell.answer());
        assert!(!listener.is_accepting());
    });
}

#[test]
fn a_wait_can_be_stopped_and_begun_again() {
    with_ring(&small(), |rig| {
        let (listener, address) = listen(rig);
        for turns in 0..3 {
            let bell = Bell::new();
            assert!(bell.poll(|context| listener.poll_waiting(context)).is_pending());
            rig.turns(turns);
            listener.stop();
            rig.until("the wait to end", || !listener.is_accepting());
        }
        let _peer = dial(address);
        rig.block_on(poll_fn(|context| listener.poll_waiting(context))).expect("no error");
    });
}

#[test]
fn a_dropped_listener_closes_what_it_accepted_and_nobody_took() {
    with_ring(&small(), |rig| {
        for turns in 0..4 {
            let (listener, address) = listen(rig);
            listener.accept_many();
            rig.turns(1);
            let peers: Vec<_> = (0..10).map(|_| dial(address)).collect();
            rig.turns(turns);
            let bell = Bell::new();
            let _ = bell.poll(|context| listener.poll_accept(context));
            drop(listener);
            rig.until("the close", || rig.ring.in_use() == (0, 0));
            rig.turns(1);
            for peer in peers {
                // Reset while in the queue, ended in order when it was accepted before.
                let mut bytes = Vec::new();
                let end = std::io::Read::read_to_end(&mut &peer.0, &mut bytes);
                let reset = |error: std::io::Error| error.kind() == ErrorKind::ConnectionReset;
                assert!(end.map_or_else(reset, |count| count == 0));
            }
            TcpStream::connect(address).expect_err("nobody listens any more");
        }
    });
}

/// Lowers the limit on descriptors for as long as it lives.
struct FewDescriptors(Rlimit);

impl FewDescriptors {
    /// Leaves room for no descriptor beyond those that are open, which a new one shows.
    fn none_left() -> FewDescriptors {
        let before = getrlimit(Resource::Nofile);
        let next = std::fs::File::open("/dev/null").expect("a descriptor is left");
        let number = std::os::fd::AsRawFd::as_raw_fd(&next);
        let current = Some(u64::try_from(number).expect("it is open"));
        setrlimit(Resource::Nofile, Rlimit { current, ..before }).expect("it is lowered");
        FewDescriptors(before)
    }
}

impl Drop for FewDescriptors {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).expect("the hard limit allows it");
    }
}

#[test]
fn running_out_of_descriptors_is_an_error_after_which_accepting_can_begin_again() {
    with_ring(&small(), |rig| {
        let (listener, address) = listen(rig);
        let peers: Vec<_> = (0..3).map(|_| dial(address)).collect();
        let limit = FewDescriptors::none_left();
        listener.accept_many();
        let error = rig.block_on(poll_fn(|context| listener.poll_accept(context))).err();
        let errno = error.and_then(|error| error.raw_os_error());
        assert_eq!(errno, Some(libc::EMFILE));
        assert!(!listener.is_accepting());
        drop(limit);
        listener.accept_many();
        for _ in &peers {
            let _socket = accept(rig, &listener);
        }
    });
}

//! How streams end: in order, in one direction, by a reset, and who is at the other end.
//!
//! Owns the ends of connected sockets; leaves dropping operations in flight to `cancellation`.
//! Invariant: both ends agree on how a connection ended.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::thread;

use tidegate_ring::{PeerAddress, SendBuf};
use tidegate_testkit::Rng;

use crate::peers::{Pattern, Peer, TRANSPORTS, Transport, connection, listener, pair};
use crate::rig::{Bell, Task, small, with_ring};
use crate::traffic::{read_to_end, receive_all, send_all, write_all};

#[test]
fn the_end_comes_after_the_last_byte_and_stays() {
    with_ring(&small(), |rig| {
        for transport in TRANSPORTS {
            let (socket, peer) = connection(&rig.ring, transport);
            peer.write(b"last");
            drop(peer);
            let bytes = rig.block_on(socket.recv()).expect("no error").expect("bytes first");
            assert_eq!(&bytes[..], b"last");
            for _ in 0..3 {
                assert!(rig.block_on(socket.recv()).expect("no error").is_none());
            }
            assert!(socket.has_arrived());
            assert_eq!(rig.ring.in_use(), (1, 0), "nothing is received after the end");
        }
    });
}

#[test]
fn a_reset_is_an_error_and_stays() {
    with_ring(&small(), |rig| {
        let (socket, peer) = connection(&rig.ring, Transport::Tcp);
        let bell = Bell::new();
        assert!(bell.poll(|context| socket.poll_recv(context)).is_pending());
        rig.turns(1);
        peer.reset();
        rig.until("the reset", || bell.answer());
        for _ in 0..2 {
            let error = rig.block_on(socket.recv()).expect_err("the peer reset");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        socket.queue(SendBuf::Static(b"x"));
        socket.flush();
        rig.block_on(socket.flushed(0)).expect_err("nobody takes it");
    });
}

#[test]
fn after_ending_its_own_side_the_ring_still_receives() {
    const TOTAL: u64 = 1 << 20;
    for transport in TRANSPORTS {
        let pattern = Pattern::new(21);
        with_ring(&small(), |rig| {
            let (socket, peer) = connection(&rig.ring, transport);
            thread::scope(|scope| {
                scope.spawn(|| {
                    assert_eq!(read_to_end(&peer, &pattern, 5000, Rng::new(1)), TOTAL);
                    write_all(&peer, &pattern, TOTAL, Rng::new(22));
                    peer.shutdown_write();
                });
                rig.block_on(async {
                    send_all(&socket, &pattern, TOTAL, Rng::new(23)).await;
                    socket.shutdown_write();
                    receive_all(&socket, &pattern, TOTAL).await;
                });
            });
        });
    }
}

#[test]
fn after_the_peer_ended_its_side_the_ring_still_sends() {
    const TOTAL: u64 = 1 << 20;
    for transport in TRANSPORTS {
        let pattern = Pattern::new(31);
        with_ring(&small(), |rig| {
            let (socket, peer) = connection(&rig.ring, transport);
            thread::scope(|scope| {
                let reading = scope.spawn(|| {
                    peer.shutdown_write();
                    read_to_end(&peer, &pattern, 5000, Rng::new(32))
                });
                rig.block_on(async {
                    receive_all(&socket, &pattern, 0).await;
                    send_all(&socket, &pattern, TOTAL, Rng::new(33)).await;
                });
                drop(socket);
                rig.until("the peer to read all", || reading.is_finished());
                assert_eq!(reading.join().expect("the peer checked all"), TOTAL);
            });
        });
    }
}

#[test]
fn ending_a_side_and_closing_at_once_never_touches_the_next_socket_of_that_number() {
    with_ring(&small(), |rig| {
        for round in 0..300 {
            let (socket, _peer) = connection(&rig.ring, Transport::Unix);
            socket.shutdown_write();
            drop(socket);
            rig.turns(1);
            // The descriptor is closed now, so this pair is given its number.
            let (next, reader) = UnixStream::pair().expect("descriptors are left");
            for _ in 0..20 {
                rig.turns(1);
                thread::yield_now();
            }
            let mut context = Peer::from_unix(next);
            let written = std::io::Write::write(&mut context.0, b"x");
            assert_eq!(written.ok(), Some(1), "round {round}: somebody ended a stranger's side");
            drop(reader);
        }
    });
}

#[test]
fn a_reset_by_the_ring_is_seen_as_one_by_the_peer() {
    with_ring(&small(), |rig| {
        // With a receive in flight, with one that was never started, and with bytes on the way.
        for stage in 0..3 {
            let (socket, peer) = connection(&rig.ring, Transport::Tcp);
            if stage > 0 {
                let bell = Bell::new();
                assert!(bell.poll(|context| socket.poll_recv(context)).is_pending());
                rig.turns(1);
            }
            if stage > 1 {
                socket.queue(SendBuf::Static(b"cut"));
                socket.flush();
                rig.turns(1);
            }
            socket.reset();
            rig.until("the close", || rig.ring.in_use() == (0, 0));
            rig.turns(1);
            assert_eq!(peer.read_error(), ErrorKind::ConnectionReset, "stage {stage}");
        }
    });
}

#[test]
fn dropping_a_socket_without_a_reset_ends_the_stream_in_order() {
    with_ring(&small(), |rig| {
        for transport in TRANSPORTS {
            let (socket, peer) = connection(&rig.ring, transport);
            let bell = Bell::new();
            assert!(bell.poll(|context| socket.poll_recv(context)).is_pending());
            socket.queue(SendBuf::Static(b"all of it"));
            socket.flush();
            rig.block_on(socket.flushed(0)).expect("the peer is there");
            drop(socket);
            rig.until("the close", || rig.ring.in_use() == (0, 0));
            rig.turns(1);
            assert_eq!(peer.read_to_end(), b"all of it");
        }
    });
}

#[test]
fn gone_means_that_the_peer_left_and_all_it_sent_was_taken() {
    with_ring(&small(), |rig| {
        for transport in TRANSPORTS {
            let (socket, peer) = connection(&rig.ring, transport);
            let bell = Bell::new();
            let gone = || bell.poll(|context| socket.poll_gone(context));
            assert!(gone().is_pending());
            peer.write(b"x");
            rig.until("a byte", || bell.answer());
            assert!(gone().is_pending());
            drop(peer);
            rig.turns(5);
            // A Unix peer that closed can take nothing any more, which shows; a TCP peer may have closed one side only.
            let tcp = matches!(transport, Transport::Tcp);
            assert_eq!(gone().is_pending(), tcp, "a byte is still there to be taken");
            drop(rig.block_on(socket.recv()));
            // Now it learns of the end, if it did not already behind the byte.
            rig.block_on(std::future::poll_fn(|context| socket.poll_gone(context)));
        }
        // A reset is seen although bytes wait to be taken.
        let (socket, peer) = connection(&rig.ring, Transport::Tcp);
        let bell = Bell::new();
        assert!(bell.poll(|context| socket.poll_gone(context)).is_pending());
        peer.write(b"x");
        rig.until("a byte", || bell.answer());
        assert!(bell.poll(|context| socket.poll_gone(context)).is_pending());
        rig.run_all([Task::new(async {
            peer.reset();
            std::future::poll_fn(|context| socket.poll_gone(context)).await;
        })]);
    });
}

#[test]
fn the_address_of_the_peer_is_told_for_each_kind_of_socket() {
    with_ring(&small(), |rig| {
        let listener = listener();
        let address = listener.local_addr().expect("it is bound");
        let peer = std::net::TcpStream::connect(address).expect("somebody listens");
        let (accepted, from) = listener.accept().expect("somebody connected");
        let socket = rig.ring.adopt(accepted.into());
        assert_eq!(socket.peer_address(), PeerAddress::Ip(from));
        assert_eq!(socket.local_address(), PeerAddress::Ip(address));
        assert_eq!(socket.peer_address().ip(), Some(from.ip()));
        Peer::from_tcp(peer).reset();
        rig.block_on(socket.recv()).expect_err("the peer reset");
        assert_eq!(socket.peer_address(), PeerAddress::Unknown);

        let (ours, _theirs) = pair(Transport::Unix);
        assert_eq!(rig.ring.adopt(ours).peer_address(), PeerAddress::Unix);
    });
}

//! Parking: waiting for a socket without a task, and the token that tells.
//!
//! Owns the tokens; leaves the shard's own sleep to `sleeping`. Invariant: each parking gives its
//! token back once, or never when it was ended first.

use tidegate_ring::{ParkToken, SendBuf, Socket};
use tidegate_testkit::seed;

use crate::peers::{Peer, TRANSPORTS, Transport, connection};
use crate::rig::{Bell, Rig, small, with_ring};

/// Turns until a token comes, and a little longer, in which no other may come.
fn one_token(rig: &Rig, expected: u32) {
    let mut token = None;
    rig.until("a token", || {
        token = rig.ring.next_unparked();
        token.is_some()
    });
    assert_eq!(token, Some(ParkToken(expected)));
    no_token(rig);
}

fn no_token(rig: &Rig) {
    for _ in 0..5 {
        rig.turns(1);
        assert_eq!(rig.ring.next_unparked(), None);
    }
}

fn take(rig: &Rig, socket: &Socket) -> Vec<u8> {
    let bytes = rig.block_on(socket.recv()).expect("no error");
    bytes.map(|bytes| bytes.to_vec()).unwrap_or_default()
}

#[test]
fn bytes_give_the_token_back_once_for_each_parking() {
    with_ring(&small(), |rig| {
        for transport in TRANSPORTS {
            let (socket, peer) = connection(&rig.ring, transport);
            for round in 0..20 {
                assert!(socket.park(ParkToken(round)));
                no_token(rig);
                peer.write(b"one");
                one_token(rig, round);
                peer.write(b"two");
                no_token(rig);
                let mut bytes = take(rig, &socket);
                while bytes.len() < 6 {
                    bytes.extend(take(rig, &socket));
                }
                assert_eq!(bytes, b"onetwo");
            }
        }
    });
}

#[test]
fn tokens_come_back_in_the_order_in_which_bytes_arrived() {
    with_ring(&small(), |rig| {
        let connections: Vec<_> = (0..3).map(|_| connection(&rig.ring, Transport::Tcp)).collect();
        for (token, (socket, _)) in (0..).zip(&connections) {
            assert!(socket.park(ParkToken(token)));
        }
        rig.turns(2);
        for order in [[0, 1, 2], [2, 0, 1]] {
            for token in order {
                connections[token as usize].1.write(b"x");
                // Seen by the ring before the next one arrives.
                let seen = rig.ring.counters().completed;
                rig.until("the bytes", || rig.ring.counters().completed > seen);
            }
            for token in order {
                assert_eq!(rig.ring.next_unparked(), Some(ParkToken(token)));
                let socket = &connections[token as usize].0;
                assert_eq!(take(rig, socket), b"x");
                assert!(socket.park(ParkToken(token)));
            }
        }
    });
}

/// A way for a peer to end a connection, by its name.
type End = (&'static str, fn(Peer));

#[test]
fn the_end_and_errors_give_the_token_back_once() {
    with_ring(&small(), |rig| {
        let ends: [End; 3] = [
            ("close", drop::<Peer>),
            ("reset", Peer::reset),
            ("shutdown", |peer| {
                peer.shutdown_write();
            }),
        ];
        for (name, end) in ends {
            let (socket, peer) = connection(&rig.ring, Transport::Tcp);
            assert!(socket.park(ParkToken(5)));
            rig.turns(2);
            end(peer);
            one_token(rig, 5);
            assert_eq!(rig.block_on(socket.recv()).is_err(), name == "reset");
            assert!(!socket.park(ParkToken(6)), "after {name} there is nothing to wait for");
        }
    });
}

#[test]
fn a_failing_send_gives_the_token_back() {
    with_ring(&small(), |rig| {
        let (socket, peer) = connection(&rig.ring, Transport::Tcp);
        // The end of its side alone is taken before parking: what is left is that sending fails.
        peer.reset();
        assert!(rig.block_on(socket.recv()).is_err());
        assert!(!socket.park(ParkToken(1)));

        let (socket, peer) = connection(&rig.ring, Transport::Unix);
        assert!(socket.park(ParkToken(2)));
        rig.turns(1);
        drop(peer);
        socket.queue(SendBuf::Static(b"x"));
        socket.flush();
        one_token(rig, 2);
    });
}

#[test]
fn a_socket_on_which_something_arrived_does_not_park() {
    with_ring(&small(), |rig| {
        let (socket, peer) = connection(&rig.ring, Transport::Unix);
        let bell = Bell::new();
        assert!(bell.poll(|context| socket.poll_recv(context)).is_pending());
        peer.write(b"x");
        rig.until("the byte", || bell.answer());
        assert!(!socket.park(ParkToken(1)));
        no_token(rig);
        assert_eq!(take(rig, &socket), b"x");
        assert!(socket.park(ParkToken(2)));
        peer.write(b"y");
        one_token(rig, 2);
    });
}

#[test]
fn after_unparking_the_sockets_own_future_is_told() {
    with_ring(&small(), |rig| {
        for turns in 0..3 {
            let (socket, peer) = connection(&rig.ring, Transport::Unix);
            assert!(socket.park(ParkToken(1)));
            rig.turns(turns);
            socket.unpark();
            let bell = Bell::new();
            assert!(bell.poll(|context| socket.poll_recv(context)).is_pending());
            peer.write(b"x");
            rig.until("the byte", || bell.answer());
            no_token(rig);
            assert_eq!(take(rig, &socket), b"x");
        }
    });
}

#[test]
fn a_socket_parked_again_has_the_last_token() {
    with_ring(&small(), |rig| {
        let (socket, peer) = connection(&rig.ring, Transport::Unix);
        assert!(socket.park(ParkToken(1)));
        assert!(socket.park(ParkToken(2)));
        peer.write(b"x");
        one_token(rig, 2);
    });
}

#[test]
fn a_dropped_socket_gives_no_token() {
    with_ring(&small(), |rig| {
        for turns in 0..3 {
            let (socket, peer) = connection(&rig.ring, Transport::Unix);
            assert!(socket.park(ParkToken(1)));
            rig.turns(turns);
            peer.write(b"x");
            drop(socket);
            no_token(rig);
        }
    });
}

#[test]
fn a_token_that_nobody_took_goes_with_its_parking() {
    with_ring(&small(), |rig| {
        for by_drop in [false, true] {
            let (socket, peer) = connection(&rig.ring, Transport::Unix);
            assert!(socket.park(ParkToken(1)));
            peer.write(b"x");
            rig.until("the byte", || socket.has_arrived());
            // The token waits to be taken; whoever ends the parking now may give it to another.
            if by_drop {
                drop(socket);
            } else {
                socket.unpark();
            }
            no_token(rig);
        }
    });
}

#[test]
fn parking_while_a_receive_is_being_cancelled_still_gives_the_token() {
    with_ring(&small(), |rig| {
        for turns in 0..3 {
            let (socket, peer) = connection(&rig.ring, Transport::Unix);
            let bell = Bell::new();
            assert!(bell.poll(|context| socket.poll_recv(context)).is_pending());
            rig.turns(1);
            socket.set_recv_on_demand(true);
            rig.turns(turns);
            assert!(socket.park(ParkToken(4)));
            rig.turns(3);
            peer.write(b"x");
            one_token(rig, 4);
        }
    });
}

#[test]
fn parking_keeps_receiving_on_demand() {
    with_ring(&small(), |rig| {
        let (socket, peer) = connection(&rig.ring, Transport::Unix);
        socket.set_recv_on_demand(true);
        assert!(socket.park(ParkToken(1)));
        peer.write(b"x");
        one_token(rig, 1);
        peer.write(b"y");
        rig.turns(5);
        let (made, available) = rig.ring.buffers();
        assert_eq!(made - available, 1, "nobody asked for the second byte");
    });
}

#[test]
fn two_hundred_parked_sockets_give_each_token_once_in_any_order() {
    let seed = seed();
    let mut rng = seed.rng();
    with_ring(&small(), |rig| {
        let connections: Vec<_> =
            (0..200).map(|_| connection(&rig.ring, Transport::Unix)).collect();
        for _ in 0..5 {
            for (token, (socket, _)) in (0..).zip(&connections) {
                assert!(socket.park(ParkToken(token)));
            }
            let mut written = vec![false; connections.len()];
            let mut told = written.clone();
            for _ in 0..100 {
                let one = rng.below(connections.len());
                if !std::mem::replace(&mut written[one], true) {
                    connections[one].1.write(b"x");
                }
                rig.turns(rng.below(2));
                while let Some(ParkToken(token)) = rig.ring.next_unparked() {
                    let told = &mut told[usize::try_from(token).expect("small")];
                    assert!(!std::mem::replace(told, true), "token {token} came twice");
                }
            }
            let left = |written: &[bool], told: &[bool]| written != told;
            rig.until("the last tokens", || {
                while let Some(ParkToken(token)) = rig.ring.next_unparked() {
                    told[usize::try_from(token).expect("small")] = true;
                }
                !left(&written, &told)
            });
            for ((socket, _), written) in connections.iter().zip(written) {
                socket.unpark();
                if written {
                    assert_eq!(take(rig, socket), b"x");
                }
            }
        }
    });
}

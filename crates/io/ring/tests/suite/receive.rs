//! Receiving: order, bounds, pauses, and receiving on demand.
//!
//! Owns what arrives while buffers last; leaves running out of them to `buffers` and ends of
//! streams to `closing`. Invariant: streams are checked byte by byte.

use std::cell::Cell;
use std::task::Poll;
use std::thread;

use tidegate_ring::{BUFFER_BYTES, RECV_QUEUE_MAX};
use tidegate_testkit::{Rng, seed};

use crate::peers::{Pattern, TRANSPORTS, Transport, connection};
use crate::rig::{Bell, Rig, Task, pause, small, with_ring};
use crate::traffic::{read_to_end, receive_all, send_all, write_all};

const MIB: u64 = 1 << 20;

/// What the kernel may deliver beyond the limit: a burst of up to 32 receives that crosses it, and
/// one that was under way when the cancel came.
const BURSTS_MAX: u16 = 2 * 33;

#[test]
fn fifty_mebibytes_cross_in_both_directions_at_once() {
    const TOTAL: u64 = 50 * MIB;
    let seed = seed();
    for transport in TRANSPORTS {
        let mut rng = seed.rng();
        with_ring(&small(), |rig| {
            let (socket, peer) = connection(&rig.ring, transport);
            let (up, down) = (Pattern::new(rng.next_u64()), Pattern::new(rng.next_u64()));
            let mut streams = [(); 3].map(|()| Rng::new(rng.next_u64())).into_iter();
            let mut stream = || streams.next().expect("one for each");
            let (writer, reader, sender) = (stream(), stream(), stream());
            thread::scope(|scope| {
                scope.spawn(|| {
                    write_all(&peer, &up, TOTAL, writer);
                    peer.shutdown_write();
                });
                let reading = scope.spawn(|| read_to_end(&peer, &down, 200_000, reader));
                rig.run_all([
                    Task::new(receive_all(&socket, &up, TOTAL)),
                    Task::new(async {
                        send_all(&socket, &down, TOTAL, sender).await;
                        socket.shutdown_write();
                    }),
                ]);
                let end = || reading.is_finished();
                rig.until("the peer to read all", end);
                assert_eq!(reading.join().expect("the reader checked all"), TOTAL);
            });
        });
    }
}

#[test]
fn a_byte_that_came_before_anyone_asked_is_there_when_asked() {
    with_ring(&small(), |rig| {
        let (socket, peer) = connection(&rig.ring, Transport::Tcp);
        assert!(!socket.has_arrived());
        peer.write(b"x");
        let bytes = rig.block_on(socket.recv()).expect("no error").expect("no end");
        assert_eq!(&bytes[..], b"x");
        drop(bytes);
        peer.write(b"y");
        rig.until("the byte", || socket.has_arrived());
        let bytes = rig.block_on(socket.recv()).expect("no error").expect("no end");
        assert_eq!(&bytes[..], b"y");
    });
}

#[test]
fn an_idle_socket_holds_no_buffer() {
    with_ring(&small(), |rig| {
        let connections: Vec<_> =
            (0..100).map(|_| connection(&rig.ring, Transport::Unix)).collect();
        let (made, _) = rig.ring.buffers();
        for (socket, peer) in &connections {
            peer.write(b"hello");
            let bytes = rig.block_on(socket.recv()).expect("no error").expect("no end");
            assert_eq!(&bytes[..], b"hello");
        }
        assert_eq!(rig.ring.buffers(), (made, made));
        // Reading and waiting for more keeps one operation each.
        let bell = Bell::new();
        for (socket, _) in &connections {
            assert!(bell.poll(|context| socket.poll_recv(context)).is_pending());
        }
        rig.turns(3);
        assert_eq!(rig.ring.in_use(), (100, 100));
        assert_eq!(rig.ring.buffers(), (made, made));
    });
}

/// Turns until the kernel has nothing more to give to a socket whose owner does not read.
fn turn_until_paused(rig: &Rig, paused_before: u64) {
    rig.until("a pause", || rig.ring.counters().receives_paused > paused_before);
    rig.turns(10);
}

#[test]
fn a_socket_nobody_reads_stops_taking_buffers_and_resumes_when_read() {
    const TOTAL: u64 = 64 * BUFFER_BYTES as u64;
    let pattern = Pattern::new(1);
    with_ring(&small(), |rig| {
        let (socket, peer) = connection(&rig.ring, Transport::Unix);
        thread::scope(|scope| {
            scope.spawn(|| {
                write_all(&peer, &pattern, TOTAL, Rng::new(2));
                peer.shutdown_write();
            });
            let bell = Bell::new();
            assert!(bell.poll(|context| socket.poll_gone(context)).is_pending());
            turn_until_paused(rig, 0);
            let (made, available) = rig.ring.buffers();
            let held = made - available;
            assert!(held >= RECV_QUEUE_MAX, "paused with {held} buffers");
            assert!(held <= RECV_QUEUE_MAX + BURSTS_MAX, "one socket holds {held} buffers");
            rig.turns(100);
            assert_eq!(rig.ring.buffers(), (made, available), "a paused socket takes no more");
            rig.block_on(receive_all(&socket, &pattern, TOTAL));
        });
        assert!(rig.ring.counters().receives_paused > 0);
    });
}

#[test]
fn a_reader_that_empties_the_queue_before_the_pause_is_done_is_woken_for_the_rest() {
    // The order of a shard's turn: completions fill the queue and ask for the pause, the task takes
    // all of it and waits, and only the next turn brings the end of the cancelled receive.
    with_ring(&small(), |rig| {
        for round in 0..50 {
            let (socket, peer) = connection(&rig.ring, Transport::Unix);
            let bell = Bell::new();
            let poll = || bell.poll(|context| socket.poll_recv(context));
            assert!(poll().is_pending());
            rig.turns(1);
            for _ in 0..RECV_QUEUE_MAX {
                peer.write(b"1");
                let paused = rig.ring.counters().receives_paused;
                rig.until("a byte", || bell.answer());
                if rig.ring.counters().receives_paused > paused {
                    break;
                }
            }
            while let Poll::Ready(bytes) = poll() {
                assert_eq!(&bytes.expect("no error").expect("no end")[..], b"1", "round {round}");
            }
            peer.write(b"2");
            let bytes = rig.block_on(socket.recv()).expect("no error").expect("no end");
            assert_eq!(&bytes[..], b"2", "round {round}");
        }
        assert_eq!(rig.ring.counters().receives_paused, 50);
    });
}

#[test]
fn on_demand_takes_one_buffer_for_each_request() {
    const TOTAL: u64 = 16 * BUFFER_BYTES as u64;
    let pattern = Pattern::new(5);
    with_ring(&small(), |rig| {
        let (socket, peer) = connection(&rig.ring, Transport::Unix);
        socket.set_recv_on_demand(true);
        thread::scope(|scope| {
            scope.spawn(|| {
                write_all(&peer, &pattern, TOTAL, Rng::new(6));
                peer.shutdown_write();
            });
            let (made, _) = rig.ring.buffers();
            rig.turns(20);
            assert_eq!(rig.ring.buffers(), (made, made), "nothing was asked for");
            let mut received = 0;
            while let Some(bytes) = rig.block_on(socket.recv()).expect("no error") {
                rig.turns(3);
                assert_eq!(rig.ring.buffers(), (made, made - 1), "one was asked for");
                pattern.check(received, &bytes);
                received += bytes.len() as u64;
            }
            assert_eq!(received, TOTAL);
        });
    });
}

#[test]
fn switching_on_demand_at_any_time_loses_and_doubles_nothing() {
    const TOTAL: u64 = 4 * MIB;
    let seed = seed();
    for transport in TRANSPORTS {
        let mut rng = seed.rng();
        let pattern = Pattern::new(rng.next_u64());
        with_ring(&small(), |rig| {
            let (socket, peer) = connection(&rig.ring, transport);
            let writer = Rng::new(rng.next_u64());
            thread::scope(|scope| {
                scope.spawn(|| {
                    write_all(&peer, &pattern, TOTAL, writer);
                    peer.shutdown_write();
                });
                let ended = Cell::new(false);
                rig.run_all([
                    Task::new(async {
                        receive_all(&socket, &pattern, TOTAL).await;
                        ended.set(true);
                    }),
                    Task::new(async {
                        while !ended.get() {
                            if rng.below(4) == 0 {
                                socket.set_recv_on_demand(rng.below(2) == 0);
                            }
                            pause().await;
                        }
                    }),
                ]);
            });
        });
    }
}

#[test]
fn a_receive_asked_for_twice_tells_the_last_one_who_asked() {
    with_ring(&small(), |rig| {
        let (socket, peer) = connection(&rig.ring, Transport::Unix);
        let (first, second) = (Bell::new(), Bell::new());
        for bell in [&first, &second] {
            assert!(bell.poll(|context| socket.poll_recv(context)).is_pending());
        }
        peer.write(b"x");
        rig.until("the second waker", || second.answer());
        assert_eq!(first.count(), 0);
        // Polling again with the same waker does not clone it again: one wake-up, one call.
        assert_eq!(second.count(), 1);
        assert_eq!(rig.ring.in_use(), (1, 1), "one receive serves both");
    });
}

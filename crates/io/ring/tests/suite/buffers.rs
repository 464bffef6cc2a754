//! Running out of receive buffers: who waits, who goes on, and that nothing is lost.
//!
//! Owns rings with very few buffers; leaves plenty of buffers to `receive`. Invariant: a buffer that
//! comes back feeds a socket that waits for one.

use std::task::Poll;
use std::thread;
use std::time::Instant;

use tidegate_ring::{BUFFER_BYTES, ParkToken, RecvBuf, Ring, Settings, Socket};
use tidegate_testkit::{Rng, seed};

use crate::peers::{PATIENCE, Pattern, Transport, connection};
use crate::rig::{Rig, Task, alone, pause, small, with_ring};
use crate::traffic::{receive_all, write_all};

/// Four buffers for everybody.
fn four_buffers() -> Settings {
    Settings { buffers_max: 4, buffers_initial: 1, ..small() }
}

#[test]
fn buffers_grow_on_demand_up_to_the_limit_and_stay_until_trimmed() {
    let settings = Settings { buffers_max: 32, buffers_initial: 1, ..small() };
    with_ring(&settings, |rig| {
        assert_eq!(rig.ring.buffers(), (1, 1));
        let connections: Vec<_> = (0..40).map(|_| connection(&rig.ring, Transport::Unix)).collect();
        let mut held = Vec::new();
        for (socket, peer) in &connections[..32] {
            peer.write(b"x");
            held.extend(rig.block_on(socket.recv()).expect("no error"));
            let (made, available) = rig.ring.buffers();
            assert_eq!(usize::from(made - available), held.len());
        }
        assert_eq!(rig.ring.buffers(), (32, 0));
        held.clear();
        assert_eq!(rig.ring.buffers(), (32, 32));
    });
}

#[test]
fn who_holds_buffers_keeps_nobody_from_receiving_once_few_are_left() {
    let settings = Settings { buffers_max: 64, buffers_initial: 1, ..small() };
    with_ring(&settings, |rig| {
        let connections: Vec<_> =
            (0..200).map(|_| connection(&rig.ring, Transport::Unix)).collect();
        let mut held = Vec::new();
        for (socket, peer) in &connections {
            peer.write(b"some bytes");
            let received = rig.block_on(socket.recv()).expect("no error").expect("not the end");
            assert_eq!(&received[..], b"some bytes");
            held.push(received);
        }
        assert!(rig.ring.buffers().1 >= 15, "a quarter of the buffers stays in circulation");
        assert_eq!(rig.ring.counters().buffers_exhausted, 0);
        assert!(rig.ring.counters().receives_copied > 100);
        held.clear();
        assert_eq!(rig.ring.buffers(), (64, 64));
        assert!(!rig.ring.buffers_scarce());
    });
}

#[test]
fn without_buffers_a_socket_waits_and_goes_on_when_one_comes_back() {
    with_ring(&four_buffers(), |rig| {
        let connections: Vec<_> = (0..8).map(|_| connection(&rig.ring, Transport::Unix)).collect();
        for (_, peer) in &connections {
            peer.write(b"x");
        }
        let mut held: Vec<RecvBuf> = Vec::new();
        for (socket, _) in &connections[..4] {
            held.extend(rig.block_on(socket.recv()).expect("no error"));
        }
        let starving = connections[4..].iter();
        let mut tasks: Vec<_> = starving.map(|(socket, _)| Task::new(socket.recv())).collect();
        tasks.iter_mut().for_each(|task| assert!(task.poll().is_pending()));
        rig.until("the kernel to run out", || rig.ring.counters().buffers_exhausted > 0);
        rig.turns(5);
        for task in &mut tasks {
            assert!(task.poll_if_woken().is_pending(), "nobody gave a buffer back");
        }
        held.pop();
        let mut served = 0;
        rig.until("all to be served", || {
            for task in &mut tasks {
                if let Poll::Ready(result) = task.poll_if_woken() {
                    assert_eq!(&result.expect("no error").expect("no end")[..], b"x");
                    served += 1;
                }
            }
            served == 4
        });
    });
}

/// Receives everything in pieces that are held for a few turns, so that others find none. None is
/// held while waiting for the next, which could be one too many.
async fn receive_and_hold(socket: &Socket, pattern: &Pattern, mut rng: Rng) -> u64 {
    let mut received = 0;
    while let Some(bytes) = socket.recv().await.expect("the stream ends in order") {
        pattern.check(received, &bytes);
        received += bytes.len() as u64;
        for _ in 0..rng.below(5) {
            pause().await;
        }
    }
    received
}

#[test]
fn sixteen_streams_through_four_buffers_lose_nothing() {
    const STREAMS: u64 = 16;
    const TOTAL: u64 = 8 * BUFFER_BYTES as u64;
    let seed = seed();
    let mut rng = seed.rng();
    with_ring(&four_buffers(), |rig| {
        let patterns: Vec<_> = (0..STREAMS).map(|_| Pattern::new(rng.next_u64())).collect();
        let connections: Vec<_> =
            patterns.iter().map(|_| connection(&rig.ring, Transport::Unix)).collect();
        thread::scope(|scope| {
            for ((_, peer), pattern) in connections.iter().zip(&patterns) {
                let writer = Rng::new(rng.next_u64());
                scope.spawn(|| {
                    write_all(peer, pattern, TOTAL, writer);
                    peer.shutdown_write();
                });
            }
            let tasks = connections.iter().zip(&patterns).map(|((socket, _), pattern)| {
                let rng = Rng::new(rng.next_u64());
                Task::new(async {
                    assert_eq!(receive_and_hold(socket, pattern, rng).await, TOTAL);
                })
            });
            rig.run_all(tasks.collect::<Vec<_>>());
        });
        assert!(rig.ring.counters().buffers_exhausted > 0, "the buffers never ran out");
        assert_eq!(rig.ring.buffers(), (4, 4));
    });
}

/// Takes all four buffers through sockets that are not given back.
fn take_all_buffers(rig: &Rig) -> Vec<RecvBuf> {
    let mut held = Vec::new();
    while held.len() < 4 {
        let (socket, peer) = connection(&rig.ring, Transport::Unix);
        peer.write(b"x");
        held.extend(rig.block_on(socket.recv()).expect("no error"));
    }
    held
}

#[test]
fn a_parked_socket_that_finds_no_buffer_is_unparked_when_one_comes_back() {
    with_ring(&four_buffers(), |rig| {
        let held = take_all_buffers(rig);
        let (socket, peer) = connection(&rig.ring, Transport::Unix);
        assert!(socket.park(ParkToken(9)));
        peer.write(b"x");
        rig.until("the kernel to run out", || rig.ring.counters().buffers_exhausted > 0);
        rig.turns(3);
        assert_eq!(rig.ring.next_unparked(), None);
        drop(held);
        rig.until("the token", || rig.ring.next_unparked() == Some(ParkToken(9)));
        let bytes = rig.block_on(socket.recv()).expect("no error").expect("no end");
        assert_eq!(&bytes[..], b"x");
    });
}

#[test]
fn a_socket_dropped_while_it_waits_for_a_buffer_returns_its_slot() {
    with_ring(&four_buffers(), |rig| {
        let held = take_all_buffers(rig);
        rig.until("the other sockets to close", || rig.ring.in_use() == (0, 0));
        let (socket, peer) = connection(&rig.ring, Transport::Unix);
        assert!(socket.park(ParkToken(9)));
        peer.write(b"x");
        rig.until("the kernel to run out", || rig.ring.counters().buffers_exhausted > 0);
        drop(socket);
        rig.turns(2);
        drop(held);
        rig.until("the slot", || rig.ring.in_use() == (0, 0));
        assert_eq!(rig.ring.next_unparked(), None, "nobody is there to be told");
    });
}

#[test]
fn a_buffer_that_comes_back_serves_who_waited_longest_and_costs_the_others_nothing() {
    const WAITING: u32 = 100;
    with_ring(&four_buffers(), |rig| {
        let mut held = take_all_buffers(rig);
        rig.until("the other sockets to close", || rig.ring.in_use() == (0, 0));
        let mut connections = Vec::new();
        for token in 0..WAITING {
            let (socket, peer) = connection(&rig.ring, Transport::Unix);
            peer.write(b"x");
            assert!(socket.park(ParkToken(token)));
            connections.push((socket, peer));
            rig.turns(2);
        }
        assert_eq!(rig.ring.counters().buffers_exhausted, u64::from(WAITING));
        let before = rig.ring.counters().submitted;
        held.pop();
        for token in 0..WAITING {
            let mut told = None;
            rig.until("a token", || {
                told = rig.ring.next_unparked();
                told.is_some()
            });
            assert_eq!(told, Some(ParkToken(token)));
            connections.remove(0);
        }
        // For each its receive, perhaps once more in vain, and its cancel and close.
        let each = (rig.ring.counters().submitted - before) / u64::from(WAITING);
        assert!(each <= 4, "{each} submissions for one buffer");
    });
}

#[test]
fn a_buffer_is_not_kept_from_the_next_by_one_who_has_no_use_for_it() {
    with_ring(&four_buffers(), |rig| {
        let mut held = take_all_buffers(rig);
        let connections: Vec<_> = (0..20).map(|_| connection(&rig.ring, Transport::Unix)).collect();
        for ((socket, _), token) in connections.iter().zip(0..) {
            assert!(socket.park(ParkToken(token)));
            rig.turns(2);
        }
        // All of them wait for a buffer by now, and only the last has something to put into it.
        assert_eq!(rig.ring.counters().buffers_exhausted, 20);
        connections[19].1.write(b"x");
        held.pop();
        let began = Instant::now();
        while rig.ring.next_unparked().is_none() {
            rig.ring.sleep_and_turn(Some(PATIENCE));
        }
        assert!(began.elapsed() < PATIENCE, "it slept through");
    });
}

#[test]
fn a_stream_goes_on_while_another_holds_most_buffers() {
    const TOTAL: u64 = 16 * BUFFER_BYTES as u64;
    let pattern = Pattern::new(3);
    with_ring(&four_buffers(), |rig| {
        let mut held = take_all_buffers(rig);
        held.pop();
        let (socket, peer) = connection(&rig.ring, Transport::Tcp);
        thread::scope(|scope| {
            scope.spawn(|| {
                write_all(&peer, &pattern, TOTAL, Rng::new(4));
                peer.shutdown_write();
            });
            rig.block_on(receive_all(&socket, &pattern, TOTAL));
        });
    });
}

#[test]
fn a_received_buffer_outlives_its_socket_and_its_ring() {
    alone(|| {
        let rig = Rig { ring: Ring::new(&small()).expect("the kernel has io_uring") };
        let (socket, peer) = connection(&rig.ring, Transport::Unix);
        peer.write(b"still here");
        let bytes = rig.block_on(socket.recv()).expect("no error").expect("no end");
        drop((socket, peer));
        drop(rig);
        assert_eq!(&bytes[..], b"still here");
    });
}

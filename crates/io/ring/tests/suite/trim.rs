//! Giving memory back after a burst: it comes back, and nobody who receives meanwhile notices.
//!
//! Owns rings that have grown; leaves growing to `buffers`. Invariant: a buffer in somebody's hands keeps its bytes,
//! however often the ring is trimmed.

use std::fs;
use std::task::Poll;

use tidegate_ring::{BUFFER_BYTES, RecvBuf, Ring, Settings, Socket};
use tidegate_testkit::seed;

use crate::peers::{Pattern, Peer, Transport, connection};
use crate::rig::{Rig, Task, alone, small, with_ring};
use crate::traffic::receive_to_end;

/// Trims that are certain to be enough: ten for the quiet, the others for calling back and for releasing.
const TRIMS: usize = 10 + 1024 / 256 + 1024 / 128 + 2;

fn roomy() -> Settings {
    Settings { buffers_max: 1024, buffers_initial: 16, ..small() }
}

/// Memory of this process in RAM.
fn resident_bytes() -> usize {
    let text = fs::read_to_string("/proc/self/smaps_rollup").expect("procfs is mounted");
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).expect("a line for it");
    let kib = line.trim().trim_end_matches("kB").trim();
    kib.parse::<usize>().expect("a number") * 1024
}

/// Takes `count` buffers full of bytes, each through a connection of its own.
fn burst(rig: &Rig, count: usize) -> Vec<(RecvBuf, Socket, Peer)> {
    let bytes = vec![7; BUFFER_BYTES];
    let mut held = Vec::new();
    for _ in 0..count {
        let (socket, peer) = connection(&rig.ring, Transport::Unix);
        peer.write(&bytes);
        let received = rig.block_on(socket.recv()).expect("no error").expect("not the end");
        held.push((received, socket, peer));
    }
    held
}

fn trim(ring: &Ring, count: usize) {
    for _ in 0..count {
        ring.trim();
        ring.turn();
        ring.turn();
    }
}

#[test]
fn memory_is_given_back_after_a_burst() {
    const BUFFERS: usize = 600;
    with_ring(&roomy(), |rig| {
        drop(burst(rig, 1));
        assert!(!rig.ring.has_grown());
        let before = resident_bytes();
        let held = burst(rig, BUFFERS);
        let grown = resident_bytes() - before;
        assert!(grown >= BUFFERS * BUFFER_BYTES * 9 / 10, "the burst took {grown} bytes");
        drop(held);
        trim(&rig.ring, 9);
        assert_eq!(rig.ring.buffers(), (1024, 1024), "who comes again at once finds them");
        trim(&rig.ring, TRIMS);
        assert_eq!(rig.ring.buffers(), (16, 16));
        assert!(!rig.ring.has_grown(), "there is nothing left to trim");
        let left = resident_bytes().saturating_sub(before);
        assert!(left <= grown / 20, "{left} of {grown} bytes are still resident");
    });
}

#[test]
fn what_is_needed_again_and_again_stays() {
    with_ring(&roomy(), |rig| {
        drop(burst(rig, 200));
        let made = rig.ring.buffers().0;
        for _ in 0..3 * TRIMS {
            drop(burst(rig, 100));
            trim(&rig.ring, 1);
        }
        assert_eq!(rig.ring.buffers(), (made, made));
        // Of eight that are needed now and then four times as many stay.
        for step in 0..2 * TRIMS {
            if step % 4 == 0 {
                drop(burst(rig, 8));
            }
            trim(&rig.ring, 1);
        }
        assert_eq!(rig.ring.buffers().0, 32);
    });
}

#[test]
fn a_buffer_in_somebodys_hands_keeps_its_bytes_and_holds_the_memory_up() {
    with_ring(&roomy(), |rig| {
        let mut held = burst(rig, 300);
        let last = held.pop().expect("there are many");
        drop(held);
        trim(&rig.ring, 2 * TRIMS);
        let (circulating, available) = rig.ring.buffers();
        assert_eq!((circulating, available), (17, 16), "all but the one that is held");
        assert!(last.0.iter().all(|byte| *byte == 7), "the bytes have changed");
        assert!(rig.ring.has_grown());
        drop(last);
        trim(&rig.ring, TRIMS);
        assert_eq!(rig.ring.buffers(), (16, 16));
        assert!(!rig.ring.has_grown());
    });
}

#[test]
fn a_burst_in_the_middle_of_it_finds_all_buffers() {
    with_ring(&roomy(), |rig| {
        drop(burst(rig, 200));
        let made = rig.ring.buffers().0;
        assert_eq!(made, 512);
        for steps in 10..=TRIMS {
            trim(&rig.ring, steps);
            let held = burst(rig, 200);
            assert_eq!(rig.ring.buffers().0, made, "{steps} steps");
            assert!(held.iter().all(|(bytes, ..)| bytes.iter().all(|byte| *byte == 7)));
            assert_eq!(rig.ring.counters().buffers_exhausted, 0, "{steps} steps");
        }
    });
}

#[test]
fn streams_lose_nothing_while_buffers_come_and_go() {
    const STREAMS: u64 = 8;
    const ROUNDS: usize = 6;
    let seed = seed();
    let mut rng = seed.rng();
    with_ring(&roomy(), |rig| {
        let patterns: Vec<_> = (0..STREAMS).map(|_| Pattern::new(rng.next_u64())).collect();
        let connections: Vec<_> =
            patterns.iter().map(|_| connection(&rig.ring, Transport::Unix)).collect();
        let ends = connections.iter().zip(&patterns);
        let mut streams: Vec<_> = ends
            .map(|((socket, peer), pattern)| {
                (Task::new(receive_to_end(socket, pattern)), peer, pattern, 0)
            })
            .collect();
        for _ in 0..ROUNDS {
            drop(burst(rig, 100));
            for _ in 0..TRIMS {
                for (task, peer, pattern, written) in &mut streams {
                    let bytes = pattern.at(*written, rng.below(2 * BUFFER_BYTES));
                    peer.write(bytes);
                    *written += bytes.len() as u64;
                    assert!(task.poll_if_woken().is_pending(), "the stream goes on");
                }
                trim(&rig.ring, 1);
            }
            assert!(rig.ring.buffers().0 <= 128, "the buffers have not become fewer");
        }
        for (task, peer, _, written) in &mut streams {
            peer.shutdown_write();
            rig.until("the end of a stream", || match task.poll_if_woken() {
                Poll::Ready(received) => {
                    assert_eq!(received, *written, "the stream has another length");
                    true
                }
                Poll::Pending => false,
            });
        }
    });
}

#[test]
fn a_ring_may_end_in_the_middle_of_it() {
    for steps in 9..=TRIMS {
        alone(|| {
            let rig = Rig { ring: Ring::new(&roomy()).expect("the kernel has io_uring") };
            drop(burst(&rig, 300));
            trim(&rig.ring, steps);
            // What this step asks of the kernel has not been submitted.
            rig.ring.trim();
        });
    }
}

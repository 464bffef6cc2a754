//! A completion queue far smaller than what happens at once.
//!
//! Owns the overflow of the kernel's queues; leaves rings of a usual size to the other tests.
//! Invariant: no event is lost, only late.

use tidegate_ring::{ParkToken, Settings};
use tidegate_testkit::seed;

use crate::peers::{Pattern, Peer, Transport, connection};
use crate::rig::{Task, small, with_ring};
use crate::traffic::receive_to_end;

/// As few completions as the kernel allows.
fn tiny() -> Settings {
    Settings {
        submissions: 2,
        completions: 4,
        completions_per_turn_max: 3,
        buffers_max: 512,
        ..small()
    }
}

/// Twice as many descriptors, which fits into the usual limit of 1,024.
const SOCKETS: u32 = 300;

#[test]
fn thousands_of_receives_through_four_completions_lose_nothing() {
    const ROUNDS: usize = 20;
    let seed = seed();
    let mut rng = seed.rng();
    with_ring(&tiny(), |rig| {
        let pattern = Pattern::new(1);
        let (sockets, peers): (Vec<_>, Vec<Peer>) =
            (0..SOCKETS).map(|_| connection(&rig.ring, Transport::Unix)).unzip();
        let mut written = vec![0; peers.len()];
        let mut tasks: Vec<_> = sockets
            .iter()
            .zip(0..)
            .map(|(socket, which)| Task::new(async move { (which, receive(socket).await) }))
            .collect();
        tasks.iter_mut().for_each(|task| assert!(task.poll_if_woken().is_pending()));
        for _ in 0..ROUNDS {
            for (peer, written) in peers.iter().zip(&mut written) {
                let bytes = pattern.at(*written, 1 + rng.below(100));
                peer.write(bytes);
                *written += bytes.len() as u64;
            }
            rig.turns(rng.below(50));
        }
        drop(peers);
        let mut received = vec![0; sockets.len()];
        rig.until("every end", || {
            tasks.retain_mut(|task| match task.poll_if_woken() {
                std::task::Poll::Ready((which, count)) => {
                    received[which] = count;
                    false
                }
                std::task::Poll::Pending => true,
            });
            tasks.is_empty()
        });
        assert_eq!(received, written);
        assert!(rig.ring.counters().completed > u64::from(SOCKETS) * 2);
    });
}

async fn receive(socket: &tidegate_ring::Socket) -> u64 {
    receive_to_end(socket, &Pattern::new(1)).await
}

#[test]
fn every_parked_socket_is_told_through_four_completions() {
    with_ring(&tiny(), |rig| {
        let connections: Vec<_> =
            (0..SOCKETS).map(|_| connection(&rig.ring, Transport::Unix)).collect();
        for ((socket, _), token) in connections.iter().zip(0..) {
            assert!(socket.park(ParkToken(token)));
        }
        rig.turns(5);
        for (_, peer) in &connections {
            peer.write(b"x");
        }
        let mut tokens: Vec<u32> = Vec::new();
        rig.until("every token", || {
            tokens.extend(std::iter::from_fn(|| rig.ring.next_unparked()).map(|token| token.0));
            tokens.len() == connections.len()
        });
        tokens.sort_unstable();
        assert!(tokens.into_iter().eq(0..SOCKETS));
    });
}

#[test]
fn everything_dropped_at_once_returns_through_four_completions() {
    with_ring(&tiny(), |rig| {
        let connections: Vec<_> =
            (0..SOCKETS).map(|_| connection(&rig.ring, Transport::Unix)).collect();
        for ((socket, peer), token) in connections.iter().zip(0..) {
            assert!(socket.park(ParkToken(token)));
            if token % 3 == 0 {
                peer.write(b"x");
            }
        }
        rig.turns(3);
        drop(connections);
        while rig.ring.next_unparked().is_some() {}
        rig.settle();
    });
}

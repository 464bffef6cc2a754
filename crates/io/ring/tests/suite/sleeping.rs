//! Sleeping until something happens: what ends the sleep, and that no wake-up is missed.
//!
//! Owns the sleep of a shard; leaves parked sockets to `parking`. Invariant: every test runs under
//! a watchdog, because a missed wake-up would sleep for ever.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use glommio::{LocalExecutorBuilder, Placement};
use tidegate_ring::{ParkToken, RecvBuf, Ring, SendBuf, Settings, Socket, Turn};
use tidegate_testkit::{Rng, seed};

use crate::peers::{PATIENCE, Transport, connection, pair};
use crate::rig::{Bell, Rig, alone, small, take_turn};

/// Runs `body` on a thread with a ring of its own, within `limit`, and counts descriptors around it.
fn within(limit: Duration, settings: &Settings, body: impl FnOnce(&Rig) + Send + 'static) {
    let settings = *settings;
    alone(|| {
        let (done, over) = mpsc::channel();
        let thread = thread::spawn(move || {
            let rig = Rig { ring: Ring::new(&settings).expect("the kernel has io_uring") };
            body(&rig);
            rig.settle();
            drop(rig);
            done.send(()).expect("the test waits");
        });
        match over.recv_timeout(limit) {
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("a sleep did not end"),
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                thread.join().expect("the thread's own checks hold");
            }
        }
    });
}

/// Runs `body`, which sleeps without a timeout, on a thread with a small ring.
pub fn sleeper(settings: &Settings, body: impl FnOnce(&Rig) + Send + 'static) {
    within(PATIENCE, settings, body);
}

const A_MOMENT: Duration = Duration::from_millis(20);

/// Sleeps for a moment in vain.
fn nothing_happens(rig: &Rig) {
    let began = Instant::now();
    let turn = rig.ring.sleep_and_turn(Some(A_MOMENT));
    assert_eq!(turn, Turn { completed: 0, entered: true });
    assert!(began.elapsed() >= A_MOMENT);
}

#[test]
fn a_timeout_ends_the_sleep() {
    sleeper(&small(), |rig| {
        for round in 1..4 {
            nothing_happens(rig);
            assert_eq!(rig.ring.counters().parks, round);
        }
    });
}

#[test]
fn a_wakeup_from_another_thread_ends_the_sleep() {
    sleeper(&small(), |rig| {
        for _ in 0..200 {
            let wakeup = rig.ring.wakeup();
            let waking = thread::spawn(move || wakeup.wake());
            rig.ring.sleep_and_turn(None);
            waking.join().expect("it only wakes");
        }
        nothing_happens(rig);
    });
}

#[test]
fn a_wakeup_before_the_sleep_keeps_it_from_beginning_once() {
    sleeper(&small(), |rig| {
        for _ in 0..3 {
            rig.ring.wakeup().wake();
            rig.ring.wakeup().wake();
            rig.ring.sleep_and_turn(None);
            // Two wake-ups before are one.
            nothing_happens(rig);
        }
    });
}

#[test]
fn a_wakeup_that_a_turn_saw_first_is_over_too() {
    sleeper(&small(), |rig| {
        nothing_happens(rig);
        rig.ring.wakeup().wake();
        rig.until("the wake-up", || rig.ring.turn().completed > 0);
        // Its trace may end one more sleep, and no other.
        rig.ring.sleep_and_turn(Some(A_MOMENT));
        nothing_happens(rig);
    });
}

#[test]
fn what_is_queued_is_submitted_before_the_sleep() {
    sleeper(&small(), |rig| {
        let (socket, peer) = connection(&rig.ring, Transport::Unix);
        socket.queue(SendBuf::Static(b"x"));
        socket.flush();
        while socket.queued_bytes() > 0 {
            rig.ring.sleep_and_turn(None);
        }
        peer.read_exact(&mut [0]);
    });
}

#[test]
fn what_arrived_before_the_sleep_ends_it_at_once() {
    sleeper(&small(), |rig| {
        for round in 0..50 {
            let (socket, peer) = connection(&rig.ring, Transport::Unix);
            assert!(socket.park(ParkToken(round)));
            rig.ring.turn();
            peer.write(b"x");
            while rig.ring.next_unparked().is_none() {
                rig.ring.sleep_and_turn(None);
            }
        }
    });
}

#[test]
fn a_shard_sleeps_although_a_socket_waits_for_a_buffer() {
    let settings = Settings { buffers_max: 1, buffers_initial: 1, ..small() };
    sleeper(&settings, |rig| {
        let (socket, peer) = connection(&rig.ring, Transport::Unix);
        peer.write(b"x");
        let held = receive(rig, &socket).expect("no end");
        peer.write(b"y");
        assert!(socket.park(ParkToken(1)));
        rig.until("the buffers to run out", || rig.ring.counters().buffers_exhausted > 0);
        let enters = rig.ring.counters().enters;
        rig.turns(10);
        assert_eq!(rig.ring.counters().enters, enters, "only a buffer can help");
        rig.ring.sleep_and_turn(Some(A_MOMENT));
        nothing_happens(rig);
        // Given back after a turn that found none: nothing else would end the sleep.
        drop(held);
        while rig.ring.next_unparked().is_none() {
            rig.ring.sleep_and_turn(None);
        }
    });
}

#[test]
fn the_sleep_works_inside_the_executor() {
    // The executor itself keeps an eventfd for the rest of the process: descriptors are not counted.
    let _turn = take_turn();
    let (done, over) = mpsc::channel();
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .spawn(move || async move {
            let rig = Rig { ring: Ring::new(&small()).expect("the kernel has io_uring") };
            let (socket, peer) = connection(&rig.ring, Transport::Tcp);
            let writing = thread::spawn(move || peer.write(b"x"));
            assert_eq!(receive(&rig, &socket).as_deref(), Some(b"x".as_slice()));
            writing.join().expect("the ring's end is open");
            drop(socket);
            rig.settle();
            done.send(()).expect("the test waits");
        })
        .expect("an executor can be started");
    over.recv_timeout(PATIENCE).expect("the sleep ends");
    executor.join().expect("the executor ends in order");
}

/// Receives, sleeping until something comes.
fn receive(rig: &Rig, socket: &Socket) -> Option<RecvBuf> {
    let bell = Bell::new();
    loop {
        if let std::task::Poll::Ready(bytes) = bell.poll(|context| socket.poll_recv(context)) {
            return bytes.expect("no error");
        }
        while !bell.answer() {
            rig.ring.sleep_and_turn(None);
        }
    }
}

/// A pause of a random, tiny length: from nothing to longer than falling asleep takes.
fn dawdle(rng: &mut Rng) {
    match rng.below(8) {
        0 => thread::yield_now(),
        1 => thread::park_timeout(Duration::from_micros(rng.below(50) as u64)),
        spins => (0..rng.below(spins * 200)).for_each(|_| std::hint::spin_loop()),
    }
}

#[test]
fn fifty_thousand_rounds_of_ping_pong_miss_no_wakeup() {
    const ROUNDS: u32 = 50_000;
    let seed = seed();
    let mut ours = seed.rng();
    let mut theirs = Rng::new(ours.next_u64());
    within(10 * PATIENCE, &small(), move |rig| {
        let (socket, peer) = pair(Transport::Unix);
        let ping_pong = thread::spawn(move || {
            for round in 0..ROUNDS {
                peer.write(&round.to_le_bytes());
                let mut answer = [0; 4];
                peer.read_exact(&mut answer);
                assert_eq!(u32::from_le_bytes(answer), round);
                dawdle(&mut theirs);
            }
        });
        let socket = rig.ring.adopt(socket);
        loop {
            let mut waiting = socket.park(ParkToken(0));
            while waiting {
                if ours.below(4) == 0 {
                    rig.ring.turn();
                    dawdle(&mut ours);
                } else {
                    rig.ring.sleep_and_turn(None);
                }
                waiting = rig.ring.next_unparked().is_none();
            }
            let Some(bytes) = receive(rig, &socket) else { break };
            socket.queue(SendBuf::Recv(bytes));
            socket.flush();
        }
        ping_pong.join().expect("every answer came");
    });
}

#[test]
fn wakeups_and_completions_at_once_are_both_seen() {
    const ROUNDS: u8 = 200;
    sleeper(&small(), |rig| {
        let (socket, peer) = connection(&rig.ring, Transport::Unix);
        let wakeup = rig.ring.wakeup();
        let (commands, inbox) = mpsc::channel();
        let other = thread::spawn(move || {
            let mut rng = Rng::new(1);
            for round in 0..ROUNDS {
                commands.send(round).expect("the shard listens");
                wakeup.wake();
                dawdle(&mut rng);
                peer.write(&[round]);
                dawdle(&mut rng);
            }
            peer
        });
        let (mut commanded, mut received) = (0, 0);
        assert!(socket.park(ParkToken(0)));
        while commanded < ROUNDS || received < ROUNDS {
            if rig.ring.next_unparked().is_some() {
                while !socket.park(ParkToken(0)) {
                    let bytes = receive(rig, &socket).expect("no end");
                    for byte in bytes.iter() {
                        assert_eq!(*byte, received);
                        received += 1;
                    }
                }
            }
            while let Ok(command) = inbox.try_recv() {
                assert_eq!(command, commanded);
                commanded += 1;
            }
            if commanded < ROUNDS || received < ROUNDS {
                rig.ring.sleep_and_turn(None);
            }
        }
        let _peer = other.join().expect("it only writes");
    });
}

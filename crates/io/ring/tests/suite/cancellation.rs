//! Every operation dropped at every stage, each case by itself.
//!
//! Owns the table of operations and stages; leaves mixing them under load to `churn`. Invariant: a
//! dropped future takes nothing with it, and a dropped handle takes everything.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::thread;

use socket2::SockAddr;
use tidegate_ring::{Listener, ParkToken, SendBuf};
use tidegate_testkit::{SilentAddress, refused_address};

use crate::peers::{
    Pattern, Peer, TRANSPORTS, Transport, connection, listener, pair, with_small_queue,
};
use crate::rig::{Bell, Rig, Task, small, with_ring};

/// How far an operation has come when it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Asked for, not submitted.
    Queued,
    /// The kernel has it and waits.
    Submitted,
    /// What it waits for has happened, and the ring has not looked.
    Happened,
    /// The ring has handled its completion, and the future was not polled since.
    Handled,
}

const STAGES: [Stage; 4] = [Stage::Queued, Stage::Submitted, Stage::Happened, Stage::Handled];

impl Stage {
    /// Brings an operation that was just asked for to this stage; `happen` is what it waits for.
    fn reach<T>(self, rig: &Rig, happen: impl FnOnce() -> T) -> Option<T> {
        if self == Stage::Queued {
            return None;
        }
        rig.turns(1);
        if self == Stage::Submitted {
            return None;
        }
        let happened = happen();
        if self == Stage::Handled {
            rig.turns(5);
        }
        Some(happened)
    }
}

/// Something that a peer does, by its name; the peer, if it is still there.
type Event = (&'static str, fn(Peer) -> Option<Peer>);

/// What a peer does while a receive waits for it.
const EVENTS: [Event; 4] = [
    ("bytes", |peer| {
        peer.write(b"x");
        Some(peer)
    }),
    ("the end of its side", |peer| {
        peer.shutdown_write();
        Some(peer)
    }),
    ("a close", |peer| {
        drop(peer);
        None
    }),
    ("a reset", |peer| {
        peer.reset();
        None
    }),
];

/// Calls `case` for each way a receive can be dropped.
fn each_receive(case: impl Fn(&Rig, Transport, Stage, Event, bool)) {
    with_ring(&small(), |rig| {
        for transport in TRANSPORTS {
            for stage in STAGES {
                for event in EVENTS {
                    for on_demand in [false, true] {
                        case(rig, transport, stage, event, on_demand);
                    }
                }
            }
        }
    });
}

#[test]
fn a_dropped_receive_future_takes_nothing_with_it() {
    each_receive(|rig, transport, stage, (name, event), on_demand| {
        let (socket, peer) = connection(&rig.ring, transport);
        socket.set_recv_on_demand(on_demand);
        let mut peer = Some(peer);
        let mut happen = || peer.take().and_then(event);
        let mut task = Task::new(socket.recv());
        assert!(task.poll().is_pending());
        let happened = stage.reach(rig, &mut happen);
        drop(task);
        let _peer = happened.unwrap_or_else(happen);
        let received = rig.block_on(socket.recv());
        let what = format!("{transport:?}, {stage:?}, {name}, on demand: {on_demand}");
        match (name, received) {
            ("bytes", Ok(Some(bytes))) => assert_eq!(&bytes[..], b"x", "{what}"),
            ("a reset", Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{what}");
            }
            // A Unix socket knows no reset.
            (_, Ok(None)) if name != "bytes" => {}
            (_, other) => panic!("{what}: {other:?}"),
        }
    });
}

#[test]
fn a_socket_dropped_while_receiving_returns_everything() {
    each_receive(|rig, transport, stage, (_, event), on_demand| {
        let (socket, peer) = connection(&rig.ring, transport);
        socket.set_recv_on_demand(on_demand);
        let mut task = Task::new(socket.recv());
        assert!(task.poll().is_pending());
        let _peer = stage.reach(rig, || event(peer));
        drop(task);
        drop(socket);
        rig.settle();
    });
}

#[test]
fn a_dropped_flush_future_does_not_stop_the_sending() {
    const TOTAL: usize = 60_000;
    let pattern = Pattern::new(1);
    with_ring(&small(), |rig| {
        for transport in TRANSPORTS {
            for stage in STAGES {
                let (ours, peer) = with_small_queue(pair(transport));
                let socket = rig.ring.adopt(ours);
                socket.queue(SendBuf::Vec(pattern.at(0, TOTAL / 2).to_vec()));
                socket.queue(SendBuf::Shared(pattern.at(TOTAL as u64 / 2, TOTAL / 2).into()));
                socket.flush();
                let mut task = Task::new(socket.flushed(0));
                assert!(task.poll().is_pending());
                let mut first = [0; 1000];
                if stage.reach(rig, || peer.read_exact(&mut first)).is_none() {
                    rig.turns(1);
                    peer.read_exact(&mut first);
                }
                pattern.check(0, &first);
                drop(task);
                thread::scope(|scope| {
                    let rest = scope.spawn(|| {
                        let mut rest = vec![0; TOTAL - first.len()];
                        peer.read_exact(&mut rest);
                        pattern.check(first.len() as u64, &rest);
                    });
                    rig.until("the rest", || rest.is_finished());
                });
                rig.block_on(socket.flushed(0)).expect("the peer reads");
            }
        }
    });
}

#[test]
fn a_socket_dropped_while_sending_returns_everything_and_sent_no_wrong_byte() {
    let pattern = Pattern::new(2);
    with_ring(&small(), |rig| {
        for transport in TRANSPORTS {
            for stage in STAGES {
                let (ours, peer) = with_small_queue(pair(transport));
                let socket = rig.ring.adopt(ours);
                peer.write(pattern.at(0, 100));
                let received = rig.block_on(socket.recv()).expect("no error").expect("no end");
                assert_eq!(received.len(), 100);
                socket.queue(SendBuf::Recv(received));
                socket.queue(SendBuf::Vec(pattern.at(100, 60_000).to_vec()));
                socket.flush();
                let mut read = vec![0; 200];
                let happened = stage.reach(rig, || peer.read_exact(&mut read));
                drop(socket);
                rig.until("everything to return", || rig.ring.in_use() == (0, 0));
                rig.turns(1);
                if happened.is_none() {
                    read.clear();
                }
                read.extend(peer.read_to_end());
                pattern.check(0, &read);
                let (made, available) = rig.ring.buffers();
                assert_eq!(made, available, "{transport:?}, {stage:?}");
            }
        }
    });
}

#[test]
fn a_connect_dropped_at_every_stage_returns_everything() {
    with_ring(&small(), |rig| {
        let listener = listener();
        let (silent, refusing) = (SilentAddress::new(), refused_address());
        let accepting = listener.local_addr().expect("it is bound");
        for address in [accepting, silent.address(), refusing.address()] {
            for turns in 0..4 {
                for with_future in [false, true] {
                    let address = SockAddr::from(address);
                    let socket = rig.ring.connect(&address).expect("a descriptor is left");
                    socket.queue(SendBuf::Vec(b"early".to_vec()));
                    socket.flush();
                    let mut task = Task::new(socket.connected());
                    if with_future {
                        assert!(task.poll().is_pending());
                    }
                    rig.turns(turns);
                    drop(task);
                    drop(socket);
                    rig.settle();
                }
            }
        }
    });
}

/// What a listener can be asked for: to accept many, to accept one, to wait.
const REQUESTS: [fn(&Listener); 3] = [Listener::accept_many, Listener::accept_one, |listener| {
    let waiting = Bell::new().poll(|context| listener.poll_waiting(context));
    assert!(waiting.is_pending());
}];

fn listen(rig: &Rig) -> (Listener, SocketAddr) {
    let listener = listener();
    let address = listener.local_addr().expect("it is bound");
    (Listener::new(&rig.ring, listener.into()), address)
}

#[test]
fn a_listener_dropped_at_every_stage_returns_everything() {
    with_ring(&small(), |rig| {
        for request in REQUESTS {
            for stage in STAGES {
                let (listener, address) = listen(rig);
                request(&listener);
                let dial = || TcpStream::connect(address).expect("it listens");
                let _peers = stage.reach(rig, || [dial(), dial(), dial()]);
                drop(listener);
                rig.settle();
            }
        }
    });
}

#[test]
fn a_dropped_accept_future_loses_no_connection() {
    with_ring(&small(), |rig| {
        for stage in STAGES {
            let (listener, address) = listen(rig);
            listener.accept_many();
            let mut task = Task::new(poll_fn(|context| listener.poll_accept(context)));
            assert!(task.poll().is_pending());
            let dial = || TcpStream::connect(address).expect("it listens");
            let peer = stage.reach(rig, dial);
            drop(task);
            let _peer = peer.unwrap_or_else(dial);
            let accepted = rig.block_on(poll_fn(|context| listener.poll_accept(context)));
            drop(accepted.expect("descriptors are left"));
        }
    });
}

#[test]
fn parking_ended_at_every_stage_gives_no_token_and_loses_nothing() {
    with_ring(&small(), |rig| {
        for transport in TRANSPORTS {
            for stage in STAGES {
                for by_drop in [false, true] {
                    let (socket, peer) = connection(&rig.ring, transport);
                    assert!(socket.park(ParkToken(1)));
                    let happen = || peer.write(b"x");
                    let happened = stage.reach(rig, happen);
                    if by_drop {
                        drop(socket);
                    } else {
                        socket.unpark();
                        happened.unwrap_or_else(happen);
                        let bytes = rig.block_on(socket.recv()).expect("no error");
                        assert_eq!(bytes.as_deref(), Some(b"x".as_slice()));
                    }
                    rig.turns(3);
                    assert_eq!(rig.ring.next_unparked(), None, "{transport:?}, {stage:?}");
                }
            }
        }
    });
}

//! The end of a ring with operations of every kind in flight.
//!
//! Owns dropping the ring itself; leaves dropping what lives in it to `cancellation`. Invariant:
//! descriptors are closed and memory is given back, whatever was going on.

use std::fs;
use std::net::{SocketAddr, TcpStream};

use socket2::SockAddr;
use tidegate_ring::{BUFFER_BYTES, Listener, ParkToken, Ring, SendBuf, Settings, Socket};
use tidegate_testkit::{ReservedPort, SilentAddress, refused_address};

use crate::peers::{Peer, Transport, connection, listener, pair, with_small_queue};
use crate::rig::{Bell, Rig, alone, leaving_no_descriptor, small, take_turn};

/// What was started: the handles in the ring, and the peers that must outlive it.
#[derive(Default)]
struct Started {
    sockets: Vec<Socket>,
    listeners: Vec<Listener>,
    peers: Vec<Peer>,
}

impl Started {
    fn socket(socket: Socket, peer: Peer) -> Started {
        Started { sockets: vec![socket], peers: vec![peer], ..Started::default() }
    }
}

/// Addresses to connect to: one that never answers, one that refuses.
struct Addresses(SilentAddress, ReservedPort);

impl Addresses {
    fn new() -> Addresses {
        Addresses(SilentAddress::new(), refused_address())
    }
}

type Start = fn(&Rig, &Addresses) -> Started;

const STARTS: [(&str, Start); 8] = [
    ("receive", |rig, _| receiving(rig, Transport::Tcp)),
    ("receive on demand", |rig, _| {
        let (socket, peer) = connection(&rig.ring, Transport::Unix);
        socket.set_recv_on_demand(true);
        assert!(Bell::new().poll(|context| socket.poll_recv(context)).is_pending());
        Started::socket(socket, peer)
    }),
    ("bytes nobody took", |rig, _| {
        let started = receiving(rig, Transport::Unix);
        started.peers[0].write(&[1; 50_000]);
        started
    }),
    ("send", |rig, _| {
        let (ours, peer) = with_small_queue(pair(Transport::Unix));
        let socket = rig.ring.adopt(ours);
        socket.queue(SendBuf::Vec(vec![1; 1 << 20]));
        socket.queue(SendBuf::Static(b"more"));
        socket.flush();
        Started::socket(socket, peer)
    }),
    ("park", |rig, _| {
        let (socket, peer) = connection(&rig.ring, Transport::Unix);
        assert!(socket.park(ParkToken(1)));
        Started::socket(socket, peer)
    }),
    ("connect", |rig, Addresses(silent, refusing)| {
        let connect = |address: SocketAddr| rig.ring.connect(&SockAddr::from(address));
        let attempts = [silent.address(), refusing.address()].map(connect);
        Started { sockets: attempts.into_iter().flatten().collect(), ..Started::default() }
    }),
    ("accept", |rig, _| {
        let (listener, address) = listen(rig);
        listener.accept_many();
        rig.turns(1);
        let connect = |_| Peer::from_tcp(TcpStream::connect(address).expect("it listens"));
        let peers = (0..5).map(connect).collect();
        Started { listeners: vec![listener], peers, ..Started::default() }
    }),
    ("wait for a connection", |rig, _| {
        let (listener, _) = listen(rig);
        assert!(Bell::new().poll(|context| listener.poll_waiting(context)).is_pending());
        Started { listeners: vec![listener], ..Started::default() }
    }),
];

fn receiving(rig: &Rig, transport: Transport) -> Started {
    let (socket, peer) = connection(&rig.ring, transport);
    assert!(Bell::new().poll(|context| socket.poll_recv(context)).is_pending());
    Started::socket(socket, peer)
}

fn listen(rig: &Rig) -> (Listener, SocketAddr) {
    let listener = listener();
    let address = listener.local_addr().expect("it is bound");
    (Listener::new(&rig.ring, listener.into()), address)
}

fn make_ring(settings: &Settings) -> Rig {
    Rig { ring: Ring::new(settings).expect("this kernel has what the ring needs") }
}

/// Rings that handle all that came in a turn, and ones that leave most of it for later.
fn eager_and_lazy() -> [Settings; 2] {
    [small(), Settings { completions_per_turn_max: 1, ..small() }]
}

#[test]
fn a_ring_that_ends_with_one_operation_in_flight_closes_everything() {
    let _turn = take_turn();
    let addresses = Addresses::new();
    for settings in eager_and_lazy() {
        for (name, start) in STARTS {
            for turns in 0..4 {
                for handles_first in [false, true] {
                    eprintln!("{name}, {turns} turns, handles first: {handles_first}");
                    leaving_no_descriptor(|| {
                        let rig = make_ring(&settings);
                        let Started { sockets, listeners, peers } = start(&rig, &addresses);
                        rig.turns(turns);
                        if handles_first {
                            drop((sockets, listeners));
                            drop(rig);
                        } else {
                            drop(rig);
                            drop((sockets, listeners));
                        }
                        drop(peers);
                    });
                }
            }
        }
    }
}

#[test]
fn a_ring_that_ends_with_everything_in_flight_closes_everything() {
    let _turn = take_turn();
    let addresses = Addresses::new();
    for settings in eager_and_lazy() {
        for turns in 0..4 {
            leaving_no_descriptor(|| {
                let rig = make_ring(&settings);
                let start = |(_, start): &(&str, Start)| start(&rig, &addresses);
                let started: Vec<Started> = STARTS.iter().map(start).collect();
                rig.turns(turns);
                drop(rig);
                drop(started);
            });
        }
    }
}

#[test]
fn the_peers_of_a_ring_that_ended_see_the_end() {
    alone(|| {
        let rig = make_ring(&small());
        let Started { sockets, peers, .. } = receiving(&rig, Transport::Tcp);
        rig.turns(1);
        drop((rig, sockets));
        assert_eq!(peers[0].read_to_end(), b"");
    });
}

/// Bytes of address space that this process has mapped.
fn mapped_bytes() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("procfs is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.expect("the kernel tells it in kB") << 10
}

#[test]
fn rings_that_ended_with_operations_in_flight_gave_their_memory_back() {
    const RINGS: usize = 30;
    // Larger than anything else this process maps, so that one ring that stays would show.
    let settings = Settings { buffers_max: 8192, ..small() };
    let ring_bytes = usize::from(settings.buffers_max) * BUFFER_BYTES;
    alone(|| {
        let addresses = Addresses::new();
        let before = mapped_bytes();
        for _ in 0..RINGS {
            let rig = make_ring(&settings);
            let started: Vec<Started> =
                STARTS.iter().map(|(_, start)| start(&rig, &addresses)).collect();
            rig.turns(2);
            assert!(mapped_bytes() - before >= ring_bytes, "the measure sees a ring");
            drop((rig, started));
        }
        let grown = mapped_bytes().saturating_sub(before);
        assert!(grown < ring_bytes, "{RINGS} rings left {grown} bytes mapped");
    });
}

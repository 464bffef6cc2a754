//! Hundreds of connections on which anything is started, dropped and closed at any moment.
//!
//! Owns the seeded mixture; leaves the single cases to `cancellation`. Invariant: whatever order
//! the seed gives, every byte received is the next of its stream, every token belongs to a parked
//! socket, and in the end nothing is left.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::task::Poll;

use socket2::SockAddr;
use tidegate_ring::{Listener, ParkToken, RecvBuf, Settings, Socket};
use tidegate_testkit::{ReservedPort, Rng, SilentAddress, refused_address, seed};

use crate::peers::{Pattern, Peer, Transport, listener, pair, with_small_queue};
use crate::rig::{Bell, Rig, Task, in_turn_with_ring, small, take_turn, with_ring};
use crate::traffic::piece;

/// Connections open at a time.
const CONNECTIONS_MAX: usize = 150;

/// Received buffers held at a time.
const HELD_MAX: usize = 20;

/// The ring's end of a connection, shared with the futures on it. What it receives comes from the
/// peer, or from another such end when the ring connected to its own listener.
struct Wire {
    socket: Socket,
    received: Cell<u64>,
    queued: Cell<u64>,
    ending: Cell<bool>,
}

struct Connection<'a> {
    wire: Rc<Wire>,
    /// `None` once it closed, and for connections to nobody.
    peer: Option<Peer>,
    written: u64,
    read: u64,
    parked: Option<u32>,
    tasks: Vec<Task<'a, ()>>,
}

/// Everything that lives beside one ring.
struct World<'a> {
    rig: &'a Rig,
    rng: Rng,
    pattern: Rc<Pattern>,
    connections: Vec<Connection<'a>>,
    listener: Option<Listener>,
    dialled: Vec<Peer>,
    /// The listener's, or one that refuses while there is none: a port that was given up could be
    /// another process's by now.
    address: SocketAddr,
    refusing: &'a ReservedPort,
    silent: &'a SilentAddress,
    held: Rc<RefCell<Vec<RecvBuf>>>,
    tokens: u32,
    seen: &'a Seen,
}

/// What happened, so that a mixture in which something never happens is noticed.
#[derive(Debug, Default)]
struct Seen {
    received: Cell<usize>,
    flushed: Cell<usize>,
    connected: Cell<usize>,
    refused: Cell<usize>,
    accepted: Cell<usize>,
    unparked: Cell<usize>,
    peer_read: Cell<usize>,
}

fn count(what: &Cell<usize>) {
    what.set(what.get() + 1);
}

impl Seen {
    fn check(&self) {
        let counts =
            [&self.received, &self.flushed, &self.connected, &self.refused, &self.accepted];
        let more = [&self.unparked, &self.peer_read];
        assert!(counts.into_iter().chain(more).all(|count| count.get() > 10), "{self:?}");
    }
}

impl<'a> World<'a> {
    fn step(&mut self) {
        let choice = self.rng.below(100);
        match choice {
            0..8 => self.open(),
            8..12 => self.connect(),
            12..20 => self.use_listener(),
            20..35 => self.turn(),
            35..38 => self.let_go(),
            38..43 => self.close(),
            _ => self.touch(),
        }
    }

    fn open(&mut self) {
        if self.connections.len() == CONNECTIONS_MAX {
            return;
        }
        let transport = *self.rng.choose(&[Transport::Unix, Transport::Unix, Transport::Tcp]);
        let (ours, peer) = pair(transport);
        let (ours, peer) =
            if self.rng.below(2) == 0 { with_small_queue((ours, peer)) } else { (ours, peer) };
        let socket = self.rig.ring.adopt(ours);
        self.add(socket, Some(peer));
    }

    fn add(&mut self, socket: Socket, peer: Option<Peer>) {
        if let Some(peer) = &peer {
            peer.0.set_nonblocking(true).expect("the socket is open");
        }
        let (received, queued, ending) = (Cell::new(0), Cell::new(0), Cell::new(false));
        let wire = Rc::new(Wire { socket, received, queued, ending });
        let (written, read, parked, tasks) = (0, 0, None, Vec::new());
        self.connections.push(Connection { wire, peer, written, read, parked, tasks });
    }

    /// Connects to somebody who accepts, who refuses, or who never answers.
    fn connect(&mut self) {
        if self.connections.len() == CONNECTIONS_MAX {
            return;
        }
        let address =
            *self.rng.choose(&[self.address, self.silent.address(), self.refusing.address()]);
        let connecting = self.rig.ring.connect(&SockAddr::from(address));
        let socket = connecting.expect("descriptors are left");
        self.add(socket, None);
        let wire = self.connections.last().map(|connection| connection.wire.clone());
        let wire = wire.expect("it was just added");
        let seen = self.seen;
        let task = Task::new(async move {
            match wire.socket.connected().await {
                Ok(()) => count(&seen.connected),
                Err(_) => count(&seen.refused),
            }
        });
        self.start(self.connections.len() - 1, task);
    }

    /// Polls a new task once and keeps it if it is not over.
    fn start(&mut self, at: usize, mut task: Task<'a, ()>) {
        if task.poll().is_pending() {
            self.connections[at].tasks.push(task);
        }
    }

    fn use_listener(&mut self) {
        let Some(accepting) = &self.listener else {
            let socket = listener();
            self.address = socket.local_addr().expect("it is bound");
            self.listener = Some(Listener::new(&self.rig.ring, socket.into()));
            return;
        };
        let bell = Bell::new();
        match self.rng.below(14) {
            0..2 => accepting.accept_many(),
            2..4 => accepting.accept_one(),
            4..6 => accepting.stop(),
            6 => {
                let _ = bell.poll(|context| accepting.poll_waiting(context));
            }
            7 => {
                self.listener = None;
                self.address = self.refusing.address();
            }
            8..10 => {
                self.dialled.extend(TcpStream::connect(self.address).map(Peer::from_tcp));
            }
            _ => {
                if let Poll::Ready(Ok(socket)) = bell.poll(|context| accepting.poll_accept(context))
                {
                    count(&self.seen.accepted);
                    self.add(socket, None);
                }
            }
        }
    }

    /// Turns the ring and takes the tokens, as a shard does.
    fn turn(&mut self) {
        self.rig.turns(1);
        while let Some(ParkToken(token)) = self.rig.ring.next_unparked() {
            let parked = |connection: &&mut Connection<'_>| connection.parked == Some(token);
            let connection = self.connections.iter_mut().find(parked);
            connection.expect("a token of a socket that is not parked").parked = None;
            count(&self.seen.unparked);
        }
        if self.rng.below(2) == 0 {
            for connection in &mut self.connections {
                connection.tasks.retain_mut(|task| task.poll_if_woken().is_pending());
            }
        }
    }

    fn let_go(&mut self) {
        let mut held = self.held.borrow_mut();
        let keep = self.rng.below(held.len() + 1);
        held.truncate(keep);
        if self.dialled.len() > 10 {
            self.dialled.swap_remove(self.rng.below(10));
        }
    }

    /// Closes one end of a connection, or both, in one of the ways there are.
    fn close(&mut self) {
        if self.connections.is_empty() {
            return;
        }
        let at = self.rng.below(self.connections.len());
        match self.rng.below(5) {
            0 => {
                if let Some(peer) = self.connections[at].peer.take() {
                    peer.reset();
                }
            }
            1 => self.connections[at].peer = None,
            2 => {
                let connection = self.connections.swap_remove(at);
                drop(connection.tasks);
                if let Some(wire) = Rc::into_inner(connection.wire) {
                    wire.socket.reset();
                }
            }
            _ => drop(self.connections.swap_remove(at)),
        }
    }

    /// Does something to one connection.
    fn touch(&mut self) {
        if self.connections.is_empty() {
            return;
        }
        let at = self.rng.below(self.connections.len());
        match self.rng.below(20) {
            0..4 => self.receive(at),
            4..6 => self.send(at),
            6..8 => {
                let tasks = &mut self.connections[at].tasks;
                tasks.truncate(self.rng.below(tasks.len() + 1));
            }
            8 => {
                let tasks = &mut self.connections[at].tasks;
                tasks.retain_mut(|task| task.poll().is_pending());
            }
            9..11 => self.park(at),
            11 => self.unpark(at),
            12 => {
                let on_demand = self.rng.below(2) == 0;
                self.connections[at].wire.socket.set_recv_on_demand(on_demand);
            }
            13 => self.end_side(at),
            14..18 => self.peer_writes(at),
            _ => self.peer_reads(at),
        }
    }

    fn receive(&mut self, at: usize) {
        let (wire, held) = (self.connections[at].wire.clone(), self.held.clone());
        let (pattern, keep) = (self.pattern.clone(), self.rng.below(3) == 0);
        let seen = self.seen;
        let task = Task::new(async move {
            if let Ok(Some(bytes)) = wire.socket.recv().await {
                count(&seen.received);
                pattern.check(wire.received.get(), &bytes);
                wire.received.set(wire.received.get() + bytes.len() as u64);
                if keep && held.borrow().len() < HELD_MAX {
                    held.borrow_mut().push(bytes);
                }
            }
        });
        self.start(at, task);
    }

    fn send(&mut self, at: usize) {
        let wire = self.connections[at].wire.clone();
        if wire.ending.get() {
            return;
        }
        for _ in 0..self.rng.below(4) {
            let bytes = self.pattern.at(wire.queued.get(), 1 + self.rng.below(30_000));
            wire.queued.set(wire.queued.get() + bytes.len() as u64);
            wire.socket.queue(piece(bytes, &mut self.rng));
        }
        if self.rng.below(4) > 0 {
            wire.socket.flush();
            let (most, seen) = (self.rng.below(20_000), self.seen);
            let task = Task::new(async move {
                if wire.socket.flushed(most).await.is_ok() {
                    count(&seen.flushed);
                }
            });
            self.start(at, task);
        }
    }

    fn park(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        connection.tasks.clear();
        self.tokens += 1;
        let parked = connection.wire.socket.park(ParkToken(self.tokens));
        if parked || connection.parked.is_none() {
            connection.parked = Some(self.tokens).filter(|_| parked);
        }
    }

    fn unpark(&mut self, at: usize) {
        self.connections[at].wire.socket.unpark();
        self.connections[at].parked = None;
    }

    fn end_side(&mut self, at: usize) {
        let wire = &self.connections[at].wire;
        if wire.socket.queued_bytes() == 0 {
            wire.socket.shutdown_write();
            wire.ending.set(true);
        }
    }

    fn peer_writes(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        let Some(peer) = &connection.peer else { return };
        let bytes = self.pattern.at(connection.written, 1 + self.rng.below(60_000));
        if let Ok(count) = (&peer.0).write(bytes) {
            connection.written += count as u64;
        }
        if self.rng.below(20) == 0 {
            let _ = peer.0.shutdown(std::net::Shutdown::Write);
        }
    }

    fn peer_reads(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        let Some(peer) = &connection.peer else { return };
        let mut bytes = vec![0; 1 + self.rng.below(60_000)];
        if let Ok(count) = (&peer.0).read(&mut bytes) {
            self::count(&self.seen.peer_read);
            self.pattern.check(connection.read, &bytes[..count]);
            connection.read += count as u64;
            assert!(connection.read <= connection.wire.queued.get(), "bytes nobody sent");
        }
    }
}

/// Takes random steps in several rings of these `settings`, letting go of everything after each.
fn churn(settings: &Settings) {
    const RINGS: usize = 20;
    const STEPS: usize = 4000;
    let seed = seed();
    let mut rng = seed.rng();
    let _turn = take_turn();
    let (silent, refusing, seen) = (SilentAddress::new(), refused_address(), Seen::default());
    for _ in 0..RINGS {
        in_turn_with_ring(settings, |rig| {
            let mut world = World {
                rig,
                rng: Rng::new(rng.next_u64()),
                pattern: Rc::new(Pattern::new(1)),
                connections: Vec::new(),
                listener: None,
                dialled: Vec::new(),
                address: refusing.address(),
                refusing: &refusing,
                silent: &silent,
                held: Rc::default(),
                tokens: 0,
                seen: &seen,
            };
            for _ in 0..STEPS {
                world.step();
            }
        });
    }
    seen.check();
}

#[test]
fn hundreds_of_connections_with_everything_dropped_at_any_moment_leave_nothing() {
    churn(&small());
}

#[test]
fn the_same_leaves_nothing_with_few_buffers_and_tiny_queues() {
    churn(&Settings {
        submissions: 4,
        completions: 8,
        buffers_max: 8,
        buffers_initial: 2,
        completions_per_turn_max: 5,
        pipes_max: 1,
    });
}

#[test]
fn a_future_that_is_polled_by_another_waker_each_time_is_still_told() {
    with_ring(&small(), |rig| {
        let (ours, peer) = pair(Transport::Unix);
        let socket = rig.ring.adopt(ours);
        for _ in 0..100 {
            let mut task = Task::new(poll_fn(|context| socket.poll_recv(context)));
            assert!(task.poll().is_pending());
            rig.turns(1);
        }
        peer.write(b"x");
        let bytes = rig.block_on(socket.recv()).expect("no error");
        assert_eq!(bytes.as_deref(), Some(b"x".as_slice()));
    });
}

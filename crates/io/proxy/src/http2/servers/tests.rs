//! What becomes of a server's connections, and of what was learned by them, when it moves.
//!
//! Owns moves between the making of a connection and the server's first word; leaves whole requests to the end-to-end tests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;

use tidegate_balance::Policy as Balance;
use tidegate_shard::Service;

use super::trunk::State;
use super::{Outcome, Trunks, Wait};
use crate::command::{Command, ServerChange, ServerStates};
use crate::fixtures::{PATIENCE, on_a_shard, snapshot, up};
use crate::settings::BackendProtocol;
use crate::upstream::connect::Dialing;
use crate::upstream::place::{Location, Spot};
use crate::worker::Worker;

/// SETTINGS with SETTINGS_MAX_CONCURRENT_STREAMS = 1 (RFC 9113 §6.5).
const ONE_STREAM: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1];

fn spot(socket: SocketAddr, epoch: u32) -> Option<Spot> {
    Some(Spot { socket, epoch })
}

fn move_to(worker: &Worker, spot: Option<Spot>) {
    let change = ServerChange { backend: 0, server: 0, standing: up(), spot };
    let states = ServerStates { generation: 1, decided: Instant::now(), changes: vec![change] };
    worker.command(Command::ServerStates(Arc::new(states)));
}

#[test]
fn what_a_server_speaks_and_allows_is_forgotten() {
    let trunks = Trunks::default();
    trunks.note_spoken(true);
    trunks.note_allowed(1);
    trunks.forget();
    assert_eq!((trunks.is_spoken(), trunks.allowed.get()), (false, None));
}

/// Begins a connection to a server, has the server move if `moves`, and only then lets it say that it allows one stream.
fn greet(moves: bool) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (go, goes) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a duration");
        goes.recv().expect("it is told to");
        stream.write_all(ONE_STREAM).expect("the connection is open");
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("it ends in order");
    });
    let named = Location::Named { name: "app:80".into(), spot: spot(address, 1) };
    on_a_shard(snapshot(1, Balance::RoundRobin, &[("a", named)]), move |worker| async move {
        let server = worker.site.borrow().backends[0].servers[0].clone();
        assert_eq!(server.protocol, BackendProtocol::default());
        let socket = server.place.connect(&worker.shard.ring).expect("a descriptor is left");
        let mut dialing = Dialing::new(socket, &server);
        let connected = std::future::poll_fn(|context| dialing.poll(context)).await;
        assert!(connected.is_ok(), "the server listens");
        if moves {
            move_to(&worker, spot(address, 2));
        }
        let trunk = worker.adopt_trunk(&server, dialing);
        go.send(()).expect("it is waited for");
        let wait = Wait::new(trunk.clone());
        let outcome = std::future::poll_fn(|_| match wait.outcome(worker.shard.clock.now()) {
            Outcome::Pending => std::task::Poll::Pending,
            outcome => std::task::Poll::Ready(outcome),
        });
        match (outcome.await, moves) {
            (Outcome::Stream(stream), false) => drop(stream),
            (Outcome::Again, true) => assert_ne!(trunk.state(), State::Open),
            _ => panic!("only a connection to where the server is gives a stream"),
        }
        assert_eq!(server.trunks.allowed.get(), (!moves).then_some(1));
        assert_eq!(server.trunks.open(&worker).is_some(), !moves);
        if !moves {
            worker.close_idle(&server);
        }
    });
    server.join().expect("the server does not panic");
}

#[test]
fn a_connection_serves_and_teaches_while_its_server_is_where_it_was() {
    greet(false);
}

#[test]
fn a_connection_to_where_a_server_was_serves_nobody_teaches_nothing_and_leaves() {
    greet(true);
}

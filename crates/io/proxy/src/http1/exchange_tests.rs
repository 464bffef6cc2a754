//! A reused connection that dies between the pick and the send, which no server can be made to do on demand.
//!
//! Owns one shard whose only task puts a connection that the kernel knows to be dead among the idle ones, and serves a
//! request on it before the ring takes another turn. Leaves connections that die later to the end-to-end tests. Invariant:
//! from the reset to the pick nothing waits, so each run is the same race.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::SockRef;
use tidegate_balance::Policy as Balance;
use tidegate_log::Logs;
use tidegate_ring::{PeerAddress, Settings};
use tidegate_shard::{Shard, drive, queue, spawn};

use crate::client::Client;
use crate::command::ListenerId;
use crate::fixtures::{PATIENCE, snapshot};
use crate::http1::Server;
use crate::settings::BindSettings;
use crate::site::Entrance;
use crate::upstream::connect::Connection;
use crate::worker::Worker;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server that gives its first connection away and answers the others; an empty one ends it. What came on those.
fn start_server(listener: TcpListener, first: mpsc::Sender<TcpStream>) -> JoinHandle<Vec<Vec<u8>>> {
    std::thread::spawn(move || {
        first.send(listener.accept().expect("the first connection").0).expect("it is waited for");
        let mut received = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().expect("another connection");
            let mut bytes = vec![0; 4096];
            let count = stream.read(&mut bytes).expect("a request or the end");
            if count == 0 {
                return received;
            }
            bytes.truncate(count);
            received.push(bytes);
            stream.write_all(ANSWER).expect("the answer is read");
        }
    })
}

/// Serves what the client has sent on a connection that was reset after it had become idle.
async fn serve_on_a_dead_connection(
    worker: Rc<Worker>,
    first: mpsc::Receiver<TcpStream>,
    client: TcpStream,
) {
    let (ring, site) = (&worker.shard.ring, worker.site.borrow().clone());
    let (frontend, server) = (site.frontends[0].clone(), site.backends[0].servers[0].clone());
    let connections = site.snapshot.frontends[0].connections.clone();
    connections.take();
    site.snapshot.connections.take();
    let entrance =
        Rc::new(Entrance::new(ListenerId(0), frontend, BindSettings::default(), connections));
    let client = Box::new(Client::new(
        ring.adopt(client.into()).into(),
        entrance,
        site.snapshot.connections.clone(),
        worker.shard.clock.now(),
        crate::http2::Protocols::Http1,
    ));
    std::future::poll_fn(|context| match client.socket.poll_gone(context) {
        Poll::Pending if !client.socket.has_arrived() => Poll::Pending,
        _ => Poll::Ready(()),
    })
    .await;

    let socket = server.place.connect(ring).expect("a descriptor is left");
    socket.connected().await.expect("the server listens");
    let peer = first.recv_timeout(PATIENCE).expect("the server accepts");
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).expect("a TCP socket");
    drop(peer);
    while socket.peer_address() != PeerAddress::Unknown {
        std::thread::yield_now();
    }
    let connection = Connection::opened(socket.into(), &server, worker.shard.clock.now());
    assert!(worker.park_idle(connection, &server, 16).is_ok(), "there is room");
    assert_eq!(server.idle.len(), 1, "the ring has not heard of the reset");

    let task = worker.shard.tasks.current().expect("this is a task");
    Server::new(&worker, task).serve(client).await;
    assert_eq!(server.stats.connections_reused.value(), 1, "the dead connection was picked");
    worker.shard.stop();
}

/// What the client is answered, and what each further connection to the server brought.
fn run(request: &'static [u8]) -> (String, Vec<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let server = listener.local_addr().expect("bound");
    let (give_first, first) = mpsc::channel();
    let serving = start_server(listener, give_first);

    let front = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut client =
        TcpStream::connect(front.local_addr().expect("bound")).expect("somebody listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a duration");
    client.write_all(request).expect("the kernel takes it");
    let (accepted, _) = front.accept().expect("the client has connected");
    let (_commands, for_shard) = queue(1);
    let (from_shard, _reports) = queue(64);
    let snapshot = snapshot(1, Balance::RoundRobin, &[("a", server.into())]);
    let shard = spawn("shard", None, move || async move {
        let shard = Shard::new(&Settings::default()).expect("io_uring");
        let (_logs, mut writers) = Logs::start(1, |_| {}).expect("a thread");
        let writer = writers.pop().expect("one for each shard");
        let worker = Worker::new(&shard, 0, &snapshot, from_shard, writer);
        shard.tasks.spawn(serve_on_a_dead_connection(worker.clone(), first, accepted));
        drive(&shard, &*worker, for_shard).await;
        shard.tasks.clear();
        server_connections_end(&worker);
    })
    .expect("a thread");
    let mut head = [0; 12];
    client.read_exact(&mut head).expect("an answer");
    drop(client);
    shard.join().expect("the shard does not panic");
    drop(TcpStream::connect(server).expect("the server still listens"));
    (
        String::from_utf8_lossy(&head).into_owned(),
        serving.join().expect("the server does not panic"),
    )
}

/// A shard frees what is idle before its ring ends.
fn server_connections_end(worker: &Worker) {
    worker.site.borrow().servers().for_each(|server| worker.close_idle(server));
}

#[test]
fn a_request_of_which_nothing_left_is_sent_on_another_connection() {
    for head in [
        &b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(run(head), ("HTTP/1.1 200".to_owned(), vec![head.to_vec()]));
    }
}

#[test]
fn a_request_whose_body_has_begun_is_never_sent_again_from_its_middle() {
    for request in [
        &b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst"[..],
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nwhole",
    ] {
        let (status, resent) = run(request);
        assert_eq!(status, "HTTP/1.1 502", "{}", request.escape_ascii());
        assert_eq!(resent, [b""; 0], "{}", request.escape_ascii());
    }
}

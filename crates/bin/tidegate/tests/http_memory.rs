//! Owns the bound on memory: however slow one side is, the program holds little of what the other
//! side has to say.
//!
//! Leaves what becomes of slow peers to `http_timeouts`. Invariant: several times more is on offer
//! than the kernel's buffers and the allowed growth together can take, so that a program which
//! buffers would be caught.

#[path = "support/http.rs"]
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::{client, on_one_and_two_shards, patterned, start, take_time};
use tidegate_testkit::{Connection, Deadline, Gate, Origin, Tidegate, script, seed};

/// One body, for each of the transfers that go on at once.
const BODY_BYTES: usize = 200 << 20;
const TRANSFERS_COUNT: usize = 8;

/// What the program may grow by while all transfers are stuck: 128 KiB queued and a few receive
/// buffers of 32 KiB each, both doubled for what the allocator and the kernel's batches add.
const GROWTH_BYTES_MAX: u64 = 2 * TRANSFERS_COUNT as u64 * (128 + 8 * 32) * 1024;

/// How slowly the slow side moves, one byte a step, and for how many steps it is watched.
const STEP: Duration = Duration::from_millis(100);
const STEPS_COUNT: usize = 15;

/// How much of all bodies the kernel's socket buffers may hold: a send and a receive buffer on two
/// connections for each.
fn kernel_bytes_max() -> u64 {
    let largest = |name: &str| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).expect("Linux");
        text.split_whitespace().last().and_then(|max| max.parse().ok()).expect("three numbers")
    };
    TRANSFERS_COUNT as u64 * 2 * (largest("tcp_rmem") + largest("tcp_wmem"))
}

/// What the slow side leaves behind must not have been taken from the fast one.
#[track_caller]
fn expect_held_back(moved: u64, whose: &str) {
    let moved_max = kernel_bytes_max() + GROWTH_BYTES_MAX;
    assert!(moved_max < (TRANSFERS_COUNT * BODY_BYTES) as u64 / 2, "the bodies prove nothing");
    assert!(moved <= moved_max, "{} MiB were taken from the {whose}", moved >> 20);
}

/// An endless supplier of one body, which counts what it has been relieved of.
fn supplier(head: &'static str, chunked: bool) -> (Origin, Arc<AtomicU64>) {
    supplier_of(patterned(1 << 16), head, chunked)
}

/// The same with other content.
fn supplier_of(piece: Vec<u8>, head: &'static str, chunked: bool) -> (Origin, Arc<AtomicU64>) {
    let taken = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&taken);
    let piece = if chunked { [b"10000\r\n", &piece[..], b"\r\n"].concat() } else { piece };
    let origin = Origin::start(move |mut connection: Connection| {
        loop {
            let Some(request) = connection.read_request()? else { return Ok(()) };
            if request.target != "/small" {
                break;
            }
            connection.send(script::ok("small"))?;
        }
        connection.send(head)?;
        let mut left = BODY_BYTES;
        while left > 0 {
            connection.send(&piece)?;
            counted.fetch_add(1 << 16, Ordering::Relaxed);
            left -= 1 << 16;
        }
        if chunked { connection.send("0\r\n\r\n") } else { Ok(()) }
    });
    (origin, taken)
}

fn connect(tidegate: &Tidegate) -> TcpStream {
    let address: SocketAddr = tidegate.address("web");
    TcpStream::connect(address).expect("the program listens")
}

/// Moves each transfer by one byte a step, and returns by how much the program has grown at most.
fn watch(tidegate: &Tidegate, before: u64, mut step: impl FnMut()) -> u64 {
    let mut grown = 0;
    for _ in 0..STEPS_COUNT {
        take_time(STEP);
        step();
        grown = grown.max(tidegate.process().resident_bytes().saturating_sub(before));
    }
    grown
}

#[track_caller]
fn expect_bounded(grown: u64, what: &str) {
    assert!(grown <= GROWTH_BYTES_MAX, "{what}: grew by {} KiB", grown / 1024);
}

/// What has to hold while every transfer is stuck: other clients are served.
#[track_caller]
fn expect_others_served(tidegate: &Tidegate) {
    for _ in 0..10 {
        assert_eq!(client(tidegate).get("/small").text(), "small");
    }
}

fn check_slow_readers(shards: usize, head: &'static str, chunked: bool) {
    check_slow_readers_of(shards, supplier(head, chunked), "", GROWTH_BYTES_MAX);
}

fn check_slow_readers_of(
    shards: usize,
    supplier: (Origin, Arc<AtomicU64>),
    more: &str,
    growth_bytes_max: u64,
) {
    let (origin, taken) = supplier;
    let tidegate = start(shards, [origin.address()], more);
    expect_others_served(&tidegate);
    let before = tidegate.process().resident_bytes();
    let mut readers: Vec<TcpStream> = (0..TRANSFERS_COUNT).map(|_| connect(&tidegate)).collect();
    for reader in &mut readers {
        reader
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
            .expect("a fresh connection");
    }
    let grown = watch(&tidegate, before, || {
        for reader in &mut readers {
            reader.read_exact(&mut [0]).expect("the response goes on");
        }
    });
    assert!(grown <= growth_bytes_max, "slow readers: grew by {} KiB", grown / 1024);
    expect_held_back(taken.load(Ordering::Relaxed), "servers");
    expect_others_served(&tidegate);
}

#[test]
fn readers_of_a_byte_now_and_then_cost_little_memory() {
    on_one_and_two_shards(|shards| {
        check_slow_readers(shards, "HTTP/1.1 200 OK\r\nContent-Length: 209715200\r\n\r\n", false);
    });
}

#[test]
fn readers_of_a_byte_now_and_then_of_chunks_cost_little_memory() {
    on_one_and_two_shards(|shards| {
        check_slow_readers(shards, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true);
    });
}

#[test]
fn readers_of_a_byte_now_and_then_until_close_cost_little_memory() {
    on_one_and_two_shards(|shards| check_slow_readers(shards, "HTTP/1.1 200 OK\r\n\r\n", false));
}

/// Noise, so that as much comes out of the encoders as goes in. They hold 384 KiB each.
#[test]
fn readers_of_a_byte_now_and_then_of_compressed_bodies_cost_little_memory() {
    on_one_and_two_shards(|shards| {
        let noise = seed().rng().bytes(1 << 16);
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 209715200\r\n\r\n";
        let supplier = supplier_of(noise, head, false);
        let growth_bytes_max = GROWTH_BYTES_MAX + TRANSFERS_COUNT as u64 * 384 * 1024;
        check_slow_readers_of(shards, supplier, "frontends.web.compression = {}", growth_bytes_max);
    });
}

#[test]
fn a_large_body_arrives_whole_after_a_slow_start() {
    on_one_and_two_shards(|shards| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 209715200\r\n\r\n";
        let (origin, _taken) = supplier(head, false);
        let tidegate = start(shards, [origin.address()], "");
        let before = tidegate.process().resident_bytes();
        let mut reader = connect(&tidegate);
        reader.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("a fresh connection");
        take_time(STEP);
        let mut got = vec![0; head.len()];
        reader.read_exact(&mut got).expect("a head");
        assert_eq!(got, head.as_bytes());
        let expected = patterned(1 << 16);
        let mut piece = vec![0; 1 << 16];
        for number in 0..BODY_BYTES >> 16 {
            reader.read_exact(&mut piece).expect("the body goes on");
            assert!(piece == expected, "piece {number} has changed");
        }
        let grown = tidegate.process().resident_bytes().saturating_sub(before);
        expect_bounded(grown, "a fast reader");
    });
}

/// Sends as much of `piece`, again and again, as is taken within a moment; the bytes taken.
fn push(socket: &mut TcpStream, piece: &[u8], sent: &mut usize) {
    socket.set_nonblocking(true).expect("an open socket");
    while *sent < BODY_BYTES {
        match socket.write(&piece[*sent % piece.len()..]) {
            Ok(count) => *sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("the upload broke off: {error}"),
        }
    }
}

fn check_slow_servers(shards: usize, framing: &str, piece: &[u8]) {
    let watched = Gate::new();
    let origin = Origin::start({
        let watched = watched.clone();
        move |mut connection: Connection| {
            // A connection is closed by the program alone: one that the origin closes after an answer may be taken for an
            // upload before the program has seen its end, and an upload cannot be repeated.
            loop {
                let Some(head) = connection.read_request_head()? else { return Ok(()) };
                if head.target != "/small" {
                    break;
                }
                connection.send(script::ok("small"))?;
            }
            while !watched.is_open() && !connection.read_some(1)?.is_empty() {
                take_time(STEP);
            }
            Ok(())
        }
    });
    let tidegate = start(shards, [origin.address()], "");
    expect_others_served(&tidegate);
    let before = tidegate.process().resident_bytes();
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
    let mut uploads: Vec<(TcpStream, usize)> =
        (0..TRANSFERS_COUNT).map(|_| (connect(&tidegate), 0)).collect();
    for (socket, _) in &mut uploads {
        socket.write_all(head.as_bytes()).expect("a fresh connection");
    }
    let grown = watch(&tidegate, before, || {
        for (socket, sent) in &mut uploads {
            push(socket, piece, sent);
        }
    });
    expect_bounded(grown, "slow servers");
    let sent: usize = uploads.iter().map(|(_, sent)| sent).sum();
    expect_held_back(sent as u64, "clients");
    expect_others_served(&tidegate);
    watched.open();
}

#[test]
fn servers_that_read_a_byte_now_and_then_cost_little_memory() {
    on_one_and_two_shards(|shards| {
        check_slow_servers(shards, "Content-Length: 209715200", &patterned(1 << 16));
    });
}

#[test]
fn servers_that_read_a_byte_now_and_then_of_chunks_cost_little_memory() {
    let piece = [b"10000\r\n", &patterned(1 << 16)[..], b"\r\n"].concat();
    on_one_and_two_shards(|shards| {
        check_slow_servers(shards, "Transfer-Encoding: chunked", &piece);
    });
}

#[test]
fn tunnels_with_a_slow_end_cost_little_memory() {
    on_one_and_two_shards(|shards| {
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
        let (origin, _taken) = supplier(head, false);
        let tidegate = start(shards, [origin.address()], "");
        expect_others_served(&tidegate);
        let before = tidegate.process().resident_bytes();
        let mut tunnels: Vec<TcpStream> =
            (0..TRANSFERS_COUNT).map(|_| connect(&tidegate)).collect();
        for tunnel in &mut tunnels {
            tunnel
                .write_all(
                    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
                )
                .expect("a fresh connection");
        }
        let grown = watch(&tidegate, before, || {
            for tunnel in &mut tunnels {
                tunnel.read_exact(&mut [0]).expect("the tunnel goes on");
            }
        });
        expect_bounded(grown, "tunnels");
        expect_others_served(&tidegate);
    });
}

/// Waits for the program's memory to be as `condition` wants it; the last size seen.
fn wait_resident(tidegate: &Tidegate, condition: impl Fn(u64) -> bool) -> u64 {
    let deadline = Deadline::after(Duration::from_secs(60));
    loop {
        let resident = tidegate.process().resident_bytes();
        if condition(resident) || deadline.remaining().is_none() {
            return resident;
        }
        take_time(STEP);
    }
}

#[test]
fn memory_that_a_burst_took_is_given_back() {
    const READERS_COUNT: u64 = 200;
    // Chunks go through receive buffers; a body with a length would flow past them.
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (origin, _taken) = supplier(head, true);
    let tidegate = start(1, [origin.address()], "");
    expect_others_served(&tidegate);
    let before = tidegate.process().resident_bytes();
    let mut readers: Vec<TcpStream> = (0..READERS_COUNT).map(|_| connect(&tidegate)).collect();
    for reader in &mut readers {
        reader.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("a fresh connection");
    }
    let expected = before + READERS_COUNT * 96 * 1024;
    let full = wait_resident(&tidegate, |resident| resident >= expected);
    assert!(full >= expected, "{} KiB are no burst", (full - before) / 1024);
    drop(readers);
    // Tasks and small vectors are kept for the next one.
    let allowed = before + (full - before) / 4;
    let left = wait_resident(&tidegate, |resident| resident <= allowed);
    assert!(left <= allowed, "{} of {} KiB stay", (left - before) / 1024, (full - before) / 1024);
    expect_others_served(&tidegate);
}

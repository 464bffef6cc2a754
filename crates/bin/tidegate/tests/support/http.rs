//! Owns what the HTTP/1.1 tests share: the program in front of one origin, on one and on two
//! shards.
//!
//! Leaves behaviour to the tests. Invariant: each body runs on both numbers of shards, and a
//! failure says on which.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fmt::Display;
use std::sync::mpsc;
use std::time::Duration;
use tidegate_testkit::{Builder, Client, Tidegate, site};

/// Runs `body` on one and on two shards.
pub fn on_one_and_two_shards(body: impl Fn(usize)) {
    for shards in [1, 2] {
        // Shown only when the test fails.
        eprintln!("with {shards} shard(s):");
        body(shards);
    }
}

/// The program under test, not started.
pub fn builder() -> Builder {
    Tidegate::with_binary(env!("CARGO_BIN_EXE_tidegate"))
}

/// The program in front of these servers, with further lines of configuration.
#[track_caller]
pub fn start<A: Display>(
    shards: usize,
    servers: impl IntoIterator<Item = A>,
    more: &str,
) -> Tidegate {
    builder().start(&(site(shards, servers) + more + "\n"))
}

/// A client connected to the program.
#[track_caller]
pub fn client(tidegate: &Tidegate) -> Client {
    Client::connect(tidegate.address("web"))
}

/// Waits until no request is with a server.
#[track_caller]
pub fn wait_nothing_in_flight(tidegate: &Tidegate) {
    tidegate.wait_metrics("no request in flight", |metrics| {
        assert!(metrics.contains(IN_FLIGHT), "the metric has another name");
        metrics.count(IN_FLIGHT, &[]) == 0
    });
}

/// Waits until as many requests are with servers.
#[track_caller]
pub fn wait_in_flight(tidegate: &Tidegate, count: u64) {
    let what = format!("{count} requests in flight");
    tidegate.wait_metrics(&what, |metrics| metrics.count(IN_FLIGHT, &[]) == count);
}

const IN_FLIGHT: &str = "tidegate_server_requests_in_flight";

/// A body of this length whose bytes tell their place.
pub fn patterned(length: usize) -> Vec<u8> {
    (0..length).map(|place| b"0123456789abcdefghijklmnopqrstuvwxyz\n"[place % 37]).collect()
}

/// `body` as chunks of at most `chunk_bytes`, with the last chunk.
pub fn chunked(body: &[u8], chunk_bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(chunk_bytes) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// Whether the bytes hold this text.
pub fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Lets time pass at a peer whose slowness is what the test is about.
pub fn take_time(duration: Duration) {
    let (_silent, never) = mpsc::channel::<()>();
    let _elapsed = never.recv_timeout(duration);
}

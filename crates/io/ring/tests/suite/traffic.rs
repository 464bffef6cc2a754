//! Streams of known bytes through a socket, on the ring's side and on the peer's.
//!
//! Owns producing and checking them; leaves when and how much to the tests. Invariant: what is
//! received is checked byte by byte against its place in the stream, so nothing lost, doubled or
//! exchanged goes unseen.

use std::io::Read;

use tidegate_ring::{SendBuf, Socket};
use tidegate_testkit::Rng;

use crate::peers::{Pattern, Peer};

/// Most bytes that a sending task keeps queued.
const QUEUED_MAX: usize = 128 << 10;

/// Receives `total` bytes of `pattern` and then the end of the stream.
pub async fn receive_all(socket: &Socket, pattern: &Pattern, total: u64) {
    let received = receive_to_end(socket, pattern).await;
    assert_eq!(received, total, "the stream has another length");
}

/// Receives `pattern` until the stream ends; how many bytes.
pub async fn receive_to_end(socket: &Socket, pattern: &Pattern) -> u64 {
    let mut received = 0;
    while let Some(bytes) = socket.recv().await.expect("the stream ends in order") {
        assert!(!bytes.is_empty(), "an empty receive that is not the end");
        pattern.check(received, &bytes);
        received += bytes.len() as u64;
    }
    received
}

/// Sends the first `total` bytes of `pattern` in pieces of random kinds and sizes.
pub async fn send_all(socket: &Socket, pattern: &Pattern, total: u64, mut rng: Rng) {
    let mut queued = 0;
    while queued < total {
        let longest = 1 + rng.below(40_000);
        let count = usize::try_from(total - queued).unwrap_or(usize::MAX).min(longest);
        let bytes = pattern.at(queued, count);
        queued += bytes.len() as u64;
        socket.queue(piece(bytes, &mut rng));
        if rng.below(3) == 0 {
            socket.flush();
            socket.flushed(rng.below(QUEUED_MAX)).await.expect("the peer reads");
            let sum = socket.sent_bytes() + socket.queued_bytes() as u64;
            assert_eq!(sum, queued, "bytes sent and bytes queued are what was given");
        }
    }
    socket.flush();
    socket.flushed(0).await.expect("the peer reads");
    assert_eq!((socket.sent_bytes(), socket.queued_bytes()), (total, 0));
}

/// `bytes` in one of the kinds that own them.
pub fn piece(bytes: &[u8], rng: &mut Rng) -> SendBuf {
    if rng.below(2) == 0 { SendBuf::Vec(bytes.to_vec()) } else { SendBuf::Shared(bytes.into()) }
}

/// Writes the first `total` bytes of `pattern` in random pieces, on the peer's thread.
pub fn write_all(peer: &Peer, pattern: &Pattern, total: u64, mut rng: Rng) {
    let mut written = 0;
    while written < total {
        let longest = 1 + rng.below(100_000);
        let count = usize::try_from(total - written).unwrap_or(usize::MAX).min(longest);
        let bytes = pattern.at(written, count);
        peer.write(bytes);
        written += bytes.len() as u64;
    }
}

/// Reads `pattern` in random pieces until the stream ends, on the peer's thread; how many bytes.
pub fn read_to_end(peer: &Peer, pattern: &Pattern, piece_max: usize, mut rng: Rng) -> u64 {
    let mut buffer = vec![0; piece_max];
    let mut total = 0;
    loop {
        let wanted = 1 + rng.below(piece_max);
        let count = (&peer.0).read(&mut buffer[..wanted]).expect("the stream ends in order");
        if count == 0 {
            return total;
        }
        pattern.check(total, &buffer[..count]);
        total += count as u64;
    }
}

//! What the origin serves, over real loopback sockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::*;
use crate::harness::Harness;

/// Sends `request` in the given pieces, turning the origin's loop after each, and returns all it
/// answers within `expected_bytes`, or until it closes.
fn talk(pieces: &[&[u8]], expected_bytes: usize) -> Vec<u8> {
    let mut harness = Harness::with_origin(([127, 0, 0, 1], 0).into()).expect("loopback");
    let address = harness.origin_address().expect("it has an origin");
    let mut client = TcpStream::connect(address).expect("the origin listens");
    client.set_nonblocking(true).expect("a socket can be non-blocking");
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    let mut unsent = pieces.iter();
    for _ in 0..100_000 {
        if let Some(bytes) = unsent.next() {
            client.write_all(bytes).expect("a small piece fits");
        }
        harness.turn(Some(Duration::from_millis(1)), |_, _, _| ()).expect("the loop runs");
        match client.read(&mut piece) {
            Ok(0) => return answer,
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        if unsent.len() == 0 && answer.len() >= expected_bytes {
            return answer;
        }
    }
    panic!("{} bytes of {expected_bytes}", answer.len());
}

fn response_bytes(body: usize) -> usize {
    let digits = body.to_string().len();
    "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: \r\n\r\n".len()
        + digits
        + body
}

#[test]
fn paths_name_sizes() {
    let cases: [(&str, Option<usize>); 10] = [
        ("/", Some(100)),
        ("/100", Some(100)),
        ("/16k", Some(16_384)),
        ("/1m", Some(1_048_576)),
        ("/bytes/0", Some(0)),
        ("/bytes/16m", Some(BODY_BYTES_MAX)),
        ("/bytes/16777217", None),
        ("/x", None),
        ("/k", None),
        ("100", None),
    ];
    for (path, expected) in cases {
        assert_eq!(body_bytes(path.as_bytes()), expected, "{path}");
    }
}

#[test]
fn serves_small_and_large_bodies() {
    for body in [0, 100, 16 << 10, 1 << 20, 16 << 20] {
        let request = format!("GET /bytes/{body} HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = talk(&[request.as_bytes()], response_bytes(body));
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert_eq!(answer.len(), response_bytes(body));
    }
}

#[test]
fn answers_heads_in_pieces_and_requests_back_to_back() {
    let request: &[u8] = b"GET /10 HTTP/1.1\r\nHost: x\r\n\r\n";
    let pieces: Vec<&[u8]> = request.chunks(5).collect();
    assert_eq!(talk(&pieces, response_bytes(10)).len(), response_bytes(10));
    let three = request.repeat(3);
    assert_eq!(talk(&[&three], 3 * response_bytes(10)).len(), 3 * response_bytes(10));
}

#[test]
fn closes_when_asked_and_refuses_what_it_does_not_serve() {
    let close = talk(&[b"GET /10 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"], usize::MAX);
    assert_eq!(close.len(), response_bytes(10));
    let requests: [&[u8]; 3] = [
        b"POST /10 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
        b"junk\r\n\r\n",
    ];
    for request in requests {
        assert_eq!(talk(&[request], usize::MAX), REFUSAL);
    }
}

#[test]
fn the_most_connections_are_those_open_at_once() {
    let mut harness = Harness::with_origin(([127, 0, 0, 1], 0).into()).expect("loopback");
    harness.watch_most();
    let address = harness.origin_address().expect("it has an origin");
    let connect = || TcpStream::connect(address).expect("the origin listens");
    let mut turn_until = |accepted: u64| {
        for _ in 0..1_000 {
            harness.turn(Some(Duration::from_millis(1)), |_, _, _| ()).expect("the loop runs");
            let counts = harness.origin_counts().expect("it has an origin");
            if counts.accepted == accepted {
                return counts.open_most;
            }
        }
        panic!("{accepted} connections were not accepted");
    };
    let (one, two) = (connect(), connect());
    assert_eq!(turn_until(2), 2);
    // Whatever it has sent before.
    (&one).write_all(b"GET /10 ").expect("a small piece fits");
    drop(one);
    let three = connect();
    // Its end and the new connection are found in one turn, in whichever order.
    assert_eq!(turn_until(3), 2);
    let _four = connect();
    assert_eq!(turn_until(4), 3);
    drop((two, three));
}

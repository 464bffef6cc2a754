//! Tests of `client`.

use super::*;
use crate::{Connection, Origin, script};

#[test]
fn each_end_of_a_connection_is_told_apart() {
    let origin = Origin::start(
        |connection| if connection.index() == 0 { Ok(()) } else { connection.reset() },
    );
    Client::connect(origin.address()).expect_eof();
    Client::connect(origin.address()).expect_reset();
}

#[test]
#[should_panic(expected = "more bytes came")]
fn bytes_are_not_an_end() {
    let origin = Origin::start(|mut connection| connection.send("x"));
    Client::connect(origin.address()).expect_eof();
}

#[test]
#[should_panic(expected = "not a valid HTTP/1 message")]
fn a_malformed_response_fails_the_test() {
    let origin = Origin::start(script::answer("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"));
    Client::connect(origin.address()).get("/");
}

#[test]
#[should_panic(expected = "before the deadline")]
fn silence_fails_a_test_that_waits_for_a_response() {
    let origin = Origin::start(Connection::hang);
    let mut client = Client::connect(origin.address());
    client.expect_silence(Duration::from_millis(10));
    client.set_patience(Duration::from_millis(10));
    client.get("/");
}

#[test]
fn slow_reads_and_bytewise_writes_arrive_whole() {
    let origin = Origin::start(script::answer_ok("0123456789"));
    let mut client = Client::connect(origin.address());
    client.send_bytewise("GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("the origin reads");
    let head = client.read_head();
    assert_eq!(head.status, 200);
    let mut body = Vec::new();
    while body.len() < 10 {
        let piece = client.read_some(3);
        assert!((1..=3).contains(&piece.len()));
        body.extend(piece);
    }
    assert_eq!(body, b"0123456789");
    assert_eq!(origin.received(0), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

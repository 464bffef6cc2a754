//! Owns the tests of origins and of the ready-made scripts, driven by the kit's own client.

use super::*;
use crate::{Client, Framing, Gate, script};

#[test]
fn requests_and_bytes_are_recorded_per_connection() {
    let origin = Origin::start(script::answer_with(|index, request| {
        script::ok(format!("{index}{}", request.target))
    }));
    let mut first = Client::connect(origin.address());
    assert_eq!(first.get("/a").text(), "0/a");
    assert_eq!(first.get("/b").text(), "0/b");
    let mut second = Client::connect(origin.address());
    assert_eq!(second.get("/c").text(), "1/c");
    assert_eq!((origin.connections_count(), origin.requests_count()), (2, 3));
    assert_eq!(origin.wait_requests(3).target, "/c");
    assert!(origin.received(1).starts_with(b"GET /c HTTP/1.1\r\n"));
    assert_eq!(origin.received_bytes_total(), origin.received(0).len() + origin.received(1).len());
    drop(first);
    assert_eq!(origin.wait_end(0), End::Eof);
    second.reset();
    assert_eq!(origin.wait_end(1), End::Reset);
    origin.wait_idle();
}

#[test]
fn responses_of_every_framing_are_valid() {
    let cases = [
        (script::ok("abc"), Framing::Length(3)),
        (script::ok_chunked(&["a", "", "bc"]), Framing::Chunked),
        (script::ok_until_close("abc"), Framing::UntilClose),
    ];
    for (bytes, framing) in cases {
        let origin = Origin::start(script::answer_and_close(bytes));
        let response = Client::connect(origin.address()).get("/");
        assert_eq!((response.text(), response.framing), ("abc", framing));
    }
}

#[test]
fn a_script_waits_for_the_tests_event() {
    let gate = Gate::new();
    let origin = Origin::start({
        let gate = gate.clone();
        move |mut connection| {
            connection.read_request()?;
            connection.send("HTTP/1.1 100 Continue\r\n\r\n")?;
            gate.wait();
            connection.send(script::ok("late"))
        }
    });
    let mut client = Client::connect(origin.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read_head().status, 100);
    gate.open();
    assert_eq!(client.read_response().text(), "late");
    client.expect_eof();
}

#[test]
fn a_reset_in_mid_body_is_seen_as_one() {
    let origin =
        Origin::start(script::answer_and_reset("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"));
    let mut client = Client::connect(origin.address());
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let error = client.try_read_response_to("GET").expect_err("the body is not whole");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn an_early_answer_leaves_the_body_unread_and_ends_in_order() {
    let origin = Origin::start(script::answer_early_and_close(script::ok("early")));
    let mut client = Client::connect(origin.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nfew");
    assert_eq!(client.read_response().text(), "early");
    client.expect_eof();
}

#[test]
fn an_upgrade_becomes_an_echo() {
    let origin = Origin::start(script::upgrade_echo("echo"));
    let mut client = Client::connect(origin.address());
    client.send(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nwith the head",
    );
    assert_eq!(client.read_response().status, 101);
    assert_eq!(client.read_exactly(13), b"with the head");
    client.send("later").half_close();
    assert_eq!(client.read_to_end(), b"later");
}

#[test]
fn a_script_that_ignores_its_connection_ends_with_the_origin() {
    let origin = Origin::with_receive_buffer(Some(4096), Connection::ignore);
    let mut client = Client::connect(origin.address());
    client.send("anything");
    origin.wait_connections(1);
    assert_eq!(origin.received_bytes_total(), 0);
    drop(origin);
    client.expect_end();
}

#[test]
#[should_panic(expected = "not a valid HTTP/1 message")]
fn a_malformed_request_fails_the_test_of_its_origin() {
    let origin = Origin::start(script::answer_ok(""));
    let mut client = Client::connect(origin.address());
    client.send("GET / HTTP/1.1\nHost: a\r\n\r\n");
    client.expect_end();
    drop(origin);
}

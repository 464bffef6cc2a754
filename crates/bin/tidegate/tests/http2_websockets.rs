//! Owns WebSocket to servers of HTTP/2 (RFC 8441), from clients of both versions.
//!
//! Leaves those to servers of HTTP/1.1 to `http_upgrade` and `http2_requests`. Invariant: a server sees an extended CONNECT only if it
//! has said that it takes one.

#[path = "support/http.rs"]
mod http;
#[path = "support/http2.rs"]
mod http2;

use http::{client, on_one_and_two_shards, start, wait_nothing_in_flight};
use http2::start_http2;
use tidegate_testkit::http2::kind;
use tidegate_testkit::{Http2Client, Http2Origin};

/// The lines of a backend that speaks HTTP/2.
const H2: &str = "backends.app.protocol = \"h2\"\n";

/// ENABLE_CONNECT_PROTOCOL (RFC 8441 §3).
const EXTENDS_CONNECT: &[(u16, u32)] = &[(8, 1)];

/// A WebSocket's bytes both ways: what comes is sent back in upper case.
fn echo() -> Http2Origin {
    Http2Origin::answering(EXTENDS_CONNECT, |connection, request| {
        assert_eq!(request.field(":method"), Some("CONNECT"));
        assert_eq!(request.field(":protocol"), Some("websocket"));
        assert_eq!(request.field("sec-websocket-key"), None);
        assert_eq!(request.field("sec-websocket-version"), Some("13"));
        connection.send_fields(request.stream, &[(":status", "200")], false)?;
        loop {
            let Some(frame) = connection.read_frame()? else { return Ok(()) };
            if frame.kind == kind::DATA && frame.stream == request.stream {
                let ends = frame.flags & 1 != 0;
                connection.send_data(request.stream, &frame.payload.to_ascii_uppercase(), ends)?;
                if ends {
                    return Ok(());
                }
            }
        }
    })
}

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn a_websocket_of_http1_reaches_a_server_of_http2() {
    on_one_and_two_shards(|shards| {
        let origin = echo();
        let tidegate = start(shards, [origin.address()], H2);
        let mut client = client(&tidegate);
        client.send(UPGRADE);
        let head = client.read_head();
        assert_eq!(head.status, 101);
        assert_eq!(head.headers.value("upgrade"), Some("websocket"));
        // RFC 6455 §1.3
        let accept = head.headers.value("sec-websocket-accept");
        assert_eq!(accept, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        for _ in 0..3 {
            client.send("hello");
            assert_eq!(client.read_exactly(5), b"HELLO");
        }
        client.half_close();
        client.expect_end();
        wait_nothing_in_flight(&tidegate);
    });
}

#[test]
fn a_websocket_of_http2_reaches_a_server_of_http2() {
    on_one_and_two_shards(|shards| {
        let origin = echo();
        let tidegate = start_http2(shards, [origin.address()], H2);
        let mut client = Http2Client::connect(tidegate.address("web"));
        let fields = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/chat"),
            (":authority", "a"),
            ("sec-websocket-version", "13"),
        ];
        client.send_headers(1, &fields, false);
        client.send_data(1, b"hello", true);
        let answer = client.answer(1);
        assert_eq!((answer.status, &answer.body[..]), (200, &b"HELLO"[..]));
    });
}

#[test]
fn a_server_that_takes_no_websockets_is_told_of_and_others_go_on() {
    let origin = Http2Origin::answering(&[], |connection, request| {
        connection.respond(request.stream, "200", "ok")
    });
    let tidegate = start(1, [origin.address()], H2);
    let mut client = client(&tidegate);
    client.send(UPGRADE);
    assert_eq!(client.read_response().status, 502);
    let line = tidegate.wait_log(|line| line.is_event("request_failed"));
    assert_eq!(line.field("detail").as_deref(), Some("h2_no_extended_connect"), "{}", line.text);
    assert!(origin.requests().is_empty());
    assert_eq!(http::client(&tidegate).get("/").text(), "ok");
}
